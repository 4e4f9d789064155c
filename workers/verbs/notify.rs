//! `notify list|test|log|replay`.

use kanbu_backup::{
    clock::{Clock, SystemClock},
    execution::delivery::{self, DeliveryFilter, DeliveryView, Meant},
    fault::{Failure, Fault},
    notify::{ChannelConfig, Message, On, Receipt},
};
use serde_json::json;

use super::list;
use crate::{cli::Notify, exit::Exit, output::Table, session::Session, wiring};

/// As many characters of an error fit into a list.
const MOST_SHOWN_CHARS: usize = 70;

pub async fn run(args: Notify, session: &Session) -> Result<Exit, Failure> {
    match args {
        Notify::List => Ok(channels(session)),
        Notify::Test { channel } => test(&channel, session).await,
        Notify::Log {
            channel,
            failed,
            limit,
        } => log(channel, failed, limit, session).await,
        Notify::Replay {
            id,
            channel,
            dry_run,
        } => replay(&id, channel, dry_run, session).await,
    }
}

fn channels(session: &Session) -> Exit {
    let channels = &session.config.notify.channels;
    let documents: Vec<_> = channels
        .iter()
        .map(|channel| {
            json!({
                "name": channel.name, "type": channel.means.kind(), "to": channel.means.place(),
                "on": on(&channel.wants.on), "subjects": channel.wants.subjects,
                "schedules": channel.wants.schedules,
            })
        })
        .collect();
    session
        .out
        .document("channels", &documents, || table(channels));
    Exit::Done
}

fn table(channels: &[ChannelConfig]) -> String {
    let mut table = Table::new(&["NAME", "TYPE", "TO", "ON", "SUBJECTS", "SCHEDULES"]);
    for channel in channels {
        table.row([
            channel.name.clone(),
            channel.means.kind().to_owned(),
            channel.means.place(),
            on(&channel.wants.on),
            all_or(&channel.wants.subjects),
            all_or(&channel.wants.schedules),
        ]);
    }
    table.text()
}

fn on(on: &On) -> String {
    match on {
        On::Failure => "failure".to_owned(),
        On::Warning => "warning".to_owned(),
        On::All => "all".to_owned(),
        On::Named(names) => names.join(", "),
    }
}

fn all_or(names: &[String]) -> String {
    if names.is_empty() {
        "all".to_owned()
    } else {
        names.join(", ")
    }
}

fn unknown(name: &str, session: &Session) -> Failure {
    let known = session.config.notify.channels.iter();
    let known: Vec<&str> = known.map(|channel| channel.name.as_str()).collect();
    let hint = if known.is_empty() {
        "there is none in the settings; docs/notifications.md has examples".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    let text = format!("there is no channel {name:?}");
    Failure::new(Fault::Permanent, "channel.not_found", text).with_hint(hint)
}

async fn test(name: &str, session: &Session) -> Result<Exit, Failure> {
    let channels = wiring::channels(&session.config)?;
    let channel = channels
        .iter()
        .find(|channel| channel.name == name)
        .ok_or_else(|| unknown(name, session))?;
    let subject = session.config.protected.subject.clone();
    let environment = session.config.storage.environment.to_string();
    let message = Message::sample(&environment, subject, SystemClock.now());
    let receipt = channel.notifier.deliver(&message).await;
    let (status, http_status, said) = match receipt.map_err(Failure::from)? {
        Receipt::Delivered { http_status, said } => ("delivered", http_status, said),
        Receipt::Skipped(why) => ("skipped", None, why.to_owned()),
    };
    let answered = http_status.map_or_else(String::new, |http_status| {
        format!(", the receiver answered {http_status}")
    });
    let colon = if said.is_empty() { "" } else { ": " };
    let text = format!("{name}: {status}{answered}{colon}{said}");
    let fields = json!({
        "channel": name, "status": status, "http_status": http_status, "said": said, "id": message.id,
    });
    session.out.result(fields, &text);
    Ok(Exit::Done)
}

async fn log(
    channel: Option<String>,
    failed: bool,
    limit: u32,
    session: &Session,
) -> Result<Exit, Failure> {
    let filter = DeliveryFilter {
        channel,
        failed,
        limit: limit.into(),
    };
    let lines = delivery::list(&session.control().await?, &filter).await?;
    session
        .out
        .document("deliveries", &lines, || log_table(&lines));
    Ok(Exit::Done)
}

fn log_table(lines: &[DeliveryView]) -> String {
    let mut table = Table::new(&[
        "ID", "WHEN", "CHANNEL", "EVENT", "SUBJECT", "STATUS", "ATTEMPT", "TOOK", "ANSWER",
    ]);
    for line in lines {
        let digits = line.id.simple().to_string();
        let http = line.http_status.map(|status| status.to_string());
        let error = line.error.as_ref();
        let error = error.map(|error| error.chars().take(MOST_SHOWN_CHARS).collect::<String>());
        table.row([
            digits[24..].to_owned(),
            list::local(line.at),
            line.channel.clone(),
            line.event.clone().unwrap_or_else(|| line.event_id.short()),
            line.subject.clone().unwrap_or_default(),
            line.status.clone(),
            line.attempt.to_string(),
            format!("{} ms", line.duration_ms),
            error.or(http).unwrap_or_default(),
        ]);
    }
    table.text()
}

async fn replay(
    id: &str,
    channel: Option<String>,
    dry_run: bool,
    session: &Session,
) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let meant = delivery::meant(&db, id).await?;
    let meant = match meant.as_slice() {
        [only] => only,
        [] => {
            let text = format!("there is no event and no delivery {id}");
            return Err(
                Failure::new(Fault::Permanent, "event.not_found", text).with_hint(
                    "`kanbu-backup notify log` tells them; six characters of the end are enough",
                ),
            );
        }
        [..] => {
            let text = format!("{id} is the end of more than one id");
            return Err(Failure::new(Fault::Permanent, "event.ambiguous", text));
        }
    };
    let Meant { event, channel: of } = meant;
    let channel = channel.or_else(|| of.clone());
    let whom = channel.as_deref().unwrap_or("every channel that wants it");
    if dry_run {
        let text = format!("event {} would be sent to {whom}", event.short());
        session.out.result(
            json!({ "event": event, "channel": channel, "dry_run": true }),
            &text,
        );
        return Ok(Exit::Done);
    }
    let job = delivery::replay(&db, *event, channel.as_deref()).await?;
    let text = format!(
        "event {} goes to {whom} once more, by job {}",
        event.short(),
        job.short()
    );
    session.out.result(
        json!({ "event": event, "channel": channel, "job": job }),
        &text,
    );
    Ok(Exit::Done)
}
