#!/usr/bin/env bash
# Tune on new rows, and deploy the result if it is better. Exit status: 0 done or nothing to do, 1 failed, 75 the last run still runs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
log=${LOG:-/var/log/pgml-nightly.log}

exec 3>&2 >>"$log" 2>&1 # standard error proper stays as 3, for the one line that cron mails
say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*"; }

# Another run that still learns would begin with the same rows.
exec 9>>"$log.lock"
if ! flock -n 9; then
  say "the last run has not ended"
  echo "pgml nightly: the last run has not ended, see $log" >&3
  exit 75
fi

say "start"
if psql -X -q -v ON_ERROR_STOP=1 -v project="${PROJECT:-tags}" -v min_rows="${MIN_ROWS:-20}" -v max_steps="${MAX_STEPS:-60}" \
  -f "$here/nightly.sql"; then
  say "done"
else
  status=$?
  say "failed: psql ended with exit status $status"
  echo "pgml nightly: failed, see $log" >&3
  exit 1
fi
