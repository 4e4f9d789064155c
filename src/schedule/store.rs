//! Making, changing and removing schedules. Nobody else writes them, but for the producers, who note how far they looked.
//!
//! A change of the rule, of its zone or of whether it is on begins anew from now: nothing is made up for that a rule which
//! didn't exist would have done.

use chrono::{DateTime, Utc};

use super::{Draft, ScheduleError};
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::{JobId, ScheduleId},
    queue::QueueError,
    storage::StorageName,
};

/// What becomes of the backups of a schedule that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backups {
    /// They keep its name, and are kept like those that people make.
    Keep,
    /// They go on expiring by its policy.
    Expire,
}

/// Makes a schedule.
pub async fn create(db: &ControlDb, draft: &Draft, by: &str) -> Result<ScheduleId, ScheduleError> {
    draft.check()?;
    let (id, draft, by) = (ScheduleId::new(), draft.clone(), by.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            know_zone(conn, &draft).await?;
            let Columns {
                retention,
                storages,
            } = Columns::of(&draft);
            let inserted = sqlx::query!(
                "insert into kanbu_backup.schedule
                        (id, name, kind, subject, cron, time_zone, enabled, catch_up, catch_up_limit, overlap, jitter,
                         retention, storages, verify_every, verify_level, timeout, max_attempts, next_tick_at,
                         created_by, updated_by)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, make_interval(secs => $11), $12, $13, $14, $15,
                         make_interval(secs => $16), $17, case when $7 then now() end, $18, $18)
                 on conflict (name) where deleted_at is null do nothing",
                id.as_uuid(),
                draft.name,
                draft.kind.as_str(),
                draft.subject.to_string(),
                draft.cron.text(),
                draft.zone.name(),
                draft.enabled,
                draft.catch_up.as_str(),
                i32::from(draft.catch_up_limit),
                draft.overlap.as_str(),
                draft.jitter.as_secs_f64(),
                retention,
                storages.as_deref(),
                draft.verify_every.as_str(),
                draft.verify_level.as_str(),
                draft.timeout.map(|timeout| timeout.as_secs_f64()),
                draft.max_attempts,
                by,
            )
            .execute(conn)
            .await?;
            match inserted.rows_affected() {
                0 => Err(ScheduleError::NameTaken(draft.name)),
                _ => Ok(id),
            }
        })
    })
    .await
}

/// Changes a schedule, if it is still of that revision.
pub async fn edit(
    db: &ControlDb,
    id: ScheduleId,
    revision: i64,
    draft: &Draft,
    by: &str,
) -> Result<(), ScheduleError> {
    draft.check()?;
    let (draft, by) = (draft.clone(), by.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            know_zone(conn, &draft).await?;
            let Columns {
                retention,
                storages,
            } = Columns::of(&draft);
            let changed = sqlx::query!(
                "update kanbu_backup.schedule
                    set name = $3, kind = $4, subject = $5, cron = $6, time_zone = $7, enabled = $8, catch_up = $9,
                        catch_up_limit = $10, overlap = $11, jitter = make_interval(secs => $12), retention = $13,
                        storages = $14, verify_every = $15, verify_level = $16, timeout = make_interval(secs => $17),
                        max_attempts = $18, updated_by = $19, updated_at = now(), revision = revision + 1,
                        last_tick_at = case when (cron, time_zone, enabled) = ($6, $7, $8) then last_tick_at
                                            else now() end,
                        next_tick_at = case when $8 then now() end
                  where id = $1 and revision = $2 and deleted_at is null",
                id.as_uuid(),
                revision,
                draft.name,
                draft.kind.as_str(),
                draft.subject.to_string(),
                draft.cron.text(),
                draft.zone.name(),
                draft.enabled,
                draft.catch_up.as_str(),
                i32::from(draft.catch_up_limit),
                draft.overlap.as_str(),
                draft.jitter.as_secs_f64(),
                retention,
                storages.as_deref(),
                draft.verify_every.as_str(),
                draft.verify_level.as_str(),
                draft.timeout.map(|timeout| timeout.as_secs_f64()),
                draft.max_attempts,
                by,
            )
            .execute(conn)
            .await;
            match changed {
                Ok(changed) if changed.rows_affected() == 0 => {
                    Err(ScheduleError::Changed(draft.name))
                }
                Ok(_) => Ok(()),
                Err(error) if is_taken(&error) => Err(ScheduleError::NameTaken(draft.name)),
                Err(error) => Err(error.into()),
            }
        })
    })
    .await
}

