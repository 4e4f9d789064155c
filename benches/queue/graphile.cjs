// graphile-worker with its defaults; with GRAPHILE_BATCHED=1 with a local queue of 500 and completions in batches.
// A job is a row that is deleted when it is done; no execution is kept.
const { Logger, run, runMigrations } = require("graphile-worker");
const { Pool } = require("pg");
const { CONCURRENCY, main, url } = require("./course.cjs");

// The default logger writes two lines for each job.
const logger = new Logger(() => () => {});
const aside = new Pool({ connectionString: url });

const batched = {
  worker: { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
};

async function work(begin) {
  const runner = await run({
    connectionString: url,
    concurrency: CONCURRENCY,
    logger,
    noHandleSignals: true,
    taskList: { nothing: async () => begin() },
    ...(process.env.GRAPHILE_BATCHED === "1" ? { preset: batched } : {}),
  });
  return () => runner.stop();
}

main({
  setUp: () => runMigrations({ connectionString: url, logger }),
  fill: (jobs) =>
    aside.query("select count(graphile_worker.add_job('nothing', '{}')) from generate_series(1, $1::int)", [jobs]),
  work,
  wait: work,
  open: async () => (await aside.query("select exists (select from graphile_worker._private_jobs)")).rows[0].exists,
  enqueue: () => aside.query("select graphile_worker.add_job('nothing', '{}')"),
  close: () => aside.end(),
});
