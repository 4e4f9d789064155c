//! The names of events: `noun.what_happened`. Four are Kanbu's own; others stand beside them and never take their place.

use crate::execution::event::Severity;

/// An event that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventName {
    pub name: &'static str,
    /// As it usually is.
    pub severity: Severity,
    /// Follows the noun: "Backup of database:kanbu" *failed*.
    pub verb: &'static str,
}

const fn event(name: &'static str, severity: Severity, verb: &'static str) -> EventName {
    EventName {
        name,
        severity,
        verb,
    }
}

/// Every event of this release.
pub const EVENTS: &[EventName] = &[
    event("backup.completed", Severity::Info, "completed"),
    event("backup.degraded", Severity::Warning, "is incomplete"),
    event("backup.failed", Severity::Error, "failed"),
    event("backup.started", Severity::Info, "started"),
    event("restore.completed", Severity::Info, "completed"),
    event(
        "restore.degraded",
        Severity::Warning,
        "completed with warnings",
    ),
    event("restore.failed", Severity::Error, "failed"),
    event("restore.started", Severity::Info, "started"),
    event("verification.completed", Severity::Info, "completed"),
    event(
        "verification.degraded",
        Severity::Warning,
        "found something",
    ),
    event("verification.failed", Severity::Error, "failed"),
    event("verification.started", Severity::Info, "started"),
    event("test_restore.succeeded", Severity::Info, "succeeded"),
    event(
        "test_restore.degraded",
        Severity::Warning,
        "found something",
    ),
    event("test_restore.failed", Severity::Error, "failed"),
    event("test_restore.started", Severity::Info, "started"),
    event("prune.completed", Severity::Info, "completed"),
    event("prune.degraded", Severity::Warning, "left something undone"),
    event("prune.failed", Severity::Error, "failed"),
    event("prune.started", Severity::Info, "started"),
    event("prune.deleted", Severity::Info, "deleted backups"),
    event("prune.blocked", Severity::Warning, "is held back"),
    event("schedule.missed", Severity::Error, "was missed"),
    event("storage.unreachable", Severity::Error, "can't be reached"),
    event("storage.damaged", Severity::Warning, "has bad copies"),
    event("storage.recovered", Severity::Info, "is in order again"),
    event("content.alarm", Severity::Warning, "holds less than before"),
];

/// What is known of the event with this name.
pub fn known(name: &str) -> Option<&'static EventName> {
    EVENTS.iter().find(|event| event.name == name)
}

/// `backup` of `backup.failed`.
pub(super) fn noun(name: &str) -> &str {
    name.split_once('.').map_or(name, |(noun, _)| noun)
}

/// `failed` of `backup.failed`.
pub(super) fn happened(name: &str) -> &str {
    name.split_once('.').map_or("", |(_, what)| what)
}

/// A beginning is told to those who ask for it by name, and to heartbeats: to anybody else only the end is news.
pub(super) fn is_beginning(name: &str) -> bool {
    happened(name) == "started"
}
