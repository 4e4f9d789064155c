//! The use case Backup: `plan`, then `perform`. Never claims, renews, or writes SQL on `job`.
