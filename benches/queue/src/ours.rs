//! Our own crew, with a handler for notify that does nothing.

use std::{collections::BTreeMap, future::ready, sync::Arc, time::Instant};

use anyhow::ensure;
use futures::FutureExt;
use kanbu_backup::{
    control::{ControlConfig, ControlDb},
    execution::Effects,
    id::{EventId, JobId},
    job::{Job, Kind, Notify, PAYLOAD_VERSION},
    queue::{self, Crew, Handler, NewJob, Origin},
};
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;

use crate::{CONCURRENCY, Verb, claims, course, course::Line};

pub async fn run(url: &str, verb: Verb) -> anyhow::Result<()> {
    let db = ControlDb::connect(&ControlConfig::new(url, "bench")).await?;
    let aside = PgPool::connect(url).await?;
    match verb {
        Verb::SetUp => set_up(&db, &aside).await,
        Verb::Fill { jobs } => fill(&aside, jobs).await,
        Verb::Drain { jobs } => drain(&db, &aside, jobs).await,
        Verb::Latency { jobs } => latency(&db, jobs).await,
        Verb::Past { finished, queued } => claims::past(&aside, finished, queued).await,
        Verb::Claims { claims } => claims::measure(&db, &aside, claims).await,
    }
}

async fn set_up(db: &ControlDb, aside: &PgPool) -> anyhow::Result<()> {
    db.migrate().await?;
    sqlx::query("update kanbu_backup.kind_rule set accepted = true where kind = 'notify'")
        .execute(aside)
        .await?;
    Ok(())
}

fn notify() -> anyhow::Result<Job> {
    Ok(Job::Notify(Notify {
        subject: "database:bench".parse()?,
        event: EventId::new(),
        channel: None,
    }))
}

/// In one statement, and with ids as Rust makes them.
async fn fill(aside: &PgPool, jobs: usize) -> anyhow::Result<()> {
    let ids: Vec<_> = (0..jobs).map(|_| JobId::new().as_uuid()).collect();
    sqlx::query(
        "insert into kanbu_backup.job
                (id, kind, subject, exclusive, payload, payload_version, max_attempts, backoff_base, backoff_cap, origin)
         select i.id, r.kind, 'database:bench', r.exclusive, $2, $3, r.max_attempts, r.backoff_base, r.backoff_cap, 'api'
           from unnest($1) with ordinality i (id, place), kanbu_backup.kind_rule r
          where r.kind = 'notify' order by i.place",
    )
    .bind(ids)
    .bind(sqlx::types::Json(notify()?.payload()))
    .bind(PAYLOAD_VERSION)
    .execute(aside)
    .await?;
    Ok(())
}

fn crew(db: &ControlDb, line: Line) -> Crew {
    let handler: Handler = Arc::new(move |_, _| {
        line.begin();
        ready(Ok(Effects::default())).boxed()
    });
    let slots = BTreeMap::from([(Kind::Notify, CONCURRENCY)]);
    Crew::new(db.clone(), handler, slots, "bench")
}

async fn drain(db: &ControlDb, aside: &PgPool, jobs: usize) -> anyhow::Result<()> {
    let (line, mut starts) = Line::new(jobs);
    let stop = CancellationToken::new();
    let began = Instant::now();
    let crew = tokio::spawn(crew(db, line).run(stop.clone(), CancellationToken::new()));
    course::drained(&mut starts, began, jobs, async || {
        let open =
            "select exists (select from kanbu_backup.job j where j.state in ('queued', 'running'))";
        Ok(sqlx::query_scalar(open).fetch_one(aside).await?)
    })
    .await?;
    stop.cancel();
    crew.await??;
    let kept = sqlx::query(
        "select (select count(*) from kanbu_backup.job j where j.state = 'succeeded') as jobs,
                (select count(*) from kanbu_backup.execution e where e.outcome = 'succeeded') as executions",
    )
    .fetch_one(aside)
    .await?;
    let (ended, executions): (i64, i64) = (kept.try_get(0)?, kept.try_get(1)?);
    let whole = usize::try_from(ended) == Ok(jobs) && ended == executions;
    ensure!(
        whole,
        "{ended} jobs and {executions} executions, not {jobs}"
    );
    Ok(())
}

async fn latency(db: &ControlDb, jobs: usize) -> anyhow::Result<()> {
    let (line, mut starts) = Line::new(0);
    let stop = CancellationToken::new();
    let crew = tokio::spawn(crew(db, line).run(stop.clone(), CancellationToken::new()));
    course::single_jobs(&mut starts, jobs, async || {
        queue::submit(db, &NewJob::new(notify()?, Origin::Api)).await?;
        Ok(())
    })
    .await?;
    stop.cancel();
    crew.await??;
    Ok(())
}
