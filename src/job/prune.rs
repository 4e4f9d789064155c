//! The payload of a Prune job. Its handler comes with retention; until then the queue refuses the kind.

use serde::{Deserialize, Serialize};

use super::Subject;

/// Perform the retention plan of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    pub subject: Subject,
}
