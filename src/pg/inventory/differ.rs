//! Two inventories compared: what was expected with what was found. Pure.

use std::collections::BTreeMap;

use super::{
    Inventory, ObjectPrint, SequenceValue, TableRows,
    fold::{Fold, Folded, SEQUENCES},
};

/// Whether a difference makes a restored database another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// To be named, and lived with.
    Tolerable,
    /// Something is missing or wrong.
    Real,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub weight: Weight,
    pub code: &'static str,
    pub text: String,
}

/// What belongs to the database as a whole, or to its server, and is never part of a dump.
const OUTSIDE: [&str; 3] = ["database setting", "database owner", "database grants"];

/// Who owns what and who may do what: left out by `no_owner`.
const OWNERSHIP: [&str; 2] = ["owner", "grants"];

/// What every new database brings along.
const PUBLIC: &str = "schema public";

impl Inventory {
    /// What `found` has otherwise than expected, in a fixed order.
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        self.compared(found, false)
    }

    /// The same for a database that was restored without owners and grants.
    pub fn differences_without_owners(&self, found: &Self) -> Vec<Difference> {
        self.compared(found, true)
    }

    /// Whether the tables that are meant have their rows. Of schemas that were folded nothing is known.
    pub fn differences_of_rows(
        &self,
        found: &Self,
        is_meant: impl Fn(&str, &str) -> bool,
    ) -> Vec<Difference> {
        if self.fold.max(found.fold) >= Fold::Schemas {
            return Vec::new();
        }
        let mut comparison = Comparison::new(self, found, false);
        comparison.tables(is_meant);
        comparison.differences
    }

    /// Both as coarse as the coarser one.
    fn compared(&self, found: &Self, without_owners: bool) -> Vec<Difference> {
        if self.fold == found.fold {
            return Comparison::of(self, found, without_owners);
        }
        let level = self.fold.max(found.fold);
        let (expected, found) = (
            self.clone().folded_to(level),
            found.clone().folded_to(level),
        );
        Comparison::of(&expected, &found, without_owners)
    }

    fn major(&self) -> u32 {
        self.server_version_num / 10_000
    }
}

struct Comparison<'a> {
    expected: &'a Inventory,
    found: &'a Inventory,
    without_owners: bool,
    differences: Vec<Difference>,
}

impl<'a> Comparison<'a> {
    fn new(expected: &'a Inventory, found: &'a Inventory, without_owners: bool) -> Self {
        Self {
            expected,
            found,
            without_owners,
            differences: Vec::new(),
        }
    }

    fn of(expected: &'a Inventory, found: &'a Inventory, without_owners: bool) -> Vec<Difference> {
        let mut comparison = Self::new(expected, found, without_owners);
        comparison.tables(|_, _| true);
        comparison.sequences();
        comparison.objects();
        comparison.extensions();
        comparison.rest();
        comparison.differences
    }

    fn say(&mut self, weight: Weight, code: &'static str, text: String) {
        self.differences.push(Difference { weight, code, text });
    }

    fn tables(&mut self, is_meant: impl Fn(&str, &str) -> bool) {
        let key = |table: &'a TableRows| ((&table.schema, &table.table), table);
        let found: BTreeMap<_, _> = self.found.tables.iter().map(key).collect();
        let expected = self.expected.tables.iter();
        for table in expected.filter(|table| is_meant(&table.schema, &table.table)) {
            // One that is missing is missing among the objects, too.
            let Some(there) = found.get(&(&table.schema, &table.table)) else {
                continue;
            };
            let TableRows {
                schema,
                table: name,
                rows,
                exact,
                bytes: _,
            } = table;
            match (exact, there.exact) {
                (true, true) if rows != &there.rows => self.say(
                    Weight::Real,
                    "content.rows",
                    format!(
                        "table {schema}.{name} has {} rows instead of {rows}",
                        there.rows
                    ),
                ),
                (false, true) if is_far_off(*rows, there.rows) => self.say(
                    Weight::Tolerable,
                    "content.rows_estimated",
                    format!(
                        "table {schema}.{name} has {} rows; {rows} were only estimated",
                        there.rows
                    ),
                ),
                (true, true) | (false, _) => {}
                (true, false) => self.say(
                    Weight::Tolerable,
                    "content.rows_estimated",
                    format!("table {schema}.{name} should have {rows} rows and was not counted"),
                ),
            }
        }
    }

    fn sequences(&mut self) {
        let key = |value: &'a SequenceValue| ((&value.schema, &value.sequence), value);
        let found: BTreeMap<_, _> = self.found.sequences.iter().map(key).collect();
        for expected in &self.expected.sequences {
            let Some(there) = found.get(&(&expected.schema, &expected.sequence)) else {
                continue;
            };
            if !stands_right(expected, there) {
                let text = format!(
                    "sequence {}.{} stands at {} instead of {}",
                    expected.schema, expected.sequence, there.last_value, expected.last_value
                );
                self.say(Weight::Real, "content.sequence", text);
            }
        }
    }

