//! Enqueueing by SQL, as every language does it: what is refused and how, what counts as the same request, whose backups
//! are known, and that a job belongs to its caller's transaction.

use kanbu_backup::{
    execution::Warning,
    fault::{Classified, Fault},
    id::ArtifactId,
    job::{Percent, Prune, Restore, RestoreInto, Subject, Verify, VerifyLevel},
    queue::{Close, Dedupe, Ending},
};
use sqlx::{PgConnection, postgres::PgDatabaseError};

use super::*;

/// What the database said of a statement that it refused: SQLSTATE, message, hint.
type Said = (String, String, String);

async fn ask(conn: &mut PgConnection, call: &str) -> std::result::Result<String, Said> {
    let query = AssertSqlSafe(format!("select ({call})::text"));
    let answer = sqlx::query_scalar(query).fetch_one(conn).await;
    answer.map_err(|error| {
        let error = error
            .as_database_error()
            .expect("an answer of the database");
        let error = error.downcast_ref::<PgDatabaseError>();
        (
            error.code().to_owned(),
            error.message().to_owned(),
            error.hint().unwrap_or_default().to_owned(),
        )
    })
}

impl World {
    async fn ask(&self, call: &str) -> std::result::Result<String, Said> {
        let mut conn = self.db.bare_pool().acquire().await.unwrap();
        ask(&mut conn, call).await
    }

    async fn asked(&self, call: &str) -> JobId {
        let answer = self.ask(call).await;
        let id = answer.unwrap_or_else(|said| panic!("{call}: {said:?}"));
        id.parse().unwrap()
    }

    async fn refuses(&self, call: &str) -> Said {
        match self.ask(call).await {
            Ok(answer) => panic!("{call} was answered: {answer}"),
            Err(said) => said,
        }
    }

    async fn jobs(&self) -> i64 {
        self.number("select count(*) from kanbu_backup.job").await
    }

    async fn knows(&self, subjects: &[&str]) {
        let subjects: Vec<Subject> = subjects.iter().map(|s| s.parse().unwrap()).collect();
        queue::register_subjects(&self.db, &subjects).await.unwrap();
    }

    /// A backup that the catalog knows, stored on one storage.
    async fn possesses(&self, subject: &str, storage: &str) -> ArtifactId {
        let id = ArtifactId::new();
        let kind = subject.split(':').next().unwrap();
        self.sql(&format!(
            "insert into kanbu_backup.artifact (id, kind, subject, folder, execution_id, job_id, pinned, created_at, content,
                    compression, content_bytes, payload_bytes, payload_sha256, stored_bytes, stored_sha256, manifest)
             values ('{id}', '{kind}', '{subject}', '{id}', gen_random_uuid(), gen_random_uuid(), false, clock_timestamp(),
                     'tar', 'zstd', 1, 1, sha256(''), 1, sha256(''), '{{}}');
             insert into kanbu_backup.artifact_copy (artifact_id, storage, state) values ('{id}', '{storage}', 'stored')"
        ))
        .await;
        id
    }
}

