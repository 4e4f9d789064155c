//! The table of contents of an archive of `pg_dump`: what is in it, and what depends on what.
//!
//! `pg_restore --list --verbose` tells it from the head of the stream, in every version. Its lines have no quotes, so names
//! with spaces are told apart by the schemas that the archive has.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::ChildStdin,
};

use crate::{
    fault::Failure,
    pg::{
        error::{PgError, Work},
        process::{ProcessError, Program},
        tools::Toolset,
    },
    pipeline::{Feed, Message},
};

const TOOL: &str = "pg_restore";

/// No sane archive has more to list: some hundred thousand objects.
const MAX_LIST_BYTES: u64 = 64 * 1024 * 1024;

/// What an entry is, where that is more than one word. The longest that fits counts.
const LONG_WORDS: &[&str] = &[
    "ACCESS METHOD",
    "CHECK CONSTRAINT",
    "DATABASE PROPERTIES",
    "DEFAULT ACL",
    "EVENT TRIGGER",
    "FK CONSTRAINT",
    "FOREIGN DATA WRAPPER",
    "FOREIGN SERVER",
    "FOREIGN TABLE",
    "INDEX ATTACH",
    "LARGE OBJECT",
    "MATERIALIZED VIEW",
    "MATERIALIZED VIEW DATA",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "PROCEDURAL LANGUAGE",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "ROW SECURITY",
    "SECURITY LABEL",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "SHELL TYPE",
    "STATISTICS DATA",
    "SUBSCRIPTION TABLE",
    "TABLE ATTACH",
    "TABLE DATA",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "USER MAPPING",
];

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub id: u32,
    /// `TABLE`, `FK CONSTRAINT` …
    pub what: String,
    /// `None` for what is in no schema.
    pub schema: Option<String>,
    /// Its name, with the table's before it where it belongs to one, and its owner behind it.
    pub rest: String,
    /// The entries that have to be there first.
    pub needs: Vec<u32>,
}

impl Entry {
    /// Whether its name is this one, or begins with it as the name of a table.
    pub(super) fn is_of(&self, schema: &str, name: &str) -> bool {
        let rest = self.rest.strip_prefix(name);
        self.schema.as_deref() == Some(schema) && rest.is_some_and(|rest| rest.starts_with(' '))
    }

    /// Whether it can be restored or read from as a table.
    pub(super) fn is_relation(&self) -> bool {
        matches!(
            self.what.as_str(),
            "TABLE" | "FOREIGN TABLE" | "VIEW" | "MATERIALIZED VIEW"
        )
    }
}

/// All entries, in the order of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toc(pub(super) Vec<Entry>);

impl Toc {
    /// Asks `pg_restore`, which reads no more of the feed than it needs.
    pub async fn read(tools: &Toolset, mut feed: Feed) -> Result<Self, Failure> {
        let program = Program::new(tools.program(TOOL))
            .args(["--list", "--verbose"])
            .piped_stdin();
        let mut child = program.spawn().map_err(PgError::from)?;
        let (stdin, stdout) = (child.stdin(), child.stdout());
        let (stdin, stdout) = (
            stdin.map_err(PgError::from)?,
            stdout.map_err(PgError::from)?,
        );
        let listed = async {
            let mut list = String::new();
            if let Some(stdout) = stdout {
                let mut stdout = stdout.take(MAX_LIST_BYTES);
                stdout.read_to_string(&mut list).await.map_err(broken)?;
            }
            Ok::<_, Failure>(list)
        };
        let ((), list) = tokio::try_join!(hand_over(&mut feed, stdin), listed)?;
        let status = child.wait().await.map_err(PgError::from)?;
        if !status.success() {
            let end = status.to_string();
            return Err(PgError::tool(TOOL, Work::Ask, end, &child.stderr_tail()).into());
        }
        Ok(Self::parse(&list))
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix(";\tdepends on:"), lines.last_mut()) {
                (Some(needs), Some(last)) => {
                    let needs = needs.split_whitespace();
                    last.needs
                        .extend(needs.filter_map(|id| id.parse::<u32>().ok()));
                }
                _ => lines.extend(Line::parse(line)),
            }
        }
        let schemas: Vec<&str> = lines.iter().filter_map(Line::schema_made).collect();
        Self(lines.iter().map(|line| line.entry(&schemas)).collect())
    }
}

