//! One definition of the payloads: what the database lets in is what Rust can read, and a job's subject is the same to both.

use kanbu_backup::{
    id::{ArtifactId, EventId, ScheduleId},
    job::{
        Days, Notify, Percent, Prune, Restore, RestoreInto, Scope, Subject, Verify, VerifyLevel,
    },
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

use super::*;

fn subject() -> impl Strategy<Value = Subject> {
    let scope = prop::sample::select(&Scope::ALL[..]);
    (scope, "[^#\\pC\u{2028}]{1,20}|kanbu|/srv/a b:c")
        .prop_filter_map("no subject", |(scope, name)| Subject::new(scope, name).ok())
}

fn note() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[^\0]{0,12}")
}

fn schedule() -> impl Strategy<Value = Option<ScheduleId>> {
    any::<bool>().prop_map(|made| made.then(ScheduleId::new))
}

fn level() -> impl Strategy<Value = VerifyLevel> {
    let levels = [
        VerifyLevel::Quick,
        VerifyLevel::Checked,
        VerifyLevel::Proven,
    ];
    prop::sample::select(levels.to_vec())
}

fn backup() -> impl Strategy<Value = Backup> {
    let storages = prop::collection::vec("[^\0]{0,12}|local", 0..3);
    let terms = (
        storages,
        prop::option::of(level()),
        prop::option::of(any::<u32>()),
    );
    (subject(), note(), any::<bool>(), schedule(), terms).prop_map(
        |(subject, label, pin, schedule, (storages, verify, timeout))| Backup {
            subject,
            label,
            pin,
            schedule,
            storages,
            verify,
            timeout,
        },
    )
}

fn verify() -> impl Strategy<Value = Verify> {
    let one = any::<bool>().prop_map(|one| one.then(ArtifactId::new));
    let sample = (1..=100_u8).prop_map(|percent| Percent::try_from(percent).unwrap());
    let sample = prop::option::of(sample);
    let older_than = prop::option::of(any::<u32>());
    let checks = prop::collection::vec("[^\0]{0,12}", 0..3);
    let proof = (
        checks,
        any::<bool>(),
        schedule(),
        prop::option::of(any::<u32>()),
    );
    (
        subject(),
        one,
        level(),
        any::<bool>(),
        sample,
        older_than,
        proof,
    )
        .prop_map(
            |(
                subject,
                artifact,
                level,
                repair,
                sample,
                older_than,
                (checks, keep, schedule, timeout),
            )| Verify {
                subject,
                artifact,
                level,
                repair,
                sample,
                older_than,
                checks,
                keep,
                schedule,
                timeout,
            },
        )
}

/// Every job that Rust can make.
fn job() -> impl Strategy<Value = Job> {
    let into = prop_oneof![
        "[^\0]{0,12}|kanbu_new".prop_map(|name| RestoreInto::Database { name }),
        "/[^\0]{0,12}|relative".prop_map(|path| RestoreInto::Directory { path: path.into() }),
        "[^\0]{0,12}|kanbu".prop_map(|name| RestoreInto::Live { name }),
        "[^\0]{0,12}|kanbu".prop_map(|name| RestoreInto::Rollback {
            name,
            restore: ExecutionId::new()
        }),
    ];
    let days = prop::option::of((1..=365_u16).prop_map(|days| Days::try_from(days).unwrap()));
    let replacing = (any::<bool>(), note(), note(), days);
    prop_oneof![
        backup().prop_map(Job::Backup),
        (into, note(), any::<bool>(), replacing).prop_map(|(into, storage, no_owner, more)| {
            let (keep, confirm, no_safety_backup, keep_old_days) = more;
            Job::Restore(Restore {
                storage,
                no_owner,
                keep,
                confirm,
                no_safety_backup,
                keep_old_days,
                ..Restore::of(ArtifactId::new(), into)
            })
        }),
        (subject(), schedule())
            .prop_map(|(subject, schedule)| Job::Prune(Prune { subject, schedule })),
        verify().prop_map(Job::Verify),
        (subject(), note()).prop_map(|(subject, channel)| Job::Notify(Notify {
            subject,
            event: EventId::new(),
            channel
        })),
    ]
}

/// Numbers that some member takes, or nearly.
fn numbers() -> impl Iterator<Item = Value> {
    [
        json!(0),
        json!(1),
        json!(100),
        json!(101),
        json!(365),
        json!(366),
        json!(-1),
        json!(7.0),
        json!(7.5),
        json!(255),
        json!(256),
        json!(4_294_967_295_u64),
        json!(4_294_967_296_u64),
        json!(1e300),
    ]
    .into_iter()
}

