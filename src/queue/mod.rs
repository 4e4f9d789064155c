//! HOW a job waits and is won: the only writer of `job` and `execution`. What a backup is, it does not know.
