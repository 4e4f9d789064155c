//! Texts cut to a receiver's limits: between characters, never within an escape, and with a sign that something is missing.
//!
//! Limits are taken as UTF-16 units, as JavaScript counts: never fewer than characters, so that either reading holds.

const ELLIPSIS: char = '…';

/// How a character is written for a receiver; `None`: as it is.
pub(super) type Escape = fn(char) -> Option<&'static str>;

/// What Slack's texts need.
pub(super) fn slack(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    }
}

/// What has a meaning in Discord's Markdown.
pub(super) fn discord(c: char) -> Option<&'static str> {
    match c {
        '\\' => Some("\\\\"),
        '*' => Some("\\*"),
        '_' => Some("\\_"),
        '~' => Some("\\~"),
        '`' => Some("\\`"),
        '|' => Some("\\|"),
        '[' => Some("\\["),
        ']' => Some("\\]"),
        '<' => Some("\\<"),
        // No mention comes of it, whatever else the receiver does with the text.
        '@' => Some("@\u{200b}"),
        _ => None,
    }
}

/// The units of a text.
pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The text in the receiver's writing, within so many units.
pub(super) fn fit(text: &str, limit: usize, escape: Escape) -> String {
    let mut fitted = String::new();
    let mut used = 0;
    // Where the text can be cut so that the sign still fits.
    let mut cut = 0;
    for c in text.chars().filter(|c| *c != '\0') {
        let mut own = [0; 4];
        let written = escape(c).unwrap_or_else(|| c.encode_utf8(&mut own));
        let more = units(written);
        if used + more > limit {
            fitted.truncate(cut);
            if limit > 0 {
                fitted.push(ELLIPSIS);
            }
            return fitted;
        }
        fitted.push_str(written);
        used += more;
        if used < limit {
            cut = fitted.len();
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(_: char) -> Option<&'static str> {
        None
    }

    #[test]
    fn an_escape_is_never_cut() {
        assert_eq!(fit("a&b", 7, slack), "a&amp;b");
        assert_eq!(fit("a&b", 6, slack), "a…");
        assert_eq!(fit("a&", 6, slack), "a&amp;");
        assert_eq!(fit("😀😀", 3, plain), "😀…");
        assert_eq!(fit("ab", 1, plain), "…");
        assert_eq!(fit("ab", 0, plain), "");
    }

    proptest! {
        #[test]
        fn a_text_keeps_within_its_limit_and_is_whole_where_it_can_be(text in any::<String>(), limit in 0_usize..40) {
            for escape in [plain, slack, discord] {
                let fitted = fit(&text, limit, escape);
                prop_assert!(units(&fitted) <= limit);
                let whole = fit(&text, usize::MAX, escape);
                if units(&whole) <= limit {
                    prop_assert_eq!(fitted, whole);
                }
            }
        }
    }
}
