//! What is told: an event with all that is known of it, as plain data that every channel puts into its own form.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    bytes::ByteSize,
    catalog::{ArtifactKind, ArtifactView},
    execution::{
        Outcome, Warning,
        event::{EventView, Severity},
    },
    id::{ArtifactId, EventId, ExecutionId, JobId, ScheduleId},
    job::{Kind, Scope, Subject},
};

use super::names::{known, noun};

/// Most warnings that are told in full.
const MOST_WARNINGS: usize = 10;

/// An event on its way to a receiver.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: EventId,
    pub at: DateTime<Utc>,
    /// `noun.what_happened`.
    pub event: String,
    pub severity: Severity,
    pub subject: Subject,
    pub execution: Option<ExecutionId>,
    pub schedule: Option<ScheduleName>,
    pub facts: Facts,
    pub backup: Option<BackupFacts>,
    /// Which installation speaks.
    pub environment: String,
    /// Sent by somebody who tries a channel.
    pub is_test: bool,
}

/// What made the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleName {
    pub id: ScheduleId,
    pub name: String,
}

/// What an event's `data` may say. A newer release may say more.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub job: Option<JobId>,
    pub kind: Option<Kind>,
    pub outcome: Option<Outcome>,
    pub origin: Option<String>,
    pub requested_by: Option<String>,
    pub attempt: Option<i16>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub duration_ms: Option<i64>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    pub hint: Option<String>,
    pub warnings: Vec<Warning>,
    pub artifact: Option<ArtifactId>,
    pub label: Option<String>,
    pub storage: Option<String>,
    pub schedule_name: Option<String>,
    /// One sentence of whoever recorded the event.
    pub text: Option<String>,
}

/// The backup that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFacts {
    pub id: ArtifactId,
    pub kind: ArtifactKind,
    /// Its folder and the name of its data object: where it lies on every storage.
    pub file: String,
    pub payload_bytes: u64,
    pub payload_sha256: String,
    pub is_encrypted: bool,
}

impl From<&ArtifactView> for BackupFacts {
    fn from(view: &ArtifactView) -> Self {
        let file = match view.manifest() {
            Ok(manifest) => format!("{}/{}", view.folder, manifest.object_name()),
            Err(_) => view.folder.to_string(),
        };
        Self {
            id: view.id,
            kind: view.kind,
            file,
            payload_bytes: view.payload_bytes,
            payload_sha256: view.sha256(),
            is_encrypted: view.key_id.is_some(),
        }
    }
}

impl Message {
    /// An event as it was recorded. What its data says in words of a newer release is left out.
    pub(super) fn of(event: EventView, backup: Option<BackupFacts>, environment: &str) -> Self {
        let facts: Facts = serde_json::from_value(event.data).unwrap_or_default();
        let name = facts.schedule_name.clone();
        Self {
            id: event.id,
            at: event.at,
            event: event.name,
            severity: event.severity,
            subject: event.subject,
            execution: event.execution,
            schedule: event.schedule.map(|id| ScheduleName {
                name: name.unwrap_or_else(|| id.short()),
                id,
            }),
            facts,
            backup,
            environment: environment.to_owned(),
            is_test: false,
        }
    }

    /// What somebody sees who tries a channel: Kanbu's own sample.
    pub fn sample(environment: &str, subject: Subject, at: DateTime<Utc>) -> Self {
        let data = serde_json::json!({
            "kind": "backup", "outcome": "succeeded", "origin": "operator", "duration_ms": 1000,
            "text": "This is a test.",
        });
        Self {
            id: EventId::new(),
            at,
            event: "backup.completed".to_owned(),
            severity: Severity::Info,
            subject,
            execution: None,
            schedule: None,
            facts: serde_json::from_value(data).unwrap_or_default(),
            backup: None,
            environment: environment.to_owned(),
            is_test: true,
        }
    }

    /// `Backup of database:kanbu failed`, in one line.
    pub fn title(&self) -> String {
        let verb = known(&self.event).map_or("happened", |event| event.verb);
        let test = if self.is_test { "Test: " } else { "" };
        let subject = &self.subject;
        let what = match noun(&self.event) {
            "backup" | "content" => format!("Backup of {subject}"),
            "restore" => format!("Restore into {subject}"),
            "verification" => format!("Verification of {subject}"),
            "test_restore" => format!("Test restore of {subject}"),
            "prune" => format!("Retention of {subject}"),
            "schedule" => format!("Schedule {} of {subject}", self.schedule_shown()),
            "storage" => format!(
                "Storage {} of {subject}",
                self.facts.storage.as_deref().unwrap_or("?")
            ),
            _ => format!("{} of {subject}", self.event),
        };
        one_line(&format!("{test}{what} {verb}"))
    }

    fn schedule_shown(&self) -> &str {
        self.schedule
            .as_ref()
            .map_or("?", |schedule| schedule.name.as_str())
    }

    /// What happened in a few sentences, one per line; never empty.
    pub fn text(&self) -> String {
        let facts = &self.facts;
        let mut lines: Vec<String> = Vec::new();
        lines.extend(facts.text.clone());
        lines.extend(facts.error.clone());
        lines.extend(
            facts
                .hint
                .as_ref()
                .map(|hint| format!("What to do: {hint}")),
        );
        let told = facts.warnings.iter().take(MOST_WARNINGS);
        lines.extend(told.map(|warning| warning.text.clone()));
        if let more @ 1.. = facts.warnings.len().saturating_sub(MOST_WARNINGS) {
            lines.push(format!("and {more} more"));
        }
        if lines.iter().all(|line| line.trim().is_empty()) {
            lines = vec![self.title()];
        }
        lines.join("\n")
    }

