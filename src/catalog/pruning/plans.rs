//! Plans as rows: stored before anything goes, and carried on after a crash.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Class;
use crate::{
    catalog::{CatalogError, PendingDeletion, view::word},
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::{ArtifactId, ExecutionId, JobId, PlanId, ScheduleId},
    job::Subject,
    retention::{Plan, Policy},
};

/// A plan that is about to be performed.
#[derive(Clone, Debug)]
pub struct NewPlan {
    pub id: PlanId,
    pub subject: Subject,
    pub class: Class,
    /// What the schedule is called.
    pub schedule: Option<String>,
    pub job: JobId,
    pub execution: ExecutionId,
    pub zone: chrono_tz::Tz,
    pub policy: Policy,
    pub plan: Plan,
}

/// A plan with items that nobody has decided about yet.
#[derive(Clone, Debug)]
pub struct OpenPlan {
    pub id: PlanId,
    pub class: Class,
    pub job: JobId,
    pub as_of: DateTime<Utc>,
    /// The oldest first.
    pub undecided: Vec<ArtifactId>,
}

/// Stores the plans of one job, all or none. What earlier plans kept is forgotten, with those that let nothing go.
pub async fn store_plans(db: &ControlDb, plans: &[NewPlan]) -> Result<(), CatalogError> {
    let plans = plans.to_vec();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let mut tx = conn.begin().await?;
            for plan in &plans {
                thin(&mut tx, plan).await?;
                insert(&mut tx, plan).await?;
                insert_items(&mut tx, plan).await?;
            }
            tx.commit().await?;
            Ok(())
        })
    })
    .await
}

