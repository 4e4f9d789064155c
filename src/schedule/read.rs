//! Schedules and their ticks as people see them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{
    CatchUp, Draft, Overlap, Pause, Plan, ScheduleError, VerifyEvery, rule::ScheduledKind,
};
use crate::{
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    id::{JobId, ScheduleId},
    job::VerifyLevel,
};

/// A schedule as it stands.
#[derive(Clone, Debug)]
pub struct ScheduleView {
    pub id: ScheduleId,
    pub draft: Draft,
    /// In force now.
    pub pause: Option<Pause>,
    pub paused_by: Option<String>,
    pub revision: i64,
    pub created_at: DateTime<Utc>,
    pub created_by: Option<String>,
    pub updated_at: DateTime<Utc>,
    pub updated_by: Option<String>,
    /// What the producers go by. `None`: the rule has no more ticks, or the schedule stands still.
    pub next_tick_at: Option<DateTime<Utc>>,
    pub last_run: Option<LastRun>,
    /// The database's time of this view.
    pub now: DateTime<Utc>,
}

/// The newest job of a schedule, whoever asked for it.
#[derive(Clone, Debug, Serialize)]
pub struct LastRun {
    pub job: JobId,
    pub at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub status: String,
}

/// What became of a tick.
#[derive(Clone, Debug, Serialize)]
pub struct TickView {
    pub tick_at: DateTime<Utc>,
    pub disposition: String,
    pub reason: Option<String>,
    pub job: Option<JobId>,
    pub made_at: DateTime<Utc>,
}

/// A schedule that was due and that no producer has looked at.
#[derive(Clone, Debug, Serialize)]
pub struct LateTick {
    pub schedule: ScheduleId,
    pub name: String,
    pub due_at: DateTime<Utc>,
    pub late_seconds: i64,
}

impl ScheduleView {
    /// What decides about its ticks.
    pub fn plan(&self) -> Plan {
        Plan {
            id: self.id,
            pause: self.pause,
            ..Plan::of(&self.draft)
        }
    }

    /// The next ticks that a producer would make: none while it is off or paused without an end.
    pub fn next_ticks(&self, count: usize) -> Vec<DateTime<Utc>> {
        let from = match self.pause {
            Some(Pause { until: None }) => return Vec::new(),
            Some(Pause { until: Some(until) }) => until.max(self.now),
            None => self.now,
        };
        if !self.draft.enabled {
            return Vec::new();
        }
        self.plan().ticks_after(from).take(count).collect()
    }
}

/// All schedules, by name.
pub async fn list(db: &ControlDb) -> Result<Vec<ScheduleView>, ScheduleError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query_as!(
                Row,
                r#"select schedule_id as "id!", name as "name!", kind as "kind!", subject as "subject!", cron as "cron!",
                          time_zone as "time_zone!", enabled as "enabled!", catch_up as "catch_up!",
                          catch_up_limit as "catch_up_limit!", overlap as "overlap!",
                          extract(epoch from jitter)::float8 as "jitter!", retention as "retention!", storages,
                          verify_every as "verify_every!", verify_level as "verify_level!",
                          extract(epoch from timeout)::float8 as timeout, max_attempts, paused as "paused!", paused_until,
                          paused_by, next_tick_at, revision as "revision!", created_at as "created_at!", created_by,
                          updated_at as "updated_at!", updated_by, last_job_id, last_status, last_run_at,
                          last_finished_at, now() as "now!"
                     from kanbu_backup.schedule_overview order by name"#
            )
            .fetch_all(conn)
            .await?;
            Ok::<_, ScheduleError>(rows)
        })
    })
    .await?;
    rows.into_iter().map(ScheduleView::try_from).collect()
}

/// The schedule of that name, id, or end of an id.
pub async fn named(db: &ControlDb, text: &str) -> Result<ScheduleView, ScheduleError> {
    let mut all = list(db).await?;
    if let Some(at) = all.iter().position(|view| view.draft.name == text) {
        return Ok(all.swap_remove(at));
    }
    // Ids end at random, so their ends tell them apart; less than four digits is a slip.
    let meant = text.to_ascii_lowercase();
    all.retain(|view| meant.len() >= 4 && view.id.to_string().ends_with(&meant));
    match all.len() {
        0 | 1 => all
            .pop()
            .ok_or_else(|| ScheduleError::NotFound(text.to_owned())),
        count => Err(ScheduleError::Ambiguous {
            text: text.to_owned(),
            count,
        }),
    }
}

