//! What the fault worker and the suite that drives it agree on: the journal of what handlers really did.
//!
//! Neighbours: `worker/` is the process, `suite/` the scenarios. Nothing of this is part of the product.

pub mod journal;
