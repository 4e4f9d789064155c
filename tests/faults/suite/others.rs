//! Others at the same queue: producers of the same tick, people who cancel, a crowd at one subject, a wrong clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kanbu_backup_faults::journal::What;

use crate::{
    verdict::Scenario,
    worker::Terms,
    world::{Order, World, until},
};

const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn many_workers_at_few_subjects_take_turns() {
    let world = World::new().await;
    for run in 0..45 {
        world
            .order(Order::new(format!("database:db{}", run % 3), "sleep:40 effect").executions(1))
            .await;
    }
    let terms = Terms::lease(20).slots(2);
    let workers = (0..4).map(|_| world.hire(&terms)).collect();
    let scenario = Scenario {
        number: 40,
        name: "4 workers of 2 slots, 3 subjects",
        runs: 1,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

#[tokio::test]
async fn a_cancel_reaches_the_process_that_runs_the_job() {
    let world = World::new().await;
    let terms = Terms::lease(60);
    let (mut workers, mut jobs) = (Vec::new(), Vec::new());
    for run in 0..3 {
        workers.push(world.hire(&terms));
        let order = Order::new(format!("database:db{run}"), "effect gate:never");
        let job = world.order(order.cancelled().executions(1)).await;
        world.until_begun(job, 1).await;
        jobs.push(job);
    }
    for job in &jobs {
        world.cancel(*job).await;
    }
    for job in &jobs {
        world.until_state(*job, "cancelled").await;
    }
    let scenario = Scenario {
        number: 41,
        name: "cancel of a job on another process",
        runs: jobs.len(),
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

/// Both are asked for the same ticks at the same time; one of them dies between its insert and its commit.
#[tokio::test]
async fn two_producers_of_the_same_ticks_make_one_job_for_each() {
    const TICKS: u32 = 60;
    let world = World::new().await;
    let ticks = TICKS.to_string();
    let doomed = world.produce("doomed", None, &["--ticks", &ticks, "--stall-at", "20"]);
    let other = world.produce("other", None, &["--ticks", &ticks]);
    let stalled = world.path(&format!("{}.stalled", doomed.pid()));
    // RACE: where the other one was first at tick 20, the doomed one is answered at once, and stalls all the same.
    until("a producer to stall in its transaction", async || {
        stalled.exists().then_some(())
    })
    .await;
    world.kill(doomed).await;
    world.suffered(other.gone().await);
    world.expect_ticks(TICKS).await;
    let workers = vec![
        world.hire(&Terms::lease(20).slots(2)),
        world.hire(&Terms::lease(20).slots(2)),
    ];
    let scenario = Scenario {
        number: 42,
        name: "two producers on the same ticks, one killed",
        runs: TICKS as usize,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

/// Leases are the database's affair: a worker that believes in another time neither loses its own nor takes another's.
async fn wrong_clock(number: u32, name: &str, offset: &'static str, seconds: f64) {
    let world = World::new().await;
    let terms = Terms::lease(8).slots(2);
    let wrong = world.hire(&terms.clone().clock(offset));
    let right = world.hire(&terms);
    for run in 0..6 {
        let subject = format!("database:db{run}");
        // Longer than a lease; fails once; is followed.
        let long = Order::new(&subject, "effect sleep:11000 effect").executions(1);
        let failing = Order::new(&subject, "sleep:100 fail@1 effect follow").executions(2);
        world.order(long).await;
        world.order(failing).await;
    }
    let wrong_pid = u32::try_from(wrong.pid()).unwrap();
    world.until_all_ended(PATIENCE).await;
    let journal = world.journal();
    let own = || journal.iter().filter(|entry| entry.pid == wrong_pid);
    let start = own().find(|entry| entry.what == What::Started).unwrap();
    let wall: DateTime<Utc> = start.note.parse().unwrap();
    let off = (wall - start.at).as_seconds_f64();
    assert!((off - seconds).abs() < 60.0, "its clock is off by {off} s");
    assert!(
        own().any(|entry| entry.what == What::Effect),
        "it did nothing"
    );
    let scenario = Scenario {
        number,
        name,
        runs: 1,
        patience: PATIENCE,
    };
    world.conclude(scenario, vec![wrong, right]).await;
}

#[tokio::test]
async fn a_worker_whose_clock_is_an_hour_ahead_does_no_harm() {
    wrong_clock(43, "one worker's clock an hour ahead", "+3600", 3600.0).await;
}

#[tokio::test]
async fn a_worker_whose_clock_is_an_hour_behind_does_no_harm() {
    wrong_clock(44, "one worker's clock an hour behind", "-3600", -3600.0).await;
}
