//! Workers that die or go: killed, killed and started again under the same name, sent home in the middle of a job.

use std::time::Duration;

use crate::{
    verdict::Scenario,
    worker::Terms,
    world::{Order, World},
};

const LEASE: u64 = 10;

const RUNS: usize = 5;

const PATIENCE: Duration = Duration::from_secs(90);

/// Jobs, each in the hands of a worker of its own and past its first effect, waiting at a gate; and their workers.
async fn in_hand(world: &World, script: &str, terms: &Terms) -> Vec<crate::worker::Process> {
    let mut workers = Vec::new();
    for run in 0..RUNS {
        let script = format!("effect gate:go {script}");
        let order = Order::new(format!("database:db{run}"), script).executions(2);
        workers.push(world.hire(terms));
        let job = world.order(order).await;
        world.until_touched(job, 1).await;
    }
    workers
}

#[tokio::test]
async fn the_job_of_a_killed_worker_is_taken_over() {
    let world = World::new().await;
    let terms = Terms::lease(LEASE);
    let doomed = in_hand(&world, "follow", &terms).await;
    let heirs = vec![world.hire(&terms.clone().slots(RUNS))];
    for worker in doomed {
        world.kill(worker).await;
    }
    world.open_gate("go");
    let scenario = Scenario {
        number: 1,
        name: "kill -9 in mid-job",
        runs: RUNS,
        patience: PATIENCE,
    };
    world.conclude(scenario, heirs).await;
}

#[tokio::test]
async fn a_restart_under_the_same_name_takes_over_only_when_the_lease_is_over() {
    let world = World::new().await;
    let terms = Terms::lease(LEASE);
    let doomed = in_hand(&world, "effect", &terms).await;
    let mut heirs = Vec::new();
    for worker in doomed {
        let name = worker.name.clone();
        world.kill(worker).await;
        heirs.push(world.hire_as(&name, &terms));
    }
    world.open_gate("go");
    let scenario = Scenario {
        number: 2,
        name: "kill -9 and restart under the same name",
        runs: RUNS,
        patience: PATIENCE,
    };
    world.conclude(scenario, heirs).await;
}

#[tokio::test]
async fn a_worker_told_to_go_keeps_its_lease_until_its_long_job_is_done() {
    let world = World::new().await;
    let terms = Terms::lease(8);
    let mut going = Vec::new();
    for run in 0..3 {
        let order = Order::new(format!("database:db{run}"), "effect sleep:18000").executions(1);
        going.push(world.hire(&terms));
        let job = world.order(order).await;
        world.until_touched(job, 1).await;
    }
    // It would take over if a lease ran out.
    let rival = world.hire(&terms.clone().slots(3));
    for worker in &going {
        worker.terminate();
    }
    let scenario = Scenario {
        number: 5,
        name: "SIGTERM, drain longer than two leases",
        runs: going.len(),
        patience: PATIENCE,
    };
    for worker in going {
        world.suffered(worker.gone().await);
    }
    world.conclude(scenario, vec![rival]).await;
}

#[tokio::test]
async fn past_its_grace_a_worker_gives_the_job_back_without_a_charge() {
    let world = World::new().await;
    let going = in_hand(&world, "", &Terms::lease(LEASE).grace(300)).await;
    for worker in going {
        world.dismiss(worker).await;
    }
    let uncharged = "select count(*) from kanbu_backup.execution where not charged";
    assert_eq!(world.count(uncharged).await, 5);
    world.open_gate("go");
    let heir = world.hire(&Terms::lease(LEASE).slots(RUNS));
    let scenario = Scenario {
        number: 6,
        name: "SIGTERM, short grace: released uncharged",
        runs: RUNS,
        patience: PATIENCE,
    };
    world.conclude(scenario, vec![heir]).await;
}
