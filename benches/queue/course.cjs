// What is the same for every contender in Node: the verbs, and the two courses. See src/course.rs.
const { setTimeout: pause } = require("node:timers/promises");

const CONCURRENCY = 10;
const SETTLE_MS = 2000;

/** A line to which handlers report as the first thing they do. */
function line() {
  let begun = 0;
  let waiting;
  const starts = [];
  return {
    begin() {
      begun += 1;
      starts.push(performance.now());
      waiting?.();
    },
    /** Waits until so many have begun; answers when the last of them did. */
    async reached(jobs) {
      while (begun < jobs) await new Promise((resolve) => (waiting = resolve));
      return starts[jobs - 1];
    },
  };
}

/** From the start of the worker to the moment at which the database holds no open job. */
async function drain(jobs, { work, open }) {
  const handlers = line();
  const began = performance.now();
  const stop = await work(handlers.begin);
  await handlers.reached(jobs);
  while (await open()) await pause(2);
  console.log(JSON.stringify({ jobs, seconds: (performance.now() - began) / 1000 }));
  await stop();
}

/** From before the enqueuer's request to the handler's first line, one job after the other. */
async function latency(jobs, { wait, enqueue }) {
  const handlers = line();
  const stop = await wait(handlers.begin);
  await pause(SETTLE_MS);
  const latencies = [];
  for (let job = 0; job < jobs; job += 1) {
    const asked = performance.now();
    await enqueue();
    latencies.push((await handlers.reached(job + 1)) - asked);
    await pause(20 + ((job * 7) % 23));
  }
  console.log(JSON.stringify({ latencies_ms: latencies }));
  await stop();
}

/** `VERB [JOBS]` from the command line, against the database that QUEUE_BENCH_URL names. */
async function run(contender) {
  const [verb, count] = process.argv.slice(2);
  const jobs = Number(count);
  switch (verb) {
    case "set-up":
      await contender.setUp();
      break;
    case "fill":
      await contender.fill(jobs);
      break;
    case "drain":
      await drain(jobs, contender);
      break;
    case "latency":
      await latency(jobs, contender);
      break;
    default:
      throw new Error(`there is no verb ${verb}`);
  }
  await contender.close();
}

function main(contender) {
  run(contender).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { CONCURRENCY, main, url: process.env.QUEUE_BENCH_URL };
