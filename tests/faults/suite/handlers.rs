//! Handlers that misbehave: they fail, panic, hang, are deaf, block their thread, kill their process, can't be read.

use std::time::Duration;

use kanbu_backup::id::JobId;

use crate::{
    verdict::Scenario,
    worker::Terms,
    world::{Order, World, until},
};

const RUNS: usize = 3;

const PATIENCE: Duration = Duration::from_secs(90);

fn scenario(number: u32, name: &str) -> Scenario<'_> {
    Scenario {
        number,
        name,
        runs: RUNS,
        patience: PATIENCE,
    }
}

fn subject(run: usize) -> String {
    format!("database:db{run}")
}

/// Each job with these scripts, RUNS times, on one worker with one slot; a good job at the end shows that it still works.
async fn on_one_worker(number: u32, name: &str, terms: Terms, orders: &[Order]) {
    let world = World::new().await;
    let worker = world.hire(&terms);
    for _ in 0..RUNS {
        for order in orders {
            world.order(order.clone()).await;
        }
    }
    world
        .order(Order::new(subject(9), "effect follow").executions(1))
        .await;
    world.conclude(scenario(number, name), vec![worker]).await;
}

#[tokio::test]
async fn failing_jobs_are_tried_again_until_their_budget_is_used() {
    let orders = [
        Order::new(subject(0), "effect fail")
            .at_most(3)
            .dies()
            .of("script.failed")
            .executions(3),
        Order::new(subject(1), "fail@1 fail@2")
            .at_most(3)
            .executions(3),
        Order::new(subject(2), "fail-permanently")
            .dies()
            .of("script.refused")
            .executions(1),
    ];
    on_one_worker(30, "failing jobs", Terms::lease(20), &orders).await;
}

#[tokio::test]
async fn panicking_jobs_cost_attempts_and_no_worker() {
    let orders = [
        Order::new(subject(0), "effect panic")
            .at_most(2)
            .dies()
            .of("handler.panicked")
            .executions(2),
        Order::new(subject(1), "panic@1").executions(2),
    ];
    on_one_worker(31, "panicking jobs", Terms::lease(20), &orders).await;
}

#[tokio::test]
async fn hanging_jobs_are_stopped_at_their_deadline() {
    let orders = [
        Order::new(subject(0), "effect hang")
            .at_most(2)
            .dies()
            .of("execution.deadline")
            .executions(2),
        Order::new(subject(1), "sleep:600000@1").executions(2),
    ];
    let terms = Terms::lease(20).deadline(1000).clean_up(300);
    on_one_worker(32, "hanging jobs, by their deadline", terms, &orders).await;
}

#[tokio::test]
async fn a_cancel_that_the_handler_ignores_ends_it_all_the_same() {
    let world = World::new().await;
    let worker = world.hire(&Terms::lease(20).clean_up(500));
    for _ in 0..RUNS {
        let order = Order::new(subject(0), "effect deaf-gate:never").cancelled();
        let job = world.order(order.executions(1)).await;
        world.until_begun(job, 1).await;
        world.cancel(job).await;
        world.until_state(job, "cancelled").await;
    }
    world.order(Order::new(subject(0), "effect")).await;
    world
        .conclude(scenario(33, "cancel ignored by the handler"), vec![worker])
        .await;
}

#[tokio::test]
async fn a_job_that_kills_its_process_is_dead_after_its_budget_and_takes_no_other_along() {
    let world = World::new().await;
    let terms = Terms::lease(8);
    for run in 0..RUNS {
        let poison = Order::new(subject(run), "effect abort").at_most(2);
        world
            .order(poison.dies().of("lease.lost").executions(2))
            .await;
        world
            .order(Order::new(subject(run), "sleep:200 effect follow"))
            .await;
    }
    let mut workers = vec![world.hire(&terms), world.hire(&terms)];
    let open = "select count(*) from kanbu_backup.job where state in ('queued', 'running')";
    until("the poison to be dead", async || {
        for worker in &mut workers {
            if worker.has_ended() {
                let dead = std::mem::replace(worker, world.hire(&terms));
                world.suffered(dead.end().await.2);
            }
        }
        (world.count(open).await == 0).then_some(())
    })
    .await;
    world
        .conclude(scenario(34, "poison: aborts its process"), workers)
        .await;
}

#[tokio::test]
async fn a_payload_that_nobody_can_read_is_dead_at_once() {
    let world = World::new().await;
    for run in 0..RUNS {
        let job = JobId::new();
        world
            .run(&format!(
                "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                                               backoff_base, backoff_cap, origin)
                 values ('{job}', 'backup', '{}', true, '{{\"nonsense\": true}}', 1, 4, '1 second', '1 minute', 'api')",
                subject(run)
            ))
            .await;
        let order = Order::new(subject(run), "")
            .dies()
            .of("payload.undecodable");
        world.expect(job, order.executions(1));
        world
            .order(Order::new(subject(run), "effect follow").executions(1))
            .await;
    }
    let worker = world.hire(&Terms::lease(20));
    world
        .conclude(scenario(35, "payload that can't be read"), vec![worker])
        .await;
}

/// What blocks its thread can't even be aborted. It loses its lease, and can't do anything with it when it comes back.
#[tokio::test]
async fn a_handler_that_blocks_its_thread_loses_its_lease_and_takes_no_further_step() {
    let world = World::new().await;
    let terms = Terms::lease(8).deadline(800).clean_up(300);
    let (mut workers, mut jobs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        workers.push(world.hire(&terms));
        let order = Order::new(subject(run), "block:13000@1 effect@1").executions(2);
        let job = world.order(order).await;
        world.until_begun(job, 1).await;
        jobs.push(job);
    }
    let heir = world.hire(&Terms::lease(8).slots(RUNS));
    for job in jobs {
        world.until_handler_ended(job, 2).await;
    }
    workers.push(heir);
    world
        .conclude(scenario(36, "handler blocks its thread"), workers)
        .await;
}
