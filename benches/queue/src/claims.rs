//! What a claim costs among a million finished jobs and a hundred thousand that wait, statement by statement.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kanbu_backup::{
    control::ControlDb,
    execution::Effects,
    id::{ExecutionId, WorkerId},
    job::Kind,
    queue::{Answer, Claim, Close, Ending, claim, finish_many},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

const LEASE: Duration = Duration::from_hours(1);

/// Subjects of the jobs that can't go on.
const SUBJECTS: usize = 50;

/// How many jobs wait for one more subject, behind all the others: enough for the claims of many runs.
const LAST: usize = 20_000;

/// Finished notify jobs with an execution each; notify jobs that wait; and as many backup jobs of a few subjects.
pub async fn past(aside: &PgPool, finished: usize, queued: usize) -> anyhow::Result<()> {
    let columns = "id, kind, subject, exclusive, payload, payload_version, state, attempts, max_attempts, \
                   backoff_base, backoff_cap, origin, created_at, run_at, finished_at";
    let payload =
        r#"'{"subject": "database:bench", "execution": "01930000-0000-7000-8000-000000000000"}'"#;
    let finished = format!(
        "insert into kanbu_backup.job ({columns})
         select gen_random_uuid(), 'notify', 'database:bench', false, {payload}, 1, 'succeeded', 1, 12,
                '5 seconds', '1 hour', 'api', t, t, t
           from (select now() - i * interval '10 seconds' as t from generate_series(1, {finished}) i) times"
    );
    let executions = "insert into kanbu_backup.execution
                (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at, lease_until, ended_at, outcome)
         select gen_random_uuid(), j.id, j.kind, j.subject, j.exclusive, gen_random_uuid(), 1, j.run_at,
                j.run_at + interval '1 minute', j.finished_at, 'succeeded'
           from kanbu_backup.job j where j.state = 'succeeded'";
    let waiting = |kind: &str, subject: &str, exclusive: bool, queued: usize, since: &str| {
        format!(
            "insert into kanbu_backup.job ({columns})
             select gen_random_uuid(), '{kind}', {subject}, {exclusive}, {payload}, 1, 'queued', 0, 12,
                    '5 seconds', '1 hour', 'api', now(), now() - interval '{since}', null
               from generate_series(1, {queued}) i"
        )
    };
    let mut session = aside.acquire().await?;
    let few = format!("'database:db' || i % {SUBJECTS}");
    for statement in [
        // Rows that fit together by construction need no look for each of a million.
        "set session_replication_role = replica".to_owned(),
        finished,
        executions.to_owned(),
        waiting("notify", "'database:bench'", false, queued, "1 hour"),
        waiting("backup", &few, true, queued, "1 hour"),
        waiting("backup", "'database:last'", true, LAST, "1 minute"),
        "vacuum (analyze) kanbu_backup.job".to_owned(),
        "vacuum (analyze) kanbu_backup.execution".to_owned(),
        "checkpoint".to_owned(),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *session)
            .await?;
    }
    Ok(())
}

pub async fn measure(db: &ControlDb, aside: &PgPool, claims: usize) -> anyhow::Result<()> {
    let worker = WorkerId::new();
    let one = turns(db, worker, Kind::Notify, 1, claims).await?;
    let ten = turns(db, worker, Kind::Notify, 10, claims).await?;

    // One subject after the other becomes busy, and stays so. The last to do so has its jobs behind all the others.
    let mut held = Vec::new();
    while let Claim::Jobs(jobs) =
        claim(db, worker, Kind::Backup, LEASE, &[ExecutionId::new()]).await?
    {
        held.extend(jobs);
    }
    ensure!(
        held.len() == SUBJECTS + 1
            && held
                .last()
                .is_some_and(|last| last.subject == "database:last"),
        "{} subjects are busy",
        held.len()
    );
    let busy = turns(db, worker, Kind::Backup, 1, claims).await?;
    let Some(free) = held.pop() else {
        anyhow::bail!("nothing is held");
    };
    end(db, &[free.execution]).await?;
    let last = turns(db, worker, Kind::Backup, 1, claims.min(LAST - 1)).await?;
    let endings: Vec<_> = held.iter().map(|held| held.execution).collect();
    end(db, &endings).await?;

    let broken: i64 = sqlx::query_scalar("select count(*) from kanbu_backup.invariant_violation")
        .fetch_one(aside)
        .await?;
    ensure!(broken == 0, "{broken} broken invariants");
    println!(
        "{}",
        json!({ "one": one, "ten": ten, "busy": busy, "last_free": last })
    );
    Ok(())
}

/// Claims of so many jobs and the finishes of what they won, in milliseconds each.
async fn turns(
    db: &ControlDb,
    worker: WorkerId,
    kind: Kind,
    batch: usize,
    turns: usize,
) -> anyhow::Result<serde_json::Value> {
    let (mut claims, mut finishes) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let ids: Vec<_> = (0..batch).map(|_| ExecutionId::new()).collect();
        let asked = Instant::now();
        let won = claim(db, worker, kind, LEASE, &ids).await?;
        claims.push(asked.elapsed().as_secs_f64() * 1e3);
        if let Claim::Jobs(jobs) = won {
            let won: Vec<_> = jobs.iter().map(|job| job.execution).collect();
            let asked = Instant::now();
            end(db, &won).await?;
            finishes.push(asked.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(json!({ "claims_ms": claims, "finishes_ms": finishes }))
}

async fn end(db: &ControlDb, executions: &[ExecutionId]) -> anyhow::Result<()> {
    let endings: Vec<_> = executions
        .iter()
        .map(|id| {
            Ending::new(
                *id,
                kanbu_backup::id::JobId::new(),
                Close::Done(Box::new(Effects::default())),
            )
        })
        .collect();
    let answers = finish_many(db, &endings.iter().collect::<Vec<_>>()).await?;
    let closed = answers.iter().all(|(_, answer)| *answer == Answer::Closed);
    ensure!(closed, "not all were closed: {answers:?}");
    Ok(())
}