/// Values that some member takes, or nearly.
fn values() -> Vec<Value> {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let others = vec![
        json!(null),
        json!(true),
        json!("7"),
        json!([7]),
        json!(""),
        json!([]),
        json!({}),
        json!("quick"),
        json!("checked"),
        json!("proven"),
        json!(["select true"]),
        json!(["a", ["b"]]),
        json!(["a", null]),
        json!("Quick"),
        json!({"quick": null}),
        json!("database:kanbu"),
        json!("database:kanbu#verify"),
        json!("database:kanbu#"),
        json!("database:a#b"),
        json!("database:a\u{85}b"),
        json!("database:a\u{7f}b"),
        json!("database:ü\u{2028}鍵"),
        json!(" database:a"),
        json!("Database:a"),
        json!("database:\n"),
        json!(format!("database:{}", "x".repeat(1008))),
        json!(format!("database:{}", "x".repeat(1009))),
        json!(format!("cluster:{}#prune", "ü".repeat(504))),
        json!(format!("cluster:{}#prune", "ü".repeat(505))),
        json!(id),
        json!(id.to_uppercase()),
        json!(id.replace('-', "")),
        json!(format!("{{{id}}}")),
        json!(format!("urn:uuid:{id}")),
        json!(format!("URN:uuid:{id}")),
        json!(format!("{{urn:uuid:{id}}}")),
        json!(format!("{{{}}}", id.replace('-', ""))),
        json!(format!("{id} ")),
        json!("01890a5dac96-774b-bcce-b302-099a8057"),
        json!("database"),
    ];
    numbers().chain(destinations()).chain(others).collect()
}

/// Where a restore may go, or nearly.
fn destinations() -> impl Iterator<Item = Value> {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    [
        json!({"database": {"name": "x"}}),
        json!({"database": {"name": ""}}),
        json!({"database": {"name": null}}),
        json!({"database": {"name": 1}}),
        json!({"database": {}}),
        json!({"database": ["x"]}),
        json!({"database": "x"}),
        json!({"database": {"name": "x", "path": "/x"}}),
        json!({"directory": {"path": "/x"}}),
        json!({"live": {"name": "x"}}),
        json!({"live": {"name": null}}),
        json!({"live": {"name": "x", "path": "/x"}}),
        json!({"rollback": {"name": "x", "restore": id}}),
        json!({"rollback": {"name": "x", "restore": "x"}}),
        json!({"rollback": {"name": "x"}}),
        json!({"rollback": {"restore": id}}),
        json!({"rollback": {"name": "x", "restore": id, "more": 1}}),
        json!({"directory": {"path": ["/x"]}}),
        json!({"directory": {"name": "/x"}}),
        json!({"database": {"name": "x"}, "directory": {"path": "/x"}}),
    ]
    .into_iter()
}

fn value() -> impl Strategy<Value = Value> {
    prop::sample::select(values())
}

/// The members of a kind, and two of none.
fn members(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Backup => &[
            "subject", "label", "pin", "schedule", "storages", "verify", "timeout", "Label", "",
        ],
        Kind::Restore => &[
            "artifact",
            "into",
            "storage",
            "no_owner",
            "keep",
            "tables",
            "schemas",
            "jobs",
            "confirm",
            "no_safety_backup",
            "keep_old_days",
            "subject",
            "",
        ],
        Kind::Prune => &["subject", "schedule", "keep", ""],
        Kind::Verify => &[
            "subject",
            "artifact",
            "level",
            "repair",
            "sample",
            "older_than",
            "checks",
            "keep",
            "schedule",
            "timeout",
            "backup",
            "",
        ],
        Kind::Notify => &["subject", "event", "channel", "execution", ""],
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Remove(prop::sample::Index),
    Put(prop::sample::Index, Value),
    AsArray,
    Be(Value),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => any::<prop::sample::Index>().prop_map(Mutation::Remove),
        16 => (any::<prop::sample::Index>(), value()).prop_map(|(m, v)| Mutation::Put(m, v)),
        1 => Just(Mutation::AsArray),
        1 => value().prop_map(Mutation::Be),
    ]
}

fn mutated(kind: Kind, mut payload: Value, mutations: &[Mutation]) -> Value {
    for mutation in mutations {
        match (mutation, &mut payload) {
            (Mutation::Remove(which), Value::Object(members)) if !members.is_empty() => {
                let name = which
                    .get(&members.keys().cloned().collect::<Vec<_>>())
                    .clone();
                members.remove(&name);
            }
            (Mutation::Put(which, value), Value::Object(object)) => {
                let name = *which.get(members(kind));
                object.insert(name.to_owned(), value.clone());
            }
            (Mutation::AsArray, Value::Object(members)) => {
                payload = members.values().cloned().collect();
            }
            (Mutation::Be(value), payload) => *payload = value.clone(),
            _ => {}
        }
    }
    payload
}

