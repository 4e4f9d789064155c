//! How a channel is told: the words of its table, by its type.

use std::{fmt::Display, path::PathBuf, str::FromStr};

use super::{
    file::Entries,
    reader::{Reader, absolute_path},
};
use crate::notify::{
    Address, EmailTerms, HeartbeatTerms, Heartbeats, Hidden, HookTerms, MailTls, Means, Template,
    TemplateMethod, TemplateTerms, WebhookTerms,
};

const TYPES: &str = "webhook, kanbu, email, slack, discord, template or heartbeat";
const JSON: &str = "application/json";

/// A channel's table while it is read: what nobody takes is a mistake.
pub(super) struct Table<'r, 'e> {
    reader: &'r mut Reader<'e>,
    name: String,
    entries: Entries,
}

/// Something was wrong, and has been complained about.
struct Told;

/// The items of a list, which is on lines, or in one text with commas.
pub(super) fn items(text: &str) -> Vec<String> {
    let separator = if text.contains('\n') { '\n' } else { ',' };
    let items = text.split(separator).map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

impl<'r, 'e> Table<'r, 'e> {
    pub(super) fn new(reader: &'r mut Reader<'e>, name: &str, entries: Entries) -> Self {
        Self {
            reader,
            name: name.to_owned(),
            entries,
        }
    }

    pub(super) fn complain(&mut self, sentence: String, hint: &str) {
        let name = format!("notify.{}", self.name);
        self.reader.complain(&name, sentence, hint);
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.entries.remove(key)
    }

    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        self.take(key).map(|text| items(&text)).unwrap_or_default()
    }

    /// What nobody has asked for.
    pub(super) fn close(mut self) {
        if let Some(unknown) = std::mem::take(&mut self.entries).into_keys().next() {
            let hint = "docs/notifications.md has what each type of channel knows";
            self.complain(
                format!("has {unknown:?}, which such a channel doesn't know"),
                hint,
            );
        }
    }

    fn secret(&mut self, key: &str) -> Option<Hidden> {
        let name = format!("KANBU_BACKUP_NOTIFY_{}_{key}", self.name)
            .to_uppercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let text = self.reader.secret_of(&name, &mut self.entries, key)?;
        Some(Hidden::new(text.as_str()))
    }

    /// A secret that must not be missing.
    fn needed_secret(&mut self, key: &str) -> Option<Hidden> {
        let secret = self.secret(key);
        if secret.is_none() {
            self.complain(
                format!("has no {key}"),
                "a secret may stand in a file: name it as …_file",
            );
        }
        secret
    }

    /// An address, which is as good as a secret. What is wrong with it doesn't repeat it.
    fn address(&mut self, key: &str) -> Result<Option<Address>, Told> {
        let Some(text) = self.secret(key) else {
            return Ok(None);
        };
        match text.expose().parse() {
            Ok(address) => Ok(Some(address)),
            Err(error) => {
                self.complain(format!("has a {key} that is none"), &format!("{error}"));
                Err(Told)
            }
        }
    }

    fn needed_address(&mut self, key: &str) -> Option<Address> {
        let address = self.address(key).ok()?;
        if address.is_none() {
            self.complain(
                format!("has no {key}"),
                "name the receiver's address, or a file with it as …_file",
            );
        }
        address
    }

    fn needed(&mut self, key: &str) -> Option<String> {
        let text = self.take(key).filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.complain(
                format!("has no {key}"),
                "docs/notifications.md has an example of each type",
            );
        }
        text
    }

    fn parsed<T: FromStr>(&mut self, key: &str, usual: T, expected: impl Display) -> Option<T> {
        let Some(text) = self.take(key) else {
            return Some(usual);
        };
        let value = text.parse().ok();
        if value.is_none() {
            self.complain(
                format!("has {text:?} as its {key}"),
                &format!("expected {expected}"),
            );
        }
        value
    }

    fn truth(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, false, "true or false")
    }

    fn word<T: Copy>(&mut self, key: &str, usual: T, words: &[(&str, T)]) -> Option<T> {
        let Some(text) = self.take(key) else {
            return Some(usual);
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.complain(
                format!("has {text:?} as its {key}"),
                &format!("expected one of {}", words.join(", ")),
            );
        }
        found.map(|(_, value)| *value)
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Means> {
    let kind = table.take("type");
    match kind.as_deref() {
        Some("webhook") => webhook(table),
        Some("kanbu") => Some(Means::Kanbu),
        Some("email") => email(table).map(|terms| Means::Email(Box::new(terms))),
        Some("slack") => hook(table).map(Means::Slack),
        Some("discord") => hook(table).map(Means::Discord),
        Some("template") => template(table).map(|terms| Means::Template(Box::new(terms))),
        Some("heartbeat") => heartbeat(table).map(Means::Heartbeat),
        Some(other) => {
            table.complain(
                format!("is of type {other:?}"),
                &format!("the types are {TYPES}"),
            );
            None
        }
        None => {
            table.complain("has no type".to_owned(), &format!("the types are {TYPES}"));
            None
        }
    }
}

/// Its own, or the one in Kanbu's settings.
fn webhook(table: &mut Table<'_, '_>) -> Option<Means> {
    let allow_private = table.truth("allow_private")?;
    if table.take("from").is_some_and(|from| from == "kanbu") {
        return Some(Means::KanbuWebhook { allow_private });
    }
    Some(Means::Webhook(WebhookTerms {
        url: table.needed_address("url")?,
        secret: table.secret("secret"),
        allow_private,
    }))
}

fn hook(table: &mut Table<'_, '_>) -> Option<HookTerms> {
    Some(HookTerms {
        allow_private: table.truth("allow_private")?,
        url: table.needed_address("url")?,
    })
}

fn email(table: &mut Table<'_, '_>) -> Option<EmailTerms> {
    let words = [
        ("starttls", MailTls::StartTls),
        ("tls", MailTls::Tls),
        ("none", MailTls::Off),
    ];
    let tls = table.word("tls", MailTls::StartTls, &words)?;
    let host = table.needed("host")?;
    let port = table.parsed("port", tls.port(), "a port")?;
    let login = match table.take("username") {
        Some(user) => Some((user, table.needed_secret("password")?)),
        None => None,
    };
    if tls == MailTls::Off && login.is_some() {
        let hint =
            "protect the connection with tls or starttls, or leave out username and password";
        table.complain("would send a password in plain text".to_owned(), hint);
    }
    let from = table.needed("from")?;
    let to = items(&table.needed("to")?);
    for address in std::iter::once(&from).chain(&to) {
        if !address.contains('@') {
            table.complain(
                format!("has {address:?}, which is no mail address"),
                "write name@host",
            );
        }
    }
    let ca_file: Option<PathBuf> = table.take("ca_file").and_then(|path| absolute_path(&path));
    Some(EmailTerms {
        host,
        port,
        tls,
        login,
        from,
        to,
        ca_file,
    })
}

fn template(table: &mut Table<'_, '_>) -> Option<TemplateTerms> {
    let words = [
        ("POST", TemplateMethod::Post),
        ("PUT", TemplateMethod::Put),
        ("PATCH", TemplateMethod::Patch),
    ];
    let method = table.word("method", TemplateMethod::Post, &words)?;
    let content_type = table
        .take("content_type")
        .unwrap_or_else(|| JSON.to_owned());
    let is_json = content_type.contains("json");
    let text = table.needed("body")?;
    let body = match Template::parse(&text, is_json) {
        Ok(body) => body,
        Err(error) => {
            table.complain(
                "has a body that can't be used".to_owned(),
                &error.to_string(),
            );
            return None;
        }
    };
    let names: Vec<String> = table
        .entries
        .keys()
        .filter_map(|key| key.strip_prefix("headers."))
        .map(|name| name.strip_suffix("_file").unwrap_or(name).to_owned())
        .collect();
    if let Some(name) = names.iter().find(|name| !is_header(name)) {
        table.complain(
            format!("has the header {name:?}, which can't be one"),
            "use letters, digits and '-'",
        );
    }
    let mut headers = std::collections::BTreeMap::new();
    for name in names {
        if let Some(value) = table.secret(&format!("headers.{name}")) {
            headers.insert(name, value);
        }
    }
    Some(TemplateTerms {
        allow_private: table.truth("allow_private")?,
        url: table.needed_address("url")?,
        method,
        content_type,
        headers,
        body,
    })
}

fn is_header(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn heartbeat(table: &mut Table<'_, '_>) -> Option<HeartbeatTerms> {
    let allow_private = table.truth("allow_private")?;
    let degraded_is_success =
        table.word("degraded", false, &[("fail", false), ("success", true)])?;
    let is_kuma = table.word(
        "form",
        false,
        &[("healthchecks", false), ("uptime-kuma", true)],
    )?;
    let form = match table.address("success_url").ok()? {
        Some(success) => Heartbeats::Free {
            start: table.address("start_url").ok()?,
            success,
            failure: table.address("fail_url").ok()?,
        },
        None if is_kuma => Heartbeats::UptimeKuma(table.needed_address("url")?),
        None => Heartbeats::Healthchecks(table.needed_address("url")?),
    };
    Some(HeartbeatTerms {
        form,
        degraded_is_success,
        allow_private,
    })
}
