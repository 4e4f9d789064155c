# shellcheck shell=bash
# shellcheck disable=SC2154 # home and command_line are those of ./bench
# Measures restores beside PostgreSQL's own tools on a local, uncompressed file. Sourced by ./bench.
#
#   ./bench restore [--size GB] [--runs N] [--only VARIANT,…] [--record]
#
# --size     of the dump, in units of 10^9 bytes (2)
# --runs     of each variant, interleaved (3)
# --only     some of: ours ours-2 pg_restore pg_restore-2 psql
# --record   writes the table into docs/benchmarks.md as well
#
# The generated database is kept in ./.bench (or $BENCH_DIR) for the next time.

# What one unit of demo/kanbu.sql becomes in a dump.
unit_bytes=49850000
size=2
runs=3
variants=(ours ours-2 pg_restore pg_restore-2 psql)
record=()
worker=''

usage() { die "usage: ./bench restore [--size GB] [--runs N] [--only VARIANT,…] [--record]"; }

while [ $# -gt 0 ]; do
    case $1 in
    --size) size=${2:?} && shift ;;
    --runs) runs=${2:?} && shift ;;
    --only) IFS=, read -ra variants <<<"${2:?}" && shift ;;
    --record) record=(--record docs/benchmarks.md) ;;
    *) usage ;;
    esac
    shift
done
[[ $size =~ ^[0-9]+(\.[0-9]+)?$ && $runs =~ ^[1-9][0-9]*$ ]] || usage

kanbu_backup=$PWD/target/release/kanbu-backup
database=bench_${size/./_}

end_worker() {
    [ -n "$worker" ] || return 0
    kill -TERM "$worker" 2>/dev/null || true
    wait "$worker" || true
    worker=''
}

# Nobody pays for what another wrote, nor for its database.
fresh_run() {
    rm -rf "$home/run/temporary"
    mkdir -p "$home/run/temporary"
    sql postgres -c 'drop database if exists restored' -c checkpoint
    sync
}

# measured VARIANT [OPTIONS] -- COMMAND…: one line of results.
measured() {
    local variant=$1 line
    shift
    say "$variant"
    line=$(TMPDIR=$home/run/temporary with_server \
        python3 benches/measure.py --temporary "$home/run/temporary" --kept "$home/run/kept" "$@")
    note "$line"
    echo "{\"variant\": \"$variant\", ${line#\{}" >>"$home/results"
}

# One worker, one backup of the database: what is restored each time.
make_backup() {
    rm -rf "$home/run"
    mkdir -p "$home"/run/{temporary,kept,state}
    sql postgres -c 'drop database if exists control' -c 'create database control'
    : >"$home/config.toml"
    export KANBU_BACKUP_CONFIG=$home/config.toml KANBU_BACKUP_STATE_DIR=$home/run/state BACKUP_LOCAL_PATH=$home/run/kept \
        BACKUP_ENCRYPTION_KEY_FILE=$home/key KANBU_BACKUP_PROVE_DAYS=off KANBU_BACKUP_SCRUB_DAYS=off
    DATABASE_URL=$(server_url "$database")
    KANBU_BACKUP_DATABASE_URL=$(server_url control)
    export DATABASE_URL KANBU_BACKUP_DATABASE_URL
    "$kanbu_backup" migrate db --quiet >&2
    TMPDIR=$home/run/temporary "$kanbu_backup" worker >"$home/worker.log" 2>&1 </dev/null 9>&- &
    worker=$!
    "$kanbu_backup" backup database --quiet >&2 || { tail -n 20 "$home/worker.log" >&2 && die "there is no backup to restore"; }
}

variant_ours() { measured ours --service "$worker" -- "$kanbu_backup" restore latest --kind database --into restored --quiet; }

variant_ours-2() { measured ours-2 --service "$worker" -- "$kanbu_backup" restore latest --kind database --into restored --jobs 2 --quiet; }

variant_pg_restore() {
    sql postgres -c 'create database restored template template0'
    measured pg_restore -- pg_restore --exit-on-error --dbname=restored "$home/dump.pgc"
}

variant_pg_restore-2() {
    sql postgres -c 'create database restored template template0'
    measured pg_restore-2 -- pg_restore --exit-on-error --jobs=2 --dbname=restored "$home/dump.pgc"
}

variant_psql() {
    sql postgres -c 'create database restored template template0'
    measured psql -- psql -XqAt -v ON_ERROR_STOP=1 --single-transaction -o /dev/null -d restored -f "$home/dump.sql"
}

prepare() {
    place_at "${BENCH_DIR:-.bench}" kanbu-backup-bench
    secret_file "$home/key"
    start_server shared_buffers=256MB max_wal_size=4GB autovacuum=off
    say "database of $size GB"
    demo_database "$database" "$(awk -v size="$size" -v unit=$unit_bytes 'BEGIN { print int(size * 1e9 / unit + 0.999) }')"
    with_server pg_dump -Fc -Z0 -f "$home/dump.pgc" "$database"
    with_server pg_dump -Fp -f "$home/dump.sql" "$database"
    make_backup
}

facts() {
    cat <<-FACTS
		$runs interleaved runs each, medians; memory and temporary disk are the highest of all runs. \`$command_line\`
		$(machine)
		dump: $(awk -v bytes="$(stat -c %s "$home/dump.pgc")" 'BEGIN { printf "%.2f GB", bytes / 1e9 }'); database: $(sql "$database" -c 'select pg_size_pretty(pg_database_size(current_database()))')
		$(pg_restore --version)
	FACTS
}

require_rust
require compiler postgresql python
forget_settings
cargo build --release --locked --package kanbu-backup-workers
prepare
: >"$home/results"
for run in $(seq "$runs"); do
    say "run $run of $runs"
    for variant in "${variants[@]}"; do
        fresh_run
        "variant_$variant"
    done
done
facts >"$home/facts"
python3 benches/restore_report.py "$home/results" "$home/facts" "${record[@]}"
rm -f "$home/dump.pgc" "$home/dump.sql"
