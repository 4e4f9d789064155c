//! The producer: looks at the schedules that are due, and makes their ticks.
//!
//! Any number of producers may run, and none leads. Each schedule is looked at in a transaction of its own, which locks its
//! row (what another one has locked is passed over), asks the rule what is due by the database's clock, and inserts ticks,
//! jobs and how far it looked. One that is killed in the middle has made nothing; what it did commit is there for all.
//!
//! When to look: at a notification that a schedule was changed, at the next tick, and every few seconds anyway. The distance
//! to the next tick is measured by the database, so a host with a wrong clock is as good as any.

mod ear;

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::ear::Ear;
use super::{CatchUp, Cron, Deed, Due, Missed, Pause, Plan, ScheduleError, read::undecodable};
use crate::{
    control::{Connection, ControlDb, ControlError, STATEMENT_TIMEOUT, within},
    fault::{Classified, Fault},
    id::ScheduleId,
};

/// A look makes a thousand ticks at most, in several statements.
const LOOK_WITHIN: Duration = Duration::from_secs(20);

/// So many ticks in one statement.
const AT_ONCE: usize = 100;

/// So many schedules are asked for at once.
const PAGE: i64 = 1000;

/// So many looks in a row that the database doesn't answer end a round.
const AWAY_AFTER: usize = 3;

/// Between two rounds: what another producer has locked is due until that one is through.
const BREATH: Duration = Duration::from_millis(50);

/// Looks at schedules until it is told to stop.
#[derive(Debug)]
pub struct Producer {
    db: ControlDb,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Schedules that were looked at, and those that couldn't be.
    pub looked: usize,
    pub failed: usize,
    /// Ticks by what became of them.
    pub enqueued: usize,
    pub already_open: usize,
    pub skipped: usize,
}

/// What one look at one schedule did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Somebody else looks at it, or it isn't due any more.
    Passed,
    Made {
        enqueued: usize,
        already_open: usize,
        skipped: usize,
    },
}

impl Producer {
    pub fn new(db: ControlDb) -> Self {
        Self { db }
    }

    /// Looks until `stop`. A database that is away for a time ends nothing: what came due meanwhile is found afterwards.
    pub async fn run(&self, stop: CancellationToken) {
        let ear = Ear::new(self.db.clone());
        let listening = tokio::spawn({
            let (ear, stop) = (ear.clone(), stop.clone());
            async move { ear.listen(stop).await }
        });
        while !stop.is_cancelled() {
            let due_in = tokio::select! {
                () = stop.cancelled() => break,
                due_in = self.round() => due_in,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = ear.wait(due_in) => {}
            }
        }
        // It ends with the same token.
        let _ = listening.await;
    }

    /// One round; answers when the next tick is due, if that is known.
    async fn round(&self) -> Option<Duration> {
        match round(&self.db).await {
            Ok(round) if round.failed == 0 => {
                let due_in = due_in(&self.db).await.ok().flatten();
                due_in.map(|due_in| due_in.max(BREATH))
            }
            Ok(_) => None,
            Err(error) => {
                let hint = error.hint();
                tracing::warn!(%error, hint = hint.as_deref(), "could not look at the schedules");
                None
            }
        }
    }
}

/// Looks once at every schedule that is due. One that can't be looked at keeps no other waiting; a database that is away
/// does.
pub async fn round(db: &ControlDb) -> Result<Round, ScheduleError> {
    let mut round = Round::default();
    let mut seen = BTreeSet::new();
    let mut away = 0;
    loop {
        let due: Vec<_> = due(db).await?;
        let new: Vec<_> = due.into_iter().filter(|id| seen.insert(*id)).collect();
        if new.is_empty() {
            return Ok(round);
        }
        for id in new {
            match look(db, id).await {
                Ok(look) => {
                    away = 0;
                    round.add(look);
                }
                Err(error) => {
                    away += usize::from(error.fault() == Fault::Transient);
                    if away == AWAY_AFTER {
                        return Err(error);
                    }
                    round.failed += 1;
                    let hint = error.hint();
                    tracing::error!(schedule.id = %id, %error, hint = hint.as_deref(), "a schedule makes no ticks");
                }
            }
        }
    }
}

