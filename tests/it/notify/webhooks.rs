//! Kanbu's webhook: the frozen bytes of every body, and signatures that two programs of others agree with.

use std::path::Path;

use kanbu_backup::{
    catalog::ArtifactKind,
    execution::{Outcome, Warning, event::Severity},
    id::ArtifactId,
    kanbu::webhook::{body, headers},
    notify::{BackupFacts, Facts, Hidden, Message, ScheduleName},
    pg::process::Program,
};

use super::{receiver::Receiver, *};

const SECRET: &str = "pa\u{df}phrase with spaces";

fn message(event: &str, outcome: Outcome) -> Message {
    Message {
        id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        at: "2026-11-23T12:34:56.789Z".parse().unwrap(),
        event: event.to_owned(),
        severity: Severity::Info,
        subject: "database:kanbu".parse().unwrap(),
        execution: None,
        schedule: None,
        facts: Facts {
            outcome: Some(outcome),
            origin: Some("cron".to_owned()),
            duration_ms: Some(11_400),
            ..Facts::default()
        },
        backup: Some(BackupFacts {
            id: ArtifactId::from(uuid::Uuid::nil()),
            kind: ArtifactKind::Database,
            file: "prod/database/2026-11-23T12-34-45Z_x/dump.kbk".to_owned(),
            payload_bytes: 52_638_515,
            payload_sha256: "9c41".repeat(16),
            is_encrypted: true,
        }),
        environment: "prod".to_owned(),
        is_test: false,
    }
}

fn with_schedule(message: Message) -> Message {
    Message {
        schedule: Some(ScheduleName {
            id: kanbu_backup::id::ScheduleId::from(uuid::Uuid::nil()),
            name: "nightly \"prod\"\u{2028}é".to_owned(),
        }),
        ..message
    }
}

fn failing(message: Message) -> Message {
    Message {
        backup: None,
        facts: Facts {
            error: Some("the server is away\n\"for good\" \u{7f}\u{1}".to_owned()),
            ..message.facts
        },
        ..message
    }
}

fn restoring(outcome: Outcome) -> Message {
    Message {
        facts: Facts {
            origin: Some("api".to_owned()),
            ..message("x", outcome).facts
        },
        ..message("restore.completed", outcome)
    }
}

fn degraded() -> Message {
    let message = message("backup.degraded", Outcome::Degraded);
    let warning = Warning {
        code: "storage.no_copy".to_owned(),
        text: "no copy on s3: no route".to_owned(),
        degrades: true,
    };
    Message {
        facts: Facts {
            warnings: vec![warning],
            ..message.facts
        },
        ..message
    }
}

/// Of each body one, and of some that Kanbu has in two forms both.
fn samples() -> Vec<(&'static str, Message)> {
    vec![
        (
            "backup.completed",
            with_schedule(message("backup.completed", Outcome::Succeeded)),
        ),
        (
            "backup.completed.manual",
            Message {
                facts: Facts {
                    origin: Some("operator".to_owned()),
                    ..message("x", Outcome::Succeeded).facts
                },
                ..message("backup.completed", Outcome::Succeeded)
            },
        ),
        ("backup.degraded", degraded()),
        (
            "backup.failed",
            failing(message("backup.failed", Outcome::Failed)),
        ),
        ("restore.completed", restoring(Outcome::Succeeded)),
        (
            "restore.failed",
            Message {
                event: "restore.failed".to_owned(),
                ..failing(restoring(Outcome::Failed))
            },
        ),
        (
            "test",
            Message {
                is_test: true,
                ..message("backup.completed", Outcome::Succeeded)
            },
        ),
        (
            "test_restore.failed",
            failing(message("test_restore.failed", Outcome::Failed)),
        ),
    ]
}

