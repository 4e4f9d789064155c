//! The shape of a setting's declaration. The declarations themselves are the table in `settings`.

use std::fmt;

/// One setting, declared once: `config show`, the documentation and every complaint about it are made from this.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Where it stands in the configuration file, `section.word`; none for the setting that names that file.
    pub key: Option<&'static str>,
    pub form: Form,
    pub default: Fallback,
    pub secrecy: Secrecy,
    /// What it means, as one sentence.
    pub meaning: &'static str,
}

/// What a value must look like.
#[derive(Debug)]
pub enum Form {
    /// One of these words.
    Words(&'static [&'static str]),
    Whole {
        from: u64,
        to: u64,
    },
    /// An absolute path.
    Path,
    /// Something else, described so that it can follow "expected".
    Said(&'static str),
    /// Several values in one text; the separator stands between them.
    List {
        of: &'static str,
        separator: char,
    },
}

/// What holds when nothing is said.
#[derive(Debug)]
pub enum Fallback {
    None,
    Text(&'static str),
    List(&'static [&'static str]),
    /// Found out at start; the text says how.
    Computed(&'static str),
}

/// How a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    Open,
    /// Never. May also come from a file.
    Secret,
    /// Without its password and query. May also come from a file.
    SecretUrl,
    /// As it stands once it was accepted: what is accepted holds no secret. A refused one may.
    Address,
}

impl Setting {
    pub fn is_secret(&self) -> bool {
        matches!(self.secrecy, Secrecy::Secret | Secrecy::SecretUrl)
    }

    /// The variable that names the file with the secret.
    pub fn file_name(&self) -> String {
        format!("{}_FILE", self.name)
    }

    /// The default as a text that is read like any other value, where it has one.
    pub(super) fn default_text(&self) -> Option<String> {
        match (&self.default, &self.form) {
            (Fallback::None | Fallback::Computed(_), _) => None,
            (Fallback::Text(text), _) => Some((*text).to_owned()),
            (Fallback::List(words), form) => {
                Some(words.join(form.separator().unwrap_or(',').encode_utf8(&mut [0; 4])))
            }
        }
    }
}

impl Form {
    pub(super) fn separator(&self) -> Option<char> {
        match self {
            Self::List { separator, .. } => Some(*separator),
            Self::Words(_) | Self::Whole { .. } | Self::Path | Self::Said(_) => None,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(&alternatives(words)),
            Self::Whole { from, to } => write!(f, "a whole number from {from} to {to}"),
            Self::Path => f.write_str("an absolute path"),
            Self::Said(said) => f.write_str(said),
            Self::List {
                of,
                separator: '\n',
            } => write!(f, "{of}, one per line"),
            Self::List { of, separator } => write!(f, "{of}, separated by \"{separator}\""),
        }
    }
}

fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
