//! The decision, taken once more where it counts: under the locks of the rows that it is about.

use uuid::Uuid;

use super::{Family, family};
use crate::{
    catalog::{
        CatalogError,
        deletion::{mark_copies, write_intent},
    },
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::{ArtifactId, PlanId},
    job::Subject,
    retention::Plan,
};

/// Who stands in the journal for what a plan let go.
const BY: &str = "prune";

/// What became of some items of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Their deletion is decided and remains to be performed.
    pub expired: Vec<ArtifactId>,
    /// They stay after all, each with the reason.
    pub spared: Vec<(ArtifactId, String)>,
}

/// Plans again and marks for deletion what still expires, in one transaction.
///
/// RACE: a pin, a deletion by hand, another prune, a verification that finds damage, between the plan and now. Every
/// backup of the subject is locked first, so that the others wait or have their say; then `plan_again` sees what is so.
pub async fn decide_expired(
    db: &ControlDb,
    plan: PlanId,
    subject: &Subject,
    ids: &[ArtifactId],
    plan_again: impl FnOnce(&Family) -> Plan + Send + 'static,
) -> Result<Decided, CatalogError> {
    let (subject, ids) = (subject.clone(), ids.to_vec());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let mut tx = conn.begin().await?;
            lock(&mut tx, &subject).await?;
            let family = family::read(&mut tx, &subject).await?;
            let again = plan_again(&family);
            let mut decided = Decided::default();
            for id in ids {
                match judge(&family, &again, id) {
                    Judgement::Goes(why) => {
                        write_intent(&mut tx, id, BY, &why).await?;
                        mark_copies(&mut tx, id).await?;
                        settle(&mut tx, plan, id, None).await?;
                        decided.expired.push(id);
                    }
                    Judgement::Stays(why) => {
                        settle(&mut tx, plan, id, Some(&why)).await?;
                        decided.spared.push((id, why));
                    }
                }
            }
            tx.commit().await?;
            Ok(decided)
        })
    })
    .await
}

enum Judgement {
    Goes(String),
    Stays(String),
}

fn judge(family: &Family, again: &Plan, id: ArtifactId) -> Judgement {
    if let Some(reason) = again.expires(id) {
        return Judgement::Goes(reason.to_string());
    }
    if family.member(id).is_none() {
        return Judgement::Stays("its deletion was decided elsewhere".to_owned());
    }
    let kept = again.kept.iter().find(|kept| kept.id == id);
    let reasons = kept.map(|kept| kept.reasons.as_slice()).unwrap_or_default();
    let words: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    Judgement::Stays(if words.is_empty() {
        "another policy keeps it now".to_owned()
    } else {
        words.join(", ")
    })
}

async fn lock(conn: &mut Connection<'_>, subject: &Subject) -> Result<(), CatalogError> {
    sqlx::query!(
        "select from kanbu_backup.artifact
          where subject = $1 and deletion_decided_at is null
          order by id for update",
        subject.to_string(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn settle(
    conn: &mut Connection<'_>,
    plan: PlanId,
    id: ArtifactId,
    spared: Option<&str>,
) -> Result<(), CatalogError> {
    sqlx::query!(
        "update kanbu_backup.prune_item
            set fate = case when $3::text is null then 'decided' else 'spared' end, spared = $3,
                settled_at = clock_timestamp()
          where plan_id = $1 and artifact_id = $2 and fate is null",
        Uuid::from(plan),
        id.as_uuid(),
        spared,
    )
    .execute(conn)
    .await?;
    Ok(())
}
