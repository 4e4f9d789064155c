//! What a Prune job reads and writes: the backups of a subject as a plan sees them, the stored plans, and the one
//! transaction that decides again and marks for deletion.
//!
//! Which backups go is decided by `retention`; here the decision meets the rows, under their locks.

mod decide;
mod family;
mod journal;
mod plans;

pub use self::{
    decide::{Decided, decide_expired},
    family::{
        Class, Family, FirstCycle, Member, ScheduleTerms, family, import_rule, schedule_named,
    },
    journal::{Deleted, Fate, journal},
    plans::{
        NewPlan, OpenPlan, deletion_failed, end_plan, open_plans, pending_of, settle_deleted,
        store_plans,
    },
};