impl Round {
    fn add(&mut self, look: Look) {
        if let Look::Made {
            enqueued,
            already_open,
            skipped,
        } = look
        {
            self.looked += 1;
            self.enqueued += enqueued;
            self.already_open += already_open;
            self.skipped += skipped;
        }
    }
}

/// The schedules that are due, those first that wait longest. A clock that was put back is one's own affair to look at.
async fn due(db: &ControlDb) -> Result<Vec<ScheduleId>, ScheduleError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let ids = sqlx::query_scalar!(
                "select id from kanbu_backup.schedule
                  where enabled and (next_tick_at <= now() or last_tick_at > now() + interval '1 second')
                  order by next_tick_at limit $1",
                PAGE
            )
            .fetch_all(conn)
            .await?;
            Ok(ids.into_iter().map(ScheduleId::from).collect())
        })
    })
    .await
}

/// How long until the next tick of any schedule.
async fn due_in(db: &ControlDb) -> Result<Option<Duration>, ScheduleError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let seconds = sqlx::query_scalar!(
                "select extract(epoch from min(next_tick_at) - clock_timestamp())::float8
                   from kanbu_backup.schedule where enabled"
            )
            .fetch_one(conn)
            .await?;
            Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
        })
    })
    .await
}

/// Makes the ticks of one schedule that are due.
pub async fn look(db: &ControlDb, id: ScheduleId) -> Result<Look, ScheduleError> {
    within(db.pool(), LOOK_WITHIN, |conn| {
        Box::pin(async move {
            let mut tx = conn.begin().await?;
            let Some(locked) = lock(&mut tx, id).await? else {
                return Ok(Look::Passed);
            };
            let Locked { plan, last, now } = locked;
            forget(&mut tx, id, last, now).await?;
            let due = plan.due(last, now);
            let look = make(&mut tx, &plan, &due).await?;
            note(&mut tx, id, &due).await?;
            tx.commit().await?;
            Ok(look)
        })
    })
    .await
}

/// A schedule whose row is ours until the end of the transaction.
struct Locked {
    plan: Plan,
    last: DateTime<Utc>,
    now: DateTime<Utc>,
}

