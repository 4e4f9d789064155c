//! What an archive leaves out, with the meaning that tar gives its patterns.
//!
//! A pattern is not anchored: it may match the whole name of an entry or its end, starting behind any slash, and `*`
//! crosses slashes. What is below an excluded directory is never looked at.

use std::{borrow::Cow, os::unix::ffi::OsStrExt, path::Path};

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Kanbu's list, in Kanbu's order.
pub const DEFAULT_EXCLUDES: &[&str] = &[
    "node_modules",
    ".git",
    ".turbo",
    "dist",
    ".next",
    "*.log",
    ".env.local",
    ".DS_Store",
    "coverage",
    ".nyc_output",
];

/// A compiled list of patterns.
#[derive(Clone, Debug)]
pub struct Excludes {
    patterns: Vec<String>,
    set: GlobSet,
}

/// A pattern that can't be understood.
#[derive(Debug, thiserror::Error)]
#[error("the exclude pattern {pattern:?} is malformed")]
pub struct BadPattern {
    pub pattern: String,
    source: globset::Error,
}

impl Excludes {
    /// Nothing is left out.
    pub fn none() -> Self {
        Self {
            patterns: Vec::new(),
            set: GlobSet::empty(),
        }
    }

    pub fn kanbu_default() -> Result<Self, BadPattern> {
        Self::from_patterns(DEFAULT_EXCLUDES)
    }

    pub fn from_patterns<P: AsRef<str>>(patterns: &[P]) -> Result<Self, BadPattern> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(compile(pattern.as_ref())?);
        }
        let bad = |source: globset::Error| BadPattern {
            pattern: source.glob().unwrap_or_default().to_owned(),
            source,
        };
        Ok(Self {
            patterns: patterns
                .iter()
                .map(|pattern| pattern.as_ref().to_owned())
                .collect(),
            set: set.build().map_err(bad)?,
        })
    }

    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether an entry is left out, given its name in the archive. Its parents have been asked before.
    pub(super) fn matches(&self, name: &Path) -> bool {
        let bytes = name.as_os_str().as_bytes();
        let behind_slashes = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at + 1);
        std::iter::once(0).chain(behind_slashes).any(|start| {
            let rest = Cow::Borrowed(&bytes[start..]);
            self.set.is_match_candidate(&Candidate::from_bytes(&rest))
        })
    }
}

fn compile(pattern: &str) -> Result<globset::Glob, BadPattern> {
    // Braces are plain characters to tar, alternatives to globset.
    let plain = pattern
        .trim_end_matches('/')
        .replace('{', "\\{")
        .replace('}', "\\}");
    GlobBuilder::new(&plain)
        .literal_separator(false)
        .backslash_escape(true)
        .build()
        .map_err(|source| BadPattern {
            pattern: pattern.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], name: &str) -> bool {
        Excludes::from_patterns(patterns)
            .unwrap()
            .matches(Path::new(name))
    }

    #[test]
    fn a_pattern_matches_a_name_at_any_depth_and_never_a_part_of_one() {
        assert!(excluded(&["dist"], "app/dist"));
        assert!(excluded(&["dist"], "app/packages/web/dist"));
        assert!(!excluded(&["dist"], "app/distance"));
        assert!(!excluded(&["dist"], "app/mydist"));
        assert!(excluded(&["*.log"], "app/a/b/debug.log"));
        assert!(!excluded(&["*.log"], "app/logs"));
        assert!(excluded(&["dist/"], "app/dist"));
    }

    #[test]
    fn a_pattern_with_a_slash_matches_names_in_a_row() {
        assert!(excluded(&["web/dist"], "app/web/dist"));
        assert!(!excluded(&["web/dist"], "app/api/dist"));
        assert!(excluded(&["app/secret"], "app/secret"));
    }

    #[test]
    fn braces_are_plain_characters() {
        assert!(excluded(&["a{b,c}"], "app/a{b,c}"));
        assert!(!excluded(&["a{b,c}"], "app/ab"));
    }

    #[test]
    fn kanbus_list_leaves_the_environment_file_in() {
        let excludes = Excludes::kanbu_default().unwrap();
        assert!(excludes.matches(Path::new("app/.env.local")));
        assert!(!excludes.matches(Path::new("app/.env")));
        assert!(!excludes.matches(Path::new("app/uploads")));
    }

    #[test]
    fn a_malformed_pattern_is_named() {
        let error = Excludes::from_patterns(&["ok", "[a"]).unwrap_err();
        assert_eq!(error.pattern, "[a");
    }
}
