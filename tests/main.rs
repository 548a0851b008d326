//! Weir from outside: the binary with real sockets, files and peers, and the library's public face.
//!
//! Run with `cargo test --workspace`. A test that needs a program that is not here says so and is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod adoption;
mod bad_plugins;
mod browser;
mod cable;
mod chaos;
mod clock;
mod delivery;
mod doctor;
mod driver;
mod elsewhere;
mod foreign;
mod gaps;
mod house;
mod hub_store;
mod late;
mod live;
mod mqtt;
mod offline;
mod other_sensors;
mod peers;
mod plain_server;
mod plugin_docs;
#[path = "fuzz/plugin_file.rs"]
mod plugin_file;
mod record;
mod recordings;
mod reload;
mod security;
mod sensors;
mod socketio;
mod spool;
mod state;
mod support;
mod thousand;
mod traps;
mod wrong_pipelines;
