//! Messages to chats, by the incoming webhooks of Slack and Discord, within the limits that both publish.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Notifier, Receipt,
    error::NotifyError,
    fit::{Escape, discord, fit, slack, units},
    message::Message,
    poster::{Call, Method, Poster},
    terms::HookTerms,
};
use crate::{execution::event::Severity, fault::Failure};

const SLACK_HEADER: usize = 150;
const SLACK_SECTION: usize = 3000;
const SLACK_FIELD: usize = 2000;
const SLACK_FIELDS: usize = 10;
/// Above it a message's plain text is cut by Slack itself.
const SLACK_TEXT: usize = 4000;

const DISCORD_TITLE: usize = 256;
const DISCORD_DESCRIPTION: usize = 4096;
const DISCORD_FIELDS: usize = 25;
const DISCORD_FIELD_NAME: usize = 256;
const DISCORD_FIELD_VALUE: usize = 1024;
const DISCORD_FOOTER: usize = 2048;
/// Of all texts of an embed together.
const DISCORD_EMBED: usize = 6000;

/// A chat that takes messages under an address of its own.
#[derive(Debug)]
pub struct Chat {
    terms: HookTerms,
    poster: Poster,
    form: fn(&Message) -> Value,
}

impl Chat {
    pub fn slack(terms: HookTerms) -> Result<Self, Failure> {
        Self::new(terms, slack_payload)
    }

    pub fn discord(terms: HookTerms) -> Result<Self, Failure> {
        Self::new(terms, discord_payload)
    }

    fn new(terms: HookTerms, form: fn(&Message) -> Value) -> Result<Self, Failure> {
        Ok(Self {
            poster: Poster::new(terms.allow_private, terms.url.secrets())?,
            terms,
            form,
        })
    }
}

#[async_trait]
impl Notifier for Chat {
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError> {
        let call = Call {
            method: Method::POST,
            url: self.terms.url.url().clone(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: (self.form)(message).to_string().into_bytes(),
        };
        Ok(Receipt::answered(self.poster.send(&call).await?))
    }
}

/// What can be seen of a text; a receiver that cuts off blanks must not be left with nothing.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    })
}

fn or_dash(text: String) -> String {
    if is_blank(&text) {
        "–".to_owned()
    } else {
        text
    }
}

fn shown(text: &str, limit: usize, escape: Escape) -> String {
    or_dash(fit(text, limit, escape))
}

/// A message of blocks, with a plain text for notifications.
pub fn slack_payload(message: &Message) -> Value {
    let sign = match message.severity {
        Severity::Info => "✅",
        Severity::Warning => "⚠️",
        Severity::Error => "❌",
    };
    let title = format!("{sign} {}", message.title());
    let fields: Vec<Value> = message
        .fields()
        .iter()
        .filter(|(_, value)| !is_blank(value))
        .take(SLACK_FIELDS)
        .map(|(name, value)| {
            let name = format!("*{name}*\n");
            let value = fit(value, SLACK_FIELD - units(&name), slack);
            json!({"type": "mrkdwn", "text": name + &value})
        })
        .collect();
    json!({
        "text": shown(&title, SLACK_TEXT, slack),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": shown(&title, SLACK_HEADER, slack)}},
            {"type": "section", "text": {"type": "mrkdwn", "text": shown(&message.text(), SLACK_SECTION, slack)}},
            {"type": "section", "fields": fields},
        ],
    })
}

/// A message of one embed, which mentions nobody.
pub fn discord_payload(message: &Message) -> Value {
    let colour = match message.severity {
        Severity::Info => 0x2e_a043,
        Severity::Warning => 0xd2_9922,
        Severity::Error => 0xda_3633,
    };
    let mut room = DISCORD_EMBED;
    let mut take = |text: &str, limit: usize| {
        let text = shown(text, limit.min(room), discord);
        room = room.saturating_sub(units(&text));
        text
    };
    let title = take(&message.title(), DISCORD_TITLE);
    let footer = take(&format!("kanbu-backup · {}", message.id), DISCORD_FOOTER);
    let description = take(&message.text(), DISCORD_DESCRIPTION);
    let mut fields = Vec::new();
    for (name, value) in message
        .fields()
        .iter()
        .filter(|(_, value)| !is_blank(value))
        .take(DISCORD_FIELDS)
    {
        let name = fit(name, DISCORD_FIELD_NAME, discord);
        let value = shown(value, DISCORD_FIELD_VALUE, discord);
        let needs = units(&name) + units(&value);
        if needs > room {
            break;
        }
        room -= needs;
        fields.push(json!({"name": name, "value": value, "inline": units(&value) <= 40}));
    }
    json!({
        "allowed_mentions": {"parse": []},
        "embeds": [{
            "title": title,
            "description": description,
            "color": colour,
            "timestamp": message.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "fields": fields,
            "footer": {"text": footer},
        }],
    })
}
