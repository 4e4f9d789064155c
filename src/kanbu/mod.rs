//! Everything Kanbu-shaped: its names and its environment. Without this folder the product must still be sound.

pub mod env;
pub mod inapp;
pub mod names;
pub mod webhook;
