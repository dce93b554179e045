#!/bin/sh
# Makes the namespace, or sets how long it keeps closed workflows, and waits until it can be used. May
# run at every start.
set -eu

patiently() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { echo "no success at $TEMPORAL_ADDRESS: $*" >&2; exit 1; }
        sleep 2
    done
}

patiently temporal operator cluster health
if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
    temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
else
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
fi
# The server looks for new namespaces now and then; `migrate` comes next and needs it.
patiently temporal operator search-attribute list --namespace "$TEMPORAL_NAMESPACE"
