//! What a source has to say about itself, in sentences.

use crate::{archive::PackReport, execution::Warning, fault::Failure, storage::StorageName};

/// An archive of fewer files than this is probably not what somebody meant.
const FEW_FILES: u64 = 10;

/// `pg_dump` exits well and still has something to say, for instance about circular foreign keys.
pub(super) fn of_dump(text: String) -> Warning {
    said("database.dump_warning", text, false)
}

/// A file that isn't in the archive as it was on disk degrades the backup; what only looks odd doesn't.
pub(super) fn of_tree(report: &PackReport, encrypted: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (paths, code, what) in [
        (&report.unreadable, "source.unreadable", "could not be read"),
        (
            &report.vanished,
            "source.vanished",
            "vanished while the archive was made",
        ),
        (
            &report.changed,
            "source.changed",
            "changed while being read",
        ),
    ] {
        if !paths.is_empty() {
            warnings.push(said(
                code,
                format!("{} {what}: {paths}", counted(paths.count(), "file")),
                true,
            ));
        }
    }
    if !report.special.is_empty() {
        let text = format!(
            "not archived, because sockets, pipes and devices have no content: {}",
            report.special
        );
        warnings.push(said("source.special", text, false));
    }
    if report.files < FEW_FILES {
        let text = format!(
            "the archive holds only {}: is KANBU_SOURCE_PATH right?",
            counted(report.files, "file")
        );
        warnings.push(said("source.few_files", text, false));
    }
    if report.holds_dotenv && !encrypted {
        let text = "an .env file lies in an archive that is not encrypted".to_owned();
        warnings.push(said("source.dotenv", text, false));
    }
    warnings
}

pub(super) fn unencrypted() -> Warning {
    said(
        "encryption.off",
        "the backup is not encrypted: no BACKUP_ENCRYPTION_KEY is set".to_owned(),
        false,
    )
}

/// The roles that the database needs are not in the backup.
pub(super) fn no_globals(reason: &Failure) -> Warning {
    said(
        "globals.missing",
        format!("roles and tablespaces were not dumped: {reason}"),
        false,
    )
}

/// Nobody knows what the dump must hold.
pub(super) fn no_expectations(reason: &Failure) -> Warning {
    said(
        "expectations.missing",
        format!("what the backup must hold was not recorded: {reason}"),
        false,
    )
}

/// An alarm about content is for people to look at; the backup is what the database was.
pub(super) fn content(what: &str, text: String) -> Warning {
    said(&format!("content.{what}"), text, false)
}

/// A storage that has no copy, and whether the policy asks for one.
pub(super) fn no_copy(storage: &StorageName, reason: &str, degrades: bool) -> Warning {
    said(
        "storage.no_copy",
        format!("no copy on {storage}: {reason}"),
        degrades,
    )
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn said(code: &str, text: String, degrades: bool) -> Warning {
    Warning {
        code: code.to_owned(),
        text,
        degrades,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_complete_and_ordinary_needs_no_word() {
        let report = PackReport {
            files: 10,
            ..PackReport::default()
        };
        assert_eq!(of_tree(&report, true), []);
    }

    #[test]
    fn few_files_and_an_open_dotenv_are_said_and_degrade_nothing() {
        let report = PackReport {
            files: 2,
            holds_dotenv: true,
            ..PackReport::default()
        };
        let warnings = of_tree(&report, false);
        let codes: Vec<_> = warnings
            .iter()
            .map(|warning| warning.code.as_str())
            .collect();
        assert_eq!(codes, ["source.few_files", "source.dotenv"]);
        assert!(warnings.iter().all(|warning| !warning.degrades));
    }
}
