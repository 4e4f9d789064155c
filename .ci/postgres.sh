# shellcheck shell=bash
# A private PostgreSQL for ./quickstart and ./bench: the "protected" server of a demonstration. Sourced after lib.sh.
#
# It listens on loopback with a password, runs as an unprivileged user, and lies in $home/postgres with its own port.

# Set by place_at.
home=''

# From the root directory: that user may not be able to enter ours.
as_server_user() (
    cd /
    if [ "$(id -u)" = 0 ]; then exec setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else exec "$@"; fi
)

# place_at WANTED FALLBACK: makes `home`, a directory of ours that the server's user can reach, and locks it. Root's own
# directories are closed to that user; then it is the fallback below /var/lib.
place_at() {
    home=$(realpath -m "$1")
    mkdir -p "$home"
    if [ "$(id -u)" = 0 ] && ! as_server_user test -x "$home"; then
        rmdir "$home" 2>/dev/null || true
        home=/var/lib/$2
        mkdir -p "$home"
        note "the server's user can't enter $1, so everything is put into $home"
    fi
    [ -O "$home" ] || die "$home belongs to someone else"
    exec 9>"$home/lock"
    flock --nonblock 9 || die "another run works in $home"
}

free_port() {
    local port
    for port in {54330..54429}; do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return 0; }
    done
    die "no port between 54330 and 54429 is free"
}

# A secret of 64 hex digits, made once.
secret_file() {
    [ -s "$1" ] || (umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$1.new" && mv "$1.new" "$1")
}

# The password stays out of every argument list.
with_server() {
    PGHOST=127.0.0.1 PGPORT=$(cat "$home/port") PGUSER=kanbu PGPASSWORD=$(cat "$home/password") "$@" 9>&-
}

# sql DATABASE [PSQL OPTIONS]: plain rows on stdout.
sql() {
    local database=$1
    shift
    PGOPTIONS='-c client_min_messages=warning' with_server psql -XqAt -v ON_ERROR_STOP=1 -d "$database" "$@"
}

server_url() {
    echo "postgresql://kanbu:$(cat "$home/password")@127.0.0.1:$(cat "$home/port")/$1"
}

make_cluster() {
    local programs=$1 made=$home/postgres.new
    rm -rf "$home/postgres" "$made"
    secret_file "$home/password"
    mkdir -m 700 "$made"
    cp "$home/password" "$made.password"
    [ "$(id -u)" != 0 ] || chown postgres: "$made" "$made.password"
    as_server_user "$programs/initdb" --pgdata "$made" --username kanbu --pwfile "$made.password" --auth scram-sha-256 \
        --encoding UTF8 --locale C.UTF-8 --no-sync >/dev/null
    rm "$made.password"
    mv "$made" "$home/postgres"
}

# start_server [SETTING=VALUE…]: starts it, after making it or after ending what an interrupted run left behind. The data
# can be made again, so it is not flushed; a setting said later wins.
start_server() {
    local programs options setting
    programs=$(server_programs)
    if [ "$(cat "$home/postgres/PG_VERSION" 2>/dev/null)" != "$("$programs/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')" ]; then
        make_cluster "$programs"
    fi
    stop_server
    free_port >"$home/port"
    options="-p $(cat "$home/port") -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    for setting in "$@"; do options+=" -c $setting"; done
    as_server_user "$programs/pg_ctl" start --silent --wait --pgdata "$home/postgres" --log "$home/postgres/server.log" \
        --options "$options" 9>&- ||
        { as_server_user tail -n 5 "$home/postgres/server.log" >&2 && die "the demonstration's PostgreSQL did not start"; }
}

stop_server() {
    local programs
    programs=$(server_programs)
    if [ -d "$home/postgres" ] && as_server_user "$programs/pg_ctl" status --pgdata "$home/postgres" >/dev/null 2>&1; then
        as_server_user "$programs/pg_ctl" stop --silent --mode fast --pgdata "$home/postgres" || true
    fi
}

# demo_database NAME SCALE: the generated database, made anew unless it is there from the same generator.
demo_database() {
    local name=$1 scale=$2 stamp loading=${1}_loading
    stamp="scale $scale of $(sha256sum <demo/kanbu.sql | cut -c1-16)"
    if [ "$(sql postgres -c "select shobj_description(oid, 'pg_database') from pg_database where datname = '$name'")" = "$stamp" ]; then
        return
    fi
    sql postgres -c "drop database if exists $loading" -c "drop database if exists $name" -c "create database $loading"
    sql "$loading" -v scale="$scale" -f demo/kanbu.sql
    sql "$loading" -c 'vacuum (freeze, analyze)' -c checkpoint
    sql postgres -c "comment on database $loading is '$stamp'" -c "alter database $loading rename to $name"
}
