//! A file as the rules see it, and an offence in it.

use std::{fmt, fs, path::Path};

/// A broken rule, printed as `path:line: text` and the rule.
pub(crate) struct Offence {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) rule: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            text,
            rule,
        } = self;
        write!(f, "{path}:{line}: {}\n    rule: {rule}", text.trim())
    }
}

/// A source file as the rules see it.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn offence(&self, line: usize, rule: impl Into<String>) -> Offence {
        let text = self
            .text
            .lines()
            .nth(line.saturating_sub(1))
            .unwrap_or_default()
            .to_owned();
        Offence {
            path: self.path.clone(),
            line,
            text,
            rule: rule.into(),
        }
    }

    /// The text before the unit tests, which may use what they like: they stand last in a file, or in a `tests.rs`.
    pub(crate) fn product(&self) -> &str {
        if self.path.ends_with("/tests.rs") {
            return "";
        }
        let tests = self.text.find("\n#[cfg(test)]\nmod ");
        &self.text[..tests.map_or(self.text.len(), |at| at + 1)]
    }

    /// Product lines without comments, numbered from 1.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.product().lines().enumerate();
        lines
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    pub(crate) fn lies_in(&self, places: &str) -> bool {
        places
            .split_whitespace()
            .any(|place| self.path.starts_with(place))
    }

    /// Modules of the library that the product code names, each with its line.
    pub(crate) fn modules(&self) -> Vec<(usize, String)> {
        let prefix = if self.path.starts_with("src/") {
            "crate::"
        } else {
            "kanbu_backup::"
        };
        let mut code = String::new();
        let mut starts = Vec::new();
        for (number, line) in self.code() {
            starts.push((code.len(), number));
            code.push_str(line);
            code.push('\n');
        }
        let line_of = |at: usize| starts[starts.partition_point(|(start, _)| *start <= at) - 1].1;
        let mut found = Vec::new();
        for (at, _) in code
            .match_indices(prefix)
            .filter(|(at, _)| !continues_a_word(&code, *at))
        {
            let rest = at + prefix.len();
            found.extend(
                first_segments(&code[rest..])
                    .into_iter()
                    .map(|(offset, name)| (line_of(rest + offset), name)),
            );
        }
        found
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

pub(crate) fn continues_a_word(code: &str, at: usize) -> bool {
    code[..at].ends_with(|before: char| is_word(before) || before == ':' || before == '.')
}

/// The module names at the start of a path (`job::Kind`) or of each branch of a group (`{id::JobId, job}`), with offsets.
fn first_segments(path: &str) -> Vec<(usize, String)> {
    let name_at = |offset: usize| {
        let name: String = path[offset..]
            .chars()
            .take_while(|character| is_word(*character))
            .collect();
        (offset, name)
    };
    if !path.starts_with('{') {
        return vec![name_at(0)];
    }
    let mut names = Vec::new();
    let mut depth = 0_usize;
    for (offset, character) in path.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(character, '{' | ',') {
            let gap = path[offset + 1..]
                .chars()
                .take_while(|next| next.is_whitespace())
                .count();
            names.push(name_at(offset + 1 + gap));
        }
    }
    names.retain(|(_, name)| !name.is_empty());
    names
}

pub(crate) fn read(path: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if path.is_dir() {
        Some(String::new())
    } else {
        fs::read_to_string(path).ok()
    }
}

/// Every file below `folder` with this extension, by its path from the top of the repository.
pub(crate) fn sources(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .into_iter()
        .flatten()
    {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        if Path::new(&path)
            .extension()
            .is_some_and(|found| found == extension)
        {
            let text = read(&path).unwrap();
            found.push(Source { path, text });
        } else if !folder.is_empty() {
            found.extend(sources(&path, extension));
        }
    }
    found
}
