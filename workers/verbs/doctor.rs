//! `doctor`: every part of the set-up is tried, and what is wrong comes with its fix.

use kanbu_backup::{
    backup::DatabaseSource, bytes::ByteSize, control, fault::Failure, pg::dump, storage::Storage,
};
use serde::Serialize;

use crate::{exit::Exit, session::Session, wiring};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Grade {
    Good,
    Warning,
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    grade: Grade,
    text: String,
    fix: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            grade: Grade::Good,
            text: text.into(),
            fix: None,
        }
    }

    fn warning(what: impl Into<String>, text: impl Into<String>, fix: &str) -> Self {
        Self {
            what: what.into(),
            grade: Grade::Warning,
            text: text.into(),
            fix: Some(fix.to_owned()),
        }
    }

    fn bad(what: impl Into<String>, failure: &Failure) -> Self {
        let text = format!("{} ({})", failure.message, failure.code);
        let fix = failure.hint.as_ref().map(ToString::to_string);
        Self {
            what: what.into(),
            grade: Grade::Bad,
            text,
            fix,
        }
    }

    fn of(what: impl Into<String>, result: Result<String, Failure>) -> Self {
        match result {
            Ok(text) => Self::good(what, text),
            Err(failure) => Self::bad(what, &failure),
        }
    }
}

pub async fn run(session: &Session) -> Result<Exit, Failure> {
    let mut findings = vec![control_database(session).await];
    let toolsets = wiring::toolsets(&session.config.protected).await;
    match wiring::sources(&session.config, &toolsets) {
        Ok(sources) => {
            for database in &sources.databases {
                findings.push(Finding::of("protected database", protected(database).await));
            }
            if sources.databases.is_empty() {
                findings.push(Finding::warning(
                    "protected database",
                    "none is configured",
                    "set DATABASE_URL",
                ));
            }
            findings.extend(sources.trees.iter().map(|tree| directory(&tree.root)));
        }
        Err(failure) => findings.push(Finding::bad("protected database", &failure)),
    }
    findings.extend(storages(session).await);
    findings.push(encryption(session));
    session
        .out
        .document("checks", &findings, || text(&findings));
    Ok(exit(&findings))
}

async fn control_database(session: &Session) -> Finding {
    let tried = async {
        let db = session.control().await?;
        if let Some(protected) = &session.config.protected.url {
            let refused = control::refuse_if_protected(&db, protected.expose()).await;
            if let Err(error @ control::ControlError::SameDatabase { .. }) = refused {
                return Err(Failure::from(error));
            }
        }
        let identity = db.identity().await?;
        Ok(format!(
            "database {} answers, and is not the protected one",
            identity.database
        ))
    };
    Finding::of("control database", tried.await)
}

async fn protected(source: &DatabaseSource) -> Result<String, Failure> {
    let route = dump::route(
        source.mode,
        &source.cluster,
        &source.containers,
        &source.toolsets,
    )
    .await?;
    let facts = route.facts(&source.cluster).await?;
    let by = match &route {
        dump::Route::Direct(tools) => format!("client {}", tools.text),
        dump::Route::Docker(container) => format!("in container {}", container.name()),
    };
    Ok(format!(
        "{}, PostgreSQL {}, {}, {by}",
        facts.database,
        facts.version,
        ByteSize(facts.size_bytes)
    ))
}

fn directory(root: &std::path::Path) -> Finding {
    let what = format!("source {}", root.display());
    match std::fs::read_dir(root) {
        Ok(_) => Finding::good(what, "can be read"),
        Err(error) => Finding::warning(
            what,
            error.to_string(),
            "set KANBU_SOURCE_PATH to the directory to archive",
        ),
    }
}

async fn storages(session: &Session) -> Vec<Finding> {
    let opened = match wiring::storages(&session.config.storage) {
        Ok(opened) => opened,
        Err(failure) => return vec![Finding::bad("storage", &failure)],
    };
    let mut findings = Vec::new();
    for storage in &opened {
        findings.push(Finding::of(
            format!("storage {}", storage.name()),
            probed(storage).await,
        ));
    }
    findings
}

async fn probed(storage: &Storage) -> Result<String, Failure> {
    let report = storage.probe().await?;
    Ok(format!(
        "{}: write {} ms, read {} ms, list {} ms, delete {} ms",
        storage.description(),
        report.write.as_millis(),
        report.read.as_millis(),
        report.list.as_millis(),
        report.delete.as_millis(),
    ))
}

fn encryption(session: &Session) -> Finding {
    let fix = "set BACKUP_ENCRYPTION_KEY_FILE, for instance to the output of `openssl rand -hex 32`, and keep a copy elsewhere";
    match wiring::keyring(&session.config.encryption) {
        Ok(keyring) if keyring.has_active() => {
            Finding::good("encryption", "new backups are sealed with AES-256-GCM")
        }
        Ok(_) => Finding::warning(
            "encryption",
            "backups are NOT encrypted: no key is set",
            fix,
        ),
        Err(failure) => Finding::bad("encryption", &failure),
    }
}

fn text(findings: &[Finding]) -> String {
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

fn exit(findings: &[Finding]) -> Exit {
    let has = |grade| findings.iter().any(|finding| finding.grade == grade);
    match (has(Grade::Bad), has(Grade::Warning)) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Findings,
        (false, false) => Exit::Done,
    }
}
