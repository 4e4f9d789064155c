//! `storage list`: every storage, what it can do, and what it holds as far as was last seen.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kanbu_backup::{
    bytes::ByteSize,
    catalog::{self, Holdings},
    fault::Failure,
    storage::{Capabilities, StorageConfig, StorageName},
};
use serde_json::{Value, json};

use crate::{exit::Exit, output::Table, session::Session, verbs::list::local};

pub(super) async fn run(session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let mut holdings = catalog::holdings(&db).await?;
    let mut rows = Vec::new();
    for config in &session.config.storage.storages {
        let lacks = catalog::lacking(&db, &config.name).await?.len();
        rows.push(Row {
            name: config.name.clone(),
            config: Some(config),
            held: holdings.remove(&config.name),
            lacks: Some(lacks),
        });
    }
    rows.extend(holdings.into_iter().map(|(name, held)| Row {
        name,
        config: None,
        held: Some(held),
        lacks: None,
    }));
    let documents: Vec<Value> = rows.iter().map(Row::document).collect();
    session.out.document("storages", &documents, || text(&rows));
    Ok(Exit::Done)
}

/// One storage; without its configuration, one that only the catalog knows.
struct Row<'a> {
    name: StorageName,
    config: Option<&'a StorageConfig>,
    held: Option<(Holdings, DateTime<Utc>)>,
    /// Backups without a good copy there.
    lacks: Option<usize>,
}

impl Row<'_> {
    fn role(&self) -> &'static str {
        self.config.map_or("not configured", |c| c.role.as_str())
    }

    fn place(&self) -> Option<String> {
        self.config.map(|config| config.place.to_string())
    }

    fn copies(&self) -> Holdings {
        self.held
            .as_ref()
            .map(|held| held.0.clone())
            .unwrap_or_default()
    }

    fn document(&self) -> Value {
        let can = self
            .config
            .map(|config| can(config).collect::<BTreeMap<_, _>>());
        json!({
            "name": self.name,
            "role": self.config.map(|config| config.role.as_str()),
            "place": self.place(),
            "capabilities": can,
            "copies": self.copies(),
            "lacks": self.lacks,
            "last_seen": self.held.as_ref().map(|held| held.1),
        })
    }
}

fn can(config: &StorageConfig) -> impl Iterator<Item = (&'static str, bool)> {
    Capabilities::of(&config.place).table().into_iter()
}

fn text(rows: &[Row<'_>]) -> String {
    let mut table = Table::new(&[
        "NAME",
        "ROLE",
        "COPIES",
        "SIZE",
        "LACKS",
        "LAST SEEN",
        "PLACE",
    ]);
    for column in 2..5 {
        table = table.right(column);
    }
    for row in rows {
        let copies = row.copies();
        let stored = copies.get("stored");
        table.row([
            row.name.to_string(),
            row.role().to_owned(),
            stored.map_or(0, |stored| stored.copies).to_string(),
            ByteSize(stored.map_or(0, |stored| stored.bytes)).to_string(),
            row.lacks.map_or_else(dash, |lacks| lacks.to_string()),
            row.held.as_ref().map_or_else(dash, |held| local(held.1)),
            row.place().unwrap_or_else(dash),
        ]);
    }
    let mut lines = vec![table.text()];
    for row in rows {
        lines.extend(row.config.map(|config| cannot(&row.name, config)));
        lines.extend(others(row));
    }
    lines.join("\n")
}

fn dash() -> String {
    "–".to_owned()
}

fn cannot(name: &StorageName, config: &StorageConfig) -> String {
    let lacking: Vec<_> = can(config)
        .filter(|(_, can)| !can)
        .map(|(what, _)| what)
        .collect();
    if lacking.is_empty() {
        return format!("{name}: can all there is");
    }
    format!("{name}: has no {}", lacking.join(", no "))
}

/// The copies that aren't good ones.
fn others(row: &Row<'_>) -> Option<String> {
    let copies = row.copies();
    let others: Vec<String> = copies
        .iter()
        .filter(|(state, _)| **state != "stored")
        .map(|(state, held)| format!("{} {state} ({})", held.copies, ByteSize(held.bytes)))
        .collect();
    let name = &row.name;
    (!others.is_empty()).then(|| format!("{name}: {}", others.join(", ")))
}
