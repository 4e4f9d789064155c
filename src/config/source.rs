//! The directories to archive.

use std::path::{Path, PathBuf};

use super::{
    protected::directories,
    reader::{Reader, absolute_path, parts},
    setting::Setting,
    settings,
};
use crate::{
    archive::Excludes,
    job::{Scope, Subject},
};

/// What source backups archive.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Kanbu's own first. Subjects are unique.
    pub trees: Vec<SourceTree>,
    pub excludes: Excludes,
}

/// One directory with the subject it is known as, `source:<last part of the path>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTree {
    pub subject: Subject,
    pub root: PathBuf,
}

impl SourceSettings {
    pub fn tree(&self, subject: &Subject) -> Option<&SourceTree> {
        self.trees.iter().find(|tree| tree.subject == *subject)
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<SourceSettings> {
    let first = reader.value(settings::SOURCE_PATH, absolute_path);
    let more = reader.optional(settings::SOURCE_PATHS, directories);
    let excludes = reader.value(settings::SOURCE_EXCLUDES, |text| {
        let patterns: Vec<&str> = parts(text, ':').collect();
        Excludes::from_patterns(&patterns).ok()
    });
    let mut trees = Vec::new();
    add(reader, settings::SOURCE_PATH, first?, &mut trees);
    for root in more.unwrap_or_default() {
        add(reader, settings::SOURCE_PATHS, root, &mut trees);
    }
    Some(SourceSettings {
        trees,
        excludes: excludes?,
    })
}

fn add(reader: &mut Reader<'_>, setting: &Setting, root: PathBuf, trees: &mut Vec<SourceTree>) {
    let Some(subject) = subject_of(&root) else {
        reader.complain(
            setting.name,
            format!(
                "names {}, whose last part can't name a subject",
                root.display()
            ),
            "name a directory below the root whose name is text without control characters and '#'",
        );
        return;
    };
    if let Some(other) = trees.iter().find(|tree| tree.subject == subject) {
        let sentence = format!(
            "names {}, which is {subject} like {}",
            root.display(),
            other.root.display()
        );
        reader.complain(
            setting.name,
            sentence,
            "archived directories need different last parts",
        );
        return;
    }
    trees.push(SourceTree { subject, root });
}

fn subject_of(root: &Path) -> Option<Subject> {
    Subject::new(Scope::Source, root.file_name()?.to_str()?).ok()
}