/// A runner with a seed that is printed, or the one to replay.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own setting, to replay what failed"
)]
fn runner() -> TestRunner {
    let seed = std::env::var("TEST_SEED").map_or_else(
        |_| getrandom::u64().unwrap(),
        |text| text.parse().expect("TEST_SEED is not a number"),
    );
    println!("random payloads: replay with TEST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(
        ProptestConfig::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
    )
}

fn draw<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// What the database says of payloads, in their order.
async fn flaws(world: &World, payloads: &[(Kind, Value)]) -> Vec<Option<String>> {
    let (kinds, values): (Vec<_>, Vec<_>) = payloads
        .iter()
        .map(|(kind, value)| (kind.as_str(), value.to_string()))
        .unzip();
    sqlx::query_scalar(
        "select kanbu_backup.payload_flaw(p.kind, p.payload::jsonb)
           from unnest($1::text[], $2::text[]) with ordinality as p (kind, payload, place) order by p.place",
    )
    .bind(kinds)
    .bind(values)
    .fetch_all(world.db.bare_pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn the_database_takes_every_payload_that_rust_makes_and_sees_the_same_subject() {
    let world = World::new().await;
    let mut runner = runner();
    let jobs: Vec<Job> = (0..600).map(|_| draw(&mut runner, &job())).collect();
    let payloads: Vec<_> = jobs.iter().map(|job| (job.kind(), job.payload())).collect();
    for (job, flaw) in jobs.iter().zip(flaws(&world, &payloads).await) {
        assert_eq!(flaw, None, "{job:?}");
    }
    let (kinds, values): (Vec<_>, Vec<_>) = payloads
        .iter()
        .map(|(kind, value)| (kind.as_str(), value.to_string()))
        .unzip();
    let subjects: Vec<String> = sqlx::query_scalar(
        "select kanbu_backup.subject_of(p.kind, p.payload::jsonb)
           from unnest($1::text[], $2::text[]) with ordinality as p (kind, payload, place) order by p.place",
    )
    .bind(kinds)
    .bind(values)
    .fetch_all(world.db.bare_pool())
    .await
    .unwrap();
    for (job, subject) in jobs.iter().zip(subjects) {
        assert_eq!(job.subject().to_string(), subject, "{job:?}");
    }
}

/// Compares both sides, and counts what they take.
async fn both_take(world: &World, payloads: &[(Kind, Value)]) -> usize {
    let mut taken = 0;
    for ((kind, payload), flaw) in payloads.iter().zip(flaws(world, payloads).await) {
        let read = Job::from_payload(*kind, payload.clone());
        assert_eq!(
            read.is_ok(),
            flaw.is_none(),
            "a {kind} of {payload}: Rust says {read:?}, the database says {flaw:?}"
        );
        taken += usize::from(read.is_ok());
    }
    taken
}

#[tokio::test]
async fn the_database_takes_a_changed_payload_if_and_only_if_rust_can_read_it() {
    let world = World::new().await;
    let mut runner = runner();
    let changes = prop::collection::vec(mutation(), 1..3);
    let kind = prop::sample::select(&Kind::ALL[..]);
    let payloads: Vec<_> = (0..6_000)
        .map(|round| {
            let job = draw(&mut runner, &job());
            let payload = mutated(job.kind(), job.payload(), &draw(&mut runner, &changes));
            // Now and then under another kind.
            let kind = if round % 4 == 0 {
                draw(&mut runner, &kind)
            } else {
                job.kind()
            };
            (kind, payload)
        })
        .collect();
    let taken = both_take(&world, &payloads).await;
    // Neither answer may have been met by chance alone.
    assert!((300..5_700).contains(&taken), "{taken} of 6000 were taken");
}

#[tokio::test]
async fn every_value_of_every_member_is_taken_by_both_sides_or_by_none() {
    let world = World::new().await;
    let subject: Subject = "database:kanbu".parse().unwrap();
    let into = RestoreInto::Database {
        name: "new".to_owned(),
    };
    let sound = [
        Job::Backup(Backup::of(subject.clone())),
        Job::Restore(Restore::of(ArtifactId::new(), into)),
        Job::Prune(Prune::of(subject.clone())),
        Job::Verify(Verify {
            level: VerifyLevel::Quick,
            ..Verify::of(subject.clone())
        }),
        Job::Notify(Notify {
            subject,
            event: EventId::new(),
            channel: None,
        }),
    ];
    let mut payloads = Vec::new();
    for job in sound {
        let kind = job.kind();
        for &member in members(kind) {
            for value in values() {
                let mut payload = job.payload();
                payload[member] = value;
                payloads.push((kind, payload));
            }
            let mut payload = job.payload();
            payload.as_object_mut().unwrap().remove(member);
            payloads.push((kind, payload));
        }
        payloads.extend(values().into_iter().map(|value| (kind, value)));
    }
    let taken = both_take(&world, &payloads).await;
    assert!(taken > 100, "{taken} of {} were taken", payloads.len());
}
