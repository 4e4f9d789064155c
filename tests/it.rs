//! Tests that call functions of the library with real parts: PostgreSQL, files, processes.

#[path = "it/control.rs"]
mod control;
#[path = "it/private_server.rs"]
mod private_server;
