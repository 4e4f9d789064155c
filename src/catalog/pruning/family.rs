//! All backups of one subject, as a plan sees them, and whose policy each is kept by.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    catalog::{
        CatalogError, Reason,
        view::{condition, word},
    },
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::{ArtifactId, ScheduleId},
    job::Subject,
    retention::{Candidate, KanbuRule, Policy},
    storage::Folder,
};

/// Whose policy keeps a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Schedule(ScheduleId),
    /// Asked for by a person or a program, imported, or made for a schedule that is gone.
    Manual,
    Safety,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule(_) => "schedule",
            Self::Manual => "manual",
            Self::Safety => "safety",
        }
    }

    pub fn schedule(self) -> Option<ScheduleId> {
        match self {
            Self::Schedule(id) => Some(id),
            Self::Manual | Self::Safety => None,
        }
    }

    pub(super) fn from_columns(class: &str, schedule: Option<Uuid>) -> Option<Self> {
        match (class, schedule) {
            ("schedule", Some(id)) => Some(Self::Schedule(id.into())),
            ("manual", None) => Some(Self::Manual),
            ("safety", None) => Some(Self::Safety),
            _ => None,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A backup of the subject.
#[derive(Clone, Debug)]
pub struct Member {
    pub candidate: Candidate,
    pub class: Class,
    /// Where it lies on every storage.
    pub folder: Folder,
}

/// A schedule that came from Kanbu, until its first cycle has ended.
#[derive(Clone, Copy, Debug)]
pub struct FirstCycle {
    pub rule: KanbuRule,
    pub held_until: DateTime<Utc>,
}

/// What keeps the backups of a schedule.
#[derive(Clone, Debug)]
pub struct ScheduleTerms {
    pub name: String,
    pub policy: Policy,
    pub zone: Tz,
    pub first_cycle: Option<FirstCycle>,
}

/// The backups of a subject that exist and aren't to be deleted, and the schedules that made them.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub members: Vec<Member>,
    pub schedules: BTreeMap<ScheduleId, ScheduleTerms>,
}

impl Family {
    /// What a plan for one class is made of: its own backups, and the others of the subject.
    pub fn candidates(&self, class: Class) -> Vec<Candidate> {
        let members = self.members.iter().map(|member| Candidate {
            is_own: member.class == class,
            ..member.candidate.clone()
        });
        members.collect()
    }

    /// Those that have backups, in a fixed order.
    pub fn classes(&self) -> Vec<Class> {
        let mut classes: Vec<_> = self.members.iter().map(|member| member.class).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    pub fn member(&self, id: ArtifactId) -> Option<&Member> {
        self.members.iter().find(|member| member.candidate.id == id)
    }
}

/// Reads the backups of a subject, and the terms of their schedules.
pub async fn family(db: &ControlDb, subject: &Subject) -> Result<Family, CatalogError> {
    let subject = subject.clone();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { read(conn, &subject).await })
    })
    .await
}

pub(super) async fn read(
    conn: &mut Connection<'_>,
    subject: &Subject,
) -> Result<Family, CatalogError> {
    let schedules = schedules(conn, subject).await?;
    let used = in_use(conn).await?;
    let rows = rows(conn, subject).await?;
    // An alarm is on the row of the backup that raised it.
    let alarms = rows.iter().filter(|row| !row.acknowledged);
    let holding: Vec<(ArtifactId, ArtifactId)> = alarms
        .filter_map(|row| Some((row.holds?.into(), row.id.into())))
        .collect();
    let members = rows
        .iter()
        .map(|row| row.member(&schedules, &used, &holding));
    Ok(Family {
        members: members.collect::<Result<_, _>>()?,
        schedules,
    })
}

struct Row {
    id: Uuid,
    folder: String,
    created_at: DateTime<Utc>,
    stored_bytes: i64,
    pinned: bool,
    reason: String,
    schedule_id: Option<Uuid>,
    holds: Option<Uuid>,
    acknowledged: bool,
    copies: i64,
    stored: i64,
    proof_is_good: Option<bool>,
    proof_holds: Option<bool>,
}

