//! Log lines on standard error: text on a terminal, JSON elsewhere or by setting.

use std::io::IsTerminal;

use kanbu_backup::config::{LogFormat, LogSettings};
use tracing::Level;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Starts logging. Client verbs pass `quietest` so that only warnings stand between their own lines.
pub fn start(settings: LogSettings, verbose: u8, quietest: Option<Level>) {
    let level = match (verbose, quietest) {
        (0, Some(level)) => level,
        (0, None) => settings.level,
        (1, _) => Level::DEBUG,
        (_, _) => Level::TRACE,
    };
    let own = level.as_str().to_lowercase();
    // What other crates say below a warning is noise to an operator.
    let filter = EnvFilter::new(format!(
        "warn,kanbu_backup={own},kanbu_backup_workers={own}"
    ));
    let terminal = std::io::stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::ByTerminal => !terminal,
    };
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    if json {
        tracing_subscriber::registry()
            .with(filter)
            .with(lines.json().flatten_event(true))
            .init();
    } else {
        tracing_subscriber::registry()
            .with(filter)
            .with(lines.with_ansi(terminal))
            .init();
    }
}