    fn objects(&mut self) {
        let (expected, found) = (by_identity(self.expected), by_identity(self.found));
        let same_major = self.expected.major() == self.found.major();
        for (&identity, object) in &expected {
            let weight = self.weight(object);
            match found.get(&identity) {
                None => self.say(
                    weight,
                    "content.object_missing",
                    format!("{} is missing", self.named(object)),
                ),
                Some(there) if self.differ(object, there, same_major) => {
                    let text = self.how(object, there);
                    self.say(weight, "content.object_differs", text);
                }
                Some(_) => {}
            }
        }
        for (identity, object) in found {
            // Of sequences that moved there is no folded print.
            if expected.contains_key(&identity) || object.kind == SEQUENCES {
                continue;
            }
            let weight = if same_major {
                self.weight(object)
            } else {
                Weight::Tolerable
            };
            let text = format!("{} was not there before", self.named(object));
            self.say(weight, "content.object_unexpected", text);
        }
    }

    fn is_folded(&self) -> bool {
        self.expected.fold > Fold::None
    }

    /// Another major version writes definitions in other words; the names are the same.
    fn differ(&self, expected: &ObjectPrint, found: &ObjectPrint, same_major: bool) -> bool {
        if same_major || expected.kind == SEQUENCES {
            return expected.print != found.print;
        }
        self.is_folded() && {
            let (expected, found) = (Folded::read(&expected.print), Folded::read(&found.print));
            (expected.count, expected.names) != (found.count, found.names)
        }
    }

    fn how(&self, expected: &ObjectPrint, found: &ObjectPrint) -> String {
        let named = self.named(expected);
        if !self.is_folded() {
            return format!("{named} differs");
        }
        let (expected, found) = (Folded::read(&expected.print), Folded::read(&found.print));
        if expected.count == found.count {
            format!("{named} differ")
        } else {
            format!(
                "{named} differ: {} instead of {}",
                found.count, expected.count
            )
        }
    }

    /// `index public.card_board_idx`; what has no name of its own is told by what it is of.
    fn named(&self, object: &ObjectPrint) -> String {
        let ObjectPrint {
            kind, schema, name, ..
        } = object;
        if self.is_folded() {
            return format!("objects of kind {kind:?} in schema {schema}");
        }
        match kind.as_str() {
            "columns" => format!("the set of columns of {name}"),
            "grants" => format!("the set of grants of {name}"),
            "owner" | "comment" => format!("the {kind} of {name}"),
            "database owner" => "the owner of the database".to_owned(),
            "database grants" => "the set of grants of the database".to_owned(),
            kind => format!("{kind} {name}"),
        }
    }

    fn weight(&self, object: &ObjectPrint) -> Weight {
        let kind = object.kind.as_str();
        let is_ownership = OWNERSHIP.contains(&kind);
        let is_tolerable = OUTSIDE.contains(&kind)
            || (self.without_owners && is_ownership)
            || (object.name == PUBLIC && (kind == "comment" || is_ownership));
        if is_tolerable {
            Weight::Tolerable
        } else {
            Weight::Real
        }
    }

    fn extensions(&mut self) {
        for extension in &self.expected.extensions {
            let name = &extension.name;
            match self
                .found
                .extensions
                .iter()
                .find(|there| there.name == *name)
            {
                None => {
                    let is_dispensable =
                        !extension.needed && !self.found.installable.contains(name);
                    let weight = if is_dispensable {
                        Weight::Tolerable
                    } else {
                        Weight::Real
                    };
                    self.say(
                        weight,
                        "content.extension_missing",
                        format!("extension {name} is missing"),
                    );
                }
                Some(there) if there.version != extension.version => {
                    let weight = if numbers(&there.version) > numbers(&extension.version) {
                        Weight::Tolerable
                    } else {
                        Weight::Real
                    };
                    let text = format!(
                        "extension {name} has version {} instead of {}",
                        there.version, extension.version
                    );
                    self.say(weight, "content.extension_version", text);
                }
                Some(_) => {}
            }
        }
    }

    fn rest(&mut self) {
        let (expected, found) = (self.expected, self.found);
        if expected.large_objects != found.large_objects {
            let text = format!(
                "there are {} large objects instead of {}",
                found.large_objects, expected.large_objects
            );
            self.say(Weight::Real, "content.large_objects", text);
        }
        for (what, was, is) in [
            ("encoding", &expected.encoding, &found.encoding),
            ("collation", &expected.collation, &found.collation),
            ("character classes", &expected.ctype, &found.ctype),
        ] {
            if was != is {
                let text = format!("the database's {what} is {is} instead of {was}");
                self.say(Weight::Tolerable, "content.locale", text);
            }
        }
    }
}

fn by_identity(inventory: &Inventory) -> BTreeMap<(&str, &str, &str), &ObjectPrint> {
    let objects = inventory.objects.iter();
    objects
        .map(|object| {
            let identity = (
                object.kind.as_str(),
                object.schema.as_str(),
                object.name.as_str(),
            );
            (identity, object)
        })
        .collect()
}

/// An estimate is worth a word when it is wrong by more than a tenth.
fn is_far_off(estimate: u64, rows: u64) -> bool {
    estimate.abs_diff(rows) > estimate.max(rows) / 10
}

/// At one of the values between the beginning and the end of the dump.
fn stands_right(expected: &SequenceValue, found: &SequenceValue) -> bool {
    match expected.moved_to {
        None => (expected.last_value, expected.is_called) == (found.last_value, found.is_called),
        Some(end) => {
            let (low, high) = (expected.last_value.min(end), expected.last_value.max(end));
            (low..=high).contains(&found.last_value)
        }
    }
}

/// The numbers of a version, for comparing: `1.10` is newer than `1.9`.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}
