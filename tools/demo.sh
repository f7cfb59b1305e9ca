# Sourced by the demos: how they speak to the private cluster.
# shellcheck shell=bash
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

# From standard input: psql then shows messages as they are, without the name of a file before each.
sql() { tools/cluster psql -X -q -v ON_ERROR_STOP=1 -P footer=off <"$1"; }
value() { tools/cluster psql -X -q -A -t -v ON_ERROR_STOP=1 -c "$1" || die "the private cluster did not answer" "$again"; }
