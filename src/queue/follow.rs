//! Following one job to its end, for whoever asked for it.

use std::time::Duration;

use futures::{Stream, stream};
use sqlx::postgres::PgListener;

use super::{JobView, QueueError, backoff::pause, read::job, wake::ENDS};
use crate::{control::ControlDb, id::JobId};

/// Progress is looked up so often; the end comes by notification.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The job as it is now, then again twice a second while it is open, and once when it has ended, which ends the stream.
/// A database that is away for a moment is an item of the stream, not its end.
pub fn follow(db: &ControlDb, id: JobId) -> impl Stream<Item = Result<JobView, QueueError>> + Send {
    let follower = Follower {
        db: db.clone(),
        id,
        listener: None,
        looked: false,
    };
    stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        let view = follower.next().await;
        let go_on = match &view {
            Ok(job) => job.state.is_open(),
            Err(error) => error.is_transient(),
        };
        Some((view, go_on.then_some(follower)))
    })
}

struct Follower {
    db: ControlDb,
    id: JobId,
    listener: Option<PgListener>,
    looked: bool,
}

impl Follower {
    async fn next(&mut self) -> Result<JobView, QueueError> {
        // RACE: listening comes before the first look, else the end could fall between them.
        if self.listener.is_none()
            && let Ok(mut listener) = self.db.listener().await
            && listener.listen(ENDS).await.is_ok()
        {
            self.listener = Some(listener);
        }
        if self.looked {
            self.wait().await;
        }
        self.looked = true;
        let view = job(&self.db, self.id).await?;
        view.ok_or_else(|| QueueError::NotFound(self.id.to_string()))
    }

    async fn wait(&mut self) {
        let id = self.id.to_string();
        let Some(listener) = &mut self.listener else {
            return pause(LOOK_EVERY).await;
        };
        let ended = async {
            while let Ok(Some(notification)) = listener.try_recv().await {
                if notification.payload() == id {
                    return true;
                }
            }
            false
        };
        tokio::select! {
            ended = ended => if !ended { self.listener = None; pause(LOOK_EVERY).await; },
            () = pause(LOOK_EVERY) => {}
        }
    }
}
