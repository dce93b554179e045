#!/bin/sh
# Brings Temporal's databases to the schema of this image's version. May run at every start.
# PostgreSQL's roles and databases are there already: ops/postgres/init.sh.
set -eu
run() {
    temporal-sql-tool --plugin postgres12 --ep "$SQL_HOST" -p 5432 -u temporal --db "$@"
}
versions=/etc/temporal/schema/postgresql/v12
run temporal setup-schema -v 0.0
run temporal update-schema -d "$versions/temporal/versioned"
run temporal_visibility setup-schema -v 0.0
run temporal_visibility update-schema -d "$versions/visibility/versioned"
