//! Pings: which address is called when, and that a late one isn't.

use kanbu_backup::execution::Warning;

use super::{
    receiver::{Answer as Reply, Receiver},
    *,
};

fn channel(more: &str) -> String {
    format!("[notify.beat]\ntype = \"heartbeat\"\nallow_private = true\n{more}\n")
}

#[tokio::test]
async fn a_backup_pings_at_its_start_and_at_its_end() {
    let receiver = Receiver::start([]).await;
    let url = receiver.url("/ping/abcdef012345");
    let world = World::new(&channel(&format!("url = \"{url}\""))).await;
    let worker = world.work_on([Kind::Backup, Kind::Notify]);
    let job = world.enqueue(backup("database:kanbu")).await;
    eventually("both pings", async || {
        // The start may be skipped when the end was faster.
        (world.deliveries().await.len() == 2).then_some(())
    })
    .await;
    let execution = queue::executions(&world.db, job)
        .await
        .unwrap()
        .remove(0)
        .id;
    let paths: Vec<_> = receiver
        .sent()
        .iter()
        .map(|sent| sent.path.clone())
        .collect();
    let end = format!("/ping/abcdef012345?rid={execution}");
    let start = format!("/ping/abcdef012345/start?rid={execution}");
    assert!(paths == [start, end.clone()] || paths == [end], "{paths:?}");
    worker.go_home().await;

    world.backup(failed(Fault::Permanent)).await;
    let worker = world.work();
    let path = eventually("the ping of a failure", async || {
        receiver
            .sent()
            .iter()
            .map(|sent| sent.path.clone())
            .find(|path| path.contains("/fail?rid="))
    })
    .await;
    assert!(path.starts_with("/ping/abcdef012345/fail?rid="), "{path}");
    worker.go_home().await;
}

#[tokio::test]
async fn a_start_is_told_while_the_work_goes_on_and_not_when_it_has_ended() {
    let receiver = Receiver::start([]).await;
    let world = World::new(&channel(&format!("url = \"{}\"", receiver.url("/p")))).await;
    world.enqueue(backup("database:kanbu")).await;
    let claimed = world.claim(Kind::Backup).await;
    event::record_start(&world.db, claimed.execution)
        .await
        .unwrap();
    let worker = world.work();
    assert_eq!(
        receiver.until(1).await[0].path,
        format!("/p/start?rid={}", claimed.execution)
    );
    worker.go_home().await;

    event::record_start(&world.db, claimed.execution)
        .await
        .unwrap();
    world.end(&claimed, done()).await;
    let worker = world.work();
    world.until_deliveries(3).await;
    let deliveries = world.deliveries().await;
    assert!(
        deliveries.contains(&"beat skipped 1".to_owned()),
        "{deliveries:?}"
    );
    let starts = receiver
        .sent()
        .iter()
        .filter(|sent| sent.path.contains("/start"))
        .count();
    assert_eq!((starts, receiver.sent().len()), (1, 2));
    worker.go_home().await;
}

#[tokio::test]
async fn degraded_is_a_failure_to_a_monitor_unless_somebody_says_otherwise() {
    let strict = Receiver::start([]).await;
    let lenient = Receiver::start([]).await;
    let world = World::new(&format!(
        "[notify.strict]\ntype = \"heartbeat\"\nallow_private = true\nurl = \"{}\"\n\
         [notify.lenient]\ntype = \"heartbeat\"\nallow_private = true\ndegraded = \"success\"\nform = \"uptime-kuma\"\nurl = \"{}\"\n",
        strict.url("/p"),
        lenient.url("/push/x?status=up&msg=OK&ping="),
    ))
    .await;
    let degraded = Effects {
        warnings: vec![Warning {
            code: "storage.no_copy".to_owned(),
            text: "no copy".to_owned(),
            degrades: true,
        }],
        ..Effects::default()
    };
    world.backup(Close::Done(Box::new(degraded))).await;
    let worker = world.work();
    let strictly = strict.until(1).await;
    let leniently = lenient.until(1).await;
    assert!(strictly.last().unwrap().path.starts_with("/p/fail?rid="));
    let path = &leniently.last().unwrap().path;
    assert!(
        path.starts_with("/push/x?status=up&msg=Backup+of+database%3Akanbu+is+incomplete&ping="),
        "{path}"
    );
    worker.go_home().await;
}

#[tokio::test]
async fn a_ping_is_tried_four_times_and_then_let_go() {
    let receiver = Receiver::start(vec![Reply::Status(503); 9]).await;
    let world = World::new(&channel(&format!(
        "success_url = \"{}\"",
        receiver.url("/done")
    )))
    .await;
    let worker = world.work();
    world.backup(done()).await;
    for attempts in 1..=3 {
        world.until_deliveries(attempts).await;
        world.until_message("beat", JobState::Queued).await;
        world.hurry().await;
    }
    world.until_message("beat", JobState::Dead).await;
    let deliveries = world.deliveries().await;
    assert_eq!(deliveries.last().unwrap(), "beat gave_up 503 4");
    worker.go_home().await;
}
