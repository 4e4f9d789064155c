//! `schedule list|show|add|edit|enable|disable|run|pause|resume|rm|next|explain`.

mod shown;
mod terms;

use kanbu_backup::{
    clock::{Clock, SystemClock},
    control::ControlDb,
    fault::Failure,
    id::ScheduleId,
    schedule::{self, Backups, Draft, Plan, ScheduleError, ScheduleView},
};
use serde_json::json;

use super::{VerbError, backup, follow, list, time};
use crate::{
    cli::{AddSchedule, EditSchedule, NamedSchedule, RemoveSchedule, RunSchedule, Schedule, What},
    exit::Exit,
    session::Session,
    wiring,
};

/// Who changes schedules, for people.
const BY: &str = "cli";

/// So many runs, past and to come, are shown with a schedule.
const SHOWN_TICKS: i64 = 10;

pub async fn run(args: Schedule, session: &Session) -> Result<Exit, Failure> {
    match args {
        Schedule::List => many(session).await,
        Schedule::Show { schedule } => one(&schedule, session).await,
        Schedule::Add(args) => add(args, session).await,
        Schedule::Edit(args) => edit(args, session).await,
        Schedule::Enable(named) => switch(&named, true, session).await,
        Schedule::Disable(named) => switch(&named, false, session).await,
        Schedule::Run(args) => run_now(args, session).await,
        Schedule::Pause { named, until } => pause(&named, until.as_deref(), session).await,
        Schedule::Resume(named) => resume(&named, session).await,
        Schedule::Rm(args) => remove(&args, session).await,
        Schedule::Next { schedule, count } => next(&schedule, count.into(), session).await,
        Schedule::Explain { cron, tz, count } => {
            explain(&cron, tz.as_deref(), count.into(), session)
        }
    }
}

async fn many(session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let schedules = schedule::list(&db).await?;
    let documents: Vec<_> = schedules.iter().map(shown::document).collect();
    session
        .out
        .document("schedules", &documents, || shown::table(&schedules));
    for late in schedule::late_ticks(&db).await? {
        let text = format!(
            "no producer has looked at {} for {} s; does `kanbu-backup cron` or `up` run?",
            late.name, late.late_seconds
        );
        session.out.warning("schedule.late", &text);
    }
    Ok(Exit::Done)
}

async fn one(name: &str, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let view = schedule::named(&db, name).await?;
    let ticks = schedule::ticks(&db, view.id, SHOWN_TICKS).await?;
    let mut document = shown::document(&view);
    document["ticks"] = json!(ticks);
    session
        .out
        .document("schedule", &document, || shown::page(&view, &ticks));
    Ok(Exit::Done)
}

async fn add(args: AddSchedule, session: &Session) -> Result<Exit, Failure> {
    let subject = match args.subject {
        Some(subject) => subject,
        None => backup::subject(What::Database, None, &wiring::subjects(&session.config)?)?,
    };
    let zone = session.config.schedule.timezone;
    let mut draft = Draft {
        kind: args.kind,
        enabled: !args.disabled,
        ..Draft::of(args.name, subject, terms::rule(&args.cron)?, zone)
    };
    terms::apply(&args.terms, &mut draft)?;
    terms::check(&draft, session)?;
    if args.dry_run {
        return Ok(drafted(&draft, session));
    }
    let db = session.control().await?;
    let id = schedule::create(&db, &draft, BY).await?;
    told(id, "is made", &db, session).await
}

async fn edit(args: EditSchedule, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let view = schedule::named(&db, &args.schedule).await?;
    let mut draft = view.draft;
    if let Some(name) = args.rename {
        draft.name = name;
    }
    if let Some(subject) = args.subject {
        draft.subject = subject;
    }
    if let Some(cron) = &args.cron {
        draft.cron = terms::rule(cron)?;
    }
    terms::apply(&args.terms, &mut draft)?;
    terms::check(&draft, session)?;
    if args.dry_run {
        return Ok(drafted(&draft, session));
    }
    let revision = args.revision.unwrap_or(view.revision);
    schedule::edit(&db, view.id, revision, &draft, BY).await?;
    told(view.id, "is changed", &db, session).await
}

fn drafted(draft: &Draft, session: &Session) -> Exit {
    let mut document = shown::draft(draft);
    document["dry_run"] = json!(true);
    session.out.result(document, &shown::promise(draft));
    Exit::Done
}

/// What was done to a schedule, and how it stands now.
async fn told(
    id: ScheduleId,
    what: &str,
    db: &ControlDb,
    session: &Session,
) -> Result<Exit, Failure> {
    let view = schedule::named(db, &id.to_string()).await?;
    let mut text = format!("schedule {} {what}", view.draft.name);
    if let Some(next) = view.next_ticks(1).first() {
        text += "; its next run is at ";
        text += &shown::local(*next, view.draft.zone);
    }
    session.out.result(shown::document(&view), &text);
    Ok(Exit::Done)
}

async fn meant(named: &NamedSchedule, db: &ControlDb) -> Result<ScheduleView, ScheduleError> {
    schedule::named(db, &named.schedule).await
}

