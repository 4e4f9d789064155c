//! Text that must not be seen: a token, a password, an address that is as good as one.

use std::fmt;

use zeroize::Zeroizing;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// Shorter ones would mask innocent text.
const LEAST_BYTES: usize = 6;

/// Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one who uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A text of somebody else's in which this secret may have been repeated.
    pub(super) fn out_of(&self, text: &str) -> String {
        if self.0.len() < LEAST_BYTES {
            return text.to_owned();
        }
        text.replace(self.0.as_str(), MASK)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_a_mask_and_is_taken_out_of_what_others_say() {
        let secret = Hidden::new("s3cr3t-token");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(
            secret.out_of("no such hook: s3cr3t-token"),
            "no such hook: ***"
        );
        assert_eq!(Hidden::new("no").out_of("no such hook"), "no such hook");
    }
}
