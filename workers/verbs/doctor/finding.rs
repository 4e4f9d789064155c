//! What `doctor` found: one line each, with its fix.

use kanbu_backup::fault::Failure;
use serde::Serialize;

use crate::exit::Exit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    Good,
    Warning,
    Bad,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    what: String,
    grade: Grade,
    text: String,
    fix: Option<String>,
}

impl Finding {
    pub(super) fn good(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            grade: Grade::Good,
            text: text.into(),
            fix: None,
        }
    }

    pub(super) fn warning(what: impl Into<String>, text: impl Into<String>, fix: &str) -> Self {
        Self {
            what: what.into(),
            grade: Grade::Warning,
            text: text.into(),
            fix: Some(fix.to_owned()),
        }
    }

    pub(super) fn wrong(what: impl Into<String>, text: impl Into<String>, fix: &str) -> Self {
        Self {
            grade: Grade::Bad,
            ..Self::warning(what, text, fix)
        }
    }

    pub(super) fn bad(what: impl Into<String>, failure: &Failure) -> Self {
        let text = format!("{} ({})", failure.message, failure.code);
        let fix = failure.hint.as_ref().map(ToString::to_string);
        Self {
            what: what.into(),
            grade: Grade::Bad,
            text,
            fix,
        }
    }

    pub(super) fn of(what: impl Into<String>, result: Result<String, Failure>) -> Self {
        match result {
            Ok(text) => Self::good(what, text),
            Err(failure) => Self::bad(what, &failure),
        }
    }
}

pub(super) fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let mark = match finding.grade {
            Grade::Good => "✔",
            Grade::Warning => "!",
            Grade::Bad => "✘",
        };
        lines.push(format!("{mark} {:20} {}", finding.what, finding.text));
        lines.extend(finding.fix.iter().map(|fix| format!("    fix: {fix}")));
    }
    lines.join("\n")
}

pub(super) fn exit(findings: &[Finding]) -> Exit {
    let has = |grade| findings.iter().any(|finding| finding.grade == grade);
    match (has(Grade::Bad), has(Grade::Warning)) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Findings,
        (false, false) => Exit::Done,
    }
}
