//! apalis-postgres as its README sets it up: the tables by its own migrations, wake-ups by NOTIFY.

use std::time::{Duration, Instant};

use anyhow::ensure;
use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage, queries::push_tasks};

use crate::{CONCURRENCY, Verb, course, course::Line, unsupported};

const QUEUE: &str = "bench";

/// How many jobs one insert takes.
const CHUNK: usize = 1000;

pub async fn run(url: &str, verb: Verb, batch: usize) -> anyhow::Result<()> {
    let pool = PgPool::connect(url).await?;
    match verb {
        Verb::SetUp => Ok(PostgresStorage::setup(&pool).await?),
        Verb::Fill { jobs } => fill(&pool, jobs).await,
        Verb::Drain { jobs } => drain(&pool, jobs, batch).await,
        Verb::Latency { jobs } => latency(&pool, jobs, batch).await,
        Verb::Past { .. } | Verb::Claims { .. } => Err(unsupported("this verb")),
    }
}

async fn push(pool: &PgPool, jobs: usize) -> anyhow::Result<()> {
    let tasks = (0..jobs)
        .map(|job| Ok(TaskBuilder::new(serde_json::to_vec(&job)?).build()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut session = pool.acquire().await?;
    push_tasks(&mut *session, QUEUE, tasks).await?;
    Ok(())
}

async fn fill(pool: &PgPool, jobs: usize) -> anyhow::Result<()> {
    for chunk in 0..jobs.div_ceil(CHUNK) {
        push(pool, CHUNK.min(jobs - chunk * CHUNK)).await?;
    }
    Ok(())
}

async fn nothing(_: usize, line: Data<Line>) -> Result<(), BoxDynError> {
    line.begin();
    Ok(())
}

/// Works until the context is told to stop.
async fn work(
    pool: PgPool,
    batch: usize,
    line: Line,
    context: WorkerContext,
) -> anyhow::Result<()> {
    let config = Config::default().queue(QUEUE).batch_size(batch);
    let backend = PostgresStorage::new(&pool)
        .with_config(config)
        .with_pubsub()
        .poll_with_interval(Duration::from_secs(5));
    let worker = WorkerBuilder::new(&context)
        .backend(backend)
        .data(line)
        .concurrency(CONCURRENCY)
        .build(nothing);
    Ok(worker.run().await?)
}

async fn drain(pool: &PgPool, jobs: usize, batch: usize) -> anyhow::Result<()> {
    let (line, mut starts) = Line::new(jobs);
    let context = WorkerContext::new("bench");
    let began = Instant::now();
    let worker = tokio::spawn(work(pool.clone(), batch, line, context.clone()));
    course::drained(&mut starts, began, jobs, async || {
        let open = "select exists (select from apalis.jobs j where j.status in ('Pending', 'Queued', 'Running'))";
        Ok(sqlx::query_scalar(open).fetch_one(pool).await?)
    })
    .await?;
    let done: i64 =
        sqlx::query_scalar("select count(*) from apalis.jobs j where j.status = 'Done'")
            .fetch_one(pool)
            .await?;
    ensure!(usize::try_from(done) == Ok(jobs), "{done} jobs are done");
    context.stop()?;
    worker.abort();
    Ok(())
}

async fn latency(pool: &PgPool, jobs: usize, batch: usize) -> anyhow::Result<()> {
    let (line, mut starts) = Line::new(0);
    let context = WorkerContext::new("bench");
    let worker = tokio::spawn(work(pool.clone(), batch, line, context.clone()));
    course::single_jobs(&mut starts, jobs, async || push(pool, 1).await).await?;
    context.stop()?;
    worker.abort();
    Ok(())
}
