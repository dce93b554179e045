#!/bin/sh
# Runs once, when the data directory is made: a role of its own for each, owner of its databases.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv hospital HOSPITAL_DB_PASSWORD
\getenv temporal TEMPORAL_DB_PASSWORD
create role hospital login password :'hospital';
create role temporal login password :'temporal';
create database hospital owner hospital template template0 encoding 'UTF8';
create database temporal owner temporal template template0 encoding 'UTF8';
create database temporal_visibility owner temporal template template0 encoding 'UTF8';
revoke connect on database hospital, temporal, temporal_visibility from public;
SQL