async fn thin(conn: &mut Connection<'_>, new: &NewPlan) -> Result<(), CatalogError> {
    sqlx::query!(
        "with earlier as (
           select p.id from kanbu_backup.prune_plan p
            where p.subject = $1 and p.class = $2 and p.schedule_id is not distinct from $3 and p.ended_at is not null
         ), kept as (
           delete from kanbu_backup.prune_item i using earlier e where i.plan_id = e.id and i.verdict = 'kept'
         )
         delete from kanbu_backup.prune_plan p using earlier e
          where p.id = e.id
            and not exists (select from kanbu_backup.prune_item i where i.plan_id = p.id and i.verdict = 'expired')",
        new.subject.to_string(),
        new.class.as_str(),
        new.class.schedule().map(ScheduleId::as_uuid),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert(conn: &mut Connection<'_>, new: &NewPlan) -> Result<(), CatalogError> {
    let held = new.plan.held.as_ref();
    sqlx::query!(
        "insert into kanbu_backup.prune_plan
            (id, subject, class, schedule_id, schedule_name, job_id, execution_id, as_of, time_zone, policy, held)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        Uuid::from(new.id),
        new.subject.to_string(),
        new.class.as_str(),
        new.class.schedule().map(ScheduleId::as_uuid),
        new.schedule.as_deref(),
        new.job.as_uuid(),
        new.execution.as_uuid(),
        new.plan.as_of,
        new.zone.name(),
        serde_json::to_value(&new.policy).unwrap_or_default(),
        held.map(|held| serde_json::to_value(held).unwrap_or_default()),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_items(conn: &mut Connection<'_>, new: &NewPlan) -> Result<(), CatalogError> {
    let (mut ids, mut verdicts, mut reasons, mut words) = (vec![], vec![], vec![], vec![]);
    let mut item = |id: ArtifactId, verdict: &'static str, why: serde_json::Value, text: String| {
        ids.push(id.as_uuid());
        verdicts.push(verdict);
        reasons.push(why);
        words.push(text);
    };
    for kept in &new.plan.kept {
        let text: Vec<_> = kept.reasons.iter().map(ToString::to_string).collect();
        let why = serde_json::to_value(&kept.reasons).unwrap_or_default();
        item(kept.id, "kept", why, text.join(", "));
    }
    for expired in &new.plan.expired {
        let why = serde_json::to_value([&expired.reason]).unwrap_or_default();
        item(expired.id, "expired", why, expired.reason.to_string());
    }
    sqlx::query!(
        "insert into kanbu_backup.prune_item (plan_id, artifact_id, verdict, reasons, words)
         select $1, i.id, i.verdict, i.reasons, i.words
           from unnest($2::uuid[], $3::text[], $4::jsonb[], $5::text[]) as i (id, verdict, reasons, words)",
        Uuid::from(new.id),
        &ids,
        &verdicts as &[&str],
        &reasons,
        &words,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The plans of a subject that have not ended, the oldest first: what a dead execution left, and what was just stored.
pub async fn open_plans(db: &ControlDb, subject: &Subject) -> Result<Vec<OpenPlan>, CatalogError> {
    let subject = subject.to_string();
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select p.id, p.class, p.schedule_id, p.job_id, p.as_of,
                          array(select i.artifact_id from kanbu_backup.prune_item i
                                  join kanbu_backup.artifact a on a.id = i.artifact_id
                                 where i.plan_id = p.id and i.verdict = 'expired' and i.fate is null
                                 order by a.created_at, a.id) as "undecided!"
                     from kanbu_backup.prune_plan p
                    where p.subject = $1 and p.ended_at is null
                    order by p.created_at, p.id"#,
                subject,
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OpenPlan {
                id: row.id.into(),
                class: word(row.id, "class", &row.class, |w| {
                    Class::from_columns(w, row.schedule_id)
                })?,
                job: row.job_id.into(),
                as_of: row.as_of,
                undecided: row.undecided.into_iter().map(ArtifactId::from).collect(),
            })
        })
        .collect()
}

/// Every item is decided. With the first plan of an imported schedule that was not held its first cycle ends.
pub async fn end_plan(db: &ControlDb, plan: PlanId) -> Result<(), CatalogError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "with ended as (
                   update kanbu_backup.prune_plan set ended_at = clock_timestamp()
                    where id = $1 and ended_at is null
                   returning schedule_id, as_of, held
                 )
                 update kanbu_backup.retention_state r set first_cycle_ended_at = clock_timestamp()
                   from ended e
                  where r.schedule_id = e.schedule_id and r.first_cycle_ended_at is null
                    and e.held is null and e.as_of >= r.held_until",
                Uuid::from(plan),
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// The copies of a subject's backups whose deletion was decided and not yet performed, whoever decided it.
pub async fn pending_of(
    db: &ControlDb,
    subject: &Subject,
) -> Result<Vec<PendingDeletion>, CatalogError> {
    let subject = subject.to_string();
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                "select a.id, a.folder, c.storage
                   from kanbu_backup.artifact_copy c
                   join kanbu_backup.artifact a on a.id = c.artifact_id
                  where c.state = 'deleting' and a.deletion_decided_at is not null and a.subject = $1
                  order by a.created_at, a.id, c.storage",
                subject,
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(PendingDeletion {
                artifact: row.id.into(),
                folder: word(row.id, "folder", &row.folder, |w| w.parse().ok())?,
                storage: word(row.id, "storage", &row.storage, |w| w.parse().ok())?,
            })
        })
        .collect()
}

/// Why a copy could not be deleted: it stays written down for the next time.
pub async fn deletion_failed(
    db: &ControlDb,
    deletion: &PendingDeletion,
    why: &str,
) -> Result<(), CatalogError> {
    let (deletion, why) = (deletion.clone(), why.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "update kanbu_backup.artifact_copy set error = $3
                  where artifact_id = $1 and storage = $2 and state = 'deleting'",
                deletion.artifact.as_uuid(),
                deletion.storage.as_str(),
                why,
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Notes in a subject's plans which of its backups are gone from every storage by now.
pub async fn settle_deleted(db: &ControlDb, subject: &Subject) -> Result<(), CatalogError> {
    let subject = subject.to_string();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "update kanbu_backup.prune_item i set fate = 'deleted', settled_at = clock_timestamp()
                   from kanbu_backup.prune_plan p
                  where p.id = i.plan_id and p.subject = $1 and i.fate = 'decided'
                    and not exists (select from kanbu_backup.artifact_copy c
                                     where c.artifact_id = i.artifact_id and c.state <> 'deleted')",
                subject,
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}
