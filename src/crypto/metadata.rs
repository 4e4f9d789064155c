//! What a file says about its content: authenticated, not secret. No host names, credentials or table names go in.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::EnvelopeError;

/// The known members; all may be absent, unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

impl Metadata {
    /// The bytes that go into a header: none at all if nothing is said.
    pub(super) fn render(&self) -> Result<Vec<u8>, EnvelopeError> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        serde_json::to_vec(self)
            .map_err(|_| EnvelopeError::Metadata("it cannot be written as JSON"))
    }

    /// `None` for no metadata. A known member that isn't text is as good as absent: the format demands one JSON object
    /// and nothing more.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, EnvelopeError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut members: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|_| EnvelopeError::Metadata("it is not one UTF-8 JSON object"))?;
        let mut text = |name| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Ok(Some(Self {
            kind: text("kind"),
            content: text("content"),
            compression: text("compression"),
            created: text("created"),
            execution: text("execution"),
            writer: text("writer"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_no_bytes_and_no_metadata() {
        assert_eq!(Metadata::default().render().unwrap(), b"");
        assert_eq!(Metadata::parse(b"").unwrap(), None);
    }

    #[test]
    fn what_is_written_is_read_and_strangers_are_ignored() {
        let metadata = Metadata {
            kind: Some("database".to_owned()),
            writer: Some("kanbu-backup 1.0.0".to_owned()),
            ..Metadata::default()
        };
        let bytes = metadata.render().unwrap();
        assert_eq!(
            bytes,
            br#"{"kind":"database","writer":"kanbu-backup 1.0.0"}"#
        );
        assert_eq!(Metadata::parse(&bytes).unwrap(), Some(metadata));
        let odd = Metadata::parse(br#" {"kind":7,"new":[1],"content":"sql"} "#)
            .unwrap()
            .unwrap();
        assert_eq!((odd.kind, odd.content.as_deref()), (None, Some("sql")));
    }

    #[test]
    fn anything_but_one_json_object_is_refused() {
        for bad in [
            &b"[1]"[..],
            b"{",
            b"{} {}",
            b"null",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
        ] {
            assert_eq!(Metadata::parse(bad).unwrap_err().name(), "Metadata");
        }
    }
}
