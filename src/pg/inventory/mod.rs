//! What a database holds, in one snapshot: rows of every table, values of every sequence, every object's definition.
//!
//! Written into the manifest when a backup is made, and taken again of what was restored, an inventory is what a restore is
//! measured by. Invariant: nothing in it depends on how the server numbers its objects, on a search path, or on a session's
//! settings, so two inventories of equal databases are equal ([`Inventory::differences`]). A definition is kept as a short
//! print, never as text: inventories of huge schemas are folded further. Shares its snapshot with a dump by `dump`.

mod beside;
mod count;
mod differ;
mod fold;
mod objects;
mod session;
mod shrink;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use self::session::Session;
pub use self::{
    beside::{Beside, Snapshot, Taken},
    differ::{Difference, Weight},
    fold::Fold,
    shrink::{LEAST_ROWS, Shrunk},
};
use super::{cluster::Cluster, error::PgError};

/// What a database holds. Lists are in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The start of the transaction whose snapshot it is.
    pub taken_at: DateTime<Utc>,
    /// `150018`
    pub server_version_num: u32,
    pub encoding: String,
    pub collation: String,
    pub ctype: String,
    pub large_objects: u64,
    /// How much was folded to fit into a manifest.
    #[serde(default, skip_serializing_if = "Fold::is_none")]
    pub fold: Fold,
    #[serde(default)]
    pub extensions: Vec<Extension>,
    /// Kanbu's own level, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kanbu: Option<KanbuLevel>,
    #[serde(default)]
    pub tables: Vec<TableRows>,
    #[serde(default)]
    pub sequences: Vec<SequenceValue>,
    #[serde(default, with = "objects")]
    pub objects: Vec<ObjectPrint>,
    /// Extensions that the server could create. Says something only of the server that was just asked, so it isn't kept.
    #[serde(default, skip_serializing)]
    pub installable: Vec<String>,
}

/// The rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableRows {
    pub schema: String,
    pub table: String,
    pub rows: u64,
    /// Counted, and not the planner's estimate.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub exact: bool,
    /// On the server's disk, large values included. It is no part of what is compared: equal rows may take more or less.
    #[serde(default)]
    pub bytes: u64,
}

/// Where a sequence stands. Sequences are outside every snapshot: they may move while a dump runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SequenceValue {
    pub schema: String,
    pub sequence: String,
    pub last_value: i64,
    pub is_called: bool,
    /// Where it stood when the dump had ended, if it had moved by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<i64>,
}

/// An object and a short hash of its definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectPrint {
    /// In the server's own words (`table`, `table constraint`), and ours for what it has none for (`columns`, `grants`).
    pub kind: String,
    /// Empty for what lies in none.
    pub schema: String,
    /// With its schema, quoted where needed.
    pub name: String,
    pub print: String,
}

/// An extension that is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Extension {
    pub name: String,
    pub version: String,
    /// Something outside of it depends on it.
    #[serde(default)]
    pub needed: bool,
}

/// How far Kanbu's schema had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KanbuLevel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The last migration of Prisma that was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<String>,
}

/// Takes the inventory of a database, over a connection of its own. Tables that can't be counted within `budget` are
/// estimated.
pub async fn take(
    cluster: &Cluster,
    database: &str,
    budget: Duration,
) -> Result<Inventory, PgError> {
    let mut session = Session::direct(cluster, database).await?;
    let sequences = count::sequences(&mut session).await?;
    let mut inventory = session.inventory(budget).await?;
    inventory.sequences = sequences;
    session.close().await;
    Ok(inventory)
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}
