# shellcheck shell=bash
# shellcheck disable=SC2154 # home and command_line are those of ./bench
# Measures backups beside what one would do without us. Sourced by ./bench.
#
#   ./bench backup [--size GB] [--runs N] [--only VARIANT,…] [--record]
#
# --size     of the dump, in units of 10^9 bytes (2)
# --runs     of each variant, interleaved (3)
# --only     some of: ours-3 ours-1 source shell kanbu
# --record   writes the table into docs/benchmarks.md as well
#
# The generated database is kept in ./.bench (or $BENCH_DIR) for the next time.

# What one unit of demo/kanbu.sql becomes in a dump.
unit_bytes=49850000
size=2
runs=3
variants=(ours-3 ours-1 source shell kanbu)
record=()
worker=''

usage() { die "usage: ./bench backup [--size GB] [--runs N] [--only VARIANT,…] [--record]"; }

while [ $# -gt 0 ]; do
    case $1 in
    --size) size=${2:?} && shift ;;
    --runs) runs=${2:?} && shift ;;
    --only) IFS=, read -ra variants <<<"${2:?}" && shift ;;
    --record) record=(--record docs/benchmarks.md "backup $size GB") ;;
    *) usage ;;
    esac
    shift
done
[[ $size =~ ^[0-9]+(\.[0-9]+)?$ && $runs =~ ^[1-9][0-9]*$ ]] || usage
# Said last, so that it holds the size wherever that stood.
[ ${#record[@]} = 0 ] || record[2]="backup $size GB"

kanbu_backup=$PWD/${CARGO_TARGET_DIR:-target}/release/kanbu-backup
[[ ${CARGO_TARGET_DIR:-} != /* ]] || kanbu_backup=$CARGO_TARGET_DIR/release/kanbu-backup
database=bench_${size/./_}

end_worker() {
    [ -n "$worker" ] || return 0
    kill -TERM "$worker" 2>/dev/null || true
    wait "$worker" || true
    worker=''
}

# An empty place for one run: what is written to disk before it is flushed, so that nobody pays for another.
fresh_run() {
    rm -rf "$home/run"
    mkdir -p "$home"/run/{temporary,kept,state}
    sync
}

# measured VARIANT [OPTIONS] -- COMMAND…: one line of results. Server settings and a directory of its own for temporary
# files are the same for everybody.
measured() {
    local variant=$1 line
    shift
    say "$variant"
    line=$(PGDATABASE=$database TMPDIR=$home/run/temporary with_server \
        python3 benches/measure.py --temporary "$home/run/temporary" --kept "$home/run/kept" "$@")
    note "$line"
    echo "{\"variant\": \"$variant\", ${line#\{}" >>"$home/results"
}

# start_worker LEVEL: a worker with a control database of its own. A backup of a tiny tree shows that it works.
start_worker() {
    sql postgres -c 'drop database if exists control' -c 'create database control'
    mkdir -p "$home/tiny"
    touch "$home"/tiny/{01..12}
    : >"$home/config.toml"
    export KANBU_BACKUP_CONFIG=$home/config.toml KANBU_BACKUP_ZSTD_LEVEL=$1 KANBU_BACKUP_STATE_DIR=$home/run/state \
        KANBU_SOURCE_PATH=$home/tiny BACKUP_LOCAL_PATH=$home/run/kept BACKUP_ENCRYPTION_KEY_FILE=$home/key
    DATABASE_URL=$(server_url "$database")
    KANBU_BACKUP_DATABASE_URL=$(server_url control)
    export DATABASE_URL KANBU_BACKUP_DATABASE_URL
    "$kanbu_backup" migrate db --quiet >&2
    TMPDIR=$home/run/temporary "$kanbu_backup" worker >"$home/worker.log" 2>&1 </dev/null 9>&- &
    worker=$!
    "$kanbu_backup" backup source --quiet --timeout 60s >&2 || { tail -n 20 "$home/worker.log" >&2 && die "the worker does not work"; }
}

ours() {
    start_worker "${1#ours-}"
    measured "$1" --service "$worker" -- "$kanbu_backup" backup database --quiet
    end_worker
    forget_settings
}

variant_ours-3() { ours ours-3; }
variant_ours-1() { ours ours-1; }

variant_source() { measured source -- sh -c 'pg_dump -Fc -Z0 >/dev/null'; }

variant_shell() {
    # shellcheck disable=SC2016 # expanded by the shell that is measured
    measured shell -- bash -o pipefail -c 'pg_dump -Fc -Z0 | zstd -q -3 -T0 | age -r "$0" -o "$1" && sync "$1"' \
        "$(age-keygen -y "$home/age.key")" "$home/run/kept/dump.zst.age"
}

variant_kanbu() {
    BACKUP_ENCRYPTION_KEY=$(cat "$home/key") measured kanbu -- \
        node benches/kanbu_pipeline.mjs "$home/run/temporary" "$home/run/kept"
}

prepare() {
    place_at "${BENCH_DIR:-.bench}" kanbu-backup-bench
    secret_file "$home/key"
    [ -s "$home/age.key" ] || age-keygen -o "$home/age.key" 2>/dev/null
    start_server shared_buffers=256MB max_wal_size=4GB autovacuum=off
    say "database of $size GB"
    demo_database "$database" "$(awk -v size="$size" -v unit=$unit_bytes 'BEGIN { print int(size * 1e9 / unit + 0.999) }')"
    # Read once, so that nobody pays for a cold cache.
    dump_bytes=$(with_server pg_dump -Fc -Z0 "$database" | wc -c)
}

facts() {
    cat <<-FACTS
		$runs interleaved runs each, medians; memory and temporary disk are the highest of all runs. \`$command_line\`
		$(machine)
		dump: $(awk -v bytes="$dump_bytes" 'BEGIN { printf "%.2f GB", bytes / 1e9 }'); database: $(sql "$database" -c 'select pg_size_pretty(pg_database_size(current_database()))')
		$(pg_dump --version); $(zstd --version | grep -oE 'v[0-9.]+' | head -n 1 | sed 's/^/zstd /'); age $(age --version); node $(node --version)
	FACTS
}

require_rust
require compiler postgresql python zstd age node
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
python3 benches/report.py "$home/results" "$home/facts" "${record[@]}"
