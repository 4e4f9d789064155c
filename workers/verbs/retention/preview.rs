//! `retention preview`: every backup with its verdict and the reasons for it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kanbu_backup::{
    bytes::ByteSize,
    catalog::{self, Family},
    clock::{Clock, SystemClock},
    control::ControlDb,
    fault::Failure,
    id::ArtifactId,
    job,
    prune::{self, Planned, Wish},
    retention::Policy,
};
use serde::Serialize;

use super::meant;
use crate::{
    cli::Preview,
    exit::Exit,
    output::Table,
    session::Session,
    verbs::{list, time},
    wiring,
};

/// When, and under which circumstances.
pub(super) struct Question {
    as_of: DateTime<Utc>,
    policy: Option<Policy>,
    with_next: bool,
    only: Option<ArtifactId>,
}

impl Question {
    pub(super) fn now() -> Self {
        Self {
            as_of: SystemClock.now(),
            policy: None,
            with_next: false,
            only: None,
        }
    }
}

pub(super) async fn run(args: &Preview, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let now = SystemClock.now();
    let as_of = args.as_of.as_deref().map(|text| time::any(text, now));
    let mut question = Question {
        as_of: as_of.transpose()?.unwrap_or(now),
        policy: args.policy.policy(),
        with_next: args.with_next,
        only: None,
    };
    let requests = match &args.explain {
        Some(text) => {
            let artifact = list::meant(text, None, &db).await?;
            question.only = Some(artifact.id);
            vec![job::Prune::of(artifact.subject)]
        }
        None => meant(&args.whose, &db).await?,
    };
    show(&requests, &question, &db, session).await
}

/// One plan, with what a reader wants to know of each backup.
#[derive(Serialize)]
struct Shown {
    subject: String,
    class: String,
    schedule: Option<String>,
    time_zone: &'static str,
    policy: Policy,
    as_of: DateTime<Utc>,
    /// Why nothing goes.
    held: Option<String>,
    backups: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    /// None for the one that is still to be made.
    id: Option<ArtifactId>,
    created_at: Option<DateTime<Utc>>,
    stored_bytes: u64,
    verdict: &'static str,
    reasons: serde_json::Value,
    words: String,
}

pub(super) async fn show(
    requests: &[job::Prune],
    question: &Question,
    db: &ControlDb,
    session: &Session,
) -> Result<Exit, Failure> {
    let terms = wiring::prune_terms(&session.config);
    let mut all = Vec::new();
    for request in requests {
        let family = catalog::family(db, &request.subject).await?;
        let wish = Wish {
            schedule: request.schedule,
            policy: question.policy.clone(),
            with_next: question.with_next,
        };
        for planned in prune::plans(&family, &wish, &terms, question.as_of) {
            let mut shown = shown(request, planned, &family);
            shown
                .backups
                .retain(|line| question.only.is_none() || line.id == question.only);
            if question.only.is_none() || !shown.backups.is_empty() {
                all.push(shown);
            }
        }
    }
    let is_one = question.only.is_some();
    session.out.document("retention", &all, || {
        let texts: Vec<_> = all.iter().map(|shown| text(shown, is_one)).collect();
        if texts.is_empty() {
            "there are no backups".to_owned()
        } else {
            texts.join("\n\n")
        }
    });
    Ok(Exit::Done)
}

fn shown(request: &job::Prune, planned: Planned, family: &Family) -> Shown {
    let next = planned.next;
    let members = family.members.iter().map(|member| &member.candidate);
    let candidates: HashMap<_, _> = members.map(|candidate| (candidate.id, candidate)).collect();
    let line = |id: ArtifactId, verdict, reasons, words| {
        let candidate = candidates.get(&id);
        Line {
            id: Some(id).filter(|id| Some(*id) != next),
            created_at: candidate.map_or(Some(planned.plan.as_of), |candidate| candidate.at),
            stored_bytes: candidate.map_or(0, |candidate| candidate.bytes),
            verdict,
            reasons,
            words,
        }
    };
    let kept = planned.plan.kept.iter().map(|kept| {
        let words: Vec<_> = kept.reasons.iter().map(ToString::to_string).collect();
        let reasons = serde_json::json!(kept.reasons);
        line(kept.id, "kept", reasons, words.join(", "))
    });
    let expired = planned.plan.expired.iter().map(|expired| {
        let reasons = serde_json::json!([expired.reason]);
        line(expired.id, "expires", reasons, expired.reason.to_string())
    });
    let mut backups: Vec<_> = kept.chain(expired).collect();
    backups.sort_by_key(|line| std::cmp::Reverse((line.created_at, line.id)));
    Shown {
        subject: request.subject.to_string(),
        class: planned.class.to_string(),
        schedule: planned.schedule,
        time_zone: planned.zone.name(),
        policy: planned.policy,
        as_of: planned.plan.as_of,
        held: planned.plan.held.as_ref().map(ToString::to_string),
        backups,
    }
}

fn text(shown: &Shown, is_one: bool) -> String {
    let whose = match &shown.schedule {
        Some(name) => format!("schedule {name}"),
        None => format!("{} backups", shown.class),
    };
    if is_one && let [line] = shown.backups.as_slice() {
        let words = line.words.replace(", ", "\n  ");
        return format!("{} of {whose}:\n  {words}", line.verdict);
    }
    let mut table = Table::new(&["ID", "WHEN", "SIZE", "VERDICT", "WHY"]).right(2);
    for line in &shown.backups {
        table.row([
            line.id.map_or_else(|| "next".to_owned(), ArtifactId::short),
            line.created_at.map_or("unknown".to_owned(), list::local),
            ByteSize(line.stored_bytes).to_string(),
            line.verdict.to_owned(),
            line.words.clone(),
        ]);
    }
    let expired = shown.backups.iter().filter(|l| l.verdict == "expires");
    let (count, bytes) = expired.fold((0, 0), |(n, bytes), l| (n + 1, bytes + l.stored_bytes));
    let held = shown.held.as_ref();
    let held = held.map_or(String::new(), |held| format!("\nnothing goes: {held}"));
    format!(
        "{} of {}: {} kept, {count} expire ({})\n{}{held}",
        whose,
        shown.subject,
        shown.backups.len() - count,
        ByteSize(bytes),
        table.text()
    )
}
