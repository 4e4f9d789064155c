//! How log lines look.

use super::{reader::Reader, settings};

/// Form and threshold of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Of the words of `KANBU_BACKUP_LOG_LEVEL`.
    pub level: tracing::Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    ByTerminal,
    Text,
    Json,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<LogSettings> {
    let format = reader.optional(settings::LOG, |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    });
    let level = reader.value(settings::LOG_LEVEL, |text| match text {
        "error" => Some(tracing::Level::ERROR),
        "warn" => Some(tracing::Level::WARN),
        "info" => Some(tracing::Level::INFO),
        "debug" => Some(tracing::Level::DEBUG),
        "trace" => Some(tracing::Level::TRACE),
        _ => None,
    });
    Some(LogSettings {
        format: format.unwrap_or(LogFormat::ByTerminal),
        level: level?,
    })
}
