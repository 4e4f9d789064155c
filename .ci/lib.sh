# shellcheck shell=bash
# Shared by ./test, ./quickstart and ./bench: words for the reader, and what must be installed. Sourced, not run.

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

# Progress goes to stderr: stdout is for results.
say() { printf '%s== %s%s\n' "$bold" "$*" "$plain" >&2; }
note() { printf '   %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

# The directory of the newest installed PostgreSQL server programs; nothing if there are none.
server_programs() {
    local directory
    for directory in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -Vr) \
        "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ]; then
            echo "$directory"
            return 0 # plain `return` in a trap gives the status from before the trap
        fi
    done
}

is_there() {
    case $1 in
    compiler) has cc ;;
    postgresql) [ -n "$(server_programs)" ] && has psql && has pg_dump ;;
    docker) has docker && { has dockerd || docker info >/dev/null 2>&1; } ;;
    node) has node ;;
    # Debian keeps it where only root looks.
    pgbouncer) has pgbouncer || [ -x /usr/sbin/pgbouncer ] ;;
    python) python3 -c 'import sys; assert sys.version_info >= (3, 9)' 2>/dev/null ;;
    cryptography) python3 -c 'import cryptography' 2>/dev/null ;;
    venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    *) has "$1" ;;
    esac
}

packages_of() {
    case $1 in
    compiler) echo build-essential ;;
    postgresql) echo postgresql postgresql-client ;;
    docker) echo docker.io ;;
    node) echo nodejs ;;
    python) echo python3 ;;
    cryptography) echo python3 python3-cryptography ;;
    venv) echo python3-venv ;;
    aws) echo awscli ;;
    *) echo "$1" ;;
    esac
}

# Installs what of these is missing, with the system's package manager. Asks nothing; leaves the package lists alone when
# nothing is missing.
require() {
    local need packages=()
    for need in "$@"; do
        # shellcheck disable=SC2207 # one word for each package
        is_there "$need" || packages+=($(packages_of "$need"))
    done
    [ ${#packages[@]} -gt 0 ] || return 0
    say "installing ${packages[*]}"
    has apt-get || die "there is no apt-get here: please install what corresponds to ${packages[*]}, and run this again"
    as_root apt-get update -qq || note "the package lists could not be updated; trying with the old ones"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
    for need in "$@"; do
        is_there "$need" || die "$need is still not usable after installing $(packages_of "$need")"
    done
}

require_rust() {
    has cargo || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    has cargo || die "Rust is not installed: see https://rustup.rs, then run this again"
    cargo --version >/dev/null || die "the Rust toolchain that rust-toolchain.toml names can't be used"
}

# Settings in the caller's environment are for his own service: nothing here may touch what they lead to. What the fault
# suite is told is no setting of a service.
forget_settings() {
    local name
    for name in $(compgen -e); do
        case $name in
        KANBU_FAULTS_*) ;;
        DATABASE_URL | BACKUP_* | KANBU_* | POSTGRES_* | PG[A-Z]* | AWS_* | AZURE_* | GOOGLE_*) unset "$name" ;;
        esac
    done
}

# Seconds since a moment that EPOCHREALTIME showed, to a tenth.
seconds_since() {
    local tenths=$(((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000))
    echo "$((tenths / 10)).$((tenths % 10))"
}
