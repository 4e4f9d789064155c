//! Identifiers and literals for statements that take no parameters (`create database`, `comment on`).

/// `"name"`, with quotes doubled.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, with quotes doubled. Relies on `standard_conforming_strings`, which every supported server has on.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A list as the server stores it (`"$user", public`) as a list of literals.
pub(super) fn literals(list: &str) -> String {
    let mut quoted = false;
    let elements = list.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let bare = |element: &str| {
        let element = element.trim();
        let inner = element
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        inner.map_or_else(|| element.to_owned(), |inner| inner.replace("\"\"", "\""))
    };
    let literals: Vec<String> = elements.map(|element| literal(&bare(element))).collect();
    literals.join(", ")
}

/// A value of libpq's `key='value'` form, where quotes and backslashes are escaped by a backslash.
pub(super) fn conninfo(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_and_texts_stay_inside_them() {
        assert_eq!(identifier("a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(
            literals("\"$user\", public,\"a,\"\"b\""),
            "'$user', 'public', 'a,\"b'"
        );
        assert_eq!(conninfo("o'\\b"), "'o\\'\\\\b'");
    }
}
