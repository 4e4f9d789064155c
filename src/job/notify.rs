//! The payload of a Notify job. Its handler comes with notifications; until then the queue refuses the kind.

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::id::ExecutionId;

/// Tell the configured channels how an execution ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    pub subject: Subject,
    pub execution: ExecutionId,
}
