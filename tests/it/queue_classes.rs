//! Classes of work: kinds don't wait for one another, caps hold over crews, and the queue in numbers.

use chrono::TimeDelta;
use kanbu_backup::{
    id::EventId,
    job::{Job, Notify},
    queue::KindStats,
};

use super::*;

fn message() -> NewJob {
    let notify = Notify {
        subject: "database:kanbu".parse().unwrap(),
        event: EventId::new(),
        channel: None,
    };
    NewJob::new(Job::Notify(notify), Origin::FollowUp)
}

async fn stats_of(world: &World, kind: Kind) -> KindStats {
    let stats = queue::stats(&world.db).await.unwrap();
    stats.into_iter().find(|of| of.kind == kind).unwrap()
}

#[tokio::test]
async fn a_message_never_waits_behind_a_backup() {
    let world = World::new().await;
    let mut hands = Hands::with(&world.db, |crew| {
        crew.slots = BTreeMap::from([(Kind::Backup, 1), (Kind::Notify, 1)]);
    });
    for subject in ["database:a", "database:b"] {
        world.backup(subject).await;
    }
    let busy = hands.next().await;
    assert_eq!(busy.job.kind(), Kind::Backup);
    for _ in 0..3 {
        let message = world.enqueue(&message()).await;
        let act = hands.next().await;
        assert_eq!(act.lease.job(), message);
        act.succeeds();
        world.until_state(message, JobState::Succeeded).await;
    }
    assert_eq!(stats_of(&world, Kind::Backup).await.ready, 1);
    busy.succeeds();
    hands.next().await.succeeds();
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_freed_slot_goes_to_the_highest_priority() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 1, 30);
    world.backup("database:first").await;
    let mut act = hands.next().await;
    for (subject, priority) in [("low", 0), ("high", 5), ("middle", 3)] {
        let new = backup(&format!("database:{subject}"));
        world.enqueue(&NewJob { priority, ..new }).await;
    }
    for expected in ["database:high", "database:middle", "database:low"] {
        act.succeeds();
        act = hands.next().await;
        assert_eq!(act.job.subject().to_string(), expected);
    }
    act.succeeds();
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_cap_holds_over_crews() {
    let world = World::new().await;
    queue::limit_running(&world.db, Kind::Backup, Some(2))
        .await
        .unwrap();
    let hire = || Hands::hire(&world.db, 3, 30);
    let (mut one, mut two, mut three) = (hire(), hire(), hire());
    for n in 0..10 {
        world.backup(&format!("database:kanbu{n}")).await;
    }
    let mut held = Vec::new();
    for _ in 0..10 {
        let act = tokio::select! {
            act = one.next() => act,
            act = two.next() => act,
            act = three.next() => act,
        };
        held.push(act);
        let stats = stats_of(&world, Kind::Backup).await;
        assert!(stats.open <= 2, "{stats:?}");
        assert_eq!(stats.max_running, Some(2));
        if held.len() == 2 {
            held.remove(0).succeeds();
        }
    }
    held.into_iter().for_each(Act::succeeds);
    for hands in [one, two, three] {
        hands.go_home().await;
    }
    let at_once = world
        .number(
            "select max(n) from (
               select count(*) as n from kanbu_backup.execution e
                 join kanbu_backup.execution o on o.started_at <= e.started_at and e.started_at < o.ended_at
                group by e.id) as beside",
        )
        .await;
    assert_eq!(at_once, 2);
    world.holds().await;
}

#[tokio::test]
async fn work_goes_on_when_a_pause_ends_by_itself() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 1, 30);
    let hour = now() + TimeDelta::hours(1);
    let subject = "database:kanbu".parse().unwrap();
    queue::pause(
        &world.db,
        Some(Kind::Backup),
        Some(&subject),
        Some(hour),
        None,
        "anna",
    )
    .await
    .unwrap();
    let paused = world.backup("database:kanbu").await;
    let other = world.backup("database:other").await;
    let act = hands.next().await;
    assert_eq!(act.lease.job(), other);
    act.succeeds();
    world.until_state(other, JobState::Succeeded).await;
    world
        .sql("update kanbu_backup.queue_control set paused_until = now()")
        .await;
    let act = hands.next().await;
    assert_eq!(act.lease.job(), paused);
    act.succeeds();
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn every_job_is_counted_where_it_stands() {
    let world = World::new().await;
    queue::limit_running(&world.db, Kind::Backup, Some(7))
        .await
        .unwrap();
    // One that runs, one that failed and waits, one dead, one succeeded, one cancelled, one ready, one for later.
    for name in ["runs", "waits", "dies", "succeeds"] {
        world.backup(&format!("database:{name}")).await;
    }
    let _runs = world.claim().await;
    let waits = world.claim().await;
    endings::failed(&world, &waits, Fault::Transient).await;
    let dies = world.claim().await;
    endings::failed(&world, &dies, Fault::Permanent).await;
    let succeeds = world.claim().await;
    endings::done(&world, &succeeds).await;
    let cancelled = world.backup("database:cancelled").await;
    queue::cancel(&world.db, cancelled, "anna").await.unwrap();
    let ready = world.backup("database:ready").await;
    let later = NewJob {
        run_at: Some(now() + TimeDelta::days(1)),
        ..backup("database:later")
    };
    world.enqueue(&later).await;
    world
        .sql(&format!(
            "update kanbu_backup.job set run_at = now() - interval '90 seconds' where id = '{ready}'"
        ))
        .await;

    let stats = stats_of(&world, Kind::Backup).await;
    let counts = [
        stats.ready,
        stats.scheduled,
        stats.retrying,
        stats.running,
        stats.open,
        stats.succeeded,
        stats.dead,
        stats.cancelled,
        stats.slots,
    ];
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 1, 0], "{stats:?}");
    assert_eq!(stats.max_running, Some(7));
    assert!(stats.oldest_ready_seconds.unwrap() >= 90.0);
    let kinds: Vec<_> = queue::stats(&world.db)
        .await
        .unwrap()
        .into_iter()
        .map(|of| of.kind)
        .collect();
    assert_eq!(kinds, Kind::ALL);
    world.holds().await;
}

#[tokio::test]
async fn a_dead_letter_says_why_it_died() {
    let world = World::new().await;
    world.backup("database:kanbu").await;
    let dies = world.claim().await;
    endings::failed(&world, &dies, Fault::Permanent).await;
    let dead = queue::dead(&world.db, None, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].id, dies.job);
    assert_eq!(dead[0].error_code.as_deref(), Some("test.failed"));
    assert_eq!(dead[0].attempts, 1);
    let of_verify = queue::dead(&world.db, Some(Kind::Verify), 10).await;
    assert!(of_verify.unwrap().is_empty());
}

#[tokio::test]
async fn an_execution_that_every_reaper_missed_is_found() {
    let world = World::new().await;
    world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    world.expire(claimed.execution).await;
    assert!(queue::overdue(&world.db).await.unwrap().is_empty());
    world
        .sql("update kanbu_backup.execution set lease_until = now() - interval '1 minute'")
        .await;
    let overdue = queue::overdue(&world.db).await.unwrap();
    assert_eq!(overdue.len(), 1);
    assert_eq!(
        (overdue[0].execution, overdue[0].job),
        (claimed.execution, claimed.job)
    );
    assert!(overdue[0].seconds >= 60.0);
    queue::reap(&world.db).await.unwrap();
    assert!(queue::overdue(&world.db).await.unwrap().is_empty());
}