async fn rows(conn: &mut Connection<'_>, subject: &Subject) -> Result<Vec<Row>, CatalogError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select a.id, a.folder, a.created_at, a.stored_bytes, a.pinned, a.reason, a.schedule_id, a.holds,
                  exists (select from kanbu_backup.acknowledgement k where k.artifact_id = a.id) as "acknowledged!",
                  c.copies as "copies!", c.stored as "stored!",
                  p.is_good as "proof_is_good?", p.holds as "proof_holds?"
             from kanbu_backup.artifact a
             cross join lateral (
               select count(*) as copies, count(*) filter (where c.state = 'stored') as stored
                 from kanbu_backup.artifact_copy c where c.artifact_id = a.id) c
             left join lateral kanbu_backup.last_proof(a.id) p on true
            where a.subject = $1 and a.deletion_decided_at is null
            order by a.created_at, a.id"#,
        subject.to_string(),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

impl Row {
    fn member(
        &self,
        schedules: &BTreeMap<ScheduleId, ScheduleTerms>,
        used: &HashSet<ArtifactId>,
        holding: &[(ArtifactId, ArtifactId)],
    ) -> Result<Member, CatalogError> {
        let id = ArtifactId::from(self.id);
        let reason = word(self.id, "reason", &self.reason, Reason::from_word)?;
        let alarm = holding.iter().find(|(held, _)| *held == id);
        let candidate = Candidate {
            id,
            // What says that it was made at the epoch says nothing.
            at: Some(self.created_at).filter(|at| *at > DateTime::UNIX_EPOCH),
            bytes: self.stored_bytes.unsigned_abs(),
            condition: condition(
                self.stored > 0,
                self.stored == self.copies,
                self.proof_is_good,
                self.proof_holds,
            ),
            is_own: false,
            pinned: self.pinned,
            in_use: used.contains(&id),
            held_by: alarm.map(|(_, alarm)| *alarm),
            raised_alarm: self.holds.is_some() && !self.acknowledged,
        };
        let schedule = self.schedule_id.map(ScheduleId::from);
        let class = match (reason, schedule) {
            (Reason::Safety, _) => Class::Safety,
            (Reason::Schedule, Some(id)) if schedules.contains_key(&id) => Class::Schedule(id),
            (Reason::Schedule | Reason::Manual | Reason::Api, _) => Class::Manual,
        };
        Ok(Member {
            candidate,
            class,
            folder: word(self.id, "folder", &self.folder, |w| w.parse().ok())?,
        })
    }
}

/// What jobs that wait or run name.
async fn in_use(conn: &mut Connection<'_>) -> Result<HashSet<ArtifactId>, CatalogError> {
    let ids = sqlx::query_scalar!(
        r#"select kanbu_backup.id_of(j.payload ->> 'artifact') as "id!"
             from kanbu_backup.job j
            where j.state in ('queued', 'running') and j.payload ->> 'artifact' is not null"#,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(ArtifactId::from).collect())
}

async fn schedules(
    conn: &mut Connection<'_>,
    subject: &Subject,
) -> Result<BTreeMap<ScheduleId, ScheduleTerms>, CatalogError> {
    let rows = sqlx::query!(
        r#"select s.id, s.name, s.time_zone, s.retention, r.kanbu_rule as "kanbu_rule?", r.held_until as "held_until?"
             from kanbu_backup.schedule s
             left join kanbu_backup.retention_state r on r.schedule_id = s.id and r.first_cycle_ended_at is null
            where s.subject = $1 and s.kind = 'backup'"#,
        subject.to_string(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let bad = |column, value: String| CatalogError::BadSchedule {
                schedule: row.id.into(),
                column,
                value,
            };
            let policy = serde_json::from_value(row.retention.clone());
            let first_cycle = match (row.kanbu_rule, row.held_until) {
                (Some(rule), Some(held_until)) => Some(FirstCycle {
                    rule: serde_json::from_value(rule.clone())
                        .map_err(|_| bad("kanbu_rule", rule.to_string()))?,
                    held_until,
                }),
                (_, _) => None,
            };
            let terms = ScheduleTerms {
                policy: policy.map_err(|_| bad("retention", row.retention.to_string()))?,
                zone: row
                    .time_zone
                    .parse()
                    .map_err(|_| bad("time_zone", row.time_zone.clone()))?,
                name: row.name,
                first_cycle,
            };
            Ok((row.id.into(), terms))
        })
        .collect()
}

/// Writes down that a schedule came from Kanbu: nothing of its goes before `held_until`, and in the first cycle after that
/// only what Kanbu's rule would have deleted too. Again is fine; the first one stays.
pub async fn import_rule(
    db: &ControlDb,
    schedule: ScheduleId,
    rule: KanbuRule,
    held_until: DateTime<Utc>,
) -> Result<(), CatalogError> {
    let rule = serde_json::to_value(rule).unwrap_or_default();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "insert into kanbu_backup.retention_state (schedule_id, kanbu_rule, held_until)
                 values ($1, $2, $3)
                 on conflict (schedule_id) do nothing",
                schedule.as_uuid(),
                rule,
                held_until,
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// The schedule that is called so, and whose backups it makes.
pub async fn schedule_named(
    db: &ControlDb,
    name: &str,
) -> Result<Option<(ScheduleId, Subject)>, CatalogError> {
    let name = name.to_owned();
    let row = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let row = sqlx::query!(
                "select id, subject from kanbu_backup.schedule where name = $1 and kind = 'backup'
                  order by deleted_at is not null, deleted_at desc limit 1",
                name,
            );
            Ok::<_, CatalogError>(row.fetch_optional(conn).await?)
        })
    })
    .await?;
    row.map(|row| {
        let schedule = row.id.into();
        let subject = row.subject.parse().map_err(|_| CatalogError::BadSchedule {
            schedule,
            column: "subject",
            value: row.subject,
        })?;
        Ok((schedule, subject))
    })
    .transpose()
}
