// pg-boss. Drained by fetching and completing tens in a loop, because its own work() takes one batch for each polling
// interval, of half a second at least; single jobs meet work() with that shortest interval.
// A job is a row that is kept until it is archived; no execution is kept.
const PgBoss = require("pg-boss");
const { Pool } = require("pg");
const { CONCURRENCY, main, url } = require("./course.cjs");

const QUEUE = "bench";
const boss = new PgBoss({ connectionString: url, schedule: false });
boss.on("error", console.error);
const aside = new Pool({ connectionString: url });
let started;
const ready = () => (started ??= boss.start());

async function work(begin) {
  await ready();
  const loop = (async () => {
    for (let jobs; (jobs = await boss.fetch(QUEUE, { batchSize: CONCURRENCY })).length > 0; ) {
      await Promise.all(jobs.map(async () => begin()));
      await boss.complete(QUEUE, jobs.map((job) => job.id));
    }
  })();
  return () => loop;
}

async function wait(begin) {
  await ready();
  await boss.work(QUEUE, { pollingIntervalSeconds: 0.5 }, async () => begin());
  return () => boss.offWork(QUEUE);
}

main({
  setUp: async () => {
    await ready();
    await boss.createQueue(QUEUE);
  },
  fill: async (jobs) => {
    await ready();
    for (let left = jobs; left > 0; left -= 1000) {
      await boss.insert(Array.from({ length: Math.min(left, 1000) }, () => ({ name: QUEUE, data: {} })));
    }
  },
  work,
  wait,
  open: async () => {
    const open = "select exists (select from pgboss.job where name = $1 and state < 'completed')";
    return (await aside.query(open, [QUEUE])).rows[0].exists;
  },
  enqueue: async () => {
    await ready();
    await boss.send(QUEUE, {});
  },
  close: async () => {
    if (started) await boss.stop({ graceful: false });
    await aside.end();
  },
});
