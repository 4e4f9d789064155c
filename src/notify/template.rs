//! Texts with fields in them: `{"text": "{{title}}"}`. In JSON a value is escaped, so that it stays within its quotes.

use std::fmt;

use super::message::{FIELDS, Message};

/// A text that was checked when it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    is_json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

/// Why a text is no template.
#[derive(Debug, thiserror::Error)]
pub enum BadTemplate {
    #[error("{{{{{0}}}}} is no field; the fields are {list}", list = FIELDS.join(", "))]
    UnknownField(String),
    #[error("a field is opened with {{{{ and never closed")]
    Open,
    #[error("with its fields filled in it is not JSON: {0}")]
    NotJson(serde_json::Error),
}

impl fmt::Debug for Template {
    /// Somebody may have written a token into it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({} pieces)", self.pieces.len())
    }
}

impl Template {
    pub fn parse(text: &str, is_json: bool) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, after) = after.split_once("}}").ok_or(BadTemplate::Open)?;
            let field = field.trim();
            if !FIELDS.contains(&field) {
                return Err(BadTemplate::UnknownField(field.to_owned()));
            }
            pieces.extend([
                Piece::Text(before.to_owned()),
                Piece::Field(field.to_owned()),
            ]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let template = Self { pieces, is_json };
        if is_json {
            let filled = template.filled(|_| Some("1".to_owned()));
            serde_json::from_str::<serde::de::IgnoredAny>(&filled).map_err(BadTemplate::NotJson)?;
        }
        Ok(template)
    }

    pub(super) fn render(&self, message: &Message) -> String {
        self.filled(|field| message.field(field))
    }

    fn filled(&self, value: impl Fn(&str) -> Option<String>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field(field) => {
                    let value = value(field).unwrap_or_default();
                    text.push_str(&if self.is_json { escaped(&value) } else { value });
                }
            }
        }
        text
    }
}

/// As it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::String(text.to_owned()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_is_checked_when_it_is_read() {
        assert!(Template::parse(r#"{"text": "{{title}}", "n": {{size_bytes}}}"#, true).is_ok());
        assert!(Template::parse("{{ title }}: {{text}}", false).is_ok());
        let error = |text, is_json| Template::parse(text, is_json).unwrap_err().to_string();
        assert!(
            error("{{titel}}", false)
                .starts_with("{{titel}} is no field; the fields are event, id")
        );
        assert!(error("{{title", false).contains("never closed"));
        assert!(error(r#"{"text": {{title}"#, true).contains("never closed"));
        assert!(error(r#"{"text": "{{title}}""#, true).contains("is not JSON"));
    }

    proptest! {
        #[test]
        fn whatever_a_value_holds_it_stays_within_its_quotes(value in any::<String>()) {
            let template = Template::parse(r#"{"a": "x{{title}}y"}"#, true).unwrap();
            let filled = template.filled(|_| Some(value.clone()));
            let read: serde_json::Value = serde_json::from_str(&filled).unwrap();
            prop_assert_eq!(&read["a"], &format!("x{value}y"));
        }
    }
}