async fn lock(conn: &mut Connection<'_>, id: ScheduleId) -> Result<Option<Locked>, ScheduleError> {
    // Whether it is due is asked again: another producer may just have been here.
    let row = sqlx::query!(
        r#"select cron, time_zone, catch_up, catch_up_limit, extract(epoch from jitter)::float8 as "jitter!", paused_at,
                  paused_until, last_tick_at, now() as "now!"
             from kanbu_backup.schedule
            where id = $1 and enabled and (next_tick_at <= now() or last_tick_at > now() + interval '1 second')
              for update skip locked"#,
        id.as_uuid()
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let plan = Plan {
        id,
        cron: undecodable("cron", &row.cron, row.cron.parse::<Cron>())?,
        zone: undecodable("time_zone", &row.time_zone, row.time_zone.parse())?,
        catch_up: CatchUp::read("catch_up", &row.catch_up)?,
        catch_up_limit: undecodable(
            "catch_up_limit",
            &row.catch_up_limit.to_string(),
            row.catch_up_limit.try_into(),
        )?,
        jitter: Duration::try_from_secs_f64(row.jitter).unwrap_or_default(),
        pause: row.paused_at.map(|_| Pause {
            until: row.paused_until,
        }),
    };
    Ok(Some(Locked {
        plan,
        last: row.last_tick_at,
        now: row.now,
    }))
}

/// Rows of ticks that say nothing any more: old ones, and after the clock was put back those of late ticks that are yet to
/// come, for which no job was made.
async fn forget(
    conn: &mut Connection<'_>,
    id: ScheduleId,
    last: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), ScheduleError> {
    sqlx::query!(
        "delete from kanbu_backup.schedule_tick
          where schedule_id = $1
            and (tick_at < $2::timestamptz - interval '90 days'
                 or ($2 > $3::timestamptz and tick_at > $3 and disposition = 'skipped'))",
        id.as_uuid(),
        last,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What became of one tick.
struct Made {
    at: DateTime<Utc>,
    disposition: String,
    refusal: Option<String>,
}

async fn make(conn: &mut Connection<'_>, plan: &Plan, due: &Due) -> Result<Look, ScheduleError> {
    let mut made = Vec::new();
    for ticks in due.ticks.chunks(AT_ONCE) {
        let at: Vec<_> = ticks.iter().map(|tick| tick.at).collect();
        let run_at: Vec<_> = ticks.iter().map(|tick| plan.run_at(tick.at)).collect();
        let deeds: Vec<_> = ticks
            .iter()
            .map(|tick| word(tick.deed).to_owned())
            .collect();
        let rows = sqlx::query!(
            r#"select tick_at as "at!", disposition as "disposition!", refusal
                 from kanbu_backup.make_ticks($1, $2, $3, $4)"#,
            plan.id.as_uuid(),
            &at,
            &deeds,
            &run_at
        )
        .fetch_all(&mut *conn)
        .await?;
        made.extend(rows.into_iter().map(|row| Made {
            at: row.at,
            disposition: row.disposition,
            refusal: row.refusal,
        }));
    }
    if let Some(missed) = told(plan, due, &made) {
        sqlx::query!(
            "select kanbu_backup.record_missed($1, $2)",
            plan.id.as_uuid(),
            missed
        )
        .fetch_one(conn)
        .await?;
    }
    let count = |word| made.iter().filter(|made| made.disposition == word).count();
    Ok(Look::Made {
        enqueued: count("enqueued"),
        already_open: count("already_open"),
        skipped: count("skipped"),
    })
}

fn word(deed: Deed) -> &'static str {
    match deed {
        Deed::Make => "make",
        Deed::MakeUp => "make_up",
        Deed::Skip => "skip",
    }
}

/// What is worth an event: late ticks of which nobody knew before, and refused ones.
fn told(plan: &Plan, due: &Due, made: &[Made]) -> Option<Value> {
    let refused: Vec<_> = made.iter().filter(|made| made.refusal.is_some()).collect();
    let refusal = refused.first().and_then(|made| made.refusal.as_deref());
    if let Some(refusal) = refusal {
        tracing::error!(schedule.id = %plan.id, refusal, "the queue refuses the jobs of a schedule");
    }
    let is_new = |missed: &Missed| {
        let span = missed.first..=missed.last;
        made.iter().any(|made| span.contains(&made.at))
    };
    let missed = match (due.missed.filter(is_new), &refused[..]) {
        (Some(missed), _) => missed,
        (None, []) => return None,
        (None, [first, ..]) => Missed {
            count: refused.len(),
            more: false,
            first: first.at,
            last: refused.last()?.at,
            made_up: 0,
        },
    };
    tracing::warn!(
        schedule.id = %plan.id, count = missed.count, made_up = missed.made_up, "ticks were missed"
    );
    let mut told = serde_json::to_value(missed).ok()?;
    told["refusal"] = refusal.into();
    Some(told)
}

async fn note(conn: &mut Connection<'_>, id: ScheduleId, due: &Due) -> Result<(), ScheduleError> {
    sqlx::query!(
        "update kanbu_backup.schedule set last_tick_at = now(), next_tick_at = $2 where id = $1",
        id.as_uuid(),
        due.next
    )
    .execute(conn)
    .await?;
    Ok(())
}