/// Writes the feed until the tool has read enough.
async fn hand_over(feed: &mut Feed, stdin: Option<ChildStdin>) -> Result<(), Failure> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    loop {
        match feed.next().await {
            Message::Data(data) => match stdin.write_all(&data).await {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(broken(error)),
            },
            Message::End => return Ok(()),
            Message::Fail(failure) => return Err(failure),
        }
    }
}

fn broken(source: std::io::Error) -> Failure {
    let program = TOOL.to_owned();
    PgError::Process(ProcessError::Pipe { program, source }).into()
}

/// One line of the list: `215; 1259 16393 SEQUENCE app board_id_seq owner`.
struct Line<'a> {
    id: u32,
    what: &'a str,
    /// The schema or `-`, the name, the owner.
    rest: &'a str,
    needs: Vec<u32>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (id, line) = line.split_once("; ")?;
        let id = id.parse().ok()?;
        let (_table_oid, line) = line.split_once(' ')?;
        let (_oid, line) = line.split_once(' ')?;
        let long = LONG_WORDS.iter().filter_map(|words| {
            let rest = line.strip_prefix(words)?.strip_prefix(' ')?;
            Some((line.get(..words.len())?, rest))
        });
        let (what, rest) = long
            .max_by_key(|(words, _)| words.len())
            .or_else(|| line.split_once(' '))?;
        Some(Self {
            id,
            what,
            rest,
            needs: Vec::new(),
        })
    }

    /// The schema that this line makes. Only an owner with a space in its name makes this a guess.
    fn schema_made(&self) -> Option<&'a str> {
        let name = self
            .rest
            .strip_prefix("- ")
            .filter(|_| self.what == "SCHEMA")?;
        name.rsplit_once(' ').map(|(name, _owner)| name)
    }

    fn entry(&self, schemas: &[&str]) -> Entry {
        let in_schema = |schema: &&&str| {
            let rest = self.rest.strip_prefix(**schema);
            rest.is_some_and(|rest| rest.starts_with(' '))
        };
        let known = schemas.iter().filter(in_schema);
        let first = self.rest.split(' ').next().unwrap_or_default();
        let schema = known
            .copied()
            .max_by_key(|name| name.len())
            .unwrap_or(first);
        let rest = self.rest.get(schema.len() + 1..).unwrap_or_default();
        Entry {
            id: self.id,
            what: self.what.to_owned(),
            schema: (schema != "-").then(|| schema.to_owned()),
            rest: rest.to_owned(),
            needs: self.needs.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_with_what_they_need() {
        let list = concat!(
            ";\n; Archive created at 2026-11-23\n;     TOC Entries: 44\n;\n",
            "3403; 0 0 ENCODING - ENCODING \n",
            "6; 2615 16385 SCHEMA - my app olga\n",
            "7; 2615 16386 SCHEMA - my olga\n",
            "216; 1259 16394 TABLE my app odd name olga\n;\tdepends on: 848 224 6 848\n",
            "3243; 2606 16410 FK CONSTRAINT my card card_board_fkey olga\n;\tdepends on: 216 218\n",
            "3399; 0 16432 MATERIALIZED VIEW DATA public mv olga\n",
        );
        let told: Vec<_> = Toc::parse(list)
            .0
            .into_iter()
            .map(|e| (e.id, e.what, e.schema, e.rest, e.needs))
            .collect();
        let entry = |id, what: &str, schema: Option<&str>, rest: &str, needs: &[u32]| {
            let (what, rest) = (what.to_owned(), rest.to_owned());
            (id, what, schema.map(str::to_owned), rest, needs.to_vec())
        };
        assert_eq!(
            told,
            [
                entry(3403, "ENCODING", None, "ENCODING ", &[]),
                entry(6, "SCHEMA", None, "my app olga", &[]),
                entry(7, "SCHEMA", None, "my olga", &[]),
                entry(
                    216,
                    "TABLE",
                    Some("my app"),
                    "odd name olga",
                    &[848, 224, 6, 848]
                ),
                entry(
                    3243,
                    "FK CONSTRAINT",
                    Some("my"),
                    "card card_board_fkey olga",
                    &[216, 218]
                ),
                entry(
                    3399,
                    "MATERIALIZED VIEW DATA",
                    Some("public"),
                    "mv olga",
                    &[]
                ),
            ]
        );
    }
}
