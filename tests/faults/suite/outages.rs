//! PostgreSQL goes away: restarted, away for less than a lease and for more, cut off, hanging.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kanbu_backup::{
    pg::server::{PrivateServer, ServerOptions},
    testing::{ScratchDirectory, toolsets},
};
use kanbu_backup_faults::journal::true_now;
use rustix::process::{Signal, kill_process};

use crate::{
    relay::{Relay, Way},
    verdict::Scenario,
    worker::{Process, Terms},
    world::{Order, World, for_a_time},
};

const WORKERS: usize = 3;

const PATIENCE: Duration = Duration::from_secs(90);

/// A server of one scenario, behind a relay: it may come up again at another port.
struct Server {
    directory: ScratchDirectory,
    running: Option<PrivateServer>,
    relay: Relay,
}

impl Server {
    async fn start() -> Self {
        let directory = ScratchDirectory::new();
        let running = Self::run_in(&directory).await;
        Self {
            relay: Relay::before(running.url()).await,
            running: Some(running),
            directory,
        }
    }

    async fn run_in(directory: &ScratchDirectory) -> PrivateServer {
        let options = ServerOptions::new(directory.server(), toolsets().await).throwaway();
        PrivateServer::start(options).await.unwrap()
    }

    async fn world(&self) -> World {
        World::at(&self.relay.url).await
    }

    async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    async fn crash(&mut self) {
        let server = self.running.take().unwrap();
        kill_process(server.pid(), Signal::KILL).unwrap();
        server.ended().await;
    }

    async fn start_again(&mut self) {
        let server = Self::run_in(&self.directory).await;
        self.relay.lead_to(server.url());
        self.running = Some(server);
    }
}

/// Workers with a job each, at a gate.
async fn at_work(world: &World, terms: &Terms, executions: i64) -> Vec<Process> {
    let mut workers = Vec::new();
    for run in 0..WORKERS {
        workers.push(world.hire(terms));
        let order = Order::new(format!("database:db{run}"), "effect gate:go follow");
        let job = world.order(order.executions(executions)).await;
        world.until_touched(job, 1).await;
    }
    workers
}

fn seconds_since(moment: DateTime<Utc>) -> f64 {
    (true_now() - moment).as_seconds_f64()
}

#[tokio::test]
async fn jobs_survive_restarts_of_the_server() {
    let mut server = Server::start().await;
    let world = server.world().await;
    let mut workers = at_work(&world, &Terms::lease(30), 1).await;
    server.stop().await;
    server.start_again().await;
    server.crash().await;
    server.start_again().await;
    world.open_gate("go");
    // Restarts also while claims, ends and follow-ups are under way.
    for run in 0..WORKERS * 4 {
        world
            .order(
                Order::new(format!("database:db{}", run % 4), "effect sleep:400 follow")
                    .executions(1),
            )
            .await;
    }
    server.crash().await;
    server.start_again().await;
    server.stop().await;
    server.start_again().await;
    workers.push(world.hire(&Terms::lease(30)));
    let scenario = Scenario {
        number: 7,
        name: "PostgreSQL restarted and crashed",
        runs: 4,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

#[tokio::test]
async fn a_server_away_for_less_than_three_quarters_of_a_lease_costs_nothing() {
    let lease = 24;
    let mut server = Server::start().await;
    let world = server.world().await;
    let workers = at_work(&world, &Terms::lease(lease), 1).await;
    let since = true_now();
    server.stop().await;
    // Starting takes a while too.
    for_a_time(Duration::from_secs(13)).await;
    server.start_again().await;
    let away = seconds_since(since);
    assert!(
        away < 18.0,
        "this machine took {away} s to start a server: the scenario says nothing"
    );
    world.open_gate("go");
    let scenario = Scenario {
        number: 8,
        name: "PostgreSQL away for up to ¾ of the lease",
        runs: 1,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

/// The relay keeps time better than a server that must start: 2/3 of a lease, cut off or without a sign.
async fn unreachable(number: u32, name: &str, way: Way) {
    let world = World::new().await;
    let relay = Relay::before(&world.url).await;
    let workers = at_work(&world, &Terms::lease(12).through(&relay.url), 1).await;
    relay.set(way);
    for_a_time(Duration::from_secs(8)).await;
    relay.set(Way::Open);
    world.open_gate("go");
    let scenario = Scenario {
        number,
        name,
        runs: 1,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

#[tokio::test]
async fn being_cut_off_for_two_thirds_of_a_lease_costs_nothing() {
    unreachable(9, "connections cut off for ⅔ of the lease", Way::Cut).await;
}

#[tokio::test]
async fn a_database_that_hangs_for_two_thirds_of_a_lease_costs_nothing() {
    unreachable(10, "connections hang for ⅔ of the lease", Way::Hang).await;
}

#[tokio::test]
async fn a_server_away_for_longer_than_the_lease_finds_its_workers_stopped_and_the_jobs_are_redone()
{
    let mut server = Server::start().await;
    let world = server.world().await;
    let workers = at_work(&world, &Terms::lease(10), 2).await;
    server.stop().await;
    for_a_time(Duration::from_secs(14)).await;
    server.start_again().await;
    world.open_gate("go");
    let scenario = Scenario {
        number: 11,
        name: "PostgreSQL away for longer than the lease",
        runs: 1,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

/// Being told to stop isn't enough for a handler that doesn't listen: it must be aborted before its lease is over.
#[tokio::test]
async fn a_deaf_handler_is_stopped_before_its_lease_is_over() {
    let world = World::new().await;
    let relay = Relay::before(&world.url).await;
    let terms = Terms::lease(10);
    let cut_off = world.hire(&terms.clone().through(&relay.url));
    let order = Order::new("database:deaf", "effect deaf-gate:never@1").executions(2);
    let job = world.order(order).await;
    world.until_touched(job, 1).await;
    relay.set(Way::Cut);
    let heir = world.hire(&terms);
    world.until_state(job, "succeeded").await;
    world.until_handler_ended(job, 2).await;
    relay.set(Way::Open);
    let scenario = Scenario {
        number: 12,
        name: "cut off for ever, handler deaf",
        runs: 1,
        patience: PATIENCE,
    };
    world.conclude(scenario, vec![cut_off, heir]).await;
}
