//! `storage import`
