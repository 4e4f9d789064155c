//! `catalog rebuild`: the catalog from the manifests alone, after its database was lost or fell behind; and what else looks
//! after it.

mod acknowledge;

use kanbu_backup::{
    catalog::restock::{self, Restocked, Sources},
    fault::Failure,
    storage::Storage,
};
use serde_json::{Value, json};

use super::storage::chosen;
use crate::{
    cli::{Catalog, Rebuild},
    exit::Exit,
    output::{Output, Table, extended},
    session::Session,
    wiring,
};

pub async fn run(args: &Catalog, session: &Session) -> Result<Exit, Failure> {
    match args {
        Catalog::Rebuild(args) => rebuild(args, session).await,
        Catalog::Acknowledge(args) => acknowledge::run(args, session).await,
    }
}

async fn rebuild(args: &Rebuild, session: &Session) -> Result<Exit, Failure> {
    let config = &session.config;
    let (mut storages, mut unopened) = (Vec::new(), Vec::new());
    for chosen in chosen(&args.storage, &config.storage)? {
        // One that is away is no empty one.
        match Storage::open_existing(&chosen) {
            Ok(storage) => storages.push(storage),
            Err(error) => unopened.push(Restocked::unopened(chosen.name, error.into())),
        }
    }
    let keyring = wiring::keyring(&config.encryption)?;
    let db = session.control().await?;
    if !args.dry_run {
        wiring::prepare(config, &db).await?;
    }
    let sources = Sources {
        storages: &storages,
        environment: &config.storage.environment,
        keyring: &keyring,
    };
    let mut brought = restock::restock(&db, &sources, args.dry_run).await?;
    brought.extend(unopened);
    Ok(report(&brought, args.dry_run, session.out))
}

fn report(brought: &[Restocked], dry_run: bool, out: Output) -> Exit {
    let storages: Vec<Value> = brought.iter().map(document).collect();
    let document = json!({ "dry_run": dry_run, "storages": storages });
    out.document("rebuilt", &document, || text(brought, dry_run));
    let failed = brought.iter().find_map(|one| one.failure.as_ref());
    match failed {
        Some(failure) => Exit::of(failure),
        None if brought.iter().any(|one| one.doubted > 0) => Exit::Findings,
        None => Exit::Done,
    }
}

fn document(one: &Restocked) -> Value {
    let error = one.failure.as_ref().map(
        |failure| json!({ "code": failure.code, "text": failure.message, "hint": failure.hint }),
    );
    extended(json!(one), json!({ "error": error }))
}

fn text(brought: &[Restocked], dry_run: bool) -> String {
    let mut table = Table::new(&[
        "STORAGE",
        "MANIFESTS",
        "NEW BACKUPS",
        "NEW COPIES",
        "DELETED BEFORE",
        "NOT BELIEVED",
    ]);
    for column in 1..6 {
        table = table.right(column);
    }
    for one in brought {
        let counts = [
            one.manifests,
            one.backups,
            one.copies,
            one.deleted,
            one.doubted,
        ];
        let counts = counts.map(|count| count.to_string());
        table.row(std::iter::once(one.storage.to_string()).chain(counts));
    }
    let mut lines = vec![table.text()];
    for one in brought {
        for doubted in &one.doubts {
            let (folder, doubt) = (&doubted.folder, &doubted.doubt);
            lines.push(format!(
                "not believed: {}:{folder}: {} ({})",
                one.storage, doubt.reason, doubt.code
            ));
        }
        let unnamed = one.doubted - one.doubts.len() as u64;
        if unnamed > 0 {
            lines.push(format!("not believed: {unnamed} more on {}", one.storage));
        }
    }
    for one in brought {
        if let Some(failure) = &one.failure {
            lines.push(format!(
                "{} was not read to its end: {failure}",
                one.storage
            ));
        }
    }
    if dry_run {
        lines.push("nothing was entered: this was a dry run".to_owned());
    }
    lines.join("\n")
}