/// A call of the entry itself, with one argument in place of the sound one.
fn raw(change: (&str, &str)) -> String {
    let sound = [
        ("p_id", "gen_random_uuid()"),
        ("p_kind", "'backup'"),
        ("p_subject", "'database:kanbu'"),
        ("p_payload", r#"'{"subject": "database:kanbu"}'"#),
        ("p_payload_version", "1"),
        ("p_origin", "'api'"),
    ];
    let mut arguments: Vec<_> = sound.iter().filter(|(name, _)| *name != change.0).collect();
    arguments.push(&change);
    let arguments: Vec<_> = arguments
        .iter()
        .map(|(name, value)| format!("{name} => {value}"))
        .collect();
    format!(
        "select job_id from kanbu_backup.enqueue({})",
        arguments.join(", ")
    )
}

/// Calls of the functions for callers, and what is said of them.
const BAD_CALLS: &[(&str, &str)] = &[
    ("enqueue_backup(null)", "is not a subject"),
    ("enqueue_backup('')", "is not a subject"),
    ("enqueue_backup('kanbu')", "is not a subject"),
    ("enqueue_backup('table:kanbu')", "is not a subject"),
    ("enqueue_backup('database:')", "is not a subject"),
    ("enqueue_backup('database:a#prune')", "is not a subject"),
    (r"enqueue_backup(E'database:a\nb')", "is not a subject"),
    (r"enqueue_backup(E'database:a\u0085b')", "is not a subject"),
    (
        "enqueue_backup('database:' || repeat('x', 1009))",
        "is not a subject",
    ),
    (
        "enqueue_backup('database:x', null)",
        "the options are not a JSON object",
    ),
    (
        "enqueue_backup('database:x', '[]')",
        "the options are not a JSON object",
    ),
    (
        "enqueue_backup('database:x', '\"pin\"')",
        "the options are not a JSON object",
    ),
    (
        r#"enqueue_backup('database:x', '{"lable": "x"}')"#,
        "unknown option: lable",
    ),
    (
        r#"enqueue_backup('database:x', '{"subject": "database:y"}')"#,
        "unknown option: subject",
    ),
    (
        r#"enqueue_backup('database:x', '{"label": 1}')"#,
        "label is not a text",
    ),
    (
        r#"enqueue_backup('database:x', '{"pin": 1}')"#,
        "pin is not true or false",
    ),
    (
        r#"enqueue_backup('database:x', '{"pin": null}')"#,
        "pin is not true or false",
    ),
    (
        "enqueue_backup('database:x', jsonb_build_object('label', repeat('x', 65536)))",
        "the payload has",
    ),
    ("enqueue_backup('database:x', '{}', '')", "1 to 255 bytes"),
    (
        "enqueue_backup('database:x', '{}', repeat('x', 256))",
        "1 to 255 bytes",
    ),
    (
        r#"enqueue_verify('database:x', '{"level": "deep"}')"#,
        "level is not quick, checked or proven",
    ),
    // They would run with the worker's rights.
    (
        r#"enqueue_verify('database:x', '{"level": "proven", "checks": ["select true"]}')"#,
        "unknown option: checks",
    ),
    (
        r#"enqueue_verify('database:x', '{"level": "proven", "keep": true}')"#,
        "unknown option: keep",
    ),
    (
        r#"enqueue_verify('database:x', '{"level": null}')"#,
        "level is not quick, checked or proven",
    ),
    (
        r#"enqueue_verify('database:x', '{"backup": 7}')"#,
        "neither an id nor latest",
    ),
    (
        r#"enqueue_verify('database:x', '{"sample": 0}')"#,
        "sample is not a whole number from 1 to 100",
    ),
    (
        r#"enqueue_verify('database:x', '{"older_than": "7d"}')"#,
        "older_than is not a whole number of seconds",
    ),
    (
        r#"enqueue_verify('database:x', '{"backup": "latest"}')"#,
        "has no backup latest",
    ),
    ("enqueue_verify(null)", "is not a subject"),
    (
        "enqueue_prune('database:x', '{\"keep\": 1}')",
        "unknown option: keep",
    ),
    ("enqueue_restore('database:x')", "neither an id nor latest"),
    (
        r#"enqueue_restore('database:x', '{"backup": "7f3a", "into": "y"}')"#,
        "neither an id nor latest",
    ),
    (
        r#"enqueue_restore('database:x', '{"backup": "01890a5d-ac96-774b-bcce-b302099a8057", "into": "y"}')"#,
        "has no backup 01890a5d-ac96-774b-bcce-b302099a8057",
    ),
];

/// Arguments of the entry itself, and what is said of them.
const BAD_ARGUMENTS: &[(&str, &str, &str)] = &[
    ("p_kind", "'snapshot'", "there is no job kind 'snapshot'"),
    ("p_kind", "null", "there is no job kind NULL"),
    ("p_id", "null", "are never null"),
    ("p_origin", "null", "are never null"),
    ("p_origin", "'web'", "there is no origin 'web'"),
    ("p_payload", "null", "the payload is not a JSON object"),
    ("p_payload", "'[]'", "the payload is not a JSON object"),
    ("p_payload", "'{}'", "backup lacks subject"),
    (
        "p_payload",
        r#"'{"subject": "database:other"}'"#,
        "is not the subject of this payload",
    ),
    ("p_payload_version", "2", "there is no payload of version 2"),
    (
        "p_payload_version",
        "null",
        "there is no payload of version null",
    ),
    ("p_subject", "null", "NULL is not the subject"),
    (
        "p_priority",
        "(-1)::smallint",
        "priority -1 is not within 0 and 1000",
    ),
    (
        "p_priority",
        "1001::smallint",
        "priority 1001 is not within 0 and 1000",
    ),
    ("p_priority", "null", "are never null"),
    ("p_unless_open", "null", "are never null"),
    (
        "p_run_at",
        "now() - interval '25 hours'",
        "is not within the last 24 hours",
    ),
    (
        "p_run_at",
        "now() + interval '401 days'",
        "and the next 400 days",
    ),
    ("p_run_at", "'infinity'", "run_at infinity is not"),
    ("p_run_at", "'-infinity'", "run_at -infinity is not"),
    ("p_run_at", "to_timestamp(1768732200000)", "is not within"),
    (
        "p_max_attempts",
        "0::smallint",
        "max_attempts 0 is not within",
    ),
    (
        "p_max_attempts",
        "1001::smallint",
        "max_attempts 1001 is not within",
    ),
    ("p_dedupe_key", "''", "1 to 255 bytes"),
    ("p_dedupe_key", "repeat('x', 256)", "1 to 255 bytes"),
    ("p_request_key", "''", "1 to 255 bytes"),
];

#[tokio::test]
async fn bad_input_is_told_with_a_hint_and_nothing_is_inserted() {
    let world = World::new().await;
    world.asked(&raw(("p_priority", "1000::smallint"))).await;
    let calls = BAD_CALLS
        .iter()
        .map(|(call, about)| (format!("select kanbu_backup.{call}"), *about))
        .chain(
            BAD_ARGUMENTS
                .iter()
                .map(|(name, value, about)| (raw((name, value)), *about)),
        );
    for (call, about) in calls {
        let (code, message, hint) = world.refuses(&call).await;
        assert_eq!(code, "22023", "{call}: {message}");
        assert!(message.contains(about), "{call}: {message}");
        assert!(!hint.is_empty(), "{call}: {message} (no hint)");
    }
    world
        .sql("update kanbu_backup.kind_rule set accepted = false where kind = 'prune'")
        .await;
    let (code, message, hint) = world
        .refuses("select kanbu_backup.enqueue_prune('database:x')")
        .await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("0A000", "prune jobs are not accepted yet")
    );
    assert!(!hint.is_empty());
    assert_eq!(world.jobs().await, 1);
}

