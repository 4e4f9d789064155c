//! Channels as the settings describe them: what is understood, what is refused, and that nothing secret is shown.

use kanbu_backup::notify::{Heartbeats, Means, On};

use super::*;

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let directory = ScratchDirectory::new();
    let path = directory.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let env: Env = env.iter().copied().collect();
    Config::load(&env, Some(&path))
        .map_err(|errors| errors.problems().iter().map(ToString::to_string).collect())
}

#[test]
fn a_word_in_the_environment_makes_a_channel() {
    let config = load(
        "",
        &[
            (
                "KANBU_BACKUP_WEBHOOK_URL",
                "https://example.org/hook/t0ken-of-it",
            ),
            ("KANBU_BACKUP_WEBHOOK_SECRET", "hush-hush"),
            (
                "KANBU_BACKUP_HEARTBEAT_URL",
                "https://hc.example.org/uuid-of-it",
            ),
            ("KANBU_BACKUP_NOTIFY_KANBU", "on"),
        ],
    )
    .unwrap();
    let names: Vec<_> = config
        .notify
        .channels
        .iter()
        .map(|channel| channel.name.as_str())
        .collect();
    assert_eq!(names, ["webhook", "heartbeat", "kanbu", "kanbu-webhook"]);
    let On::Named(beats) = &config.notify.channels[1].wants.on else {
        panic!("no names")
    };
    assert_eq!(
        beats,
        &[
            "backup.completed",
            "backup.degraded",
            "backup.failed",
            "backup.started"
        ]
    );
    let shown = format!("{:?} {:?}", config.notify, config.effective);
    for secret in ["t0ken-of-it", "hush-hush", "uuid-of-it"] {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
}

#[test]
fn a_channels_secrets_come_from_its_table_from_a_file_or_from_the_environment() {
    let directory = ScratchDirectory::new();
    let path = directory.path().join("url");
    fs::write(&path, "https://hooks.slack.com/services/from-a-file\n").unwrap();
    let text = format!(
        "[notify.by-file]\ntype = \"slack\"\nurl_file = \"{}\"\n[notify.by-env]\ntype = \"discord\"\nurl = \"https://x.example/overridden\"\n",
        path.display()
    );
    let env = [(
        "KANBU_BACKUP_NOTIFY_BY_ENV_URL",
        "https://discord.com/api/webhooks/from-the-environment",
    )];
    let config = load(&text, &env).unwrap();
    let urls: Vec<_> = config
        .notify
        .channels
        .iter()
        .map(|channel| match &channel.means {
            Means::Slack(terms) | Means::Discord(terms) => terms.url.url().path().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        urls,
        [
            "/api/webhooks/from-the-environment",
            "/services/from-a-file"
        ]
    );
}

/// One in each table.
const MISTAKES: &str = r#"
        [notify.a]
        type = "pigeon"
        [notify.b]
        url = "https://example.org/t0ken-of-it"
        [notify.c]
        type = "webhook"
        url = "ftp://example.org/t0ken-of-it"
        [notify.d]
        type = "slack"
        url = "https://example.org/t0ken-of-it"
        on = ["backup.faild"]
        [notify.e]
        type = "slack"
        url = "https://example.org/t0ken-of-it"
        chanel = "x"
        [notify.f]
        type = "email"
        host = "mail"
        from = "backup"
        to = "a@b"
        tls = "none"
        username = "u"
        password = "t0ken-of-it"
        [notify.g]
        type = "template"
        url = "https://example.org/t0ken-of-it"
        body = '{"a": {{titel}}}'
        [notify.h]
        type = "heartbeat"
        url = "https://example.org/t0ken-of-it"
        kinds = ["schedule"]
        [notify.Big]
        type = "kanbu"
"#;

#[test]
fn what_a_channel_does_not_know_is_told_and_its_secrets_are_not() {
    let problems = load(MISTAKES, &[("KANBU_BACKUP_WEBHOOK_SECRET", "t0ken-of-it")]).unwrap_err();
    for expected in [
        "KANBU_BACKUP_WEBHOOK_SECRET is set, but there is no KANBU_BACKUP_WEBHOOK_URL",
        "notify has a channel \"Big\", which can't be its name",
        "notify.a is of type \"pigeon\"",
        "notify.b has no type",
        "notify.c has a url that is none",
        "notify.d has \"backup.faild\" in `on`, which is no event",
        "notify.e has \"chanel\", which such a channel doesn't know",
        "notify.f would send a password in plain text",
        "notify.f has \"backup\", which is no mail address",
        "notify.g has a body that can't be used",
        "notify.h has \"schedule\" among its kinds, which never begins",
    ] {
        assert!(
            problems.iter().any(|problem| problem == expected),
            "{expected} is not among {problems:#?}"
        );
    }
    assert_eq!(problems.len(), 11, "{problems:#?}");
    assert!(
        problems.iter().all(|problem| !problem.contains("t0ken")),
        "{problems:#?}"
    );
}

#[test]
fn a_heartbeat_may_have_an_address_for_each_ping() {
    let config = load(
        "[notify.beat]\ntype = \"heartbeat\"\nstart_url = \"https://m.example/s\"\nsuccess_url = \"https://m.example/ok\"\n\
         fail_url = \"https://m.example/f\"\nkinds = [\"backup\", \"test_restore\"]\ndegraded = \"success\"\n",
        &[],
    )
    .unwrap();
    let channel = &config.notify.channels[0];
    let Means::Heartbeat(terms) = &channel.means else {
        panic!("{channel:?}")
    };
    assert!(terms.degraded_is_success && matches!(terms.form, Heartbeats::Free { .. }));
    assert_eq!(channel.means.place(), "m.example");
}
