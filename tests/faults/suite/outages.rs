//! PostgreSQL goes away: restarted, away for less than a lease and for more, cut off, hanging.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kanbu_backup::{
    control::embedded::{PrivateServer, ServerOptions},
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

/// A server of one scenario.
struct Server {
    directory: ScratchDirectory,
    running: PrivateServer,
}

impl Server {
    async fn start() -> Self {
        Self::start_in(ScratchDirectory::new()).await
    }

    async fn start_in(directory: ScratchDirectory) -> Self {
        let options = ServerOptions::new(directory.server(), toolsets().await).throwaway();
        let running = PrivateServer::start(options).await.unwrap();
        Self { directory, running }
    }

    /// Shuts it down; its files are kept.
    async fn stop(self) -> ScratchDirectory {
        self.running.stop().await.unwrap();
        self.directory
    }

    async fn crash(self) -> ScratchDirectory {
        kill_process(self.running.pid(), Signal::KILL).unwrap();
        self.running.ended().await;
        self.directory
    }

    /// Starts it again where the workers look for it.
    async fn start_again(directory: ScratchDirectory, url: &str) -> Self {
        let server = Self::start_in(directory).await;
        assert_eq!(
            server.running.url(),
            url,
            "somebody else took the server's port"
        );
        server
    }
}

/// Workers with a job each, at a gate.
async fn at_work(world: &World, terms: &Terms, executions: i64) -> Vec<Process> {
    let mut workers = Vec::new();
    for run in 0..WORKERS {
        workers.push(world.hire(terms));
        let order = Order::new(format!("database:db{run}"), "effect gate:go follow");
        let job = world.order(order.executions(executions)).await;
        world.until_begun(job, 1).await;
    }
    workers
}

fn seconds_since(moment: DateTime<Utc>) -> f64 {
    (true_now() - moment).as_seconds_f64()
}

#[tokio::test]
async fn jobs_survive_restarts_of_the_server() {
    let server = Server::start().await;
    let url = server.running.url().to_owned();
    let world = World::at(&url).await;
    let mut workers = at_work(&world, &Terms::lease(30), 1).await;
    let server = Server::start_again(server.stop().await, &url).await;
    let server = Server::start_again(server.crash().await, &url).await;
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
    let server = Server::start_again(server.crash().await, &url).await;
    let server = Server::start_again(server.stop().await, &url).await;
    workers.push(world.hire(&Terms::lease(30)));
    let scenario = Scenario {
        number: 7,
        name: "PostgreSQL restarted and crashed",
        runs: 4,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
    drop(server);
}

#[tokio::test]
async fn a_server_away_for_less_than_three_quarters_of_a_lease_costs_nothing() {
    let lease = 24;
    let server = Server::start().await;
    let url = server.running.url().to_owned();
    let world = World::at(&url).await;
    let workers = at_work(&world, &Terms::lease(lease), 1).await;
    let since = true_now();
    let files = server.stop().await;
    // Starting takes a while too.
    for_a_time(Duration::from_secs(13)).await;
    let server = Server::start_again(files, &url).await;
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
    drop(server);
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
    let server = Server::start().await;
    let url = server.running.url().to_owned();
    let world = World::at(&url).await;
    let workers = at_work(&world, &Terms::lease(5), 2).await;
    let files = server.stop().await;
    for_a_time(Duration::from_secs(7)).await;
    let server = Server::start_again(files, &url).await;
    world.open_gate("go");
    let scenario = Scenario {
        number: 11,
        name: "PostgreSQL away for longer than the lease",
        runs: 1,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
    drop(server);
}

/// Being told to stop isn't enough for a handler that doesn't listen: it must be aborted before its lease is over.
#[tokio::test]
async fn a_deaf_handler_is_stopped_before_its_lease_is_over() {
    let world = World::new().await;
    let relay = Relay::before(&world.url).await;
    let terms = Terms::lease(8);
    let cut_off = world.hire(&terms.clone().through(&relay.url));
    let order = Order::new("database:deaf", "effect deaf-gate:never@1").executions(2);
    let job = world.order(order).await;
    world.until_begun(job, 1).await;
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
