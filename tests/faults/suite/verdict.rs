//! The verdict on a scenario, read from rows when all is over: what was lost, done twice, left over or counted wrongly.
//!
//! Each check is a query that answers a sentence per offence. None reads a log, and none relies on a constraint of the
//! queue: that two executions of a subject were never open at once is seen by comparing the times of all of them.

use std::time::Duration;

use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{settings, worker::Process, world::World};

/// Takeover is to be done so long after the lease's end.
const TAKEOVER_WITHIN: f64 = 10.0;

/// What was staged.
pub(crate) struct Scenario<'a> {
    /// Its place in the table.
    pub(crate) number: u32,
    pub(crate) name: &'a str,
    /// How often it was staged.
    pub(crate) runs: usize,
    /// How long the last jobs may take to end.
    pub(crate) patience: Duration,
}

/// Every job that was ordered ended as it had to.
const LOST: &[&str] = &[
    "select 'job ' || o.job || ' (' || o.script || ') is gone'
       from fault_order o left join kanbu_backup.job j on j.id = o.job where j.id is null",
    "select 'job ' || j.id || ' (' || o.script || ') is ' || j.state || coalesce(' of ' || j.error_code, '')
       from fault_order o join kanbu_backup.job j on j.id = o.job
      where j.state in ('succeeded', 'dead', 'cancelled')
        and (j.state <> o.want or j.error_code is distinct from coalesce(o.code, j.error_code))",
    "select 'job ' || j.id || ' is dead without a cause' from kanbu_backup.job j
      where j.state = 'dead' and (j.error_code is null or j.error is null)",
    "select 'job ' || j.id || ' succeeded without a success' from kanbu_backup.job j
      where j.state = 'succeeded'
        and not exists (select from kanbu_backup.execution e
              where e.job_id = j.id and e.outcome in ('succeeded', 'degraded'))",
    "select 'execution ' || e.id || ' succeeded, and its last step was never taken'
       from kanbu_backup.execution e join fault_work w on w.execution = e.id
      where e.outcome = 'succeeded' and w.script !~ 'careless'
        and not exists (select from fault_effect f where f.execution = e.id)",
];

/// Nothing was done twice, or by two at once, or by somebody who had lost the right to.
const DOUBLE: &[&str] = &[
    "select 'executions ' || a.id || ' and ' || b.id || ' of ' || a.subject || ' were open at once'
       from kanbu_backup.execution a join kanbu_backup.execution b
         on a.fence < b.fence and (a.job_id = b.job_id or (a.subject = b.subject and a.exclusive and b.exclusive))
        and tstzrange(a.started_at, coalesce(a.ended_at, 'infinity'))
            && tstzrange(b.started_at, coalesce(b.ended_at, 'infinity'))",
    "select 'job ' || e.job_id || ' has ' || count(*) || ' successes' from kanbu_backup.execution e
      where e.outcome in ('succeeded', 'degraded') group by e.job_id having count(*) > 1",
    "select 'execution ' || e.id || ' succeeded, and its job is ' || j.state
       from kanbu_backup.execution e join kanbu_backup.job j on j.id = e.job_id
      where e.outcome in ('succeeded', 'degraded') and j.state <> 'succeeded'",
    "select 'execution ' || e.id || ' has the result of ' || (e.result ->> 'execution')
       from kanbu_backup.execution e where e.result ->> 'execution' <> e.id::text",
    "select 'job ' || j.id || ' is followed by ' || count(f.id) || ' jobs'
       from fault_order o join kanbu_backup.job j on j.id = o.job
       left join kanbu_backup.job f on f.parent_job_id = j.id
      group by j.id, j.state, o.script
     having count(f.id) <> (j.state = 'succeeded' and o.script ~ 'follow')::integer",
    "select 'nobody ordered job ' || j.id from kanbu_backup.job j
      where j.parent_job_id is null and not exists (select from fault_order o where o.job = j.id)",
    "select 'executions ' || a.execution || ' and ' || b.execution || ' worked on ' || a.subject || ' at once'
       from fault_work a join fault_work b
         on a.subject = b.subject and a.execution <> b.execution and a.began <= b.began
        and b.began < coalesce(a.ended, 'infinity')
      where not a.frozen and a.script !~ 'block'",
    "select 'execution ' || f.execution || ' touched the world after its successor had begun'
       from fault_effect f join fault_work b
         on b.subject = f.subject and b.execution <> f.execution and b.began > f.began and b.began < f.at
      where not f.torn",
    "select 'execution ' || f.execution || ' touched the world without a lease'
       from fault_effect f join kanbu_backup.execution e on e.id = f.execution
      where not f.torn and f.at > least(e.lease_until, e.ended_at)",
    "select 'execution ' || e.id || ' was taken away ' || (e.lease_until - e.ended_at) || ' before its lease was over'
       from kanbu_backup.execution e where e.fault = 'lease_lost' and e.ended_at < e.lease_until",
    "select 'execution ' || w.execution || ' worked for ' || (w.ended - e.lease_until) || ' past its lease'
       from fault_work w join kanbu_backup.execution e on e.id = w.execution
      where e.fault = 'lease_lost' and w.ended > e.lease_until
        and not w.died and not w.frozen and w.script !~ 'block'",
];