    /// Names and values for people, in the order in which they are read.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let facts = &self.facts;
        let mut fields = vec![
            ("Environment", self.environment.clone()),
            ("Subject", self.subject.to_string()),
        ];
        let mut add = |name, value: Option<String>| {
            fields.extend(
                value
                    .filter(|value| !value.trim().is_empty())
                    .map(|value| (name, value)),
            );
        };
        add("Outcome", facts.outcome.map(|outcome| outcome.to_string()));
        add(
            "Schedule",
            self.schedule.as_ref().map(|schedule| schedule.name.clone()),
        );
        add("Storage", facts.storage.clone());
        add("Label", facts.label.clone());
        add(
            "Size",
            self.backup
                .as_ref()
                .map(|backup| ByteSize(backup.payload_bytes).to_string()),
        );
        add("Duration", self.duration());
        add(
            "Backup",
            self.backup.as_ref().map(|backup| backup.id.to_string()),
        );
        add(
            "File",
            self.backup.as_ref().map(|backup| backup.file.clone()),
        );
        add("Error code", facts.error_code.clone());
        add("Requested by", facts.requested_by.clone());
        add("Job", facts.job.map(|job| job.to_string()));
        add(
            "Time",
            Some(self.at.format("%Y-%m-%d %H:%M:%S UTC").to_string()),
        );
        fields
    }

    /// `1 h 2 min 3.4 s`, without the parts that are nothing.
    pub fn duration(&self) -> Option<String> {
        let ms = u64::try_from(self.facts.duration_ms?).ok()?;
        let (minutes, ms) = (ms / 60_000, ms % 60_000);
        let seconds = format!("{}.{} s", ms / 1000, ms % 1000 / 100);
        Some(match (minutes / 60, minutes % 60) {
            (0, 0) => seconds,
            (0, minutes) => format!("{minutes} min {seconds}"),
            (hours, minutes) => format!("{hours} h {minutes} min {seconds}"),
        })
    }

    /// The data object's kind, or what the subject says.
    pub fn is_source(&self) -> bool {
        match &self.backup {
            Some(backup) => backup.kind == ArtifactKind::Source,
            None => matches!(self.subject.scope(), Scope::Source | Scope::Directory),
        }
    }

    /// By the name under which templates and other receivers know it; empty if it isn't known.
    pub fn field(&self, name: &str) -> Option<String> {
        let facts = &self.facts;
        let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let backup = self.backup.as_ref();
        Some(match name {
            "event" => self.event.clone(),
            "id" => self.id.to_string(),
            "time" => self.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "severity" => self.severity.to_string(),
            "title" => self.title(),
            "text" => self.text(),
            "environment" => self.environment.clone(),
            "subject" => self.subject.to_string(),
            "name" => self.subject.name().to_owned(),
            "outcome" => facts
                .outcome
                .map(|outcome| outcome.to_string())
                .unwrap_or_default(),
            "error" => text(&facts.error),
            "error_code" => text(&facts.error_code),
            "hint" => text(&facts.hint),
            "storage" => text(&facts.storage),
            "label" => text(&facts.label),
            "origin" => text(&facts.origin),
            "requested_by" => text(&facts.requested_by),
            "schedule" => self
                .schedule
                .as_ref()
                .map(|s| s.name.clone())
                .unwrap_or_default(),
            "execution" => id(self.execution.map(ExecutionId::as_uuid)),
            "job" => id(facts.job.map(JobId::as_uuid)),
            "backup" => id(backup.map(|backup| backup.id.as_uuid())),
            "file" => backup.map(|backup| backup.file.clone()).unwrap_or_default(),
            "size_bytes" => backup.map_or(0, |backup| backup.payload_bytes).to_string(),
            "duration_ms" => facts.duration_ms.unwrap_or_default().to_string(),
            "test" => self.is_test.to_string(),
            _ => return None,
        })
    }

    /// What isn't said elsewhere, for programs: what isn't known is absent.
    pub(crate) fn data(&self) -> Value {
        let said = [
            "event",
            "id",
            "time",
            "severity",
            "title",
            "text",
            "subject",
            "name",
            "test",
            "size_bytes",
            "duration_ms",
        ];
        let mut data = Map::new();
        for name in FIELDS.iter().filter(|name| !said.contains(name)) {
            let value = self.field(name).filter(|value| !value.is_empty());
            data.extend(value.map(|value| ((*name).to_owned(), Value::String(value))));
        }
        let numbers = [
            (
                "size_bytes",
                self.backup
                    .as_ref()
                    .map(|backup| Value::from(backup.payload_bytes)),
            ),
            ("duration_ms", self.facts.duration_ms.map(Value::from)),
        ];
        let known = numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name.to_owned(), number?)));
        data.extend(known);
        Value::Object(data)
    }
}

/// What [`Message::field`] knows.
pub const FIELDS: &[&str] = &[
    "event",
    "id",
    "time",
    "severity",
    "title",
    "text",
    "environment",
    "subject",
    "name",
    "outcome",
    "error",
    "error_code",
    "hint",
    "storage",
    "label",
    "origin",
    "requested_by",
    "schedule",
    "execution",
    "job",
    "backup",
    "file",
    "size_bytes",
    "duration_ms",
    "test",
];

/// Without line ends and other characters that a header can't hold.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                ' '
            } else {
                c
            }
        })
        .collect()
}
