//! The connection falls in the middle of one statement: before its commit, or after it, so that the answer is lost.

use std::time::Duration;

use crate::{
    relay::{Moment, Relay},
    verdict::Scenario,
    worker::Terms,
    world::{Order, World, until},
};

const RUNS: usize = 4;

const PATIENCE: Duration = Duration::from_secs(90);

/// A job for each fall; every one of them has exactly so many executions.
async fn falls(number: u32, name: &str, text: &'static str, moment: Moment, order: Order) {
    let world = World::new().await;
    let relay = Relay::before(&world.url).await;
    let worker = world.hire(&Terms::lease(20).through(&relay.url));
    let warm_up = world
        .order(Order::new("database:db", "").executions(1))
        .await;
    world.until_state(warm_up, "succeeded").await;
    for run in 1..=RUNS {
        relay.arm(text, moment);
        let job = world.order(order.clone()).await;
        until(&format!("{text} to fall"), async || {
            (relay.sprung() == run).then_some(())
        })
        .await;
        let ended = format!(
            "select count(*) from kanbu_backup.job where id = '{job}' and finished_at is not null"
        );
        until("the job to end", async || {
            (world.count(&ended).await == 1).then_some(())
        })
        .await;
    }
    let scenario = Scenario {
        number,
        name,
        runs: RUNS,
        patience: PATIENCE,
    };
    world.conclude(scenario, vec![worker]).await;
}

fn short() -> Order {
    Order::new("database:db", "effect follow").executions(1)
}

/// Long enough that leases are renewed meanwhile.
fn long() -> Order {
    Order::new("database:db", "sleep:1500 effect").executions(1)
}

fn failing() -> Order {
    Order::new("database:db", "fail@1").executions(2)
}

const CLAIM: &str = "kanbu_backup.claim(";
const RENEW: &str = "kanbu_backup.renew(";
const FINISH: &str = "kanbu_backup.finish(";

#[tokio::test]
async fn a_claim_that_falls_before_its_commit_costs_no_attempt() {
    falls(
        20,
        "claim cut before its commit",
        CLAIM,
        Moment::BeforeCommit,
        short(),
    )
    .await;
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_costs_no_attempt() {
    falls(
        21,
        "claim's answer lost",
        CLAIM,
        Moment::AfterCommit,
        short(),
    )
    .await;
}

#[tokio::test]
async fn a_renewal_that_falls_before_its_commit_costs_nothing() {
    falls(
        22,
        "renewal cut before its commit",
        RENEW,
        Moment::BeforeCommit,
        long(),
    )
    .await;
}

#[tokio::test]
async fn a_renewal_whose_answer_is_lost_costs_nothing() {
    falls(
        23,
        "renewal's answer lost",
        RENEW,
        Moment::AfterCommit,
        long(),
    )
    .await;
}

#[tokio::test]
async fn a_publication_that_falls_before_its_commit_is_repeated() {
    falls(
        24,
        "publication cut before its commit",
        FINISH,
        Moment::BeforeCommit,
        short(),
    )
    .await;
}

#[tokio::test]
async fn a_publication_whose_answer_is_lost_happens_once() {
    falls(
        25,
        "publication's answer lost",
        FINISH,
        Moment::AfterCommit,
        short(),
    )
    .await;
}

#[tokio::test]
async fn a_finish_that_falls_before_its_commit_is_repeated() {
    falls(
        26,
        "finish cut before its commit",
        FINISH,
        Moment::BeforeCommit,
        failing(),
    )
    .await;
}

#[tokio::test]
async fn a_finish_whose_answer_is_lost_is_not_repeated() {
    falls(
        27,
        "finish's answer lost",
        FINISH,
        Moment::AfterCommit,
        failing(),
    )
    .await;
}

/// A producer repeats each tick under its request key until it is answered.
async fn fallen_enqueues(number: u32, name: &str, moment: Moment) {
    let world = World::new().await;
    let relay = Relay::before(&world.url).await;
    let producer = world.produce("producer", Some(&relay.url), &["--ticks", "40"]);
    relay.arm("kanbu_backup.enqueue_backup(", moment);
    for run in 1..=RUNS {
        until("an enqueue to fall", async || {
            (relay.sprung() == run).then_some(())
        })
        .await;
        relay.arm("kanbu_backup.enqueue_backup(", moment);
    }
    relay.disarm();
    world.suffered(producer.gone().await);
    world.expect_ticks(40).await;
    let worker = world.hire(&Terms::lease(20));
    let scenario = Scenario {
        number,
        name,
        runs: relay.sprung(),
        patience: PATIENCE,
    };
    world.conclude(scenario, vec![worker]).await;
}

#[tokio::test]
async fn an_enqueue_that_falls_before_its_commit_is_repeated() {
    fallen_enqueues(28, "enqueue cut before its commit", Moment::BeforeCommit).await;
}

#[tokio::test]
async fn an_enqueue_whose_answer_is_lost_makes_one_job() {
    fallen_enqueues(29, "enqueue's answer lost", Moment::AfterCommit).await;
}
