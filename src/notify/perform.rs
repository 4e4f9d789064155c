//! Carrying messages: from an event to its channels, each by a job of its own, and from a channel's job to its receiver.
//!
//! A message is delivered at least once, always under the id of its event. That it was is written down before the job ends:
//! whoever takes over from a worker that died in between finds it in the log and sends nothing.

use std::{sync::Arc, time::Instant};

use serde_json::json;

use super::{
    Channel, Deps, Receipt,
    error::NotifyError,
    message::{BackupFacts, Message},
    names::is_beginning,
};
use crate::{
    catalog,
    execution::{
        Effects, Lease,
        delivery::{self, DeliveryStatus, NewDelivery, SoFar},
        event::{self, EventView},
    },
    fault::{Classified, Failure, Fault},
    job::{Job, Kind, Notify, VerifyLevel},
};

/// Tells of an event: whom, or the one who is named.
pub async fn perform(
    request: &Notify,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let found = event::get(&deps.control, request.event).await?;
    let event = found.ok_or(NotifyError::EventGone(request.event))?;
    match &request.channel {
        None => Ok(fan_out(request, &event, deps)),
        Some(name) => deliver(name, event, deps, lease).await,
    }
}

/// One job for each channel that wants the event, made in the transaction in which this one ends.
fn fan_out(request: &Notify, event: &EventView, deps: &Deps) -> Effects {
    let wanting = deps
        .channels
        .iter()
        .filter(|channel| channel.wants.takes(event));
    let names: Vec<&String> = wanting.map(|channel| &channel.name).collect();
    let follow_ups = names.iter().map(|name| {
        Job::Notify(Notify {
            channel: Some((*name).clone()),
            ..request.clone()
        })
    });
    Effects {
        follow_ups: follow_ups.collect(),
        result: json!({ "event": event.name, "channels": names }),
        ..Effects::default()
    }
}

async fn deliver(
    name: &str,
    event: EventView,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let so_far = delivery::so_far(&deps.control, lease.job()).await?;
    if so_far.is_over {
        return Ok(result(name, DeliveryStatus::Delivered, None));
    }
    let began = Instant::now();
    let channel = deps.channels.iter().find(|channel| channel.name == name);
    let sent = match channel {
        None => Err(NotifyError::UnknownChannel(name.to_owned())),
        // Whoever hears of the start after the end would wait for another one.
        Some(_) if is_beginning(&event.name) && !event.is_going_on => {
            Ok(Receipt::Skipped("it has ended by now"))
        }
        Some(channel) => tokio::select! {
            () = lease.cancelled().cancelled() => return Err(Failure::cancelled()),
            sent = send(channel, &event, deps) => sent,
        },
    };
    let new = NewDelivery {
        event: event.id,
        channel: name.to_owned(),
        job: lease.job(),
        execution: lease.execution(),
        attempt: so_far.attempts + 1,
        status: DeliveryStatus::Delivered,
        http_status: None,
        took: began.elapsed(),
        error: None,
    };
    match sent {
        Ok(receipt) => Ok(received(receipt, new, deps).await),
        Err(error) => Err(missed(&error, channel, so_far, new, deps).await),
    }
}

async fn send(channel: &Channel, event: &EventView, deps: &Deps) -> Result<Receipt, NotifyError> {
    let mut message = Message::of(event.clone(), None, &deps.environment);
    if let Some(id) = message.facts.artifact {
        let artifact = catalog::get(&deps.control, id).await?;
        message.backup = artifact.as_ref().map(BackupFacts::from);
    }
    channel.notifier.deliver(&message).await
}

async fn received(receipt: Receipt, new: NewDelivery, deps: &Deps) -> Effects {
    let new = match receipt {
        Receipt::Delivered { http_status, .. } => NewDelivery { http_status, ..new },
        Receipt::Skipped(why) => NewDelivery {
            status: DeliveryStatus::Skipped,
            error: Some(("notify.skipped".to_owned(), why.to_owned())),
            ..new
        },
    };
    log(&new, deps).await;
    result(&new.channel, new.status, new.http_status)
}

/// What it means for the job, written down.
async fn missed(
    error: &NotifyError,
    channel: Option<&Channel>,
    so_far: SoFar,
    new: NewDelivery,
    deps: &Deps,
) -> Failure {
    let mut failure = Failure::of(error);
    let most = channel.and_then(|channel| channel.most_attempts);
    if most.is_some_and(|most| so_far.attempts + 1 >= most) {
        failure.fault = Fault::Permanent;
    }
    let new = NewDelivery {
        status: match failure.fault {
            Fault::Permanent => DeliveryStatus::GaveUp,
            Fault::Transient | Fault::LeaseLost | Fault::Cancelled => DeliveryStatus::Failed,
        },
        http_status: error.http_status(),
        error: Some((error.code().to_owned(), failure.message.clone())),
        ..new
    };
    log(&new, deps).await;
    failure
}

/// That it can't be written down changes nothing about what was sent.
async fn log(new: &NewDelivery, deps: &Deps) {
    if let Err(error) = delivery::log(&deps.control, new).await {
        tracing::warn!(channel = new.channel, %error, "a delivery was not logged");
    }
}

fn result(channel: &str, status: DeliveryStatus, http_status: Option<u16>) -> Effects {
    Effects {
        result: json!({ "channel": channel, "status": status, "http_status": http_status }),
        ..Effects::default()
    }
}

/// Says that an execution has begun, if there is a channel that asks for it. Whatever comes of that, the work goes on.
pub async fn announce(job: &Job, deps: &Deps, lease: &Lease) {
    let noun = match job {
        Job::Verify(verify) if verify.level == VerifyLevel::Proven => "test_restore",
        Job::Verify(_) => "verification",
        Job::Backup(_) | Job::Restore(_) | Job::Prune(_) | Job::Notify(_) => job.kind().as_str(),
    };
    let event = format!("{noun}.started");
    let subject = job.subject().to_string();
    let subject = subject.split('#').next().unwrap_or_default();
    let is_wanted = |channel: &Channel| {
        channel.wants.takes_event(&event, event::Severity::Info)
            && channel.wants.takes_subject(subject)
    };
    if job.kind() == Kind::Notify || !deps.channels.iter().any(is_wanted) {
        return;
    }
    if let Err(error) = event::record_start(&deps.control, lease.execution()).await {
        tracing::warn!(execution.id = %lease.execution(), %error, "nobody is told of the start");
    }
}
