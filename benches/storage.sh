# shellcheck shell=bash
# shellcheck disable=SC2154 # home and command_line are those of ./bench
# Measures what more storages cost, and our uploads beside those of others. Sourced by ./bench.
#
#   ./bench storage [--size GB] [--upload GB] [--runs N] [--only VARIANT,…] [--record]
#
# --size     of the dump that is backed up, in units of 10^9 bytes (2)
# --upload   bytes that are uploaded as they are, in units of 10^9 (1)
# --runs     of each variant, interleaved (3)
# --only     some of: one two three ours rclone aws
# --record   writes the tables into docs/benchmarks.md as well
#
# The generated database is kept in ./.bench (or $BENCH_DIR) for the next time.

# What one unit of demo/kanbu.sql becomes in a dump.
unit_bytes=49850000
size=2
upload=1
runs=3
variants=(one two three ours rclone aws)
record=()
worker=''
server=''

usage() { die "usage: ./bench storage [--size GB] [--upload GB] [--runs N] [--only VARIANT,…] [--record]"; }

while [ $# -gt 0 ]; do
    case $1 in
    --size) size=${2:?} && shift ;;
    --upload) upload=${2:?} && shift ;;
    --runs) runs=${2:?} && shift ;;
    --only) IFS=, read -ra variants <<<"${2:?}" && shift ;;
    --record) record=(--record docs/benchmarks.md) ;;
    *) usage ;;
    esac
    shift
done
[[ "$size $upload" =~ ^[0-9]+(\.[0-9]+)?\ [0-9]+(\.[0-9]+)?$ && $runs =~ ^[1-9][0-9]*$ ]] || usage

kanbu_backup=$PWD/target/release/kanbu-backup
storage_bench=$PWD/target/bench/cargo/release/storage-bench
database=bench_${size/./_}

stop() {
    [ -n "$1" ] || return 0
    kill -TERM "$1" 2>/dev/null || true
    wait "$1" || true
}

end_worker() {
    stop "$worker" && worker=''
    stop "$server" && server=''
}

# An empty place for one run, with an S3 server of its own: what is written to disk before it is flushed, so that nobody
# pays for another.
fresh_run() {
    rm -rf "$home/run"
    mkdir -p "$home"/run/{temporary,kept,second,state,s3/backups}
    sync
    export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY AWS_REGION=us-east-1
    AWS_SECRET_ACCESS_KEY=$(cat "$home/key")
    exec 8< <(exec "$storage_bench" serve "$home/run/s3" 2>"$home/s3.log" 9>&-)
    server=$!
    read -r endpoint <&8 || { cat "$home/s3.log" >&2 && die "the S3 server does not start"; }
}

# measured VARIANT [OPTIONS] -- COMMAND…: one line of results.
measured() {
    local variant=$1 line
    shift
    say "$variant"
    line=$(PGDATABASE=$database TMPDIR=$home/run/temporary with_server \
        python3 benches/measure.py --temporary "$home/run/temporary" --kept "$home/run/kept" "$@")
    note "$line"
    echo "{\"variant\": \"$variant\", ${line#\{}" >>"$home/results"
}

# backup VARIANT REPLICAS: the product's own backup of the database. One of a tiny tree shows that its worker works.
backup() {
    sql postgres -c 'drop database if exists control' -c 'create database control'
    mkdir -p "$home/tiny"
    touch "$home"/tiny/{01..12}
    : >"$home/config.toml"
    export KANBU_BACKUP_CONFIG=$home/config.toml KANBU_BACKUP_STATE_DIR=$home/run/state KANBU_SOURCE_PATH=$home/tiny \
        BACKUP_LOCAL_PATH=$home/run/kept KANBU_BACKUP_REPLICAS=$2 BACKUP_ENCRYPTION_KEY_FILE=$home/key
    DATABASE_URL=$(server_url "$database")
    KANBU_BACKUP_DATABASE_URL=$(server_url control)
    export DATABASE_URL KANBU_BACKUP_DATABASE_URL
    "$kanbu_backup" migrate db --quiet >&2
    TMPDIR=$home/run/temporary "$kanbu_backup" worker >"$home/worker.log" 2>&1 </dev/null 9>&- &
    worker=$!
    "$kanbu_backup" backup source --quiet --timeout 60s >&2 || { tail -n 20 "$home/worker.log" >&2 && die "the worker does not work"; }
    measured "$1" --service "$worker" -- "$kanbu_backup" backup database --quiet
}

variant_one() { backup one ''; }
variant_two() { backup two "second=$home/run/second"; }
variant_three() { backup three "second=$home/run/second,third=s3://backups/kanbu?endpoint=$endpoint"; }

# Whoever uploads reads the same bytes from a pipe, so that nobody knows their number.
variant_ours() {
    # shellcheck disable=SC2016 # expanded by the shell that is measured
    measured ours -- sh -c 'cat "$0" | "$1" upload "$2"' "$home/upload" "$storage_bench" "s3://backups/ours?endpoint=$endpoint"
}

variant_rclone() {
    # shellcheck disable=SC2016
    RCLONE_CONFIG=$home/run/rclone.conf RCLONE_S3_PROVIDER=Other RCLONE_S3_ENV_AUTH=true RCLONE_S3_ENDPOINT=$endpoint \
        measured rclone -- sh -c 'cat "$0" | rclone rcat :s3:backups/rclone' "$home/upload"
}

variant_aws() {
    # shellcheck disable=SC2016
    AWS_CONFIG_FILE=$home/run/aws AWS_EC2_METADATA_DISABLED=true \
        measured aws -- sh -c 'cat "$0" | aws --endpoint-url "$1" s3 cp --quiet - s3://backups/aws' "$home/upload" "$endpoint"
}

# The bytes to upload can't be compressed, as a backup can't.
prepare() {
    local bytes
    place_at "${BENCH_DIR:-.bench}" kanbu-backup-bench
    secret_file "$home/key"
    start_server shared_buffers=256MB max_wal_size=4GB autovacuum=off
    say "database of $size GB"
    demo_database "$database" "$(awk -v size="$size" -v unit=$unit_bytes 'BEGIN { print int(size * 1e9 / unit + 0.999) }')"
    # Read once, so that nobody pays for a cold cache.
    dump_bytes=$(with_server pg_dump -Fc -Z0 "$database" | wc -c)
    bytes=$(awk -v size="$upload" 'BEGIN { printf "%.0f", size * 1e9 }')
    [ "$(stat -c %s "$home/upload" 2>/dev/null)" = "$bytes" ] || head -c "$bytes" /dev/urandom >"$home/upload"
    cat "$home/upload" >/dev/null
}

facts() {
    cat <<-FACTS
		$runs interleaved runs each, medians; memory is the highest of all runs. \`$command_line\`
		$(machine)
		dump: $(awk -v bytes="$dump_bytes" 'BEGIN { printf "%.2f GB", bytes / 1e9 }'); upload: $upload GB of random bytes
		$(pg_dump --version); $(rclone --version | head -n 1); $(aws --version 2>&1 | cut -d ' ' -f 1)
	FACTS
}

require_rust
require compiler postgresql python rclone aws
forget_settings
cargo build --release --locked --package kanbu-backup-workers
cargo build --release --locked --quiet --manifest-path benches/storage/Cargo.toml --target-dir target/bench/cargo
prepare
: >"$home/results"
for run in $(seq "$runs"); do
    say "run $run of $runs"
    for variant in "${variants[@]}"; do
        fresh_run
        "variant_$variant"
        end_worker
        forget_settings
    done
done
facts >"$home/facts"
python3 benches/storage_report.py "$home/results" "$home/facts" "${record[@]}"
