//! Choosing tables and schemas of an archive, with all that they need and all that belongs to them.
//!
//! What a table needs comes along: its schema, types, functions, the parent of a partition (without rows). What belongs to
//! it comes along too: rows, sequences, indexes, constraints, triggers, policies, comments, grants; except where that would
//! drag in another table, as a foreign key does. What was left out is told.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    process,
    str::FromStr,
};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::toc::{Entry, Toc};
use crate::fault::{Classified, Fault};

/// The schema of a table that is named without one.
const DEFAULT_SCHEMA: &str = "public";

/// Longest name of a table or a schema, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// What comes along with what it belongs to.
const BELONGINGS: &[&str] = &[
    "ACL",
    "CHECK CONSTRAINT",
    "COMMENT",
    "CONSTRAINT",
    "DEFAULT",
    "FK CONSTRAINT",
    "INDEX",
    "INDEX ATTACH",
    "MATERIALIZED VIEW DATA",
    "POLICY",
    "ROW SECURITY",
    "RULE",
    "SECURITY LABEL",
    "SEQUENCE",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "STATISTICS",
    "STATISTICS DATA",
    "TABLE ATTACH",
    "TABLE DATA",
    "TRIGGER",
];

/// A table by its name: `card`, `app.card`, `"odd.name".card`. Letters count as they are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    pub schema: String,
    pub table: String,
}

/// Not the name of a table.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not the name of a table: write table, schema.table, or quote what has a dot in it"
)]
pub struct NotATable(String);

/// What is wanted of an archive; at least one table or schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
}

/// What is restored of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The numbers of its entries, in the order of the archive.
    pub entries: Vec<u32>,
    /// What belongs to the chosen tables and can't stand without another one, a sentence each.
    pub left_out: Vec<String>,
}

/// The archive doesn't have what was asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotThere {
    #[error("the backup has no table {0}")]
    Table(String),
    #[error("the backup has no schema {0}")]
    Schema(String),
    #[error("more than one table of the backup can be meant by {0}")]
    Ambiguous(String),
}

impl Classified for NotThere {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Table(_) | Self::Schema(_) => "restore.not_in_backup",
            Self::Ambiguous(_) => "restore.ambiguous_table",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Table(_) => {
                "letters count as they are written, and a table of another schema needs its name before it"
            }
            Self::Schema(_) => "letters count as they are written",
            Self::Ambiguous(_) => "restore its whole schema",
        };
        Some(hint.into())
    }
}

/// Entries as `pg_restore` reads them, a number on each line: a file in memory that goes with its last holder.
#[derive(Debug)]
pub struct UseList(File);

impl UseList {
    pub fn new(entries: &[u32]) -> io::Result<Self> {
        let mut file = File::from(memfd_create("kanbu-backup-list", MemfdFlags::CLOEXEC)?);
        let lines = entries.iter();
        let lines = lines.fold(String::new(), |lines, id| lines + &format!("{id};\n"));
        file.write_all(lines.as_bytes())?;
        Ok(Self(file))
    }

    /// Where our own children find it.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }
}

