//! What Slack and Discord are sent keeps within the limits that both publish, whatever an event holds.

use chrono::DateTime;
use kanbu_backup::{
    catalog::ArtifactKind,
    execution::{Outcome, Warning, event::Severity},
    id::{ArtifactId, EventId, ScheduleId},
    notify::{
        BackupFacts, EVENTS, Facts, Message, ScheduleName,
        chat::{discord_payload, slack_payload},
    },
};
use proptest::prelude::*;
use serde_json::Value;

/// Texts of any length in any script, with everything that means something to a chat.
fn text() -> impl Strategy<Value = String> {
    let markup = prop::sample::select(vec![
        "",
        " ",
        "\u{200b}",
        "<!channel>",
        "<@U123>",
        "@everyone",
        "@here",
        "&amp;",
        "*bold*",
        "```",
        "~",
        "_",
        "👩‍👩‍👧‍👦",
        "\u{202e}",
        "[x](https://evil.example)",
        "é",
        "漢字",
        "\n",
        "\r\n",
        "\\",
        "|",
    ]);
    prop_oneof![
        2 => any::<String>(),
        2 => prop::collection::vec(markup, 0..40).prop_map(|parts| parts.concat()),
        2 => (".{1,9}", 1_usize..2000).prop_map(|(part, times)| part.repeat(times)),
        1 => Just(String::new()),
    ]
}

fn maybe() -> impl Strategy<Value = Option<String>> {
    prop::option::of(text())
}

fn facts() -> impl Strategy<Value = Facts> {
    let warning = text().prop_map(|text| Warning {
        code: "x.y".to_owned(),
        text,
        degrades: true,
    });
    let outcome = prop::option::of(prop::sample::select(&Outcome::ALL[..]));
    let texts = (maybe(), maybe(), maybe(), maybe(), maybe(), maybe());
    let warnings = prop::collection::vec(warning, 0..30);
    let duration = prop::option::of(any::<i64>());
    (outcome, texts, warnings, duration).prop_map(|(outcome, texts, warnings, duration_ms)| {
        let (error, hint, label, storage, requested_by, text) = texts;
        Facts {
            outcome,
            error,
            hint,
            label,
            storage,
            requested_by,
            text,
            warnings,
            duration_ms,
            error_code: Some("test.failed".to_owned()),
            ..Facts::default()
        }
    })
}

fn backup() -> impl Strategy<Value = BackupFacts> {
    (text(), any::<u64>()).prop_map(|(file, payload_bytes)| BackupFacts {
        id: ArtifactId::new(),
        kind: ArtifactKind::Database,
        file,
        payload_bytes,
        payload_sha256: String::new(),
        is_encrypted: false,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let name = "[^#\\pC\u{2028}]{1,300}"
        .prop_filter_map("no subject", |name| format!("database:{name}").parse().ok());
    let names: Vec<&str> = EVENTS.iter().map(|event| event.name).collect();
    (
        prop::sample::select(names),
        prop::sample::select(&Severity::ALL[..]),
        name,
        facts(),
        prop::option::of(backup()),
        maybe(),
        text(),
    )
        .prop_map(
            |(event, severity, subject, facts, backup, schedule, environment)| Message {
                id: EventId::new(),
                at: DateTime::UNIX_EPOCH,
                event: event.to_owned(),
                severity,
                subject,
                execution: None,
                schedule: schedule.map(|name| ScheduleName {
                    id: ScheduleId::new(),
                    name,
                }),
                facts,
                backup,
                environment,
                is_test: false,
            },
        )
}

/// As JavaScript counts, which is never less than characters.
fn length(value: &Value) -> usize {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .encode_utf16()
        .count()
}

fn is_seen(value: &Value) -> bool {
    value
        .as_str()
        .unwrap()
        .chars()
        .any(|c| !c.is_whitespace() && !c.is_control())
}

/// <https://docs.slack.dev/reference/block-kit/blocks>: 50 blocks; a header 150, a section's text 1 to 3000, ten fields of
/// 2000 characters each.
fn check_slack(payload: &Value) {
    assert!(length(&payload["text"]) <= 4000 && is_seen(&payload["text"]));
    let blocks = payload["blocks"].as_array().unwrap();
    assert!((1..=50).contains(&blocks.len()));
    let mut texts = vec![&payload["text"]];
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "header" => {
                assert_eq!(block["text"]["type"], "plain_text");
                assert!((1..=150).contains(&length(&block["text"]["text"])));
                texts.push(&block["text"]["text"]);
            }
            "section" if block.get("fields").is_some() => {
                let fields = block["fields"].as_array().unwrap();
                assert!((1..=10).contains(&fields.len()));
                assert!(
                    fields
                        .iter()
                        .all(|field| (1..=2000).contains(&length(&field["text"])))
                );
                texts.extend(fields.iter().map(|field| &field["text"]));
            }
            "section" => {
                assert!(
                    (1..=3000).contains(&length(&block["text"]["text"]))
                        && is_seen(&block["text"]["text"])
                );
                texts.push(&block["text"]["text"]);
            }
            other => panic!("a block of type {other}"),
        }
    }
    for text in texts {
        let text = text.as_str().unwrap();
        assert!(!text.contains(['<', '>']), "{text:?} can mention somebody");
        for (at, _) in text.match_indices('&') {
            let rest = &text[at..];
            assert!(
                ["&amp;", "&lt;", "&gt;"]
                    .iter()
                    .any(|escape| rest.starts_with(escape)),
                "{text:?}"
            );
        }
    }
}

/// <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>: title 256, description 4096, 25
/// fields, their names 256 and values 1024, footer 2048, all of them together 6000; content 2000.
fn check_discord(payload: &Value) {
    assert_eq!(
        payload["allowed_mentions"],
        serde_json::json!({"parse": []})
    );
    assert!(
        payload
            .get("content")
            .is_none_or(|content| length(content) <= 2000)
    );
    let embeds = payload["embeds"].as_array().unwrap();
    assert_eq!(embeds.len(), 1);
    let embed = &embeds[0];
    let mut sum = 0;
    let mut counted = |value: &Value, most: usize| {
        let length = length(value);
        assert!((1..=most).contains(&length) && is_seen(value), "{value}");
        assert!(
            !value.as_str().unwrap().contains("@everyone")
                && !value.as_str().unwrap().contains("@here")
        );
        sum += length;
    };
    counted(&embed["title"], 256);
    counted(&embed["description"], 4096);
    counted(&embed["footer"]["text"], 2048);
    let fields = embed["fields"].as_array().unwrap();
    assert!(fields.len() <= 25);
    for field in fields {
        counted(&field["name"], 256);
        counted(&field["value"], 1024);
    }
    assert!(sum <= 6000, "{sum} in all");
    assert!(embed["color"].as_u64().unwrap() <= 0xff_ffff);
    DateTime::parse_from_rfc3339(embed["timestamp"].as_str().unwrap()).unwrap();
}

proptest! {
    #[test]
    fn whatever_happened_both_chats_take_the_message(message in message()) {
        check_slack(&slack_payload(&message));
        check_discord(&discord_payload(&message));
    }
}
