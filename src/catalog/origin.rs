//! Why a backup was made, and for whom: in its manifest, so that its policy is known when its job and its schedule aren't.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CatalogError, artifact::words};
use crate::{
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    id::{JobId, ScheduleId},
};

/// Why a backup was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody asked for it, or brought it.
    #[default]
    Manual,
    Schedule,
    /// A restore was to take the live database's place.
    Safety,
    /// A program asked for it.
    Api,
}

words!(Reason { Manual => "manual", Schedule => "schedule", Safety => "safety", Api => "api" });

/// The schedule that a backup was made for, as it was called then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleName {
    pub id: ScheduleId,
    pub name: String,
}

/// Where a backup comes from. A schedule goes with its reason and with no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOrigin {
    pub reason: Reason,
    pub schedule: Option<ScheduleName>,
}

impl BackupOrigin {
    /// Made before a live database gives way.
    pub fn safety() -> Self {
        Self {
            reason: Reason::Safety,
            schedule: None,
        }
    }

    pub(super) fn agrees_with_itself(&self) -> bool {
        (self.reason == Reason::Schedule) == self.schedule.is_some()
    }
}

impl fmt::Display for BackupOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schedule {
            Some(schedule) => write!(f, "schedule {}", schedule.name),
            None => f.write_str(self.reason.as_str()),
        }
    }
}

/// Where the backup of a job comes from: the schedule that it names, or whoever asked for it.
pub async fn origin_of(
    db: &ControlDb,
    job: JobId,
    schedule: Option<ScheduleId>,
) -> Result<BackupOrigin, CatalogError> {
    let row = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let row = sqlx::query!(
                r#"select (select j.origin from kanbu_backup.job j where j.id = $1) as asked_by,
                          (select s.name from kanbu_backup.schedule s where s.id = $2) as schedule"#,
                job.as_uuid(),
                schedule.map(ScheduleId::as_uuid),
            );
            Ok::<_, CatalogError>(row.fetch_one(conn).await?)
        })
    })
    .await?;
    let schedule = schedule.map(|id| ScheduleName {
        id,
        name: row.schedule.unwrap_or_else(|| id.short()),
    });
    let reason = match (&schedule, row.asked_by.as_deref()) {
        (Some(_), _) => Reason::Schedule,
        (None, Some("api")) => Reason::Api,
        (None, _) => Reason::Manual,
    };
    Ok(BackupOrigin { reason, schedule })
}
