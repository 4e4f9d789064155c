//! The control database goes away, hangs, restarts, or answers into the void, while jobs run.
//!
//! Crews reach it through a relay that can be told what to do; the test itself looks directly.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, OnceLock, PoisonError},
    time::Instant,
};

use kanbu_backup::{
    control::{
        ControlConfig,
        embedded::{PrivateServer, ServerOptions},
    },
    execution::Outcome,
    job::{Verify, VerifyLevel},
    testing::{ScratchDirectory, toolsets},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::*;

/// What the relay does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Pass,
    /// All connections are cut, new ones refused.
    Cut,
    /// Nothing moves, nothing is closed.
    Hang,
    /// Once: the answer to the message with this text (or to the message so many further on) is lost, and the connection
    /// with it. The server has done what was asked. Then all is well again, or everything is cut.
    Lose {
        text: &'static str,
        further: usize,
        then_cut: bool,
    },
}

/// A listener in front of the server's.
pub(super) struct Relay {
    pub(super) url: String,
    pub(super) mode: watch::Sender<Mode>,
    target: Arc<Mutex<u16>>,
    server: JoinHandle<()>,
}

impl Relay {
    pub(super) async fn before(database: &str) -> Self {
        let mut url = url::Url::parse(database).unwrap();
        let target = Arc::new(Mutex::new(url.port().unwrap()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let mode = watch::Sender::new(Mode::Pass);
        let (watched, real) = (mode.clone(), Arc::clone(&target));
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = *real.lock().unwrap_or_else(PoisonError::into_inner);
                tokio::spawn(relay(client, port, watched.clone()));
            }
        });
        Self {
            url: url.into(),
            mode,
            target,
            server,
        }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// A control database that is always reached through the relay.
    async fn db(&self) -> ControlDb {
        ControlDb::connect(&ControlConfig::new(&self.url, "test"))
            .await
            .unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn relay(client: TcpStream, port: u16, mode: watch::Sender<Mode>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(server) = TcpStream::connect(address).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let lost = OnceLock::new();
    let mut cut = mode.subscribe();
    tokio::select! {
        () = ask(from_client, to_server, &mode, &lost) => {}
        () = answer(from_server, to_client, &mode, &lost) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn moving(mode: &watch::Sender<Mode>) {
    mode.subscribe()
        .wait_for(|mode| *mode != Mode::Hang)
        .await
        .unwrap();
}

async fn ask(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mode: &watch::Sender<Mode>,
    lost: &OnceLock<Mode>,
) {
    let mut bytes = vec![0; 64 * 1024];
    let mut countdown = None;
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        moving(mode).await;
        let message = &bytes[..count];
        if let Mode::Lose {
            text,
            further,
            then_cut,
        } = *mode.borrow()
            && countdown.is_none()
            && message.windows(text.len()).any(|w| w == text.as_bytes())
        {
            countdown = Some((further, if then_cut { Mode::Cut } else { Mode::Pass }));
        } else {
            countdown = countdown.map(|(left, then): (usize, _)| (left.saturating_sub(1), then));
        }
        if let Some((0, then)) = countdown {
            lost.get_or_init(|| then);
        }
        if to.write_all(message).await.is_err() {
            return;
        }
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mode: &watch::Sender<Mode>,
    lost: &OnceLock<Mode>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        moving(mode).await;
        if let Some(then) = lost.get() {
            mode.send_replace(*then);
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Lets so much time go by in this mode.
async fn outage(relay: &Relay, mode: Mode, time: Duration) {
    relay.set(mode);
    let until = Instant::now() + time;
    eventually("the outage to be over", async || {
        (Instant::now() >= until).then_some(())
    })
    .await;
    relay.set(Mode::Pass);
}

async fn relayed() -> (World, Relay) {
    let world = World::new().await;
    let relay = Relay::before(world.url()).await;
    (world, relay)
}

/// S9: `mode` for six tenths of a lease, while a handler works and then waits for its check.
async fn a_short_outage_costs_nothing(mode: Mode) {
    let (world, relay) = relayed().await;
    let mut hands = Hands::hire(&relay.db().await, 1, 10);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    act.lease.check().await.unwrap();
    let (checked, ()) = tokio::join!(
        async {
            relay
                .mode
                .subscribe()
                .wait_for(|m| *m == mode)
                .await
                .unwrap();
            let checked = act.lease.check().await;
            (checked, *relay.mode.borrow())
        },
        outage(&relay, mode, Duration::from_secs(6)),
    );
    assert_eq!(checked, (Ok(()), Mode::Pass), "checked without an answer");
    act.succeeds();
    let executions = world.until_ended(job, 1).await;
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0].outcome, Some(Outcome::Succeeded));
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn an_outage_of_six_tenths_of_a_lease_costs_no_job() {
    a_short_outage_costs_nothing(Mode::Cut).await;
}

#[tokio::test]
async fn a_database_that_hangs_for_six_tenths_of_a_lease_costs_no_job() {
    a_short_outage_costs_nothing(Mode::Hang).await;
}

#[tokio::test]
async fn the_end_of_a_job_waits_for_the_database_to_come_back() {
    let (world, relay) = relayed().await;
    let mut hands = Hands::hire(&relay.db().await, 1, 8);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    relay.set(Mode::Cut);
    act.succeeds();
    outage(&relay, Mode::Cut, Duration::from_secs(2)).await;
    let executions = world.until_ended(job, 1).await;
    assert_eq!(executions[0].outcome, Some(Outcome::Succeeded));
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn in_an_outage_longer_than_its_lease_a_worker_stops_itself_in_time_and_the_job_is_redone() {
    let (world, relay) = relayed().await;
    // Long, so that an eighth of it is longer than a busy machine looks away.
    let lease = Duration::from_secs(12);
    let mut hands = Hands::hire(&relay.db().await, 1, lease.as_secs());
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    act.lease.check().await.unwrap();
    let renewed_at = Instant::now();
    relay.set(Mode::Cut);
    act.lease.cancelled().cancelled().await;
    assert!(renewed_at.elapsed() < lease, "{:?}", renewed_at.elapsed());
    assert_eq!(act.lease.check().await.unwrap_err().fault, Fault::LeaseLost);
    outage(&relay, Mode::Cut, Duration::from_secs(1)).await;

    let again = hands.next().await;
    assert_eq!((again.lease.job(), again.lease.attempt()), (job, 2));
    again.succeeds();
    let executions = world.until_ended(job, 2).await;
    assert_eq!(executions[0].fault, Some(Fault::LeaseLost));
    assert_eq!(executions[1].outcome, Some(Outcome::Succeeded));
    hands.go_home().await;
    world.holds().await;
}

/// S14
#[tokio::test]
async fn a_claim_whose_answer_is_lost_costs_no_attempt() {
    let (world, relay) = relayed().await;
    let job = world.backup("database:kanbu").await;
    let db = relay.db().await;
    // A statement's text is only sent with its first use on a connection.
    relay.set(Mode::Lose {
        text: "kanbu_backup.claim(",
        further: 1,
        then_cut: false,
    });
    let mut hands = Hands::hire(&db, 1, 30);
    let act = hands.next().await;
    assert_eq!(*relay.mode.borrow(), Mode::Pass, "no answer was lost");
    assert_eq!((act.lease.job(), act.lease.attempt()), (job, 1));
    act.succeeds();
    assert_eq!(world.until_ended(job, 1).await.len(), 1);
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_claim_that_is_answered_only_after_the_stop_is_given_back_uncharged() {
    let (world, relay) = relayed().await;
    let job = world.backup("database:kanbu").await;
    let db = relay.db().await;
    relay.set(Mode::Lose {
        text: "kanbu_backup.claim(",
        further: 1,
        then_cut: true,
    });
    let hands = Hands::hire(&db, 1, 30);
    let mut mode = relay.mode.subscribe();
    mode.wait_for(|mode| *mode == Mode::Cut).await.unwrap();
    assert_eq!(world.state(job).await, (JobState::Running, 1));
    hands.stop.cancel();
    relay.set(Mode::Pass);
    hands.gone().await;
    let executions = world.executions(job).await;
    assert_eq!(executions.len(), 1);
    assert!(!executions[0].charged);
    assert_eq!(world.state(job).await, (JobState::Queued, 0));
    world.holds().await;
}

#[tokio::test]
async fn a_finish_whose_answer_is_lost_is_not_repeated() {
    let (world, relay) = relayed().await;
    let mut hands = Hands::hire(&relay.db().await, 1, 30);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    relay.set(Mode::Lose {
        text: "kanbu_backup.finish(",
        further: 1,
        then_cut: false,
    });
    act.fails(Fault::Transient);
    hands.go_home().await;
    assert_eq!(*relay.mode.borrow(), Mode::Pass, "no answer was lost");
    assert_eq!(world.state(job).await, (JobState::Queued, 1));
    assert_eq!(world.executions(job).await.len(), 1);
    world.holds().await;
}

#[tokio::test]
async fn a_publication_whose_answer_is_lost_happens_once() {
    let (world, relay) = relayed().await;
    let mut hands = Hands::hire(&relay.db().await, 1, 30);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    relay.set(Mode::Lose {
        text: "COMMIT",
        further: 0,
        then_cut: false,
    });
    act.ends(Ok(Effects {
        follow_ups: vec![Job::Verify(Verify {
            level: VerifyLevel::Quick,
            ..Verify::of("database:kanbu".parse().unwrap())
        })],
        ..Effects::default()
    }));
    hands.go_home().await;
    assert_eq!(*relay.mode.borrow(), Mode::Pass, "no answer was lost");
    assert_eq!(world.state(job).await, (JobState::Succeeded, 1));
    let follow_ups = world
        .number("select count(*) from kanbu_backup.job where origin = 'follow_up'")
        .await;
    assert_eq!(follow_ups, 1);
    world.holds().await;
}

#[tokio::test]
async fn an_enqueue_whose_answer_is_lost_can_be_repeated_under_its_request_key() {
    let (world, relay) = relayed().await;
    let db = relay.db().await;
    let new = NewJob {
        request_key: Some("request-1".to_owned()),
        ..backup("database:kanbu")
    };
    let ask = async || {
        let mut conn = db.pool().acquire().await.unwrap();
        queue::enqueue(&mut conn, &new).await
    };
    relay.set(Mode::Lose {
        text: "kanbu_backup.enqueue(",
        further: 1,
        then_cut: false,
    });
    let error = ask().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(matches!(ask().await.unwrap(), Enqueued::AlreadyOpen(_)));
    assert_eq!(
        world.number("select count(*) from kanbu_backup.job").await,
        1
    );
}

#[tokio::test]
async fn a_job_survives_a_restart_of_the_control_database() {
    let directory = ScratchDirectory::new();
    let tools = toolsets().await;
    let start = async || {
        let options = ServerOptions::new(directory.server(), tools.clone());
        PrivateServer::start(options).await.unwrap()
    };
    let server = start().await;
    let relay = Relay::before(server.url()).await;
    let db = relay.db().await;
    db.migrate().await.unwrap();
    let world = World {
        database: None,
        db: db.clone(),
    };
    let mut hands = Hands::hire(&db, 1, 20);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    server.stop().await.unwrap();
    let server = start().await;
    let port = url::Url::parse(server.url()).unwrap().port().unwrap();
    *relay.target.lock().unwrap() = port;
    act.lease.check().await.unwrap();
    act.succeeds();
    let executions = eventually("the end of the job", async || {
        let all = queue::executions(&db, job).await.ok()?;
        all[0].ended_at.is_some().then_some(all)
    })
    .await;
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0].outcome, Some(Outcome::Succeeded));
    hands.go_home().await;
    world.holds().await;
    db.close().await;
    server.stop().await.unwrap();
}
