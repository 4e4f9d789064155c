//! Workers that sleep past their lease and wake up: what they still believe must do no harm.

use std::time::Duration;

use crate::{
    verdict::Scenario,
    worker::Terms,
    world::{Order, World},
};

const RUNS: usize = 3;

const PATIENCE: Duration = Duration::from_secs(90);

/// A worker is frozen in its job; a successor is `done` with it or only at work when the sleeper wakes.
async fn sleepers(number: u32, name: &str, script: &str, done: bool) {
    let world = World::new().await;
    let terms = Terms::lease(10);
    let (mut sleepers, mut jobs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        sleepers.push(world.hire(&terms));
        let order = Order::new(format!("database:db{run}"), script).executions(2);
        let job = world.order(order).await;
        world.until_touched(job, 1).await;
        jobs.push(job);
    }
    for sleeper in &mut sleepers {
        sleeper.freeze();
    }
    let heir = world.hire(&terms.slots(RUNS));
    for job in &jobs {
        world.until_begun(*job, 2).await;
        if done {
            world.until_state(*job, "succeeded").await;
        }
    }
    // Asleep, they can't see it; awake, it is the first thing that they see.
    world.open_gate("late");
    for sleeper in &mut sleepers {
        sleeper.thaw();
    }
    for job in &jobs {
        world
            .until_handler_ended(*job, if done { 2 } else { 1 })
            .await;
    }
    world.open_gate("go");
    let lost =
        "select count(*) from kanbu_backup.execution where fault = 'lease_lost' and result is null";
    world.until_all_ended(PATIENCE).await;
    assert_eq!(world.count(lost).await, 3);
    let scenario = Scenario {
        number,
        name,
        runs: RUNS,
        patience: PATIENCE,
    };
    sleepers.push(heir);
    world.conclude(scenario, sleepers).await;
}

/// The sleeper's handler gets to its end and claims success without asking for its lease: the fence alone refuses it.
#[tokio::test]
async fn a_publication_after_the_sleep_is_refused() {
    let script = "effect deaf-gate:late@1 careless@1 follow";
    sleepers(3, "SIGSTOP past the lease, late publication", script, true).await;
}

#[tokio::test]
async fn a_sleeper_that_wakes_beside_its_successor_takes_no_further_step() {
    let script = "effect deaf-gate:late@1 effect@1 gate:go@2 follow";
    sleepers(
        4,
        "SIGSTOP past the lease, successor at work",
        script,
        false,
    )
    .await;
}
