//! Which subjects there are, as workers know them from their settings. `enqueue` refuses what none of them knows, so that a
//! typing error is told to whoever makes it and not to nobody, later, in a worker.

use super::{QueueError, backoff::ANSWER_WITHIN};
use crate::{
    control::{ControlDb, within},
    job::Subject,
};

/// Enters what a worker that starts can back up. Nothing is taken out again: other workers may know more.
pub async fn register_subjects(db: &ControlDb, subjects: &[Subject]) -> Result<(), QueueError> {
    let subjects: Vec<String> = subjects.iter().map(Subject::to_string).collect();
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            // In order: two workers that start at once can't deadlock.
            sqlx::query!(
                "insert into kanbu_backup.subject (subject)
                 select distinct given.subject from unnest($1::text[]) as given (subject) order by 1
                 on conflict (subject) do update set last_seen_at = now()",
                &subjects,
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}