#[tokio::test]
async fn a_run_at_of_some_hours_ago_means_now() {
    let world = World::new().await;
    world
        .asked(&raw(("p_run_at", "now() - interval '23 hours'")))
        .await;
    let early = "select count(*) from kanbu_backup.job where run_at < created_at";
    assert_eq!(world.number(early).await, 0);
    world.claim().await;
}

#[tokio::test]
async fn rust_callers_meet_the_same_refusals_with_their_hints() {
    let world = World::new().await;
    world.knows(&["database:kanbu"]).await;
    let unknown = world
        .try_enqueue(&backup("database:kanbus"))
        .await
        .unwrap_err();
    assert!(matches!(unknown, QueueError::Invalid(_)), "{unknown:?}");
    assert_eq!(
        (
            unknown.code(),
            unknown.fault(),
            unknown.to_string().as_str()
        ),
        (
            "queue.invalid",
            Fault::Permanent,
            "no worker knows the subject 'database:kanbus'"
        )
    );
    assert!(unknown.hint().unwrap().contains("database:kanbu;"));

    let negative = NewJob {
        priority: -1,
        ..backup("database:kanbu")
    };
    let nul = NewJob {
        dedupe: Dedupe::Key("a\0b".to_owned()),
        ..backup("database:kanbu")
    };
    for new in [negative, nul] {
        let error = world.try_enqueue(&new).await.unwrap_err();
        assert!(matches!(error, QueueError::Invalid(_)), "{error:?}");
    }
    world
        .sql("update kanbu_backup.kind_rule set accepted = false where kind = 'prune'")
        .await;
    let prune = Job::Prune(Prune::of("database:kanbu".parse().unwrap()));
    let error = world
        .try_enqueue(&NewJob::new(prune, Origin::Operator))
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, QueueError::KindRefused(_)), "{error:?}");
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn a_subject_is_known_to_a_worker_or_by_its_backups() {
    let world = World::new().await;
    let backup_of = async |subject: &str| {
        world
            .ask(&format!("select kanbu_backup.enqueue_backup('{subject}')"))
            .await
    };
    backup_of("database:anything")
        .await
        .expect("no worker has ever started");

    world
        .knows(&["source:app", "database:kanbu", "database:kanbu"])
        .await;
    world.knows(&["database:kanbu", "database:other"]).await;
    for known in ["database:kanbu", "database:other", "source:app"] {
        backup_of(known).await.expect(known);
    }
    let (code, message, hint) = backup_of("database:gone").await.unwrap_err();
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("22023", "no worker knows the subject 'database:gone'")
    );
    assert!(
        hint.contains("database:kanbu, database:other, source:app"),
        "{hint}"
    );
    let verify = "select kanbu_backup.enqueue_verify('database:gone')";
    assert_eq!(world.refuses(verify).await.0, "22023");

    world.possesses("database:gone", "local").await;
    world.asked(verify).await;
    // What follows from work done is not asked for by anybody, and never lost to a changed setting.
    let follow_up = NewJob::new(backup("database:follows").job, Origin::FollowUp);
    world.enqueue(&follow_up).await;
}