/// What isn't stored as it is.
struct Columns {
    retention: serde_json::Value,
    storages: Option<Vec<String>>,
}

impl Columns {
    fn of(draft: &Draft) -> Self {
        let storages = draft.storages.as_ref();
        Self {
            // Numbers alone: it can't fail.
            retention: serde_json::to_value(&draft.retention).unwrap_or_default(),
            storages: storages.map(|names| names.iter().map(StorageName::to_string).collect()),
        }
    }
}

fn is_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.constraint() == Some("schedule_name"))
}

/// The periods of verification are counted there, so the zone must be known there too.
async fn know_zone(conn: &mut Connection<'_>, draft: &Draft) -> Result<(), ScheduleError> {
    let known = sqlx::query!("select now() at time zone $1 as local", draft.zone.name())
        .fetch_one(conn)
        .await;
    match known.map_err(QueueError::from) {
        Ok(_) => Ok(()),
        Err(QueueError::Invalid(_)) => {
            Err(ScheduleError::UnknownZone(draft.zone.name().to_owned()))
        }
        Err(error) => Err(ScheduleError::Queue(error)),
    }
}

/// Turns a schedule on or off; false when it already was.
async fn switch(
    db: &ControlDb,
    id: ScheduleId,
    enabled: bool,
    by: &str,
) -> Result<bool, ScheduleError> {
    let (id, by) = (id.to_string(), by.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let row = sqlx::query!(
                r#"select kanbu_backup.enable_schedule($1, $2, $3) as "changed!""#,
                id,
                enabled,
                by
            )
            .fetch_one(conn)
            .await?;
            Ok(row.changed)
        })
    })
    .await
}

/// Turns a schedule on; false when it already was.
pub async fn enable(db: &ControlDb, id: ScheduleId, by: &str) -> Result<bool, ScheduleError> {
    switch(db, id, true, by).await
}

/// Turns a schedule off; false when it already was.
pub async fn disable(db: &ControlDb, id: ScheduleId, by: &str) -> Result<bool, ScheduleError> {
    switch(db, id, false, by).await
}

/// No ticks until then; `None`: until somebody resumes it.
pub async fn pause(
    db: &ControlDb,
    id: ScheduleId,
    until: Option<DateTime<Utc>>,
    by: &str,
) -> Result<(), ScheduleError> {
    let (id, by) = (id.to_string(), by.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "select kanbu_backup.pause_schedule($1, $2, $3)",
                id,
                until,
                by
            )
            .fetch_one(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Ends a pause; false when there was none.
pub async fn resume(db: &ControlDb, id: ScheduleId, by: &str) -> Result<bool, ScheduleError> {
    let (id, by) = (id.to_string(), by.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let row = sqlx::query!(
                r#"select kanbu_backup.resume_schedule($1, $2) as "was_paused!""#,
                id,
                by
            )
            .fetch_one(conn)
            .await?;
            Ok(row.was_paused)
        })
    })
    .await
}

/// A job now, whatever the rule says. Ticks are not moved by it. While a job of the schedule is open, it is the answer.
pub async fn run(
    db: &ControlDb,
    id: ScheduleId,
    request_key: Option<&str>,
    by: &str,
) -> Result<JobId, ScheduleError> {
    let (id, by) = (id.to_string(), by.to_owned());
    let request_key = request_key.map(str::to_owned);
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let row = sqlx::query!(
                r#"select kanbu_backup.run_schedule($1, $2, $3) as "job!""#,
                id,
                request_key,
                by
            )
            .fetch_one(conn)
            .await?;
            Ok(row.job.into())
        })
    })
    .await
}

/// Removes a schedule. Its jobs go on.
pub async fn remove(
    db: &ControlDb,
    id: ScheduleId,
    backups: Backups,
    by: &str,
) -> Result<(), ScheduleError> {
    let by = by.to_owned();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let removed = match backups {
                Backups::Keep => {
                    sqlx::query!(
                        "delete from kanbu_backup.schedule where id = $1 and deleted_at is null",
                        id.as_uuid()
                    )
                    .execute(conn)
                    .await?
                }
                Backups::Expire => {
                    sqlx::query!(
                        "update kanbu_backup.schedule
                            set deleted_at = now(), deleted_by = $2, enabled = false, next_tick_at = null,
                                revision = revision + 1
                          where id = $1 and deleted_at is null",
                        id.as_uuid(),
                        by
                    )
                    .execute(conn)
                    .await?
                }
            };
            match removed.rows_affected() {
                0 => Err(ScheduleError::NotFound(id.to_string())),
                _ => Ok(()),
            }
        })
    })
    .await
}
