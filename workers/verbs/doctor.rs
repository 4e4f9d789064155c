//! `doctor`: every part of the set-up is tried, and what is wrong comes with its fix.

mod copies;
mod finding;
mod queue;
mod replacements;

use kanbu_backup::{
    backup::DatabaseSource,
    bytes::ByteSize,
    control::{self, ControlDb},
    fault::Failure,
    pg::dump,
    storage::Storage,
};

use self::finding::Finding;
use crate::{exit::Exit, session::Session, wiring};

pub async fn run(only_queue: bool, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await;
    let mut findings = control_database(&db, session).await;
    if !only_queue {
        if let Ok(db) = &db {
            findings.extend(copies::look(db).await);
            findings.extend(replacements::look(db, session).await);
        }
        findings.extend(set_up(session).await);
    }
    let out = session.out;
    out.document("checks", &findings, || finding::text(&findings));
    Ok(finding::exit(&findings))
}

async fn set_up(session: &Session) -> Vec<Finding> {
    let mut findings = Vec::new();
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
    findings
}

/// Our own database, and the queue in it if it answers.
async fn control_database(db: &Result<ControlDb, Failure>, session: &Session) -> Vec<Finding> {
    let what = "control database";
    let db = match db {
        Ok(db) => db,
        Err(failure) => return vec![Finding::bad(what, failure)],
    };
    let mut findings = vec![Finding::of(what, ours(db, session).await)];
    findings.extend(queue::look(db).await);
    findings
}

async fn ours(db: &ControlDb, session: &Session) -> Result<String, Failure> {
    if let Some(protected) = &session.config.protected.url {
        let refused = control::refuse_if_protected(db, protected.expose()).await;
        if let Err(error @ control::ControlError::SameDatabase { .. }) = refused {
            return Err(Failure::from(error));
        }
    }
    let identity = db.identity().await?;
    Ok(format!(
        "database {} answers, and is not the protected one",
        identity.database
    ))
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
