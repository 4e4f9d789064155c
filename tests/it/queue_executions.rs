//! The history of executions: pages that lose and repeat nothing, and numbers that can be counted after.

use kanbu_backup::execution::{
    Outcome, Warning,
    history::{self, GroupBy, HistoryFilter},
};

use super::*;

/// Lets a job of `subject` end so, as if it had begun so many hours ago and taken so many seconds.
async fn ended(
    world: &World,
    subject: &str,
    outcome: Outcome,
    hours: u32,
    seconds: u32,
) -> ExecutionId {
    world.backup(subject).await;
    let claimed = world.claim().await;
    match outcome {
        Outcome::Succeeded => endings::done(world, &claimed).await,
        Outcome::Degraded => {
            let warning = Warning {
                code: "test.warned".to_owned(),
                text: "less than asked for".to_owned(),
                degrades: true,
            };
            let effects = Effects {
                warnings: vec![warning],
                ..Effects::default()
            };
            endings::ended_with(world, &claimed, effects).await;
        }
        Outcome::Failed => endings::failed(world, &claimed, Fault::Permanent).await,
        Outcome::Cancelled => {
            queue::cancel(&world.db, claimed.job, "anna").await.unwrap();
            endings::cancelled(world, &claimed).await;
        }
    }
    let id = claimed.execution;
    world
        .sql(&format!(
            "update kanbu_backup.execution set started_at = timestamptz '2026-03-02 12:00Z' - interval '{hours} hours',
                    ended_at = timestamptz '2026-03-02 12:00Z' - interval '{hours} hours' + interval '{seconds} seconds'
              where id = '{id}'"
        ))
        .await;
    id
}

/// As if a tick of a schedule of that name had asked for it.
async fn made_by_nightly(world: &World, execution: ExecutionId) {
    world
        .sql(&format!(
            "with made as (
               insert into kanbu_backup.schedule (id, name, kind, subject, cron, time_zone)
               values (gen_random_uuid(), 'nightly', 'backup', 'database:a', '0 2 * * *', 'UTC') returning id)
             update kanbu_backup.job set schedule_id = (select id from made)
              where id = (select job_id from kanbu_backup.execution where id = '{execution}')"
        ))
        .await;
}

#[tokio::test]
async fn pages_lose_and_repeat_nothing_while_executions_are_added() {
    let world = World::new().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(ended(&world, "database:a", Outcome::Succeeded, 1, 1).await);
    }
    all.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = history::page(&world.db, &HistoryFilter::default(), before, 2).await;
        let page = page.unwrap();
        assert!(page.executions.len() <= 2);
        seen.extend(page.executions.iter().map(|entry| entry.id));
        ended(&world, "database:a", Outcome::Failed, 1, 1).await;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_filter_lets_through_what_it_says_and_nothing_else() {
    let world = World::new().await;
    let good = ended(&world, "database:a", Outcome::Succeeded, 30, 1).await;
    let bad = ended(&world, "database:a", Outcome::Failed, 20, 1).await;
    let other = ended(&world, "database:b", Outcome::Degraded, 10, 1).await;
    world.backup("database:b").await;
    let running = world.claim().await;
    made_by_nightly(&world, bad).await;
    let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
    let having = |change: &dyn Fn(&mut HistoryFilter)| {
        let mut filter = HistoryFilter::default();
        change(&mut filter);
        filter
    };
    for (filter, expected) in [
        (having(&|_| {}), vec![running.execution, other, bad, good]),
        (
            having(&|f| f.subject = Some("database:a".to_owned())),
            vec![bad, good],
        ),
        (
            having(&|f| f.outcomes = vec![Outcome::Failed, Outcome::Degraded]),
            vec![other, bad],
        ),
        (having(&|f| f.kinds = vec![Kind::Verify]), vec![]),
        (
            having(&|f| f.until = at("2026-03-01T16:00:00Z")),
            vec![good],
        ),
        (
            having(&|f| {
                f.since = at("2026-03-01T16:00:00Z");
                f.until = at("2026-03-02T02:00:00Z");
            }),
            vec![bad],
        ),
        (
            having(&|f| f.schedule = Some("nightly".to_owned())),
            vec![bad],
        ),
    ] {
        let page = history::page(&world.db, &filter, None, 100).await.unwrap();
        let found: Vec<_> = page.executions.iter().map(|entry| entry.id).collect();
        assert_eq!((found, page.next), (expected, None), "{filter:?}");
    }
    let text = good.to_string();
    assert_eq!(
        history::find(&world.db, &text[28..]).await.unwrap().id,
        good
    );
    assert!(history::find(&world.db, "nothing").await.is_err());
    endings::done(&world, &running).await;
}

#[tokio::test]
async fn degraded_is_no_success_and_cancelled_is_in_no_rate() {
    let world = World::new().await;
    // In Amsterdam the first of them was on another day.
    for (subject, outcome, hours, seconds) in [
        ("database:a", Outcome::Succeeded, 13, 10),
        ("database:a", Outcome::Succeeded, 3, 30),
        ("database:a", Outcome::Degraded, 2, 20),
        ("database:a", Outcome::Failed, 1, 1000),
        ("database:a", Outcome::Cancelled, 0, 2000),
        ("database:b", Outcome::Failed, 0, 5),
    ] {
        ended(&world, subject, outcome, hours, seconds).await;
    }
    let counted = async |by, zone: &str| {
        let filter = HistoryFilter::default();
        let summaries = history::summaries(&world.db, &filter, by, zone.parse().unwrap());
        summaries.await.unwrap()
    };
    let subjects = counted(GroupBy::Subject, "UTC").await;
    let [a, b] = subjects.as_slice() else {
        panic!("{subjects:?}")
    };
    assert_eq!(
        (a.group.as_str(), b.group.as_str()),
        ("database:a", "database:b")
    );
    assert_eq!(
        (a.executions, a.succeeded, a.degraded, a.failed, a.cancelled),
        (5, 2, 1, 1, 1)
    );
    assert_eq!((a.success_rate, b.success_rate), (Some(0.5), Some(0.0)));
    assert_eq!(
        (a.p50_seconds, a.p95_seconds, a.max_seconds),
        (Some(20.0), Some(29.0), Some(30.0))
    );
    assert_eq!((b.p50_seconds, b.last_success_at), (None, None));
    let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
    assert_eq!(a.last_success_at, at("2026-03-02T09:00:30Z"));
    assert_eq!(a.last_failure_at, at("2026-03-02T11:16:40Z"));
    for (zone, expected) in [
        ("UTC", vec![("2026-03-01", 1), ("2026-03-02", 5)]),
        ("Europe/Amsterdam", vec![("2026-03-02", 6)]),
    ] {
        let days = counted(GroupBy::Day, zone).await;
        let days = days.iter().map(|day| (day.group.as_str(), day.executions));
        assert_eq!(days.collect::<Vec<_>>(), expected, "{zone}");
    }
    let all = counted(GroupBy::Nothing, "UTC").await;
    assert_eq!((all.len(), all[0].executions, all[0].failed), (1, 6, 2));
}
