//! Text that must not be seen: wiped when dropped, masked wherever it might be printed.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// A setting's secret text: a key, a passphrase, a URL with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself, for the one who uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({MASK})")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A URL without what may be secret in it: password, query and fragment. Anything doubtful is masked as a whole.
pub(super) fn masked_url(text: &str) -> String {
    // An unescaped '/' in a password moves its rest into the path, where an '@' betrays it.
    let Some(mut url) = Url::parse(text)
        .ok()
        .filter(|url| !url.path().contains('@'))
    else {
        return MASK.to_owned();
    };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    let more = if url.query().is_some() { "?…" } else { "" };
    url.set_query(None);
    url.set_fragment(None);
    format!("{url}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_a_mask() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** Secret(***)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_url_prints_without_its_password_however_odd_it_is() {
        assert_eq!(
            masked_url("postgresql://kanbu:hunter2@db:5432/kanbu"),
            "postgresql://kanbu:***@db:5432/kanbu"
        );
        for text in [
            "postgresql://kanbu@db/kanbu?password=hunter2",
            "postgresql://kanbu:hunter2@db/kanbu",
            "postgresql://kanbu:x@hunter2@db/kanbu",
            "postgresql://kanbu:x/hunter2@db/kanbu",
            "postgresql://kanbu:1/hunter2@db/kanbu",
            "postgresql://kanbu:1?hunter2@db/kanbu",
            "postgresql://kanbu:1#hunter2@db/kanbu",
            "kanbu:hunter2@db",
            "hunter2",
        ] {
            let shown = masked_url(text);
            assert!(!shown.contains("hunter2"), "{text} is shown as {shown}");
        }
    }
}