/// The newest ticks of a schedule.
pub async fn ticks(
    db: &ControlDb,
    id: ScheduleId,
    most: i64,
) -> Result<Vec<TickView>, ScheduleError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                "select tick_at, disposition, reason, job_id, made_at from kanbu_backup.schedule_tick
                  where schedule_id = $1 order by tick_at desc limit $2",
                id.as_uuid(),
                most
            )
            .fetch_all(conn)
            .await?;
            let tick = rows.into_iter().map(|row| TickView {
                tick_at: row.tick_at,
                disposition: row.disposition,
                reason: row.reason,
                job: row.job_id.map(JobId::from),
                made_at: row.made_at,
            });
            Ok(tick.collect())
        })
    })
    .await
}

/// Schedules that wait for a producer.
pub async fn late_ticks(db: &ControlDb) -> Result<Vec<LateTick>, ScheduleError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select schedule_id as "schedule_id!", name as "name!", due_at as "due_at!",
                          extract(epoch from late)::bigint as "late_seconds!"
                     from kanbu_backup.late_ticks order by due_at"#
            )
            .fetch_all(conn)
            .await?;
            let late = rows.into_iter().map(|row| LateTick {
                schedule: row.schedule_id.into(),
                name: row.name,
                due_at: row.due_at,
                late_seconds: row.late_seconds,
            });
            Ok(late.collect())
        })
    })
    .await
}

pub(super) struct Row {
    id: Uuid,
    name: String,
    kind: String,
    subject: String,
    cron: String,
    time_zone: String,
    enabled: bool,
    catch_up: String,
    catch_up_limit: i32,
    overlap: String,
    jitter: f64,
    retention: serde_json::Value,
    storages: Option<Vec<String>>,
    verify_every: String,
    verify_level: String,
    timeout: Option<f64>,
    max_attempts: Option<i16>,
    paused: bool,
    paused_until: Option<DateTime<Utc>>,
    paused_by: Option<String>,
    next_tick_at: Option<DateTime<Utc>>,
    revision: i64,
    created_at: DateTime<Utc>,
    created_by: Option<String>,
    updated_at: DateTime<Utc>,
    updated_by: Option<String>,
    last_job_id: Option<Uuid>,
    last_status: Option<String>,
    last_run_at: Option<DateTime<Utc>>,
    last_finished_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

impl Row {
    fn draft(&self) -> Result<Draft, ScheduleError> {
        let level = VerifyLevel::try_from(self.verify_level.clone());
        let storages = self.storages.as_ref().map(|names| {
            let names = names
                .iter()
                .map(|name| undecodable("storages", name, name.parse()));
            names.collect()
        });
        let policy = serde_json::from_value(self.retention.clone());
        Ok(Draft {
            name: self.name.clone(),
            kind: ScheduledKind::read("kind", &self.kind)?,
            subject: undecodable("subject", &self.subject, self.subject.parse())?,
            cron: undecodable("cron", &self.cron, self.cron.parse())?,
            zone: undecodable("time_zone", &self.time_zone, self.time_zone.parse())?,
            enabled: self.enabled,
            catch_up: CatchUp::read("catch_up", &self.catch_up)?,
            catch_up_limit: undecodable(
                "catch_up_limit",
                &self.catch_up_limit.to_string(),
                self.catch_up_limit.try_into(),
            )?,
            overlap: Overlap::read("overlap", &self.overlap)?,
            jitter: Duration::try_from_secs_f64(self.jitter).unwrap_or_default(),
            retention: undecodable("retention", &self.retention.to_string(), policy)?,
            storages: storages.transpose()?,
            verify_every: VerifyEvery::read("verify_every", &self.verify_every)?,
            verify_level: undecodable("verify_level", &self.verify_level, level)?,
            timeout: self
                .timeout
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            max_attempts: self.max_attempts,
        })
    }

    fn last_run(&self) -> Option<LastRun> {
        Some(LastRun {
            job: self.last_job_id?.into(),
            at: self.last_run_at?,
            finished_at: self.last_finished_at,
            status: self.last_status.clone()?,
        })
    }
}

impl TryFrom<Row> for ScheduleView {
    type Error = ScheduleError;

    fn try_from(row: Row) -> Result<Self, ScheduleError> {
        Ok(Self {
            id: row.id.into(),
            draft: row.draft()?,
            pause: row.paused.then_some(Pause {
                until: row.paused_until,
            }),
            last_run: row.last_run(),
            paused_by: row.paused_by,
            revision: row.revision,
            created_at: row.created_at,
            created_by: row.created_by,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
            next_tick_at: row.next_tick_at,
            now: row.now,
        })
    }
}

pub(super) fn undecodable<T, E>(
    column: &'static str,
    value: &str,
    read: Result<T, E>,
) -> Result<T, ScheduleError> {
    read.map_err(|_| ScheduleError::Undecodable {
        column,
        value: value.to_owned(),
    })
}
