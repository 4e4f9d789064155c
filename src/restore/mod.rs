//! The use case Restore: `plan`, then `perform`. Fills something new; never touches what exists.
