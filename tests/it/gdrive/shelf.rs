//! What the fake of Google Drive holds: files by id, folders among them, names as often as one likes, a trash.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};
use md5::{Digest, Md5};
use serde_json::{Value, json};

pub(crate) const ROOT: &str = "root-folder";
const FOLDER: &str = "application/vnd.google-apps.folder";
const OCTETS: &str = "application/octet-stream";

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) parent: String,
    pub(crate) trashed: bool,
    /// None for a folder.
    pub(crate) content: Option<Vec<u8>>,
    /// Milliseconds after the beginning of this Drive.
    created: i64,
    revision: u64,
}

#[derive(Debug)]
pub(crate) struct Shelf {
    files: BTreeMap<String, File>,
    count: i64,
}

/// What a search asks for. Drive knows far more; the client asks no more than this.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) parent: String,
    name: Option<String>,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let mut shelf = Self {
            files: BTreeMap::new(),
            count: 0,
        };
        shelf.insert(ROOT, "", "backups", None, 0);
        shelf
    }

    fn insert(
        &mut self,
        id: &str,
        parent: &str,
        name: &str,
        content: Option<Vec<u8>>,
        created: i64,
    ) {
        let file = File {
            name: name.to_owned(),
            parent: parent.to_owned(),
            trashed: false,
            content,
            created,
            revision: 1,
        };
        self.files.insert(id.to_owned(), file);
    }

    /// Adds a file, or a folder without content. Returns its id.
    pub(crate) fn add(&mut self, parent: &str, name: &str, content: Option<Vec<u8>>) -> String {
        self.count += 1;
        let id = format!("id-{}", self.count);
        self.insert(&id, parent, name, content, self.count * 1000);
        id
    }

    /// Adds a file that was there before all others, though nobody saw it.
    pub(crate) fn add_older(&mut self, parent: &str, name: &str, content: &[u8]) -> String {
        self.count += 1;
        let id = format!("id-{}", self.count);
        self.insert(&id, parent, name, Some(content.to_vec()), 1);
        id
    }

    pub(crate) fn get(&self, id: &str) -> Option<&File> {
        self.files.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut File> {
        self.files.get_mut(id)
    }

    pub(crate) fn rewrite(&mut self, id: &str, content: Vec<u8>) {
        let file = self.files.get_mut(id).unwrap();
        file.content = Some(content);
        file.revision += 1;
    }

    /// Removes a file, or a folder with all that is in it, as Drive does.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let inside: Vec<String> = self.inside(id).cloned().collect();
        for child in inside {
            self.remove(&child);
        }
        self.files.remove(id).is_some()
    }

    fn inside(&self, parent: &str) -> impl Iterator<Item = &String> {
        self.files
            .iter()
            .filter(move |(_, file)| file.parent == parent)
            .map(|(id, _)| id)
    }

    pub(crate) fn is_trashed(&self, id: &str) -> bool {
        let file = self.get(id);
        file.is_some_and(|file| file.trashed || self.is_trashed(&file.parent))
    }

    /// The ids that a search finds, in no order that helps.
    pub(crate) fn search(&self, query: &Query) -> Vec<&String> {
        let named = |id: &&String| {
            let name = &self.files[*id].name;
            query
                .name
                .as_ref()
                .is_none_or(|asked| asked.eq_ignore_ascii_case(name))
        };
        let found = self.inside(&query.parent).filter(named);
        found.filter(|id| !self.is_trashed(id)).collect()
    }

    /// The ids of what lies at a path below the root, trash excluded.
    pub(crate) fn at(&self, path: &str) -> Vec<String> {
        let mut here = vec![ROOT.to_owned()];
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let inside = here.iter().flat_map(|parent| self.inside(parent));
            let named = inside.filter(|id| self.files[*id].name == name && !self.is_trashed(id));
            here = named.cloned().collect();
        }
        here
    }

    /// How many files have content, the trash included.
    pub(crate) fn objects(&self) -> usize {
        let files = self.files.values();
        files.filter(|file| file.content.is_some()).count()
    }

    pub(crate) fn resource(&self, id: &str) -> Option<Value> {
        let file = self.get(id)?;
        let at = |milliseconds| {
            let begin = DateTime::from_timestamp(1_768_732_200, 0).unwrap();
            (begin + TimeDelta::milliseconds(milliseconds)).to_rfc3339()
        };
        let mut resource = json!({
            "id": id,
            "name": file.name,
            "parents": [file.parent],
            "mimeType": FOLDER,
            "trashed": self.is_trashed(id),
            "createdTime": at(file.created),
            "modifiedTime": at(file.created + 1),
        });
        if let Some(content) = &file.content {
            resource["mimeType"] = OCTETS.into();
            resource["size"] = content.len().to_string().into();
            resource["md5Checksum"] = hex::encode(Md5::digest(content)).into();
            resource["headRevisionId"] = format!("revision-{}", file.revision).into();
        }
        Some(resource)
    }
}

impl Query {
    /// Reads `'id' in parents and trashed = false`, and perhaps `and name = 'x'`, with Drive's escapes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (parent, rest) = quoted(text)?;
        let rest = rest.strip_prefix(" in parents and trashed = false")?;
        if rest.is_empty() {
            return Some(Self { parent, name: None });
        }
        let (name, rest) = quoted(rest.strip_prefix(" and name = ")?)?;
        rest.is_empty().then_some(Self {
            parent,
            name: Some(name),
        })
    }
}

/// The text within quotes at the beginning, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut characters = text.strip_prefix('\'')?.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Some((inside, &text[at + 2..])),
            '\\' => inside.push(characters.next()?.1),
            plain => inside.push(plain),
        }
    }
    None
}

#[test]
fn a_query_is_read_with_its_escapes() {
    let query = Query::parse(r"'id' in parents and trashed = false and name = 'a\'b\\c'");
    let query = query.unwrap();
    assert_eq!(
        (query.parent.as_str(), query.name.as_deref()),
        ("id", Some(r"a'b\c"))
    );
    assert_eq!(Query::parse("'id' in parents"), None);
}
