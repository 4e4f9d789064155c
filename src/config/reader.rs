//! From origins to values: flag, environment, secret file, configuration file, default, in this order of precedence.
//!
//! Mistakes are collected, never returned: a value that can't be read yields `None` and a problem, so that reading goes
//! on and everything is reported at once.

mod own;

use std::{collections::BTreeMap, fmt, fs, io, path::PathBuf, str::FromStr};

use zeroize::Zeroizing;

pub(super) use self::own::Own;
use super::{
    env::Env,
    file::{ConfigFile, Entries},
    names::unknown_name,
    problem::Problem,
    secret::{MASK, masked_url},
    setting::{Form, Secrecy, Setting},
    settings::{self, SETTINGS},
};

/// No key, passphrase or URL is longer; a larger file is the wrong one.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    /// The file that holds the secret.
    SecretFile(PathBuf),
    ConfigFile,
    Default,
    /// It has no value.
    Unset,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::SecretFile(path) => write!(f, "file {}", path.display()),
            Self::ConfigFile => f.write_str("configuration file"),
            Self::Default => f.write_str("default"),
            Self::Unset => f.write_str("not set"),
        }
    }
}

/// A setting's value as `config show` prints it.
#[derive(Clone, Debug)]
pub struct Effective {
    pub setting: &'static Setting,
    /// Masked where it is secret.
    pub shown: Option<String>,
    pub origin: Origin,
}

type Given = (Zeroizing<String>, Origin);

/// Why a value can't be used, where its form doesn't say it.
type Reason = Option<String>;

