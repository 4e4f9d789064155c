# shellcheck shell=bash
# shellcheck disable=SC2154 # home and command_line are those of ./bench
# Measures the queue beside other queues, on one server. Sourced by ./bench.
#
#   ./bench queue [--runs N] [--jobs N,…] [--only CONTENDER,…] [--record]
#
# --runs     of each measurement, the order of the contenders alternating (5)
# --jobs     that are drained at once (5000,50000); where it would take more than a minute, it is left out
# --only     some of: ours graphile graphile-batched pg-boss apalis-10 apalis-1
# --record   writes the tables into docs/benchmarks.md as well

runs=5
jobs=(5000 50000)
contenders=(ours graphile graphile-batched pg-boss apalis-10 apalis-1)
single_jobs=100
claims=500
finished=1000000
queued=100000
record=()

usage() { die "usage: ./bench queue [--runs N] [--jobs N,…] [--only CONTENDER,…] [--record]"; }

while [ $# -gt 0 ]; do
    case $1 in
    --runs) runs=${2:?} && shift ;;
    --jobs) IFS=, read -ra jobs <<<"${2:?}" && shift ;;
    --only) IFS=, read -ra contenders <<<"${2:?}" && shift ;;
    --record) record=(--record docs/benchmarks.md queue) ;;
    *) usage ;;
    esac
    shift
done
[[ $runs =~ ^[1-9][0-9]*$ && "${jobs[*]}" =~ ^[1-9][0-9]*(\ [1-9][0-9]*)*$ ]] || usage

# Not in the tree: nothing here belongs to the product.
built=$PWD/target/bench

build() {
    say "building the contenders"
    cargo build --release --locked --quiet --manifest-path benches/queue/Cargo.toml --target-dir "$built/cargo"
    mkdir -p "$built/node"
    cp benches/queue/package.json benches/queue/package-lock.json "$built/node/"
    npm ci --prefix "$built/node" --no-audit --no-fund --silent
    export NODE_PATH=$built/node/node_modules
}

# contender NAME [PREFIX…] -- VERB [COUNT…]: one step of one contender, in the database that the environment names.
contender() {
    local name=$1 prefix=()
    shift
    while [ "$1" != -- ]; do prefix+=("$1") && shift; done
    shift
    case $name in
    ours | apalis-1 | apalis-10) "${prefix[@]}" "$built/cargo/release/queue-bench" "$name" "$@" ;;
    graphile) "${prefix[@]}" node benches/queue/graphile.cjs "$@" ;;
    graphile-batched) GRAPHILE_BATCHED=1 "${prefix[@]}" node benches/queue/graphile.cjs "$@" ;;
    pg-boss) "${prefix[@]}" node benches/queue/pg-boss.cjs "$@" ;;
    *) die "there is no contender $name" ;;
    esac
}

# The address holds a password, so it goes by the environment.
empty_queue() {
    local database=queue_${1//-/_}
    sql postgres -c "drop database if exists $database" -c "create database $database"
    QUEUE_BENCH_URL=$(server_url "$database")
    export QUEUE_BENCH_URL
    contender "$1" -- set-up
}

# measured NAME MEASURE VERB COUNT: one line of results. What was written before is flushed, so that nobody pays for it.
measured() {
    local name=$1 measure=$2 line
    shift 2
    sql postgres -c checkpoint
    line=$(contender "$name" python3 benches/queue_measure.py --server "$postmaster" -- "$@")
    note "$name, $measure"
    echo "{\"contender\": \"$name\", \"measure\": \"$measure\", ${line#\{}" >>"$home/results"
}

# Whether a drain of so many jobs would take this contender more than a minute, as far as is known.
takes_too_long() {
    python3 benches/queue_report.py "$home/results" --estimate "$1" "$2" | awk '{ exit !($1 > 60) }'
}

run_of() {
    local name=$1 count
    empty_queue "$name"
    measured "$name" latency latency "$single_jobs"
    for count in "${jobs[@]}"; do
        ! takes_too_long "$name" "$count" || continue
        empty_queue "$name"
        contender "$name" -- fill "$count"
        measured "$name" "drain $count" drain "$count"
    done
}

# What claims cost us is measured among jobs that are made once.
is_asked() {
    local name
    for name in "${contenders[@]}"; do [ "$name" != "$1" ] || return 0; done
    return 1
}

claims_of_ours() {
    if ! sql postgres -c "select datname from pg_database where datname = 'queue_past'" | grep -q .; then
        say "a past of $finished jobs"
        empty_queue ours
        contender ours -- past "$finished" "$queued"
        sql postgres -c "alter database queue_ours rename to queue_past"
    fi
    QUEUE_BENCH_URL=$(server_url queue_past)
    export QUEUE_BENCH_URL
    measured ours claims claims "$claims"
}

versions() {
    local name
    for name in graphile-worker pg-boss; do
        echo -n "$name $(node -p "require('$built/node/node_modules/$name/package.json').version"), "
    done
    echo "node $(node --version), apalis-postgres $(sed -nE 's/^apalis-postgres = "=(.*)"$/\1/p' benches/queue/Cargo.toml)"
}

facts() {
    cat <<-FACTS
		$runs runs of each measurement, the order of the contenders alternating; medians of the runs, in brackets their range. \`$command_line\`
		$(machine)
		$(sql postgres -c 'select split_part(version(), $$ on $$, 1)') with fsync and synchronous_commit on; $(versions)
	FACTS
}

require_rust
require compiler postgresql python node npm
forget_settings
build
place_at "${BENCH_DIR:-.bench}" kanbu-backup-bench
start_server shared_buffers=256MB max_wal_size=4GB fsync=on synchronous_commit=on
postmaster=$(head -n 1 "$home/postgres/postmaster.pid")
sql postgres -c "drop database if exists queue_past"
: >"$home/results"
for run in $(seq "$runs"); do
    say "run $run of $runs"
    for place in "${!contenders[@]}"; do
        # Forwards, then backwards.
        [ $((run % 2)) = 1 ] || place=$((${#contenders[@]} - 1 - place))
        run_of "${contenders[$place]}"
    done
    ! is_asked ours || claims_of_ours
done
sql postgres -c "drop database if exists queue_past"
facts >"$home/facts"
python3 benches/queue_report.py "$home/results" --facts "$home/facts" "${record[@]}"