/// The bytes as they lie in `tests/golden/webhook`; `KANBU_BACKUP_TEST_GOLDEN=write` writes them anew.
#[test]
fn the_bytes_of_every_body_stay_as_they_are() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/webhook");
    for (name, message) in samples() {
        let path = directory.join(format!("{name}.json"));
        let made = body(&message);
        if Env::capture().get("KANBU_BACKUP_TEST_GOLDEN").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let golden = fs::read(&path).unwrap();
        assert_eq!(
            String::from_utf8(made).unwrap(),
            String::from_utf8(golden).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn members_stand_in_kanbus_order_and_are_absent_where_kanbu_leaves_them_out() {
    let keys = |message: &Message, within: &str| {
        let value: serde_json::Value = serde_json::from_slice(&body(message)).unwrap();
        let object = if within.is_empty() {
            &value
        } else {
            &value[within]
        };
        object
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let of = |name: &str| samples().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(
        keys(&of("backup.completed"), ""),
        ["event", "timestamp", "execution", "schedule"]
    );
    let usual = [
        "id",
        "type",
        "trigger",
        "status",
        "filename",
        "fileSize",
        "durationMs",
        "errorMessage",
    ];
    let all = [&usual[..], &["isEncrypted", "checksum"]].concat();
    assert_eq!(keys(&of("backup.completed"), "execution"), all);
    let failed = [&usual[..], &["checksum"]].concat();
    assert_eq!(keys(&of("backup.failed"), "execution"), failed);
    for name in ["restore.completed", "restore.failed", "test"] {
        assert_eq!(
            keys(&of(name), ""),
            ["event", "timestamp", "execution"],
            "{name}"
        );
        assert_eq!(keys(&of(name), "execution"), usual, "{name}");
    }
}

/// What a program prints about bytes in a file.
async fn says(program: &str, args: &[&str], bytes: &[u8]) -> String {
    let directory = ScratchDirectory::new();
    let file = directory.path().join("bytes");
    fs::write(&file, bytes).unwrap();
    let program = Program::new("/usr/bin/env")
        .arg(program)
        .args(args)
        .arg(&file)
        .env("PATH", Env::capture().get_os("PATH").unwrap());
    let output = program.run(1024, PATIENCE).await.unwrap();
    String::from_utf8(output).unwrap().trim().to_owned()
}

const NODE: &str = "const [secret, file] = process.argv.slice(1);
    const hmac = require('crypto').createHmac('sha256', secret).update(require('fs').readFileSync(file));
    console.log('sha256=' + hmac.digest('hex'))";

async fn signed_by_others(bytes: &[u8]) -> [String; 2] {
    let key = format!("hexkey:{}", hex::encode(SECRET));
    let args = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-hex"];
    let openssl = says("openssl", &args, bytes).await;
    let digest = openssl.rsplit("= ").next().unwrap();
    let node = says("node", &["-e", NODE, "--", SECRET], bytes).await;
    [node, format!("sha256={digest}")]
}

#[tokio::test]
async fn node_and_openssl_sign_what_arrives_as_we_do() {
    let receiver = Receiver::start([]).await;
    let world = World::new(&webhook(
        "hook",
        &receiver.url("/x"),
        &format!("secret = \"{SECRET}\""),
    ))
    .await;
    let worker = world.work();
    let failure = Failure::new(
        Fault::Permanent,
        "test.failed",
        "ünïcode \u{1f4be} & <markup>",
    );
    world.backup(Close::Failed(failure)).await;
    let sent = receiver.until(1).await.remove(0);
    for signature in signed_by_others(&sent.body).await {
        assert_eq!(sent.header("X-Kanbu-Signature"), Some(signature.as_str()));
    }
    // As JavaScript would have written it.
    let again = "const text = require('fs').readFileSync(process.argv[1], 'utf8');
        console.log(JSON.stringify(JSON.parse(text)) === text)";
    for (name, message) in samples() {
        assert_eq!(
            says("node", &["-e", again, "--"], &body(&message)).await,
            "true",
            "{name}"
        );
    }
    let (id, timestamp) = (
        sent.header("X-Kanbu-Backup-Id").unwrap(),
        sent.header("X-Kanbu-Backup-Timestamp").unwrap(),
    );
    let covered = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &sent.body].concat();
    for signature in signed_by_others(&covered).await {
        assert_eq!(
            sent.header("X-Kanbu-Backup-Signature"),
            Some(signature.as_str())
        );
    }
    assert_eq!(sent.header("User-Agent"), Some("Kanbu-Backup/1.0"));
    assert_eq!(sent.header("Content-Type"), Some("application/json"));
    assert_eq!(sent.header("X-Kanbu-Test"), None);
    worker.go_home().await;
}

#[test]
fn without_a_secret_nothing_is_signed_and_a_test_says_that_it_is_one() {
    let now = "2026-11-23T12:35:00Z".parse().unwrap();
    let test = Message {
        is_test: true,
        ..message("backup.completed", Outcome::Succeeded)
    };
    let bytes = body(&test);
    let names = |secret: Option<&Hidden>| {
        let headers = headers(&test, &bytes, secret, now);
        headers
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    let plain = [
        "Content-Type",
        "X-Kanbu-Backup-Id",
        "X-Kanbu-Backup-Timestamp",
    ];
    assert_eq!(names(None), [&plain[..], &["X-Kanbu-Test"]].concat());
    let signed = [
        &plain[..],
        &[
            "X-Kanbu-Signature",
            "X-Kanbu-Backup-Signature",
            "X-Kanbu-Test",
        ],
    ]
    .concat();
    assert_eq!(names(Some(&Hidden::new("x"))), signed);
}