#[tokio::test]
async fn every_language_means_the_same_by_the_same_request() {
    let world = World::new().await;
    let artifact = world.possesses("database:kanbu", "local").await;
    let subject: Subject = "database:kanbu".parse().unwrap();
    let checked = Verify {
        artifact: Some(artifact),
        ..Verify::of(subject.clone())
    };
    let quick = Verify {
        level: VerifyLevel::Quick,
        ..checked.clone()
    };
    let mending = Verify {
        repair: true,
        sample: Some(Percent::try_from(10).unwrap()),
        older_than: Some(86_400),
        ..Verify::of(subject)
    };
    let restore = |name: &str| {
        let into = RestoreInto::Database {
            name: name.to_owned(),
        };
        Job::Restore(Restore {
            storage: Some("local".to_owned()),
            no_owner: true,
            ..Restore::of(artifact, into)
        })
    };
    let pairs = [
        (r#"enqueue_backup('database:kanbu', '{"label": "one"}')"#.to_owned(), backup("database:kanbu").job),
        (format!(r#"enqueue_verify('database:kanbu', '{{"backup": "{artifact}"}}')"#), Job::Verify(checked)),
        (format!(r#"enqueue_verify('database:kanbu', '{{"level": "quick", "backup": "{{{artifact}}}"}}')"#), Job::Verify(quick)),
        (
            r#"enqueue_verify('database:kanbu', '{"repair": true, "sample": 10, "older_than": 86400}')"#.to_owned(),
            Job::Verify(mending),
        ),
        (
            r#"enqueue_restore('database:kanbu', '{"backup": "latest", "into": "new", "storage": "local", "no_owner": true}')"#
                .to_owned(),
            restore("new"),
        ),
    ];
    for (call, job) in pairs {
        let by_sql = world.asked(&format!("select kanbu_backup.{call}")).await;
        let new = NewJob::new(job, Origin::Operator).unless_open();
        let by_rust = world.try_enqueue(&new).await.unwrap();
        assert_eq!(by_rust, Enqueued::AlreadyOpen(by_sql), "{call}");
    }
    let other = NewJob::new(restore("newer"), Origin::Operator).unless_open();
    world.enqueue(&other).await;
    assert_eq!(world.jobs().await, 6);
}

#[tokio::test]
async fn a_repeated_request_is_its_job_whatever_has_changed_since() {
    let world = World::new().await;
    let first = world.possesses("database:kanbu", "local").await;
    let restore = r#"select kanbu_backup.enqueue_restore('database:kanbu', '{"backup": "latest", "into": "new"}', 'r1')"#;
    let job = world.asked(restore).await;
    let claimed = world
        .claim_many(Kind::Restore, MINUTE, 1)
        .await
        .pop()
        .unwrap();
    endings::done(&world, &claimed).await;

    // A newer backup comes, the old one goes, and workers know other subjects.
    world.possesses("database:kanbu", "local").await;
    world
        .sql(&format!(
            "update kanbu_backup.artifact set deletion_decided_at = now(), deletion_decided_by = 'anna', deletion_reason = ''
              where id = '{first}'"
        ))
        .await;
    world.knows(&["database:other"]).await;
    assert_eq!(world.asked(restore).await, job);

    for other in [
        r#"select kanbu_backup.enqueue_restore('database:kanbu', '{"backup": "latest", "into": "other"}', 'r1')"#,
        "select kanbu_backup.enqueue_verify('database:kanbu', '{}', 'r1')",
        r#"select kanbu_backup.enqueue_verify('database:kanbu', '{"backup": "latest"}', 'r1')"#,
    ] {
        let (code, message, hint) = world.refuses(other).await;
        assert_eq!(code, "KB002", "{other}: {message}");
        assert!(!hint.is_empty());
    }
    assert_eq!(world.jobs().await, 1);
}

#[tokio::test]
async fn a_restore_says_which_backup_from_where_and_into_what() {
    let world = World::new().await;
    let (old, new) = (
        world.possesses("source:app", "near").await,
        world.possesses("source:app", "far").await,
    );
    let call =
        |options: &str| format!("select kanbu_backup.enqueue_restore('source:app', '{options}')");
    let meant = [
        (r#"{"backup": "latest", "into": "/srv/a"}"#, new, None),
        (
            r#"{"backup": "latest", "into": "/srv/b", "storage": "near"}"#,
            old,
            Some("near"),
        ),
    ];
    for (options, artifact, storage) in meant {
        world.asked(&call(options)).await;
        let claimed = world
            .claim_many(Kind::Restore, MINUTE, 1)
            .await
            .pop()
            .unwrap();
        let Job::Restore(restore) = Job::from_payload(Kind::Restore, claimed.payload).unwrap()
        else {
            unreachable!("a restore was claimed")
        };
        assert_eq!(
            (restore.artifact, restore.storage.as_deref()),
            (artifact, storage),
            "{options}"
        );
        assert!(
            matches!(restore.into, RestoreInto::Directory { .. }),
            "{restore:?}"
        );
    }
}

#[tokio::test]
async fn a_live_database_is_replaced_only_by_who_types_its_name() {
    let world = World::new().await;
    let database = world.possesses("database:kanbu", "near").await;
    for (options, about) in [
        (r#""into": "x""#, "there is no into"),
        (r#""storage": "near""#, "nobody confirmed"),
        (r#""confirm": "kanbu""#, "nobody confirmed"),
        (r#""confirm": "/kanbu""#, "nobody confirmed"),
        (r#""confirm": "prod/other""#, "nobody confirmed"),
        (r#""confirm": "prod/kanbu/kanbu""#, "nobody confirmed"),
        (
            r#""confirm": "prod/kanbu", "keep_old_days": 0"#,
            "keep_old_days is not",
        ),
    ] {
        let call = format!(
            r#"select kanbu_backup.enqueue_restore('database:kanbu', '{{"backup": "{database}", "replace": true, {options}}}')"#
        );
        let (code, message, hint) = world.refuses(&call).await;
        assert_eq!(code, "22023", "{options}: {message}");
        assert!(
            message.contains(about) && !hint.is_empty(),
            "{options}: {message} ({hint})"
        );
    }
    let job = world
        .asked(
            r#"select kanbu_backup.enqueue_restore('database:kanbu', '{"backup": "latest", "replace": true,
               "confirm": "prod/kanbu", "no_safety_backup": "made by hand", "keep_old_days": 30}')"#,
        )
        .await;
    let live = RestoreInto::Live {
        name: "kanbu".to_owned(),
    };
    let replacing = Restore {
        confirm: Some("prod/kanbu".to_owned()),
        no_safety_backup: Some("made by hand".to_owned()),
        keep_old_days: Some(30.try_into().unwrap()),
        ..Restore::of(database, live)
    };
    let new = NewJob::new(Job::Restore(replacing), Origin::Operator).unless_open();
    assert_eq!(
        queue::submit(&world.db, &new).await.unwrap(),
        Enqueued::AlreadyOpen(job)
    );
    let claimed = world.claim_many(Kind::Restore, MINUTE, 1).await.pop();
    assert_eq!(claimed.unwrap().subject, "database:kanbu");
}

#[tokio::test]
async fn a_restore_that_can_not_be_meant_is_refused() {
    let world = World::new().await;
    let old = world.possesses("source:app", "near").await;
    world.possesses("source:app", "far").await;
    let call =
        |options: &str| format!("select kanbu_backup.enqueue_restore('source:app', '{options}')");
    let by_id = |rest: &str| format!(r#"{{"backup": "{old}", {rest}}}"#);
    for (options, about) in [
        (by_id(r#""into": "relative""#), "is not an absolute path"),
        (by_id(r#""into": 1"#), "into does not say where"),
        (by_id(r#""into": "/a\nb""#), "into does not say where"),
        (by_id(r#""storage": "near""#), "into does not say where"),
        (
            by_id(r#""into": "/srv/c", "storage": "far""#),
            "on storage 'far'",
        ),
        (
            by_id(r#""into": "/srv/c", "no_owner": "yes""#),
            "no_owner is not true or false",
        ),
    ] {
        let (code, message, hint) = world.refuses(&call(&options)).await;
        assert_eq!(code, "22023", "{options}: {message}");
        assert!(
            message.contains(about) && !hint.is_empty(),
            "{options}: {message} ({hint})"
        );
    }
    let database = world.possesses("database:kanbu", "near").await;
    for name in [String::new(), "x".repeat(64)] {
        let call = format!(
            r#"select kanbu_backup.enqueue_restore('database:kanbu', '{{"backup": "{database}", "into": "{name}"}}')"#
        );
        assert!(
            world
                .refuses(&call)
                .await
                .1
                .contains("can't be the name of a database")
        );
    }
    let of_another = format!(
        r#"select kanbu_backup.enqueue_restore('database:kanbu', '{{"backup": "{old}", "into": "new"}}')"#
    );
    assert!(
        world
            .refuses(&of_another)
            .await
            .1
            .contains("database:kanbu has no backup")
    );
}

#[tokio::test]
async fn a_job_is_there_and_workers_wake_if_and_only_if_the_transaction_commits() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 2, 60);
    let mut ear = world.db.listener().await.unwrap();
    ear.listen("kanbu_backup_job").await.unwrap();
    // Crews greet each other on this channel too, by their ids.
    let mut heard = async || {
        loop {
            let told = timeout(PATIENCE, ear.recv())
                .await
                .expect("a wake-up")
                .unwrap();
            if let Ok(kind) = told.payload().parse::<Kind>() {
                return kind;
            }
        }
    };
    let mut caller = world.database.as_ref().unwrap().session().await;
    caller.run("begin").await;
    caller
        .run("select kanbu_backup.enqueue_verify('database:rolled_back')")
        .await;
    caller.run("rollback").await;

    caller.run("begin").await;
    caller
        .run("select kanbu_backup.enqueue_backup('database:committed')")
        .await;
    // While that is not committed, a later job is done: the workers look, and see nothing of the earlier.
    world.backup("database:later").await;
    let act = hands.next().await;
    assert_eq!(act.job.subject().to_string(), "database:later");
    assert_eq!(
        heard().await,
        Kind::Backup,
        "of the Verify nothing is heard"
    );
    assert_eq!(world.jobs().await, 1);
    act.succeeds();

    caller.run("commit").await;
    assert_eq!(heard().await, Kind::Backup);
    let act = hands.next().await;
    assert_eq!(act.job.subject().to_string(), "database:committed");
    act.succeeds();
    assert_eq!(world.jobs().await, 2);
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn job_status_tells_how_a_job_stands() {
    let world = World::new().await;
    let told = async |job: JobId| {
        let query = format!(
            "select concat_ws(' ', state, status, outcome, attempts, error_code)
               from kanbu_backup.job_status('{job}')"
        );
        world.database.as_ref().unwrap().texts(&query).await
    };
    let tomorrow = NewJob {
        run_at: Some(now() + chrono::TimeDelta::days(1)),
        ..backup("database:later")
    };
    let later = world.enqueue(&tomorrow).await;
    assert_eq!(told(later).await, ["queued scheduled 0"]);
    queue::cancel(&world.db, later, "anna").await.unwrap();
    assert_eq!(told(later).await, ["cancelled cancelled 0"]);

    let job = world.backup("database:kanbu").await;
    assert_eq!(told(job).await, ["queued queued 0"]);
    let claimed = world.claim().await;
    assert_eq!(told(job).await, ["running running 1"]);
    endings::failed(&world, &claimed, Fault::Transient).await;
    assert_eq!(told(job).await, ["queued retrying failed 1 test.failed"]);
    world.make_due(job).await;
    let claimed = world.claim().await;
    let degraded = Effects {
        warnings: vec![Warning {
            code: "storage.replica_failed".to_owned(),
            text: "one storage still owes a copy".to_owned(),
            degrades: true,
        }],
        ..Effects::default()
    };
    let ending = Ending::new(claimed.execution, job, Close::Done(Box::new(degraded)));
    queue::finish_many(&world.db, &[&ending]).await.unwrap();
    assert_eq!(told(job).await, ["succeeded degraded degraded 2"]);

    let dead = world.backup("database:kanbu").await;
    let claimed = world.claim().await;
    endings::failed(&world, &claimed, Fault::Permanent).await;
    assert_eq!(told(dead).await, ["dead dead failed 1 test.failed"]);
    assert_eq!(told(JobId::new()).await, [""; 0]);
    assert_eq!(
        world
            .number("select kanbu_backup.api_version()::bigint")
            .await,
        1
    );
}