impl Selection {
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.schemas.is_empty()
    }

    /// What has to be restored for this.
    pub fn choose(&self, toc: &Toc) -> Result<Choice, NotThere> {
        let mut choosing = Choosing {
            entries: toc.0.iter().map(|entry| (entry.id, entry)).collect(),
            members: BTreeSet::new(),
            definition_only: BTreeSet::new(),
        };
        let wanted = self.wanted(toc)?;
        for id in &wanted {
            choosing.take(*id);
        }
        choosing.definition_only = choosing.relations(&choosing.members);
        choosing.definition_only.retain(|id| !wanted.contains(id));
        choosing.take_belongings();
        let left_out = choosing.left_out();
        let all = toc.0.iter().map(|entry| entry.id);
        Ok(Choice {
            entries: all.filter(|id| choosing.members.contains(id)).collect(),
            left_out,
        })
    }

    fn wanted(&self, toc: &Toc) -> Result<BTreeSet<u32>, NotThere> {
        let mut wanted = BTreeSet::new();
        for name in &self.tables {
            let found = toc.0.iter();
            let found = found.filter(|e| e.is_relation() && e.is_of(&name.schema, &name.table));
            match found.collect::<Vec<_>>().as_slice() {
                [] => return Err(NotThere::Table(name.to_string())),
                [one] => wanted.insert(one.id),
                [..] => return Err(NotThere::Ambiguous(name.to_string())),
            };
        }
        for schema in &self.schemas {
            let before = wanted.len();
            wanted.extend(toc.0.iter().filter(|e| is_in(e, schema)).map(|e| e.id));
            if wanted.len() == before {
                return Err(NotThere::Schema(schema.clone()));
            }
        }
        Ok(wanted)
    }
}

/// The schema itself, or something in it. Publications are of the whole database.
fn is_in(entry: &Entry, schema: &str) -> bool {
    let is_itself = entry.what == "SCHEMA"
        && entry
            .rest
            .strip_prefix(schema)
            .is_some_and(|rest| rest.starts_with(' '));
    let is_inside =
        entry.schema.as_deref() == Some(schema) && !entry.what.starts_with("PUBLICATION");
    is_itself || is_inside
}

struct Choosing<'a> {
    entries: BTreeMap<u32, &'a Entry>,
    members: BTreeSet<u32>,
    /// Tables that others need. Their rows weren't asked for.
    definition_only: BTreeSet<u32>,
}

impl Choosing<'_> {
    /// With all that it needs.
    fn take(&mut self, id: u32) {
        let closure = self.closure(id);
        self.members.extend(closure);
    }

    /// An entry and all that it needs, as far as the archive has it.
    fn closure(&self, id: u32) -> BTreeSet<u32> {
        let (mut closure, mut open) = (BTreeSet::new(), vec![id]);
        while let Some(id) = open.pop() {
            if let Some(entry) = self.entries.get(&id)
                && closure.insert(id)
            {
                open.extend(&entry.needs);
            }
        }
        closure
    }

    fn relations(&self, among: &BTreeSet<u32>) -> BTreeSet<u32> {
        let is_relation = |id: &&u32| self.entries.get(id).is_some_and(|e| e.is_relation());
        among.iter().filter(is_relation).copied().collect()
    }

    /// Until nothing more belongs to what there is.
    fn take_belongings(&mut self) {
        loop {
            let new: Vec<u32> = self
                .candidates()
                .filter(|entry| self.foreign(entry).is_empty())
                .map(|entry| entry.id)
                .collect();
            if new.is_empty() {
                return;
            }
            for id in new {
                self.take(id);
            }
        }
    }

    /// What isn't chosen yet and belongs to what is, rows of tables aside of which only the definition is needed.
    fn candidates(&self) -> impl Iterator<Item = &Entry> {
        let belongs = |entry: &&Entry| {
            let needs_ours =
                |id: &u32| self.members.contains(id) && !self.definition_only.contains(id);
            BELONGINGS.contains(&entry.what.as_str())
                && !self.members.contains(&entry.id)
                && entry.needs.iter().any(needs_ours)
        };
        self.entries.values().copied().filter(belongs)
    }

    /// The tables that an entry would drag in.
    fn foreign(&self, entry: &Entry) -> BTreeSet<u32> {
        let mut foreign = self.relations(&self.closure(entry.id));
        foreign.retain(|id| !self.members.contains(id));
        foreign
    }

    /// A foreign key of somebody else's that points to us is not ours to miss.
    fn left_out(&self) -> Vec<String> {
        let owned_by_ours = |entry: &&Entry| {
            let mut ours = self.members.iter().filter_map(|id| self.entries.get(id));
            ours.any(|table| {
                let name = table
                    .rest
                    .rsplit_once(' ')
                    .map_or("", |(name, _owner)| name);
                let schema = table.schema.as_deref().unwrap_or_default();
                table.is_relation() && entry.is_of(schema, name)
            })
        };
        let candidates = self.candidates().filter(owned_by_ours);
        candidates.map(|entry| self.sentence(entry)).collect()
    }

    fn sentence(&self, entry: &Entry) -> String {
        let name = |entry: &Entry| {
            let rest = entry
                .rest
                .rsplit_once(' ')
                .map_or(entry.rest.as_str(), |(name, _)| name);
            format!("{}.{rest}", entry.schema.as_deref().unwrap_or_default())
        };
        let foreign = self.foreign(entry);
        let foreign = foreign.iter().filter_map(|id| self.entries.get(id));
        let foreign: Vec<_> = foreign.map(|table| name(table)).collect();
        format!(
            "{} {} is left out: it needs {}, which was not asked for",
            entry.what.to_lowercase(),
            name(entry),
            foreign.join(", ")
        )
    }
}

