//! What is said of one storage alone: under names that aren't in the table of settings, because they hold its name.

use zeroize::Zeroizing;

use super::Reader;
use crate::config::file::Entries;

/// What is said of one storage alone.
pub(in crate::config) struct Own {
    pub(in crate::config) text: String,
    /// Who says it, for complaints.
    pub(in crate::config) told_by: String,
}

impl Reader<'_> {
    /// A secret. It stands in the environment, in the file that `<NAME>_FILE` names, or in `entries`, under `key` or
    /// `key_file`.
    pub(in crate::config) fn secret_of(
        &mut self,
        name: &str,
        entries: &mut Entries,
        key: &str,
    ) -> Option<Zeroizing<String>> {
        let file_name = format!("{name}_FILE");
        self.also_known.extend([name.to_owned(), file_name.clone()]);
        let sources = [
            (self.variable(name), self.variable(&file_name)),
            (
                entries.remove(key).map(Zeroizing::new),
                entries.remove(&format!("{key}_file")).map(Zeroizing::new),
            ),
        ];
        let given = sources
            .into_iter()
            .find(|(text, path)| text.is_some() || path.is_some())?;
        match given {
            (Some(_), Some(_)) => {
                let sentence = format!("and {file_name} are both given");
                self.complain(name, sentence, "give one of the two");
                None
            }
            (Some(text), _) => Some(text),
            (None, path) => Some(self.secret_file(&file_name, &path?)?.0),
        }
    }

    /// What the environment says under `name`, or `entries` under `key`.
    pub(in crate::config) fn own(
        &mut self,
        name: &str,
        entries: &mut Entries,
        key: &str,
    ) -> Option<Own> {
        self.also_known.push(name.to_owned());
        let in_table = entries.remove(key);
        if let Some(text) = self.variable(name) {
            return Some(Own {
                text: text.to_string(),
                told_by: name.to_owned(),
            });
        }
        in_table.map(|text| Own {
            text,
            told_by: format!("{key} in [[storages]], or {name},"),
        })
    }
}
