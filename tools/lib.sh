# Sourced by the scripts beside it: where things lie, who runs PostgreSQL, how to speak to the user.
# shellcheck shell=bash
set -euo pipefail
umask 022 # what is installed here is read by the OS user of PostgreSQL too

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PYTHON=/usr/bin/python3.11 # the system's: an interpreter below a home directory is out of PostgreSQL's reach
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
RUST_MINIMUM=1.96 # what pgrx 0.19 needs
PGML_VERSION=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" "$ROOT/extension/pgml.control")
PG_MAJORS="15 16 17" # each is a feature of extension/Cargo.toml

say() { printf '%s\n' "$*" >&2; }
die() { printf 'pgml: %s\n' "$@" >&2; exit 1; }

# step "name" "what to do when it fails" command…: a failure names the step.
step() {
  local name=$1 advice=$2
  shift 2
  say "==> $name"
  "$@" || die "the step \"$name\" failed" "$advice"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || die "this needs root: $*" "install sudo, or run make as root"
  sudo "$@"
}

# Whether this user may write into a directory. If not and there is no way to become root either, that is the end.
may_write() {
  [ ! -w "$1" ] || return 0
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    die "$(id -un) may not write to $1, which belongs to $(stat -c %U "$1")" \
      "run make as that user, or name other directories: make install PG_CONFIG=… VENV=…"
  return 1
}

# PostgreSQL refuses to run as root, so for root it runs as the packages' user.
if [ "$(id -u)" = 0 ]; then CLUSTER_USER=postgres; else CLUSTER_USER=$(id -un); fi
as_cluster_user() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

checkout_is_readable() {
  [ "$(id -u)" != 0 ] || ! id postgres >/dev/null 2>&1 ||
    as_cluster_user test -r "$ROOT/pyproject.toml" -a -r "$ROOT/python/pgml/__init__.py"
}

# Where the virtual environment, the models and the private cluster lie: in the checkout, unless PostgreSQL's user cannot
# read it (a checkout below /root). Then a directory that both can reach; PGML_HOME chooses another one.
EDITABLE=${EDITABLE:-yes}
if ! checkout_is_readable; then
  EDITABLE=no
  PGML_HOME=${PGML_HOME:-/var/tmp/pgml-$(id -u)-$(printf %s "$ROOT" | sha256sum | cut -c1-10)}
fi
if [ -n "${PGML_HOME:-}" ]; then
  mkdir -p "$PGML_HOME"
  PGML_HOME=$(cd "$PGML_HOME" && pwd -P)
  [ -O "$PGML_HOME" ] || die "$PGML_HOME belongs to somebody else" "set PGML_HOME to a directory of your own"
  PGML_VENV=${PGML_VENV:-$PGML_HOME/venv} PGML_PG=$PGML_HOME/pg PGML_MODELS=$PGML_HOME/models
else
  PGML_VENV=${PGML_VENV:-$ROOT/.venv} PGML_PG=$ROOT/.pg PGML_MODELS=$ROOT/.cache/models
fi
PG_BIN=$(dirname "$PG_CONFIG")
pg_major() { "$PG_CONFIG" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'; }

# done_before FILE KEY: whether FILE says that the work described by KEY was done. It lies beside the result, and goes with it.
done_before() { [ -r "$1" ] && [ "$(cat "$1")" = "$2" ]; }
digest() { cat "$@" | sha256sum | cut -c1-32; }
digest_of_python() { find "$ROOT/python" -name '*.py' -type f -print0 | sort -z | xargs -0 cat | digest; }

# The folder with a Rust toolchain that is new enough and complete: rustup's or the system's, whatever comes first.
find_rust() {
  local rustc bin version
  while read -r rustc; do
    bin=$(dirname "$rustc")
    version=$("$bin/rustc" --version 2>/dev/null | cut -d' ' -f2) || continue
    [ -n "$version" ] && printf '%s\n%s\n' "$RUST_MINIMUM" "$version" | sort -VC || continue
    for tool in cargo rustfmt cargo-clippy; do "$bin/$tool" --version >/dev/null 2>&1 || continue 2; done
    printf '%s\n' "$bin"
    return
  done < <(type -aP rustc; printf '%s\n' /usr/bin/rustc "$HOME"/.cargo/bin/rustc "$HOME"/.rustup/toolchains/*/bin/rustc)
  return 1
}