pub(super) struct Reader<'a> {
    env: &'a Env,
    file: ConfigFile,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
    /// Names of variables that the configuration itself gives a meaning.
    also_known: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Finds and reads the configuration file; `named` stands above the variable that names it.
    pub(super) fn open(env: &'a Env, named: Option<&std::path::Path>) -> Self {
        let mut reader = Self {
            env,
            file: ConfigFile::default(),
            problems: Vec::new(),
            effective: Vec::new(),
            also_known: Vec::new(),
        };
        let by_variable = reader.value(settings::CONFIG, absolute_path);
        let is_default =
            matches!(reader.effective.last(), Some(shown) if shown.origin == Origin::Default);
        let path = named.map(PathBuf::from).or(by_variable);
        if let Some(path) = path {
            match ConfigFile::read(&path, named.is_some() || !is_default) {
                Ok(file) => reader.file = file,
                Err(problem) => reader.problems.push(problem),
            }
        }
        reader
    }

    /// A setting that need not have a value.
    pub(super) fn optional<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.reasoned(setting, |text| parse(text).ok_or(None))
    }

    /// The same for a value that whoever understands it can explain. The reason must not repeat a secret.
    pub(super) fn explained<T, E: std::error::Error>(
        &mut self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.reasoned(setting, |text| {
            parse(text).map_err(|error| Some(error.to_string()))
        })
    }

    fn reasoned<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let given = self.given(setting);
        self.take(setting, given, parse)
    }

    /// A setting with a default.
    pub(super) fn value<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let default = setting.default_text().unwrap_or_default();
        self.value_or(setting, default, parse)
    }

    /// A setting whose default was found out.
    pub(super) fn value_or<T>(
        &mut self,
        setting: &'static Setting,
        default: String,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let given = self
            .given(setting)
            .unwrap_or((Zeroizing::new(default), Origin::Default));
        self.take(setting, Some(given), |text| parse(text).ok_or(None))
    }

    /// The same with the setting's default.
    pub(super) fn explained_or_default<T, E: std::error::Error>(
        &mut self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let default = setting.default_text().unwrap_or_default();
        let given = self
            .given(setting)
            .unwrap_or((Zeroizing::new(default), Origin::Default));
        self.take(setting, Some(given), |text| {
            parse(text).map_err(|error| Some(error.to_string()))
        })
    }

    /// A whole number within the bounds of the setting's form.
    pub(super) fn whole<T: TryFrom<u64>>(&mut self, setting: &'static Setting) -> Option<T> {
        self.value(setting, |text| whole(&setting.form, text))
    }

    /// The same with a default that was found out.
    pub(super) fn whole_or<T: TryFrom<u64>>(
        &mut self,
        setting: &'static Setting,
        default: u64,
    ) -> Option<T> {
        self.value_or(setting, default.to_string(), |text| {
            whole(&setting.form, text)
        })
    }

    pub(super) fn complain(&mut self, name: &str, sentence: impl Into<String>, hint: &str) {
        self.problems.push(Problem {
            name: name.to_owned(),
            sentence: sentence.into(),
            hint: Some(hint.to_owned()),
        });
    }

    /// Whether the setting read last under this name was said by somebody.
    pub(super) fn was_given(&self, setting: &Setting) -> bool {
        self.effective.iter().any(|shown| {
            shown.setting.name == setting.name
                && !matches!(shown.origin, Origin::Default | Origin::Unset)
        })
    }

    /// The tables `[[name]]` of the configuration file, each as the texts that it holds.
    pub(super) fn tables(&mut self, name: &str) -> Vec<Entries> {
        let tables = self.file.take_tables(name);
        tables.unwrap_or_else(|problem| {
            self.problems.push(problem);
            Vec::new()
        })
    }

    /// The tables `[name.NAME]` of the configuration file.
    pub(super) fn sections(&mut self, name: &str) -> BTreeMap<String, Entries> {
        let sections = self.file.take_sections(name);
        sections.unwrap_or_else(|problem| {
            self.problems.push(problem);
            BTreeMap::new()
        })
    }

    /// Everything that was read and everything that was wrong; to be called after the last setting.
    pub(super) fn close(mut self) -> (Vec<Effective>, Vec<Problem>) {
        self.problems.extend(self.file.unknown(SETTINGS));
        let also_known = |name: &&str| self.also_known.iter().any(|known| known == name);
        let names = self.env.names().filter(|name| !also_known(name));
        self.problems.extend(names.filter_map(unknown_name));
        (self.effective, self.problems)
    }

    fn take<T>(
        &mut self,
        setting: &'static Setting,
        given: Option<Given>,
        parse: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let Some((text, origin)) = given else {
            self.show(setting, None, Origin::Unset);
            return None;
        };
        let value = parse(&text);
        let shown = match (setting.secrecy, &value) {
            (Secrecy::Address, Err(_)) => MASK.to_owned(),
            _ => shown(setting, &text),
        };
        self.show(setting, Some(shown), origin);
        let reason = match value {
            Ok(value) => return Some(value),
            Err(reason) => reason.unwrap_or_else(|| format!("expected {}", setting.form)),
        };
        let is = match setting.secrecy {
            Secrecy::Open => format!("is {:?}", text.as_str()),
            Secrecy::Secret | Secrecy::SecretUrl | Secrecy::Address => {
                "has a value that can't be used".to_owned()
            }
        };
        self.problems.push(Problem {
            name: setting.name.to_owned(),
            sentence: format!("{is}; {reason}"),
            hint: Some(setting.meaning.to_owned()),
        });
        None
    }

    fn show(&mut self, setting: &'static Setting, shown: Option<String>, origin: Origin) {
        self.effective.push(Effective {
            setting,
            shown,
            origin,
        });
    }

    /// The text of the strongest origin. An empty text counts as none: compose files pass unset variables so.
    fn given(&mut self, setting: &'static Setting) -> Option<Given> {
        let flag = self.env.flag(setting.name).filter(|text| !text.is_empty());
        if let Some(text) = flag {
            return Some((Zeroizing::new(text.to_owned()), Origin::Flag));
        }
        let by_variable = self.variable(setting.name);
        let by_file = if setting.is_secret() {
            self.variable(&setting.file_name())
        } else {
            None
        };
        match (by_variable, by_file) {
            (Some(_), Some(_)) => {
                let sentence = format!("and {} are both set", setting.file_name());
                self.complain(setting.name, sentence, "unset one of the two");
                None
            }
            (Some(text), None) => Some((text, Origin::Environment)),
            (None, Some(path)) => self.secret_file(&setting.file_name(), &path),
            (None, None) => self.in_config_file(setting),
        }
    }

    fn in_config_file(&mut self, setting: &'static Setting) -> Option<Given> {
        let text = self.file.take(setting);
        let path = if setting.is_secret() {
            self.file.take_secret_file(setting)
        } else {
            Ok(None)
        };
        match (text, path) {
            (Err(problem), _) | (_, Err(problem)) => {
                self.problems.push(problem);
                None
            }
            (Ok(Some(_)), Ok(Some(_))) => {
                let sentence = "is given in the configuration file both as itself and as a file";
                self.complain(setting.name, sentence, "remove one of the two");
                None
            }
            (Ok(Some(text)), Ok(None)) => Some((Zeroizing::new(text), Origin::ConfigFile))
                .filter(|(text, _)| !text.is_empty()),
            (Ok(None), Ok(Some(path))) => self.secret_file(&setting.file_name(), &path),
            (Ok(None), Ok(None)) => None,
        }
    }

    fn variable(&mut self, name: &str) -> Option<Zeroizing<String>> {
        let value = self.env.get_os(name).filter(|value| !value.is_empty())?;
        if let Some(text) = value.to_str() {
            return Some(Zeroizing::new(text.to_owned()));
        }
        self.complain(name, "is not UTF-8 text", "write it in UTF-8");
        None
    }

    fn secret_file(&mut self, name: &str, path: &str) -> Option<Given> {
        match read_secret(path) {
            Ok(text) => Some((text, Origin::SecretFile(path.into()))),
            Err(sentence) => {
                let hint = "name a readable file that holds the secret and nothing else";
                self.complain(name, format!("names {path}, which {sentence}"), hint);
                None
            }
        }
    }
}

/// The content without its last line end: exactly one LF or CRLF, since more may belong to a passphrase.
fn read_secret(path: &str) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: io::Error| format!("could not be read: {error}");
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MAX_SECRET_FILE_BYTES {
        return Err("is too large for a secret".to_owned());
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
    let stripped = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text);
    if stripped.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(Zeroizing::new(stripped.to_owned()))
}

fn shown(setting: &Setting, text: &str) -> String {
    match setting.secrecy {
        Secrecy::Open | Secrecy::Address => text.to_owned(),
        Secrecy::Secret => MASK.to_owned(),
        Secrecy::SecretUrl => masked_url(text),
    }
}

fn whole<T: TryFrom<u64>>(form: &Form, text: &str) -> Option<T> {
    let number = u64::from_str(text).ok()?;
    match form {
        Form::Whole { from, to } if !(*from..=*to).contains(&number) => None,
        _ => T::try_from(number).ok(),
    }
}

pub(super) fn absolute_path(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path)
}

/// The parts of a list, without empty ones and without the spaces around them.
pub(super) fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator)
        .map(str::trim)
        .filter(|part| !part.is_empty())
}