async fn switch(named: &NamedSchedule, on: bool, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let view = meant(named, &db).await?;
    let word = if on { "on" } else { "off" };
    if named.dry_run {
        let text = format!("schedule {} would be turned {word}", view.draft.name);
        session.out.result(json!({ "dry_run": true }), &text);
        return Ok(Exit::Done);
    }
    let changed = if on {
        schedule::enable(&db, view.id, BY).await?
    } else {
        schedule::disable(&db, view.id, BY).await?
    };
    let what = if changed { "is turned" } else { "was already" };
    told(view.id, &format!("{what} {word}"), &db, session).await
}

async fn pause(
    named: &NamedSchedule,
    until: Option<&str>,
    session: &Session,
) -> Result<Exit, Failure> {
    let until = until
        .map(|text| time::ahead(text, SystemClock.now()))
        .transpose()?;
    let db = session.control().await?;
    let view = meant(named, &db).await?;
    let end = until.map_or_else(
        || "until somebody resumes it".to_owned(),
        |until| format!("until {}", list::local(until)),
    );
    if named.dry_run {
        let text = format!("schedule {} would be paused {end}", view.draft.name);
        session
            .out
            .result(json!({ "dry_run": true, "until": until }), &text);
        return Ok(Exit::Done);
    }
    schedule::pause(&db, view.id, until, BY).await?;
    told(view.id, &format!("is paused {end}"), &db, session).await
}

async fn resume(named: &NamedSchedule, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let view = meant(named, &db).await?;
    let was_paused = if named.dry_run {
        view.pause.is_some()
    } else {
        schedule::resume(&db, view.id, BY).await?
    };
    if !was_paused {
        return Err(VerbError::SchedulePlays(view.draft.name).into());
    }
    if named.dry_run {
        let text = format!("schedule {} would go on", view.draft.name);
        session.out.result(json!({ "dry_run": true }), &text);
        return Ok(Exit::Done);
    }
    told(view.id, "goes on", &db, session).await
}

async fn run_now(args: RunSchedule, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let view = meant(&args.named, &db).await?;
    if args.named.dry_run {
        return Ok(drafted(&view.draft, session));
    }
    let job = schedule::run(&db, view.id, args.request_key.as_deref(), BY).await?;
    match follow::stay(job, args.follow, &db, session.out).await? {
        follow::Fate::Left(exit) => Ok(exit),
        follow::Fate::Ended(execution) => {
            let exit = follow::verdict(&execution, session.out);
            if execution.outcome.is_some() {
                let text = format!("done in {}", follow::seconds(&execution));
                session
                    .out
                    .result(follow::result(&execution, &json!({})), &text);
            }
            Ok(exit)
        }
    }
}

async fn remove(args: &RemoveSchedule, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let view = meant(&args.named, &db).await?;
    let name = &view.draft.name;
    let (backups, fate) = match (args.keep_backups, args.expire_backups) {
        (true, _) => (Backups::Keep, "its backups are kept"),
        (false, true) => (Backups::Expire, "its backups go on expiring by its policy"),
        (false, false) => {
            return Err(VerbError::NobodyConfirmed {
                what: format!("removes schedule {name}, and nobody said what becomes of its backups"),
                again: "repeat it with --keep-backups, or with --expire-backups to let them expire by its policy"
                    .to_owned(),
            }
            .into());
        }
    };
    if !args.named.dry_run {
        schedule::remove(&db, view.id, backups, BY).await?;
    }
    let is = if args.named.dry_run { "would be" } else { "is" };
    session.out.result(
        json!({ "schedule": view.id, "name": name, "removed": !args.named.dry_run,
                "backups": if backups == Backups::Keep { "keep" } else { "expire" } }),
        &format!("schedule {name} {is} removed; {fate}"),
    );
    Ok(Exit::Done)
}

async fn next(name: &str, count: usize, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let view = schedule::named(&db, name).await?;
    let ticks = view.next_ticks(count);
    session.out.document("next", &ticks, || {
        if ticks.is_empty() {
            return format!(
                "schedule {} has no next run: {}",
                view.draft.name,
                shown::state(&view)
            );
        }
        shown::times(&ticks, view.draft.zone)
    });
    Ok(Exit::Done)
}

fn explain(cron: &str, tz: Option<&str>, count: usize, session: &Session) -> Result<Exit, Failure> {
    let cron = terms::rule(cron)?;
    let zone = match tz {
        Some(text) => terms::zone(text)?,
        None => session.config.schedule.timezone,
    };
    let subject = terms::any_subject()?;
    let draft = Draft::of("explained", subject, cron, zone);
    let plan = Plan::of(&draft);
    let ticks: Vec<_> = plan.ticks_after(SystemClock.now()).take(count).collect();
    session.out.document(
        "rule",
        &json!({ "cron": draft.cron.text(), "time_zone": zone.name(), "meaning": draft.cron.describe(), "next": ticks }),
        || format!("{}\n\n{}", shown::meaning(&draft), shown::times(&ticks, zone)),
    );
    Ok(Exit::Done)
}
