//! Who is told of what: the channels of the configuration file, `[notify.NAME]`, and the short forms of the environment.
//!
//! Secrets of a channel come from its table, from the file that `…_file` names there, or from
//! `KANBU_BACKUP_NOTIFY_<NAME>_<WORD>` and the same with `_FILE`, which stand above the table.

use super::{
    file::Entries,
    notify_means::{self, Table},
    reader::Reader,
    settings,
};
use crate::notify::{
    Address, ChannelConfig, EVENTS, HeartbeatTerms, Heartbeats, Hidden, Means, On, Wants,
    WebhookTerms, known,
};

/// The channels, by name; none twice.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    pub channels: Vec<ChannelConfig>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> NotifySettings {
    let mut channels = short_forms(reader);
    for (name, entries) in reader.sections("notify") {
        channels.extend(of_table(reader, name, entries));
    }
    for (index, channel) in channels.iter().enumerate() {
        if channels
            .iter()
            .take(index)
            .any(|other| other.name == channel.name)
        {
            let name = format!("notify.{}", channel.name);
            let hint = "give the table another name, or unset the variable that makes a channel of this one";
            reader.complain(&name, "is there twice", hint);
        }
    }
    NotifySettings { channels }
}

/// What the environment can say in a word.
fn short_forms(reader: &mut Reader<'_>) -> Vec<ChannelConfig> {
    let webhook: Option<Address> = reader.explained(settings::WEBHOOK_URL, str::parse);
    let secret = reader.optional(settings::WEBHOOK_SECRET, |text| Some(Hidden::new(text)));
    let heartbeat: Option<Address> = reader.explained(settings::HEARTBEAT_URL, str::parse);
    let in_kanbu = reader.value(settings::NOTIFY_KANBU, |word| match word {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    });
    if secret.is_some() && webhook.is_none() && !reader.was_given(settings::WEBHOOK_URL) {
        let sentence = "is set, but there is no KANBU_BACKUP_WEBHOOK_URL";
        reader.complain(
            settings::WEBHOOK_SECRET.name,
            sentence,
            "set both or neither",
        );
    }
    let channel = |name: &str, on, means| ChannelConfig {
        name: name.to_owned(),
        wants: Wants {
            on,
            subjects: Vec::new(),
            schedules: Vec::new(),
        },
        means,
    };
    let mut channels = Vec::new();
    channels.extend(webhook.map(|url| {
        let terms = WebhookTerms {
            url,
            secret,
            allow_private: false,
        };
        channel("webhook", On::Warning, Means::Webhook(terms))
    }));
    channels.extend(heartbeat.map(|url| {
        let terms = HeartbeatTerms {
            form: Heartbeats::Healthchecks(url),
            degraded_is_success: false,
            allow_private: false,
        };
        channel("heartbeat", beats(&["backup"]), Means::Heartbeat(terms))
    }));
    if in_kanbu == Some(true) {
        let webhook = Means::KanbuWebhook {
            allow_private: false,
        };
        channels.push(channel("kanbu", kanbus(), Means::Kanbu));
        channels.push(channel("kanbu-webhook", kanbus(), webhook));
    }
    channels
}

/// What Kanbu's own switches are about.
pub(super) fn kanbus() -> On {
    On::Named(beginning_with(&["backup.", "restore."], |name| {
        !name.ends_with(".started")
    }))
}

/// The beginnings and ends of these sorts of work.
pub(super) fn beats(nouns: &[&str]) -> On {
    let nouns: Vec<String> = nouns.iter().map(|noun| format!("{noun}.")).collect();
    let nouns: Vec<&str> = nouns.iter().map(String::as_str).collect();
    On::Named(beginning_with(&nouns, |_| true))
}

fn beginning_with(nouns: &[&str], fits: impl Fn(&str) -> bool) -> Vec<String> {
    let names = EVENTS.iter().map(|event| event.name);
    let names = names.filter(|name| nouns.iter().any(|noun| name.starts_with(noun)) && fits(name));
    names.map(str::to_owned).collect()
}

fn of_table(reader: &mut Reader<'_>, name: String, entries: Entries) -> Option<ChannelConfig> {
    let is_name = name.len() <= 32
        && name
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'))
        && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !is_name {
        let hint = "use up to 32 small letters, digits, '-' and '_', beginning with a letter";
        reader.complain(
            "notify",
            format!("has a channel {name:?}, which can't be its name"),
            hint,
        );
        return None;
    }
    let mut table = Table::new(reader, &name, entries);
    let means = notify_means::read(&mut table);
    let wants = wants(&mut table, means.as_ref());
    // What a channel of no sound type doesn't know can't be said.
    if means.is_some() {
        table.close();
    }
    Some(ChannelConfig {
        name,
        wants: wants?,
        means: means?,
    })
}

fn wants(table: &mut Table<'_, '_>, means: Option<&Means>) -> Option<Wants> {
    let usual = match means {
        Some(Means::Kanbu | Means::KanbuWebhook { .. }) => kanbus(),
        Some(Means::Heartbeat(_)) => heartbeats(table)?,
        _ => On::Warning,
    };
    let on = match table.take("on") {
        None => usual,
        Some(text) => on(table, &text)?,
    };
    Some(Wants {
        on,
        subjects: table.list("subjects"),
        schedules: table.list("schedules"),
    })
}

fn heartbeats(table: &mut Table<'_, '_>) -> Option<On> {
    let kinds = table.list("kinds");
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let of = if kinds.is_empty() {
        &["backup"][..]
    } else {
        &kinds
    };
    for kind in of {
        if known(&format!("{kind}.started")).is_none() {
            let sentence = format!("has {kind:?} among its kinds, which never begins");
            let hint = "backup, restore, verification, test_restore and prune begin and end";
            table.complain(sentence, hint);
            return None;
        }
    }
    Some(beats(of))
}

fn on(table: &mut Table<'_, '_>, text: &str) -> Option<On> {
    match text {
        "failure" => return Some(On::Failure),
        "warning" => return Some(On::Warning),
        "all" => return Some(On::All),
        _ => {}
    }
    let names = notify_means::items(text);
    if let Some(unknown) = names.iter().find(|name| known(name).is_none()) {
        let all = EVENTS.iter().map(|event| event.name);
        let hint = super::names::nearest(unknown, all).map_or_else(String::new, |name| {
            format!("the nearest event is {name}; failure, warning and all are words too")
        });
        table.complain(format!("has {unknown:?} in `on`, which is no event"), &hint);
        return None;
    }
    if names.is_empty() {
        table.complain(
            "has an empty `on`".to_owned(),
            "leave it out for warnings and failures",
        );
        return None;
    }
    Some(On::Named(names))
}
