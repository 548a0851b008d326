//! Sandboxed plugins: the only code that names wasmtime.
//!
//! A plugin's file goes through [`PluginFile::check`] without running any of it, is compiled by [`Engine::compile`] to a
//! [`Plugin`], and each stage starts an [`Instance`] of that.

mod bindings;
mod check;
mod engine;
mod file;
mod host_state;
mod instance;
mod limits;
mod manifest;
mod standard;

pub use engine::{CompileError, Engine, Plugin};
pub use file::{FileError, PluginFile};
pub use host_state::Kept;
pub use instance::{Applied, Instance, Trap};
pub use limits::{Limits, OFFLINE_CALL_DEADLINE};
pub use manifest::{Manifest, Parameter, ParameterKind, PluginKind};
pub use standard::{STANDARD, standard};
