//! The rounds that come by themselves: one job per subject and period, however many workers ask for it.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use kanbu_backup::{
    clock::{Clock, SystemClock},
    control::ControlDb,
    job::{Job, Percent},
    queue::{self, Enqueued, NewJob, Origin},
    testing,
    verify::{Cadence, Due},
};

use crate::use_world::subject;

async fn asked(db: &ControlDb, scrub: Due) -> Enqueued {
    let new = NewJob {
        request_key: Some(scrub.request_key),
        ..NewJob::new(Job::Verify(scrub.request), Origin::Cron).unless_open()
    };
    queue::submit(db, &new).await.unwrap()
}

#[tokio::test]
async fn workers_that_ask_at_once_and_again_get_one_scrub_per_period_and_subject() {
    let (_database, db) = testing::control_db().await;
    let cadence = Cadence {
        every: Duration::from_hours(24 * 7),
        sample: Percent::ALL,
    };
    let now = SystemClock.now();
    let mut jobs = Vec::new();
    for name in ["database:a", "source:b"] {
        let subject = subject(name);
        let asking = (0..8).map(|_| asked(&db, cadence.due(&subject, now)));
        let answers = join_all(asking).await;
        let new = answers
            .iter()
            .filter(|answer| matches!(answer, Enqueued::New(_)));
        assert_eq!(new.count(), 1, "{name}: {answers:?}");
        let job = answers[0].job();
        assert!(answers.iter().all(|answer| answer.job() == job), "{name}");
        jobs.push((subject, job));
    }
    let done = "update kanbu_backup.job set state = 'cancelled', finished_at = now()";
    sqlx::query(done).execute(db.bare_pool()).await.unwrap();
    for (subject, job) in jobs {
        // Its end changes nothing in this period.
        let again = asked(&db, cadence.due(&subject, now)).await;
        assert_eq!(again, Enqueued::AlreadyOpen(job));
        let next = cadence.due(&subject, now + TimeDelta::days(7));
        assert!(matches!(asked(&db, next).await, Enqueued::New(_)));
    }
}
