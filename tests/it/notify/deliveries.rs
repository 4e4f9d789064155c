//! From an event to a receiver: retries, refusals, dead workers, and that no receiver holds up anything but its own message.

use kanbu_backup::execution::delivery;

use super::{
    receiver::{Answer as Reply, Receiver},
    *,
};

/// An event that everybody wants.
async fn happened(world: &World) -> EventId {
    world.backup(failed(Fault::Permanent)).await;
    world.newest_event().await
}

#[tokio::test]
async fn a_message_that_is_refused_for_now_comes_again_under_the_same_id() {
    let receiver = Receiver::start([Reply::Status(500), Reply::Cut]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    let worker = world.work();
    let event = happened(&world).await;
    for attempts in 1..=2 {
        world.until_deliveries(attempts).await;
        world.until_message("hook", JobState::Queued).await;
        world.hurry().await;
    }
    world.until_message("hook", JobState::Succeeded).await;
    let deliveries = world.deliveries().await;
    assert_eq!(
        deliveries,
        ["hook failed 500 1", "hook failed 2", "hook delivered 200 3"]
    );
    let sent = receiver.sent();
    assert_eq!(sent.len(), 3);
    for sent in &sent {
        assert_eq!(
            sent.header("X-Kanbu-Backup-Id"),
            Some(event.to_string().as_str())
        );
        assert_eq!(sent.body, receiver.sent()[0].body);
    }
    worker.go_home().await;
    assert_eq!(queue::invariants(&world.db).await.unwrap(), []);
}

#[tokio::test]
async fn a_message_that_is_refused_for_good_is_given_up_at_once_and_tells_nobody() {
    let receiver = Receiver::start([Reply::Status(410)]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    let worker = world.work();
    happened(&world).await;
    let message = world.until_message("hook", JobState::Dead).await;
    assert_eq!(message.error_code.as_deref(), Some("notify.refused"));
    assert_eq!(world.deliveries().await, ["hook gave_up 410 1"]);
    assert_eq!(world.events().await.len(), 1);
    worker.go_home().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_patience_is_left_alone_for_so_long() {
    let patience = vec![("Retry-After".to_owned(), "7200".to_owned())];
    let receiver = Receiver::start([Reply::Full(429, patience, "slow down".to_owned())]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    world
        .sql("update kanbu_backup.kind_rule set backoff_base = '1 second' where kind = 'notify'")
        .await;
    let worker = world.work();
    happened(&world).await;
    world.until_deliveries(1).await;
    let message = world.until_message("hook", JobState::Queued).await;
    let waits = format!(
        "select (run_at > now() + interval '100 minutes')::text from kanbu_backup.job where id = '{}'",
        message.id
    );
    assert_eq!(world.text(&waits).await, "true");
    let error = world.text("select error from kanbu_backup.delivery").await;
    assert_eq!(error, "127.0.0.1 answered 429: slow down");
    worker.go_home().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_backup_and_no_other_message() {
    let hanging = Receiver::start([Reply::Hang]).await;
    let prompt = Receiver::start([]).await;
    let channels =
        webhook("hanging", &hanging.url("/x"), "") + &webhook("prompt", &prompt.url("/x"), "");
    let world = World::new(&channels).await;
    happened(&world).await;
    let worker = world.work_on([Kind::Backup, Kind::Notify]);
    hanging.until(1).await;
    world.until_message("prompt", JobState::Succeeded).await;
    let job = world.enqueue(backup("database:kanbu")).await;
    eventually("a backup beside the message", async || {
        let job = queue::job(&world.db, job).await.unwrap().unwrap();
        (job.state == JobState::Succeeded).then_some(())
    })
    .await;
    let waiting = world
        .number("select count(*) from kanbu_backup.delivery where channel = 'hanging'")
        .await;
    assert_eq!(
        waiting, 0,
        "the message had come to its end before the backup"
    );
    worker.go_home().await;
}

#[tokio::test]
async fn a_message_whose_worker_dies_on_the_way_comes_again_under_the_same_id() {
    let receiver = Receiver::start([Reply::Hang]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    let worker = world.work();
    let event = happened(&world).await;
    receiver.until(1).await;
    worker.die().await;
    world.sql("update kanbu_backup.execution set lease_until = now() - interval '1 second' where ended_at is null").await;
    let successor = world.work();
    world.until_message("hook", JobState::Succeeded).await;
    let ids: Vec<_> = receiver
        .sent()
        .iter()
        .map(|sent| sent.header("X-Kanbu-Backup-Id").unwrap().to_owned())
        .collect();
    assert_eq!(ids, [event.to_string(), event.to_string()]);
    successor.go_home().await;
}

#[tokio::test]
async fn an_event_whose_worker_dies_before_it_is_told_is_told_by_the_next() {
    let receiver = Receiver::start([]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    happened(&world).await;
    // The job that brings it to the channels, in the hands of somebody who is gone.
    world.claim(Kind::Notify).await;
    world.sql("update kanbu_backup.execution set lease_until = now() - interval '1 second' where ended_at is null").await;
    let worker = world.work();
    receiver.until(1).await;
    worker.go_home().await;
}

#[tokio::test]
async fn a_message_that_arrived_before_its_worker_died_is_not_sent_again() {
    let receiver = Receiver::start([]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    let event = happened(&world).await;
    let dead = {
        let job = delivery::replay(&world.db, event, Some("hook"))
            .await
            .unwrap();
        world
            .sql(&format!(
                "delete from kanbu_backup.job where kind = 'notify' and id <> '{job}'"
            ))
            .await;
        world.claim(Kind::Notify).await
    };
    let delivered = delivery::NewDelivery {
        event,
        channel: "hook".to_owned(),
        job: dead.job,
        execution: dead.execution,
        attempt: 1,
        status: delivery::DeliveryStatus::Delivered,
        http_status: Some(200),
        took: Duration::from_millis(5),
        error: None,
    };
    delivery::log(&world.db, &delivered).await.unwrap();
    world.sql("update kanbu_backup.execution set lease_until = now() - interval '1 second' where ended_at is null").await;
    let worker = world.work();
    world.until_message("hook", JobState::Succeeded).await;
    assert_eq!(receiver.sent().len(), 0);
    assert_eq!(world.deliveries().await.len(), 1);
    worker.go_home().await;
}

#[tokio::test]
async fn a_channel_that_is_configured_no_more_ends_its_messages() {
    let receiver = Receiver::start([]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    let event = happened(&world).await;
    delivery::replay(&world.db, event, Some("gone"))
        .await
        .unwrap();
    let worker = world.work();
    let message = world.until_message("gone", JobState::Dead).await;
    assert_eq!(
        message.error_code.as_deref(),
        Some("notify.unknown_channel")
    );
    receiver.until(1).await;
    worker.go_home().await;
}

#[tokio::test]
async fn a_redirect_is_followed_within_the_host_and_keeps_what_is_sent() {
    let to = |port: u16, host: &str| {
        vec![("Location".to_owned(), format!("http://{host}:{port}/there"))]
    };
    let receiver = Receiver::start([]).await;
    let port = receiver.port;
    receiver.will(Reply::Full(
        307,
        vec![("Location".to_owned(), "/here".to_owned())],
        String::new(),
    ));
    receiver.will(Reply::Full(308, to(port, "127.0.0.1"), String::new()));
    receiver.will(Reply::Status(200));
    let world = World::new(&webhook(
        "hook",
        &receiver.url("/x"),
        "secret = \"hush-hush\"",
    ))
    .await;
    let worker = world.work();
    happened(&world).await;
    let sent = receiver.until(3).await;
    let paths: Vec<_> = sent.iter().map(|sent| sent.path.as_str()).collect();
    assert_eq!(paths, ["/x", "/here", "/there"]);
    assert!(
        sent.iter()
            .all(|again| again.method == "POST" && again.body == sent[0].body)
    );
    world.until_deliveries(1).await;
    assert_eq!(world.deliveries().await, ["hook delivered 200 1"]);

    let other = Receiver::start([]).await;
    for location in [
        to(port, "localhost"),
        to(other.port, "127.0.0.1"),
        vec![("Location".to_owned(), format!("https://127.0.0.1:{port}/"))],
    ] {
        receiver.will(Reply::Full(308, location, String::new()));
        happened(&world).await;
    }
    receiver.will(Reply::Full(
        303,
        vec![("Location".to_owned(), "/here".to_owned())],
        String::new(),
    ));
    happened(&world).await;
    for _ in 0..4 {
        receiver.will(Reply::Full(
            307,
            vec![("Location".to_owned(), "/round".to_owned())],
            String::new(),
        ));
    }
    world.until_deliveries(5).await;
    happened(&world).await;
    world.until_deliveries(6).await;
    let codes = world
        .texts("select distinct error_code from kanbu_backup.delivery where status = 'gave_up'")
        .await;
    assert_eq!(codes, ["notify.redirected"]);
    assert_eq!(other.sent().len(), 0);
    worker.go_home().await;
}

#[tokio::test]
async fn an_answer_without_an_end_is_one_all_the_same() {
    let receiver = Receiver::start([Reply::Endless(200), Reply::Endless(500)]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    let worker = world.work();
    happened(&world).await;
    world.until_deliveries(1).await;
    happened(&world).await;
    world.until_deliveries(2).await;
    assert_eq!(
        world.deliveries().await,
        ["hook delivered 200 1", "hook failed 500 1"]
    );
    let longest = world
        .number("select max(length(error))::bigint from kanbu_backup.delivery")
        .await;
    assert!(longest < 300, "{longest} characters of an answer were kept");
    worker.go_home().await;
}

#[tokio::test]
async fn what_a_receiver_repeats_of_our_secrets_is_kept_nowhere() {
    let echo = "POST /services/T0KEN-abcdef?key=qu3ry-secret authorization: Bearer h3ader-secret hush-hush";
    let answer = || Reply::Full(500, vec![], echo.to_owned());
    let receiver = Receiver::start([answer(), answer()]).await;
    let url = receiver.url("/services/T0KEN-abcdef?key=qu3ry-secret");
    let template = format!(
        "[notify.own]\ntype = \"template\"\nurl = \"{url}\"\nallow_private = true\nbody = '{{\"text\": \"{{{{title}}}}\"}}'\n\
         [notify.own.headers]\nAuthorization = \"Bearer h3ader-secret\"\n"
    );
    let world = World::new(&(webhook("hook", &url, "secret = \"hush-hush\"") + &template)).await;
    let shown = format!("{:?}", world.deps);
    let worker = world.work();
    happened(&world).await;
    world.until_deliveries(2).await;
    eventually("both to wait", async || {
        let waiting =
            "select count(*) from kanbu_backup.job where payload ? 'channel' and state = 'queued'";
        (world.number(waiting).await == 2).then_some(())
    })
    .await;
    let kept = world
        .texts(
            "select concat_ws(' ', j.*::text) from kanbu_backup.job j union all
             select e.*::text from kanbu_backup.execution e union all
             select d.*::text from kanbu_backup.delivery d union all
             select v.*::text from kanbu_backup.event v",
        )
        .await;
    let hook = world
        .text("select error from kanbu_backup.delivery where channel = 'hook'")
        .await;
    assert!(hook.contains("answered 500: POST ***"), "{hook}");
    for secret in ["T0KEN-abcdef", "qu3ry-secret", "hush-hush"] {
        assert!(
            !hook.contains(secret) && !shown.contains(secret),
            "{secret} is shown: {hook} {shown}"
        );
    }
    let own = world
        .text("select error from kanbu_backup.delivery where channel = 'own'")
        .await;
    assert!(!own.contains("h3ader-secret"), "{own}");
    assert!(
        kept.iter()
            .all(|row| !row.contains("T0KEN") && !row.contains("qu3ry")),
        "{kept:?}"
    );
    worker.go_home().await;
}

#[tokio::test]
async fn the_template_of_a_channel_is_filled_and_its_headers_are_sent() {
    let receiver = Receiver::start([]).await;
    let channel = format!(
        "[notify.own]\ntype = \"template\"\nurl = \"{}\"\nallow_private = true\nmethod = \"PUT\"\n\
         body = '{{\"what\": \"{{{{event}}}}\", \"why\": \"{{{{error}}}}\", \"n\": {{{{size_bytes}}}}}}'\n\
         headers.X-Token = \"t0ken\"\n",
        receiver.url("/in")
    );
    let world = World::new(&channel).await;
    let worker = world.work();
    let failure = Failure::new(Fault::Permanent, "test.failed", "a \"quoted\"\nreason");
    world.backup(Close::Failed(failure)).await;
    let sent = receiver.until(1).await;
    assert_eq!(
        (sent[0].method.as_str(), sent[0].header("x-token")),
        ("PUT", Some("t0ken"))
    );
    let expected =
        serde_json::json!({"what": "backup.failed", "why": "a \"quoted\"\nreason", "n": 0});
    assert_eq!(sent[0].json(), expected);
    worker.go_home().await;
}

#[tokio::test]
async fn a_message_that_is_sent_once_more_bears_its_events_id() {
    let receiver = Receiver::start([]).await;
    let world = World::new(&webhook("hook", &receiver.url("/x"), "")).await;
    let worker = world.work();
    let event = happened(&world).await;
    receiver.until(1).await;
    world.until_deliveries(1).await;
    let short = event.short();
    let meant = delivery::meant(&world.db, &short).await.unwrap();
    assert_eq!((meant.len(), meant[0].event), (1, event));
    delivery::replay(&world.db, event, None).await.unwrap();
    let sent = receiver.until(2).await;
    assert_eq!(
        sent[1].header("X-Kanbu-Backup-Id"),
        Some(event.to_string().as_str())
    );
    world.until_deliveries(2).await;
    worker.go_home().await;
}