impl FromStr for TableName {
    type Err = NotATable;

    fn from_str(text: &str) -> Result<Self, NotATable> {
        let refused = || NotATable(text.to_owned());
        let (first, rest) = part(text).ok_or_else(refused)?;
        let (schema, table) = match rest.strip_prefix('.') {
            Some(rest) => match part(rest) {
                Some((second, "")) => (first, second),
                _ => return Err(refused()),
            },
            None if rest.is_empty() => (DEFAULT_SCHEMA.to_owned(), first),
            None => return Err(refused()),
        };
        Ok(Self { schema, table })
    }
}

/// The first part of a dotted name, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let (name, rest) = if let Some(quoted) = text.strip_prefix('"') {
        quoted_part(quoted)?
    } else {
        let end = text.find(['.', '"']).unwrap_or(text.len());
        (text.get(..end)?.to_owned(), text.get(end..)?)
    };
    let is_name = (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    is_name.then_some((name, rest))
}

/// A name up to its closing mark, and what follows. A doubled mark is one of the name.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut marks = text.match_indices('"').peekable();
    while let Some((at, _)) = marks.next() {
        if marks.next_if(|(next, _)| *next == at + 1).is_none() {
            let name = text.get(..at)?.replace("\"\"", "\"");
            return Some((name, text.get(at + 1..)?));
        }
    }
    None
}

impl TryFrom<String> for TableName {
    type Error = NotATable;

    fn try_from(text: String) -> Result<Self, NotATable> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Part(&self.schema), Part(&self.table))
    }
}

