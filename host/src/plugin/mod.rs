//! Sandboxed plugins: the only code that names wasmtime.
//!
//! A plugin's file goes through [`PluginFile::check`] without running any of it, is compiled by [`Engine::compile`] to a
//! [`Plugin`], and each stage starts an [`Instance`] of that.

mod bindings;
mod calls;
mod check;
mod code;
mod code_cache;
#[cfg(feature = "compiler")]
mod compile;
mod compiler;
mod embed;
mod engine;
mod file;
mod host_state;
mod instance;
mod limits;
mod manifest;
mod standard;
mod toolchains;

pub use calls::{Calls, EndedCall};
pub use code::{Bound, CodeKind, Execution, Processor};
pub use code_cache::CodeCache;
#[cfg(feature = "compiler")]
pub use compile::compile_as_ordered;
pub use compiler::{COMPILE_COMMAND, CompileError, CompileOrder, Compiler};
pub use embed::embed;
pub use engine::{Engine, EngineSettings, Plugin, compile_into};
pub use file::{FileError, PluginFile};
pub use host_state::Kept;
pub use instance::{Applied, Instance, Trap};
pub use limits::{HostLimits, Limits};
pub use manifest::{Manifest, Parameter, ParameterKind, PluginKind};
pub use standard::{STANDARD, standard};