/// Nothing is left open, and the queue's own invariants hold.
const STUCK: &[&str] = &[
    "select 'job ' || j.id || ' is still ' || j.state from kanbu_backup.job j where j.state in ('queued', 'running')",
    "select 'execution ' || e.id || ' is still open' from kanbu_backup.execution e where e.ended_at is null",
    "select v.rule || ': job ' || v.job_id from kanbu_backup.invariant_violation v",
];

/// Attempts are what was charged.
const MISCOUNTED: &[&str] = &[
    "select 'job ' || j.id || ' has ' || j.attempts || ' of ' || j.max_attempts || ' attempts, charged were '
            || count(e.id) filter (where e.charged)
       from kanbu_backup.job j left join kanbu_backup.execution e on e.job_id = j.id
      group by j.id
     having j.attempts <> count(e.id) filter (where e.charged) or j.attempts > j.max_attempts
         or count(e.id) filter (where e.charged) <> count(distinct e.attempt) filter (where e.charged)",
    "select 'job ' || o.job || ' (' || o.script || ') took ' || count(e.id) || ' executions instead of ' || o.executions
       from fault_order o left join kanbu_backup.execution e on e.job_id = o.job
      where o.executions is not null group by o.job having count(e.id) <> o.executions",
];

/// From the end of a killed worker's lease until the job's next execution began, in seconds. Where jobs queue up behind
/// one another the next execution says nothing; there, until the job was free to be claimed.
const TAKEOVER: &str = "
    select max(extract(epoch from case when $1 then e.ended_at else n.started_at end - e.lease_until))::float8
      from kanbu_backup.execution e
      join fault_work w on w.execution = e.id
      join fault_blow b on b.pid = w.pid and b.what = 'kill'
      left join lateral (
        select x.started_at from kanbu_backup.execution x where x.job_id = e.job_id and x.fence > e.fence
         order by x.fence limit 1
      ) n on true
     where e.fault = 'lease_lost'";

impl World {
    /// Waits until everything has ended, sends the workers home, and judges.
    pub(crate) async fn conclude(self, scenario: Scenario<'_>, workers: Vec<Process>) {
        let ended = self.until_all_ended(scenario.patience).await;
        for worker in workers {
            self.dismiss(worker).await;
        }
        self.load().await;
        let lost = self.offences(LOST).await;
        let double = self.offences(DOUBLE).await;
        let mut stuck = self.offences(STUCK).await;
        if !ended && stuck.is_empty() {
            stuck.push("the jobs ended too late".to_owned());
        }
        let miscounted = self.offences(MISCOUNTED).await;
        let crowded = scenario.name.contains("chaos");
        let takeover: Option<f64> = sqlx::query_scalar(TAKEOVER)
            .bind(crowded)
            .fetch_one(&self.sql)
            .await
            .unwrap();

        let jobs = self.count("select count(*) from kanbu_backup.job").await;
        let executions = self
            .count("select count(*) from kanbu_backup.execution")
            .await;
        let row = format!(
            "| {} | {} | {} | {jobs} | {executions} | {} | {} | {} | {} | {} |",
            scenario.number,
            scenario.name,
            scenario.runs,
            lost.len(),
            double.len(),
            stuck.len(),
            miscounted.len(),
            takeover.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s")),
        );
        println!("{row}");
        settings::record(&row);

        let offences = [lost, double, stuck, miscounted].concat();
        assert!(
            offences.is_empty(),
            "{}:\n{}",
            scenario.name,
            offences.join("\n")
        );
        assert!(
            takeover.is_none_or(|seconds| seconds <= TAKEOVER_WITHIN),
            "{}: a takeover came {takeover:?} s after the lease's end",
            scenario.name
        );
    }

    /// Puts what was ordered, done and suffered into tables.
    async fn load(&self) {
        let orders = json!(*self.orders.lock().unwrap());
        self.suffered(self.standstills.take());
        let blows = json!(*self.blows.lock().unwrap());
        for (table, rows) in [
            ("fault_order", orders),
            ("fault_journal", json!(self.journal())),
            ("fault_blow", blows),
        ] {
            let load = format!(
                "insert into {table} select r.* from jsonb_populate_recordset(null::{table}, $1) r"
            );
            sqlx::query(AssertSqlSafe(load))
                .bind(rows)
                .execute(&self.sql)
                .await
                .unwrap_or_else(|error| panic!("{table}: {error}"));
        }
        self.run("create index on fault_journal (execution, what); create index on fault_blow (pid); analyze").await;
    }

    async fn offences(&self, checks: &[&str]) -> Vec<String> {
        let mut offences = Vec::new();
        for check in checks {
            offences.extend(self.texts(check).await);
        }
        offences
    }
}
