//! Wake-ups that could get lost. The timer of a crew that hears is five seconds; what starts sooner was woken.

use chrono::TimeDelta;
use kanbu_backup::control::{ControlConfig, ControlDb};

use super::{crew::listening, *};

/// Well below the timer, well above a slow machine's hiccup.
const SOON: Duration = Duration::from_secs(3);

pub(super) async fn soon(hands: &mut Hands) -> Act {
    timeout(SOON, hands.next())
        .await
        .expect("a wake-up long before the timer")
}

/// A crew that listens and has found nothing to do.
async fn idle(world: &World, slots: usize) -> Hands {
    let hands = Hands::hire(&world.db, slots, 60);
    listening(world).await;
    hands
}

#[tokio::test]
async fn an_idle_worker_is_woken_by_each_enqueue() {
    let world = World::new().await;
    let mut hands = idle(&world, 1).await;
    for n in 0..10 {
        world.backup(&format!("database:kanbu{n}")).await;
        let act = soon(&mut hands).await;
        let job = act.lease.job();
        act.succeeds();
        world.until_state(job, JobState::Succeeded).await;
    }
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn the_end_of_an_execution_wakes_whoever_waits_for_its_subject() {
    let world = World::new().await;
    let mut hands = idle(&world, 2).await;
    world.backup("database:kanbu").await;
    let first = soon(&mut hands).await;
    let second = world.backup("database:kanbu").await;
    first.succeeds();
    let act = soon(&mut hands).await;
    assert_eq!(act.lease.job(), second);
    act.succeeds();
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_freed_slot_claims_what_was_announced_while_all_were_taken() {
    let world = World::new().await;
    let mut hands = idle(&world, 1).await;
    world.backup("database:a").await;
    let first = soon(&mut hands).await;
    let second = world.backup("database:b").await;
    first.succeeds();
    assert_eq!(soon(&mut hands).await.lease.job(), second);
    hands.kill().await;
}

#[tokio::test]
async fn a_job_for_later_starts_when_it_comes_due() {
    let world = World::new().await;
    let mut hands = idle(&world, 1).await;
    let run_at = now() + TimeDelta::milliseconds(1200);
    world
        .enqueue(&NewJob {
            run_at: Some(run_at),
            ..backup("database:kanbu")
        })
        .await;
    let act = soon(&mut hands).await;
    assert!(now() >= run_at);
    act.succeeds();
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn resuming_retrying_and_lifting_a_cap_wake() {
    let world = World::new().await;
    let mut hands = idle(&world, 2).await;
    let db = &world.db;
    queue::pause(db, None, None, None, None, "anna")
        .await
        .unwrap();
    let job = world.backup("database:kanbu").await;
    queue::resume(db, None, None).await.unwrap();
    let act = soon(&mut hands).await;
    act.fails(Fault::Permanent);
    world.until_state(job, JobState::Dead).await;

    queue::retry(db, job, 1).await.unwrap();
    let first = soon(&mut hands).await;
    queue::limit_running(db, Kind::Backup, Some(1))
        .await
        .unwrap();
    world.backup("database:other").await;
    first.succeeds();
    let second = soon(&mut hands).await;
    world.backup("database:third").await;
    queue::limit_running(db, Kind::Backup, None).await.unwrap();
    let third = soon(&mut hands).await;
    second.succeeds();
    third.succeeds();
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_listener_that_lost_its_connection_claims_what_it_missed() {
    let world = World::new().await;
    let mut hands = idle(&world, 1).await;
    world
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and query like 'LISTEN%'",
        )
        .await;
    world.backup("database:kanbu").await;
    soon(&mut hands).await.succeeds();
    listening(&world).await;
    hands.go_home().await;
    world.holds().await;
}

/// As behind a pooler in transaction mode: LISTEN is accepted, and nothing is ever heard.
#[tokio::test]
async fn a_deaf_worker_finds_its_jobs_by_the_clock() {
    let world = World::new().await;
    let (elsewhere, _db) = testing::control_db().await;
    let database = world.database.as_ref().unwrap();
    let deaf = ControlDb::connect(&ControlConfig {
        listen_url: Some(elsewhere.url.clone()),
        ..ControlConfig::new(&database.url, "test")
    })
    .await
    .unwrap();
    let mut hands = Hands::hire(&deaf, 1, 60);
    world.backup("database:a").await;
    hands.next().await.succeeds();
    for n in 0..3 {
        world.backup(&format!("database:b{n}")).await;
        soon(&mut hands).await.succeeds();
    }
    hands.go_home().await;
    world.holds().await;
}
