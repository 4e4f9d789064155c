//! The configuration file: the same settings as TOML, `section.word` or under the name of the variable.

use std::{collections::BTreeMap, fs, io, path::Path};

use toml::{Table, Value};

use super::{problem::Problem, setting::Setting};

/// What one table of a list says.
pub(super) type Entries = BTreeMap<String, String>;

/// What the file says and nobody has asked for yet.
#[derive(Default)]
pub(super) struct ConfigFile {
    path: String,
    entries: BTreeMap<String, Value>,
}

impl ConfigFile {
    /// Reads the file; one that is absent says nothing unless it was `named`.
    pub(super) fn read(path: &Path, named: bool) -> Result<Self, Problem> {
        let shown = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(Problem {
                    name: shown,
                    sentence: format!("could not be read: {error}"),
                    hint: Some(
                        "name an existing file in KANBU_BACKUP_CONFIG, or unset it".to_owned(),
                    ),
                });
            }
        };
        // The parser's full message quotes the line, which may hold a secret.
        let table: Table = toml::from_str(&text).map_err(|error| Problem {
            sentence: format!(
                "is not TOML: {}{}",
                error.message(),
                line_of(&text, error.span())
            ),
            name: shown.clone(),
            hint: None,
        })?;
        let mut entries = BTreeMap::new();
        flatten("", table, &mut entries);
        Ok(Self {
            path: shown,
            entries,
        })
    }

    /// Takes what the file says about a setting.
    pub(super) fn take(&mut self, setting: &Setting) -> Result<Option<String>, Problem> {
        let separator = setting.form.separator();
        self.take_text(setting.key, setting.name, separator)
    }

    /// Takes the path of the file with a setting's secret.
    pub(super) fn take_secret_file(
        &mut self,
        setting: &Setting,
    ) -> Result<Option<String>, Problem> {
        let key = setting.key.map(|key| format!("{key}_file"));
        self.take_text(key.as_deref(), &setting.file_name(), None)
    }

    /// Takes the tables `[[name]]`, in their order. A table within one is flattened: `options.region`.
    pub(super) fn take_tables(&mut self, name: &str) -> Result<Vec<Entries>, Problem> {
        let Some(value) = self.entries.remove(name) else {
            return Ok(Vec::new());
        };
        let expected = || self.problem(name, format!("is not a list of tables [[{name}]]"), None);
        let Value::Array(items) = value else {
            return Err(expected());
        };
        let mut tables = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let Value::Table(table) = item else {
                return Err(expected());
            };
            let mut values = BTreeMap::new();
            flatten("", table, &mut values);
            let texts = values.into_iter().map(|(key, value)| {
                let text = text_of(value, None);
                let shown = format!("{name}[{index}].{key}");
                let text =
                    text.map_err(|sentence| self.problem(&shown, sentence.to_owned(), None))?;
                Ok((key, text))
            });
            tables.push(texts.collect::<Result<Entries, Problem>>()?);
        }
        Ok(tables)
    }

    /// Takes the tables `[name.NAME]`, by their own names. Items of a list are put on lines of their own.
    pub(super) fn take_sections(
        &mut self,
        name: &str,
    ) -> Result<BTreeMap<String, Entries>, Problem> {
        let prefix = format!("{name}.");
        let mut sections: BTreeMap<String, Entries> = BTreeMap::new();
        let keys: Vec<String> = self
            .entries
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect();
        for key in keys {
            let Some((section, word)) = key[prefix.len()..].split_once('.') else {
                // A plain word is nobody's, and told as such.
                continue;
            };
            let Some(value) = self.entries.remove(&key) else {
                continue;
            };
            let text = text_of(value, Some('\n'))
                .map_err(|sentence| self.problem(&key, sentence.to_owned(), None))?;
            let entries = sections.entry(section.to_owned()).or_default();
            entries.insert(word.to_owned(), text);
        }
        Ok(sections)
    }

    fn take_text(
        &mut self,
        key: Option<&str>,
        name: &str,
        separator: Option<char>,
    ) -> Result<Option<String>, Problem> {
        let by_key = key.and_then(|key| self.entries.remove(key));
        let by_name = self.entries.remove(name);
        let shown = key.unwrap_or(name);
        if by_key.is_some() && by_name.is_some() {
            return Err(self.problem(shown, format!("is given twice, also as {name}"), None));
        }
        let Some(value) = by_key.or(by_name) else {
            return Ok(None);
        };
        let text = text_of(value, separator);
        text.map(Some)
            .map_err(|sentence| self.problem(shown, sentence.to_owned(), None))
    }

    /// Entries that belong to no setting. Those of a setting with a stronger origin are left over, too, and are fine.
    pub(super) fn unknown(&self, known: &[&Setting]) -> Vec<Problem> {
        let keys: Vec<&str> = known.iter().filter_map(|setting| setting.key).collect();
        self.entries
            .keys()
            .filter(|entry| !known.iter().any(|setting| names(setting, entry)))
            .map(|entry| {
                let nearest = super::names::nearest(entry, keys.iter().copied());
                let hint = nearest.map(|key| format!("the nearest one is {key}"));
                self.problem(entry, "is not a setting".to_owned(), hint)
            })
            .collect()
    }

    fn problem(&self, key: &str, sentence: String, hint: Option<String>) -> Problem {
        Problem {
            name: format!("{key} in {}", self.path),
            sentence,
            hint,
        }
    }
}

fn names(setting: &Setting, entry: &str) -> bool {
    let is = |text: &str| setting.key == Some(text) || setting.name == text;
    is(entry)
        || setting.is_secret()
            && (entry.strip_suffix("_file").is_some_and(is)
                || entry.strip_suffix("_FILE").is_some_and(is))
}

fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    span.and_then(|span| text.get(..span.start))
        .map(|before| format!(" in line {}", before.matches('\n').count() + 1))
        .unwrap_or_default()
}

fn flatten(prefix: &str, table: Table, entries: &mut BTreeMap<String, Value>) {
    for (word, value) in table {
        let key = if prefix.is_empty() {
            word
        } else {
            format!("{prefix}.{word}")
        };
        match value {
            Value::Table(inner) => flatten(&key, inner, entries),
            other => {
                entries.insert(key, other);
            }
        }
    }
}

fn text_of(value: Value, separator: Option<char>) -> Result<String, &'static str> {
    match (value, separator) {
        (Value::String(text), _) => Ok(text),
        (Value::Integer(number), _) => Ok(number.to_string()),
        (Value::Boolean(truth), _) => Ok(truth.to_string()),
        (Value::Array(items), Some(separator)) => {
            let mut words = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    Value::String(word) if word.contains(separator) => {
                        return Err("has an item with the separator of the list in it");
                    }
                    Value::String(word) => words.push(word),
                    _ => return Err("has an item that is no text"),
                }
            }
            Ok(words.join(separator.encode_utf8(&mut [0; 4])))
        }
        (Value::Array(_), None) => Err("is a list where one value was expected"),
        (Value::Float(_) | Value::Datetime(_) | Value::Table(_), _) => {
            Err("is neither text nor a whole number nor true or false")
        }
    }
}
