//! Inventories of huge schemas, made small enough for a manifest: many prints become one, sums become coarser.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{Inventory, ObjectPrint, TableRows};

/// What an inventory may take of a manifest, in bytes of JSON.
const MOST_BYTES: usize = 256 * 1024;

/// Stands for all of a schema, or of all schemas.
pub(super) const ALL: &str = "*";

/// The kind of print under which the values of a schema's sequences are kept.
pub(super) const SEQUENCES: &str = "sequence value";

/// How much was folded. What is folded tells that something differs, and no longer what.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    #[default]
    None,
    /// One print for each kind of object in a schema.
    Objects,
    /// Rows and sequences of a schema, too.
    Schemas,
    /// All schemas are as one.
    All,
}

impl Fold {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Inventory {
    /// As detailed as fits into a manifest.
    #[must_use]
    pub fn folded(self) -> Self {
        let levels = [Fold::Objects, Fold::Schemas, Fold::All];
        levels.into_iter().fold(self, |inventory, level| {
            if inventory.size() > MOST_BYTES {
                inventory.folded_to(level)
            } else {
                inventory
            }
        })
    }

    /// At least as coarse as `level`.
    pub(super) fn folded_to(mut self, level: Fold) -> Self {
        if level >= Fold::Objects && self.fold < Fold::Objects {
            self.fold_objects();
        }
        if level >= Fold::Schemas && self.fold < Fold::Schemas {
            self.fold_rows();
        }
        if level >= Fold::All && self.fold < Fold::All {
            self.fold_schemas();
        }
        self.fold = self.fold.max(level);
        self
    }

    /// Roughly, what it takes as JSON: names and prints with their quotes.
    fn size(&self) -> usize {
        let objects = self
            .objects
            .iter()
            .map(|o| o.name.len() + o.print.len() + 6);
        let tables = self
            .tables
            .iter()
            .map(|t| t.schema.len() + t.table.len() + 60);
        let sequences = self
            .sequences
            .iter()
            .map(|s| s.schema.len() + s.sequence.len() + 90);
        objects.chain(tables).chain(sequences).sum()
    }

    /// A folded print is one of the names and one of the definitions, for names are compared where definitions can't be.
    fn fold_objects(&mut self) {
        let mut groups: BTreeMap<(String, String), Folding> = BTreeMap::new();
        for object in std::mem::take(&mut self.objects) {
            let group = groups.entry((object.kind, object.schema)).or_default();
            group.add(&object.name, &Folded::of_one(&object.print));
        }
        self.objects = objects_of(groups);
    }

    fn fold_rows(&mut self) {
        let mut groups: BTreeMap<(String, String), Folding> = BTreeMap::new();
        let mut sums: BTreeMap<String, TableRows> = BTreeMap::new();
        for table in std::mem::take(&mut self.tables) {
            let sum = sums
                .entry(table.schema.clone())
                .or_insert_with(|| TableRows {
                    schema: table.schema.clone(),
                    table: ALL.to_owned(),
                    rows: 0,
                    exact: true,
                    bytes: 0,
                });
            sum.rows = sum.rows.saturating_add(table.rows);
            sum.bytes = sum.bytes.saturating_add(table.bytes);
            sum.exact &= table.exact;
        }
        // Where one has moved the schema's values can't be told by one print.
        let values = std::mem::take(&mut self.sequences);
        for value in &values {
            let group = groups
                .entry((SEQUENCES.to_owned(), value.schema.clone()))
                .or_default();
            let stands = format!("{} {}", value.last_value, value.is_called);
            group.add(&value.sequence, &Folded::of_one(&stands));
        }
        for moved in values.into_iter().filter(|value| value.moved_to.is_some()) {
            groups.remove(&(SEQUENCES.to_owned(), moved.schema));
        }
        self.tables = sums.into_values().collect();
        self.objects.extend(objects_of(groups));
        self.objects.sort_unstable();
    }

    fn fold_schemas(&mut self) {
        let mut groups: BTreeMap<(String, String), Folding> = BTreeMap::new();
        for object in std::mem::take(&mut self.objects) {
            let group = groups.entry((object.kind, ALL.to_owned())).or_default();
            group.add(&object.schema, &Folded::read(&object.print));
        }
        self.objects = objects_of(groups);
        let all = std::mem::take(&mut self.tables);
        self.tables = vec![TableRows {
            schema: ALL.to_owned(),
            table: ALL.to_owned(),
            rows: all
                .iter()
                .map(|table| table.rows)
                .fold(0, u64::saturating_add),
            exact: all.iter().all(|table| table.exact),
            bytes: all
                .iter()
                .map(|table| table.bytes)
                .fold(0, u64::saturating_add),
        }];
    }
}

/// What became of many prints: `413:9f86d081884c7d65:60303ae22b998861`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folded<'a> {
    pub(super) count: u64,
    pub(super) names: &'a str,
    definitions: &'a str,
}

impl<'a> Folded<'a> {
    fn of_one(print: &'a str) -> Self {
        Self {
            count: 1,
            names: "",
            definitions: print,
        }
    }

    /// Something else is taken for one print.
    pub(super) fn read(print: &'a str) -> Self {
        let mut parts = print.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(count), Some(names), Some(definitions)) => Self {
                count: count.parse().unwrap_or(0),
                names,
                definitions,
            },
            _ => Self::of_one(print),
        }
    }
}

/// Prints that are becoming one.
#[derive(Default)]
struct Folding {
    count: u64,
    names: Sha256,
    definitions: Sha256,
}

impl Folding {
    fn add(&mut self, name: &str, print: &Folded<'_>) {
        self.count += print.count;
        for (digest, part) in [
            (&mut self.names, print.names),
            (&mut self.definitions, print.definitions),
        ] {
            digest.update(name);
            digest.update([0]);
            digest.update(part);
            digest.update([0]);
        }
    }

    fn print(self) -> String {
        let short = |digest: Sha256| hex::encode(digest.finalize().get(..8).unwrap_or_default());
        format!(
            "{}:{}:{}",
            self.count,
            short(self.names),
            short(self.definitions)
        )
    }
}

fn objects_of(groups: BTreeMap<(String, String), Folding>) -> Vec<ObjectPrint> {
    let object = |((kind, schema), folding): ((String, String), Folding)| ObjectPrint {
        kind,
        name: ALL.to_owned(),
        schema,
        print: folding.print(),
    };
    groups.into_iter().map(object).collect()
}