/// A part of a name as it has to be written to be read again.
struct Part<'a>(&'a str);

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(['.', '"']) {
            write!(f, "\"{}\"", self.0.replace('"', "\"\""))
        } else {
            f.write_str(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `pg_restore --list --verbose` tells them of a small Kanbu.
    const LIST: &str = concat!(
        "6; 2615 1 SCHEMA - app olga\n",
        "848; 1247 2 TYPE app mood olga\n;\tdepends on: 6\n",
        "225; 1255 3 FUNCTION app touch() olga\n;\tdepends on: 6\n",
        "216; 1259 4 TABLE app board olga\n;\tdepends on: 848 6\n",
        "215; 1259 5 SEQUENCE app board_id_seq olga\n;\tdepends on: 6 216\n",
        "218; 1259 6 TABLE app card olga\n;\tdepends on: 6\n",
        "300; 0 0 COMMENT app TABLE card olga\n;\tdepends on: 218\n",
        "219; 1259 7 TABLE app part olga\n;\tdepends on: 6\n",
        "220; 1259 8 TABLE app part_2026 olga\n;\tdepends on: 6 219\n",
        "221; 1259 9 VIEW app cards olga\n;\tdepends on: 218 6\n",
        "301; 0 0 TABLE ATTACH app part_2026 olga\n;\tdepends on: 220 219\n",
        "302; 2604 10 DEFAULT app board id olga\n;\tdepends on: 215 216\n",
        "303; 0 4 TABLE DATA app board olga\n;\tdepends on: 216\n",
        "304; 0 6 TABLE DATA app card olga\n;\tdepends on: 218\n",
        "305; 0 8 TABLE DATA app part_2026 olga\n;\tdepends on: 220\n",
        "306; 0 0 SEQUENCE SET app board_id_seq olga\n;\tdepends on: 215\n",
        "307; 2606 11 CONSTRAINT app board board_pkey olga\n;\tdepends on: 216\n",
        "308; 1259 12 INDEX app card_title olga\n;\tdepends on: 218\n",
        "309; 2620 13 TRIGGER app card touched olga\n;\tdepends on: 218 225\n",
        "310; 2606 14 FK CONSTRAINT app card card_board_fkey olga\n;\tdepends on: 216 218 307\n",
    );

    fn chosen(tables: &[&str], schemas: &[&str]) -> Result<(Vec<u32>, Vec<String>), NotThere> {
        let selection = Selection {
            tables: tables.iter().map(|name| name.parse().unwrap()).collect(),
            schemas: schemas.iter().map(|&name| name.to_owned()).collect(),
        };
        let choice = selection.choose(&Toc::parse(LIST))?;
        Ok((choice.entries, choice.left_out))
    }

    #[test]
    fn a_table_comes_with_what_it_needs_and_what_belongs_to_it() {
        let (ids, left_out) = chosen(&["app.board"], &[]).unwrap();
        assert_eq!(ids, [6, 848, 216, 215, 302, 303, 306, 307]);
        assert_eq!(left_out, [""; 0]);
    }

    #[test]
    fn a_foreign_key_comes_only_with_both_of_its_tables() {
        let (ids, left_out) = chosen(&["app.card"], &[]).unwrap();
        assert_eq!(ids, [6, 225, 218, 300, 304, 308, 309]);
        assert_eq!(
            left_out,
            [
                "fk constraint app.card card_board_fkey is left out: it needs app.board, which was not asked for"
            ]
        );
        let (ids, left_out) = chosen(&["app.card", "app.board"], &[]).unwrap();
        assert!(
            ids.contains(&310) && left_out.is_empty(),
            "{ids:?} {left_out:?}"
        );
    }

    #[test]
    fn of_what_is_only_needed_there_is_the_definition_without_rows() {
        assert_eq!(
            chosen(&["app.part_2026"], &[]).unwrap().0,
            [6, 219, 220, 301, 305]
        );
        assert_eq!(chosen(&["app.cards"], &[]).unwrap().0, [6, 218, 221]);
    }

    #[test]
    fn a_schema_comes_whole() {
        let (ids, left_out) = chosen(&[], &["app"]).unwrap();
        assert_eq!(ids.len(), Toc::parse(LIST).0.len());
        assert_eq!(left_out, [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(
            chosen(&["card"], &[]),
            Err(NotThere::Table("public.card".to_owned()))
        );
        assert_eq!(
            chosen(&["app.Card"], &[]),
            Err(NotThere::Table("app.Card".to_owned()))
        );
        assert_eq!(chosen(&[], &["ap"]), Err(NotThere::Schema("ap".to_owned())));
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for (text, schema, table) in [
            ("card", "public", "card"),
            ("app.Odd Name", "app", "Odd Name"),
            (r#""a.b"."c""d""#, "a.b", "c\"d"),
        ] {
            let name: TableName = text.parse().unwrap();
            assert_eq!((name.schema.as_str(), name.table.as_str()), (schema, table));
            assert_eq!(name.to_string().parse::<TableName>().unwrap(), name);
        }
        for bad in [
            "",
            ".",
            "a.",
            ".b",
            "a.b.c",
            "\"a",
            "a\nb",
            "\"\"",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<TableName>().is_err(), "{bad:?}");
        }
    }
}
