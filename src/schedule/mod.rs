//! WHEN jobs are made: rules (cron texts in a time zone), the ticks that they name, and the producers that make a job of each.
//!
//! A tick is an instant of a rule. Which ticks are due, and what becomes of each, is a pure function of the rule and two
//! times ([`Plan::due`]); the row of a tick in the control database is the right to make its job, so any number of
//! producers make each tick once. The clock is the database's. What is made is a job like any other: how it runs, and how
//! its backups are kept, is known elsewhere.

mod cron;
mod describe;
mod error;
mod field;
mod late;
mod producer;
mod read;
mod rule;
mod store;
mod tick;
mod zone;

pub use chrono_tz::Tz;

pub use self::{
    cron::{Cron, CronFlaw, kanbu_description},
    error::ScheduleError,
    producer::{Look, Producer, Round, look, round},
    read::{LastRun, LateTick, ScheduleView, TickView, late_ticks, list, named, ticks},
    rule::{CatchUp, Draft, Overlap, ScheduledKind, VerifyEvery},
    store::{Backups, create, disable, edit, enable, pause, remove, resume, run},
    tick::{Deed, Due, Missed, Pause, Plan, Tick},
};
