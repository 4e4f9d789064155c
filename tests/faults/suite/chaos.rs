//! The chaos run: many workers, many jobs, and every second another blow, by a plan that follows from a seed.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    settings,
    verdict::Scenario,
    worker::{Process, Terms},
    world::{Order, World},
};

const WORKERS: usize = 20;
const SUBJECTS: usize = 50;
const JOBS_IN_TWO_MINUTES: u64 = 2000;

const LEASE: u64 = 8;

/// The last jobs may take so long once nobody is hurt any more.
const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn nothing_is_lost_doubled_or_stuck_in_the_chaos() {
    let (time, seed) = (settings::chaos_time(), settings::seed());
    let mut rng = Rng::with_seed(seed);
    let world = World::new().await;
    let jobs = (JOBS_IN_TWO_MINUTES * time.as_secs()).div_ceil(120);
    for _ in 0..jobs {
        world.order(order(&mut rng)).await;
    }
    let mut crowd = Crowd::hire(world, rng);
    let blows = crowd.suffer(time).await;
    let (world, workers) = crowd.recover().await;
    let scenario = Scenario {
        number: 90,
        name: &format!(
            "chaos: {WORKERS} workers, {jobs} jobs, {SUBJECTS} subjects, {} s, seed {seed}",
            time.as_secs()
        ),
        runs: blows,
        patience: PATIENCE,
    };
    world.conclude(scenario, workers).await;
}

/// A job of any sort, most of them good ones. The budget of good ones is larger than anybody's bad luck.
fn order(rng: &mut Rng) -> Order {
    let subject = format!("database:db{:02}", rng.usize(..SUBJECTS));
    let (one, two) = (rng.u32(20..1000), rng.u32(20..1000));
    let good = |script: String| Order::new(&subject, script).at_most(30);
    match rng.u32(..1000) {
        ..600 => good(format!("sleep:{one} effect sleep:{two}")),
        600..700 => good(format!("sleep:{one} follow")),
        700..760 => good(format!("sleep:{one} fail@1 effect sleep:{two}")),
        760..800 => good(format!("effect sleep:{one} panic@1 sleep:{two}")),
        800..840 => good(format!("stubborn:{one} effect stubborn:{two}")),
        840..870 => good(format!("effect sleep:{} effect follow", 5000 + 5 * one)),
        870..900 => good(format!("careless stubborn:{two}")),
        900..910 => good(format!("sleep:{one} abort@1")),
        910..950 => good(format!("effect sleep:{one} fail")).at_most(3).dies(),
        950..995 => good(format!("effect sleep:{one} fail-permanently")).dies(),
        _ => good(format!("effect sleep:{one} abort")).at_most(2).dies(),
    }
}

struct Crowd {
    world: World,
    rng: Rng,
    terms: Terms,
    workers: Vec<Process>,
    /// When who wakes up again.
    sleeping: Vec<(Instant, Process)>,
    leaving: Vec<Process>,
}

impl Crowd {
    fn hire(world: World, rng: Rng) -> Self {
        let terms = Terms::lease(LEASE).grace(1500);
        let workers = (0..WORKERS).map(|_| world.hire(&terms)).collect();
        Self {
            world,
            rng,
            terms,
            workers,
            sleeping: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Every second somebody is killed; some are frozen, some sent home. Whoever falls out is replaced. Answers how many
    /// blows there were.
    async fn suffer(&mut self, time: Duration) -> usize {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + time;
        let mut blows = 0;
        while Instant::now() < end {
            seconds.tick().await;
            let victim = self.anybody();
            self.world.kill(victim).await;
            blows += 1;
            if self.rng.u32(..100) < 25 {
                let mut sleeper = self.anybody();
                sleeper.freeze();
                let wakes = Instant::now() + Duration::from_millis(self.rng.u64(500..14_000));
                self.sleeping.push((wakes, sleeper));
                blows += 1;
            }
            if self.rng.u32(..100) < 15 {
                let leaver = self.anybody();
                leaver.terminate();
                self.leaving.push(leaver);
                blows += 1;
            }
            self.wake(Instant::now());
            self.replace_the_dead().await;
        }
        blows
    }

    /// Nobody is hurt any more, but by the poison that is still in the queue.
    async fn recover(mut self) -> (World, Vec<Process>) {
        for (wakes, _) in &mut self.sleeping {
            *wakes = Instant::now();
        }
        self.wake(Instant::now());
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && !self.world.until_all_ended(Duration::from_secs(1)).await {
            self.replace_the_dead().await;
        }
        self.replace_the_dead().await;
        for leaver in self.leaving {
            self.world.suffered(leaver.gone().await);
        }
        (self.world, self.workers)
    }

    fn anybody(&mut self) -> Process {
        let unlucky = self.rng.usize(..self.workers.len());
        let new = self.world.hire(&self.terms);
        std::mem::replace(&mut self.workers[unlucky], new)
    }

    fn wake(&mut self, now: Instant) {
        for (_, mut sleeper) in self.sleeping.extract_if(.., |(wakes, _)| *wakes <= now) {
            sleeper.thaw();
            self.workers.push(sleeper);
        }
        // Whoever stood in for a sleeper goes home.
        while self.workers.len() > WORKERS {
            let stand_in = self.workers.remove(0);
            stand_in.terminate();
            self.leaving.push(stand_in);
        }
    }

    async fn replace_the_dead(&mut self) {
        for worker in &mut self.workers {
            if worker.has_ended() {
                let dead = std::mem::replace(worker, self.world.hire(&self.terms));
                self.world.suffered(dead.end().await.2);
            }
        }
        for gone in self.leaving.extract_if(.., |leaver| leaver.has_ended()) {
            self.world.suffered(gone.end().await.2);
        }
    }
}
