//! The engine: one configuration for all plugins, and the clock of their deadlines.

use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::alert::AlertPre;
use super::bindings::calibration::CalibrationPre;
use super::bindings::filter::FilterPre;
use super::bindings::filter::weir::plugin::host;
use super::file::PluginFile;
use super::host_state::HostState;
use super::limits;
use super::manifest::PluginKind;

/// How long one epoch is: a deadline ends at most one epoch late.
pub(super) const EPOCH: Duration = Duration::from_millis(10);

/// Compiles plugins. One for a process.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    linker: std::sync::Arc<Linker<HostState>>,
}

/// A compiled plugin: what instances are made of.
#[derive(Clone)]
pub struct Plugin {
    pub(super) engine: wasmtime::Engine,
    pub(super) world: World,
}

/// A plugin that is ready to be instantiated, by its world.
#[derive(Clone)]
pub(super) enum World {
    Filter(FilterPre<HostState>),
    Calibration(CalibrationPre<HostState>),
    Alert(AlertPre<HostState>),
}

/// Why a file that looked right cannot be compiled.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot compile it: {0}")]
pub struct CompileError(String);

impl CompileError {
    /// The compiler gave neither a plugin nor a reason.
    pub fn gave_up() -> CompileError {
        CompileError("the compiler gave up over it".to_owned())
    }

    fn no_thread(error: std::io::Error) -> CompileError {
        CompileError(format!("no thread for deadlines: {error}"))
    }
}

impl Engine {
    /// Starts the engine and the thread that counts its epochs.
    pub fn start() -> Result<Engine, CompileError> {
        let failed = |e: wasmtime::Error| CompileError(format!("{e:#}"));
        let engine = wasmtime::Engine::new(&config()).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        host::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)
            .map_err(failed)?;
        let epochs = engine.weak();
        let clock = std::thread::Builder::new().name("epochs".to_owned()).stack_size(64 << 10);
        clock
            .spawn(move || {
                while let Some(engine) = epochs.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(EPOCH);
                }
            })
            .map_err(CompileError::no_thread)?;
        Ok(Engine { engine, linker: std::sync::Arc::new(linker) })
    }

    /// Compiles a checked file. Nothing of the plugin runs yet.
    pub fn compile(&self, file: &PluginFile) -> Result<Plugin, CompileError> {
        let failed = |e: wasmtime::Error| CompileError(format!("{e:#}"));
        // No plugin is known over which the compiler panics; if there is one, it must not take the gateway down.
        let compile = || Component::new(&self.engine, &file.component);
        let component = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compile))
            .map_err(|_| CompileError::gave_up())?
            .map_err(failed)?;
        let pre = self.linker.instantiate_pre(&component).map_err(failed)?;
        let world = match file.manifest.kind {
            PluginKind::Filter => World::Filter(FilterPre::new(pre).map_err(failed)?),
            PluginKind::Calibration => {
                World::Calibration(CalibrationPre::new(pre).map_err(failed)?)
            }
            PluginKind::Alert => World::Alert(AlertPre::new(pre).map_err(failed)?),
        };
        Ok(Plugin { engine: self.engine.clone(), world })
    }
}

fn config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    // A component call falls from 561 to 148 ns when nothing can be concurrent in it.
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits::STACK_BYTES);
    // The same bits on every machine.
    config.cranelift_nan_canonicalization(true);
    config.wasm_relaxed_simd(false);
    config.wasm_memory64(false);
    config
}
