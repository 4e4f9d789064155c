//! What is wrong with the settings: everything at once, so that nobody mends one mistake per start.

use std::{borrow::Cow, fmt};

use crate::fault::{Classified, Fault};

/// One mistake: the setting, what is wrong with it, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub name: String,
    /// Continues the name: `is "s3"; expected local or gdrive`. Never holds a secret value.
    pub sentence: String,
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.sentence)
    }
}

/// All mistakes of one start, in the order of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<Problem>);

impl ConfigErrors {
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Classified for ConfigErrors {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }

    fn code(&self) -> &'static str {
        "config.invalid"
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        if let [only] = self.0.as_slice() {
            return only.hint.clone().map(Into::into);
        }
        let named =
            |problem: &Problem| Some(format!("{}: {}", problem.name, problem.hint.as_ref()?));
        let hints: Vec<_> = self.0.iter().filter_map(named).collect();
        (!hints.is_empty()).then(|| hints.join("; ").into())
    }
}
