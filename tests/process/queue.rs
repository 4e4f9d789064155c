//! The verbs that steer the queue: pauses, limits, lists, dead letters, enqueue, and what doctor says of all that.

use kanbu_backup::{id::JobId, queue::JobState};
use serde_json::Value;

use crate::{running::until, world::World};

impl World {
    /// Enqueues a backup of the protected database, and nothing else.
    async fn enqueue(&self, more: &[&str]) -> Value {
        let subject = self.subject();
        let args = ["enqueue", "backup", "--subject", &subject, "--no-wait"];
        self.result(&[&args, more].concat()).await
    }

    fn subject(&self) -> String {
        format!("database:{}", self.protected.name)
    }

    async fn document(&self, args: &[&str], name: &str) -> Value {
        let ended = self.run(&[args, &["--json"]].concat()).await.with(0);
        ended.document()[name].clone()
    }

    async fn stats(&self, kind: &str) -> Value {
        let queue = self.document(&["queue", "stats"], "queue").await;
        let kinds = queue["kinds"].as_array().unwrap();
        kinds.iter().find(|of| of["kind"] == kind).unwrap().clone()
    }
}

fn id(line: &Value) -> JobId {
    line["job"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_pause_holds_jobs_until_it_is_ended_and_says_why() {
    let world = World::new().await;
    let subject = world.subject();
    let pause = ["queue", "pause", "--kind", "backup", "--subject", &subject];
    let dry = [&pause[..], &["--dry-run"]].concat();
    let text = world.run(&dry).await.with(0).stdout;
    assert!(text.contains("would be paused"), "{text}");
    let resume = ["queue", "resume", "--kind", "backup", "--subject", &subject];
    world
        .run(&resume)
        .await
        .refused(4, "pause.not_found", &subject);

    let why = ["--until", "2h", "--reason", "the host is being moved"];
    let paused = world.result(&[&pause[..], &why].concat()).await;
    assert_eq!(paused["paused"], true);
    let job = id(&world.enqueue(&[]).await);
    let worker = world.worker("one").await;
    let waiting = world.document(&["queue", "waiting"], "waiting").await;
    assert_eq!(waiting[0]["id"], job.to_string());
    assert_eq!(
        waiting[0]["blocked"]["pause"]["reason"],
        "the host is being moved"
    );
    let text = world.run(&["queue", "waiting"]).await.with(0).stdout;
    assert!(text.contains("the end of a pause at"), "{text}");
    assert!(text.contains("(the host is being moved)"), "{text}");
    let text = world.run(&["queue", "stats"]).await.with(0).stdout;
    assert!(
        text.contains(&format!("paused: backup jobs of {subject}, by cli since")),
        "{text}"
    );
    assert_eq!(world.job(job).await.state, JobState::Queued);

    let dry = [&resume[..], &["--dry-run"]].concat();
    world.run(&dry).await.with(0);
    assert_eq!(world.job(job).await.state, JobState::Queued);
    world.run(&resume).await.with(0);
    world.until_job(job, JobState::Succeeded).await;
    assert_eq!(world.stats("backup").await["succeeded"], 1);
    world.dismiss(worker).await;
    world.holds().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let subject = world.subject();
    let past = ["queue", "pause", "--until", "2020-01-01"];
    let ended = world.run(&past).await.with(2);
    assert!(ended.stderr.contains("is over already"), "{}", ended.stderr);
    for args in [
        &["queue", "pause", "--until", "soon"][..],
        &["queue", "pause", "--kind", "bakcup"],
        &["queue", "pause", "--subject", "kanbu"],
        &["queue", "limit", "backup", "0"],
        &["drain"],
        &["enqueue", "backup"],
        &[
            "enqueue",
            "backup",
            "--subject",
            &subject,
            "--option",
            "lable=x",
        ],
        &[
            "enqueue",
            "backup",
            "--subject",
            &subject,
            "--options",
            "[1]",
        ],
        &[
            "enqueue",
            "backup",
            "--subject",
            &subject,
            "--max-attempts",
            "0",
        ],
        &[
            "enqueue",
            "backup",
            "--subject",
            &subject,
            "--run-at",
            "2020-01-01",
        ],
        &["worker", "--drain-timeout", "for ever"],
    ] {
        world.run(args).await.with(2);
    }
    world
        .run(&["drain", "nobody"])
        .await
        .refused(4, "worker.not_found", "nobody");
    let stats = world.stats("backup").await;
    assert_eq!(
        (&stats["ready"], &stats["scheduled"]),
        (&0.into(), &0.into())
    );
    let rows = "select kind from kanbu_backup.queue_control";
    assert_eq!(world.control().texts(rows).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_job_is_enqueued_with_all_its_conditions() {
    let world = World::new().await;
    let subject = world.subject();
    let conditions = [
        "--option",
        "label=before import",
        "--option",
        "pin=true",
        "--priority",
        "7",
        "--max-attempts",
        "2",
        "--run-at",
        "3d",
    ];
    let args = [
        &["enqueue", "backup", "--subject", &subject][..],
        &conditions,
    ]
    .concat();
    let dry = [&args[..], &["--dry-run"]].concat();
    let shown = world.document(&dry, "job").await;
    assert_eq!(shown["payload"]["label"], "before import");
    assert_eq!(shown["already_open"], Value::Null);
    assert_eq!(world.stats("backup").await["scheduled"], 0);
    let prune = ["enqueue", "prune", "--subject", &subject, "--dry-run"];
    let shown = world.document(&prune, "job").await;
    assert_eq!(shown["payload"], serde_json::json!({ "subject": subject }));

    let keyed = [&args[..], &["--request-key", "deploy 7"]].concat();
    let job = id(&world.result(&keyed).await);
    let view = world.job(job).await;
    assert_eq!((view.priority, view.max_attempts), (7, 2));
    assert_eq!(view.requested_by.as_deref(), Some("cli"));
    let payload = "select payload::text from kanbu_backup.job";
    let payload: Value = serde_json::from_str(&world.control().texts(payload).await[0]).unwrap();
    assert_eq!(payload["pin"], true);
    assert_eq!(id(&world.result(&keyed).await), job);
    assert_eq!(world.stats("backup").await["scheduled"], 1);

    // It waits for its time, until somebody can't.
    let short = job.short();
    world
        .run(&["job", "run-now", &short, "--dry-run"])
        .await
        .with(0);
    assert!(world.job(job).await.run_at > view.created_at);
    let worker = world.worker("one").await;
    world.run(&["job", "run-now", &short]).await.with(0);
    world.until_job(job, JobState::Succeeded).await;
    world
        .run(&["job", "run-now", &short])
        .await
        .refused(5, "queue.not_queued", "succeeded");

    // Followed to its end, like any other verb.
    let followed = ["enqueue", "verify", "--subject", &subject];
    let ended = world.result(&followed).await;
    assert_eq!(ended["outcome"], "succeeded");
    assert_eq!(ended["result"]["good"], 1);
    world.dismiss(worker).await;
    world.holds().await;
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_reason_and_retried_with_a_new_budget() {
    let mut world = World::new().await;
    let url = world.protected.url.clone();
    let missing = format!("{}_elsewhere", world.protected.name);
    world.set(
        "DATABASE_URL",
        &url.replace(&world.protected.name, &missing),
    );
    let subject = format!("database:{missing}");
    let worker = world.worker("one").await;
    let args = [
        "enqueue",
        "backup",
        "--subject",
        &subject,
        "--max-attempts",
        "1",
    ];
    world
        .run(&args)
        .await
        .refused(8, "database.missing", "there is no database");
    let job = world.newest_job().await;

    let dead = world.document(&["queue", "dead"], "dead").await;
    assert_eq!(dead[0]["id"], job.id.to_string());
    assert_eq!(dead[0]["error_code"], "database.missing");
    assert_eq!(dead[0]["attempts"], 1);
    let text = world.run(&["queue", "dead", "--kind", "backup"]).await;
    let text = text.with(0).stdout;
    for part in [
        "after 1 attempts",
        "(database.missing)",
        "hint: ",
        "job retry",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let doctor = world.run(&["doctor", "--queue"]).await.with(3).stdout;
    assert!(doctor.contains("1 backup; nobody tries them"), "{doctor}");

    let short = job.id.short();
    let retry = ["job", "retry", &short, "--attempts", "5"];
    world
        .run(&[&retry[..], &["--dry-run"]].concat())
        .await
        .with(0);
    assert_eq!(world.job(job.id).await.state, JobState::Dead);
    world
        .protected
        .run(&format!("create database {missing}"))
        .await;
    world.run(&retry).await.with(0);
    let view = world.until_job(job.id, JobState::Succeeded).await;
    assert_eq!((view.attempts, view.max_attempts), (2, 6));
    let cancel = ["job", "cancel", &short, "--dry-run"];
    world.run(&cancel).await.with(5);
    world.dismiss(worker).await;
    world
        .protected
        .run(&format!("drop database {missing}"))
        .await;
    world.holds().await;
}

/// A worker that vanished, one that is deaf, a lease that nobody saw run out, and a job that nobody takes.
async fn disorder(world: &World) {
    world
        .control()
        .run(
            "insert into kanbu_backup.worker (id, host, version, slots, last_seen_at, started_at)
               values (gen_random_uuid(), 'lost', '0', '{\"backup\": 1}', now() - interval '1 hour', now() - interval '2 hours'),
                      (gen_random_uuid(), 'deaf', '0', '{\"verify\": 1}', now(), now() - interval '2 hours')",
        )
        .await;
    world.enqueue(&[]).await;
    world
        .control()
        .run(
            "update kanbu_backup.job set run_at = now() - interval '1 hour';
             insert into kanbu_backup.execution (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at, lease_until)
             select gen_random_uuid(), id, kind, subject, true, gen_random_uuid(), 1, now(), now() - interval '1 minute'
               from kanbu_backup.job",
        )
        .await;
}

#[tokio::test]
async fn doctor_tells_what_is_wrong_with_the_queue_and_how_to_right_it() {
    let world = World::new().await;
    let worker = world.worker("one").await;
    until("the worker to hear", async || {
        let hears = "select 'yes' from kanbu_backup.worker where listening";
        (!world.control().texts(hears).await.is_empty()).then_some(())
    })
    .await;
    let doctor = world.run(&["doctor", "--queue"]).await.with(0).stdout;
    assert!(doctor.contains("in order"), "{doctor}");
    assert!(!doctor.contains("storage"), "{doctor}");
    world.run(&["doctor"]).await.with(0);

    world
        .run(&["queue", "pause", "--kind", "verify"])
        .await
        .with(0);
    let doctor = world.run(&["doctor"]).await.with(3).stdout;
    assert!(
        doctor.contains("fix: kanbu-backup queue resume --kind verify"),
        "{doctor}"
    );
    world.dismiss(worker).await;

    disorder(&world).await;
    let ended = world.run(&["doctor", "--queue", "--json"]).await.with(1);
    let checks = ended.document()["checks"].clone();
    for (what, grade, text) in [
        (
            "invariant",
            "bad",
            "open_execution_of_a_job_that_is_not_running",
        ),
        ("leases", "bad", "nobody has closed"),
        ("backup jobs", "bad", "no worker takes them"),
        ("worker lost", "warning", "not heard of"),
        ("worker deaf", "warning", "hears no notifications"),
        ("pause", "warning", "without end, by cli"),
    ] {
        let found = checks.as_array().unwrap().iter().any(|check| {
            check["what"] == what
                && check["grade"] == grade
                && check["text"].as_str().unwrap().contains(text)
                && check["fix"].is_string()
        });
        assert!(found, "{what}: {checks:#}");
    }
}

#[tokio::test]
async fn a_control_database_without_the_queue_is_told_to_be_prepared() {
    let mut world = World::alone().await;
    let empty = kanbu_backup::testing::TestServer::shared()
        .await
        .database("empty")
        .await;
    world.set("KANBU_BACKUP_DATABASE_URL", &empty.url);
    for args in [
        &["queue", "stats"][..],
        &["queue", "pause"],
        &["drain", "--all"],
    ] {
        let ended = world.run(args).await;
        let ended = ended.refused(8, "queue.not_prepared", "has no queue yet");
        assert!(ended.stderr.contains("migrate db"), "{}", ended.stderr);
    }
    let doctor = world.run(&["doctor", "--queue"]).await.with(1).stdout;
    assert!(doctor.contains("migrate db"), "{doctor}");
    world.run(&["migrate", "db"]).await.with(0);
    world.run(&["doctor", "--queue"]).await.with(0);
}

#[tokio::test]
async fn a_limit_holds_over_processes() {
    let world = World::large().await;
    let limited = world.result(&["queue", "limit", "backup", "1"]).await;
    assert_eq!(limited["max_running"], 1);
    let dry = ["queue", "limit", "backup", "none", "--dry-run"];
    world.run(&dry).await.with(0);
    let (one, two) = (world.worker("one").await, world.worker("two").await);
    let held = world.hold_dumps().await;
    let first = id(&world.enqueue(&[]).await);
    world.until_job(first, JobState::Running).await;
    let tree = world.result(&["backup", "source", "--no-wait"]).await;
    let waiting = until("the other to wait for the limit", async || {
        let text = world.run(&["queue", "waiting"]).await.with(0).stdout;
        text.contains("the limit of its kind").then_some(text)
    })
    .await;
    assert!(waiting.contains(&id(&tree).short()), "{waiting}");
    let stats = world.stats("backup").await;
    assert_eq!(
        (&stats["open"], &stats["max_running"]),
        (&1.into(), &1.into())
    );
    assert_eq!(world.job(id(&tree)).await.state, JobState::Queued);
    world
        .run(&["queue", "limit", "backup", "none"])
        .await
        .with(0);
    world.until_job(id(&tree), JobState::Succeeded).await;
    assert_eq!(world.job(first).await.state, JobState::Running);
    drop(held);
    world.until_job(first, JobState::Succeeded).await;
    world.dismiss(one).await;
    world.dismiss(two).await;
    world.holds().await;
}
