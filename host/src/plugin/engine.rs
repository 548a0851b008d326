//! The engine: one configuration for all plugins, the clock of their deadlines, and where their code comes from.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};

use super::HostLimits;
use super::bindings::alert::AlertPre;
use super::bindings::calibration::CalibrationPre;
use super::bindings::filter::FilterPre;
use super::bindings::filter::weir::plugin::host;
use super::code::{Bound, CodeKind, Execution};
use super::code_cache::CodeCache;
use super::compiler::{self, CompileError, Compiler};
use super::file::PluginFile;
use super::host_state::HostState;
use super::manifest::PluginKind;

/// How long one epoch is: a deadline ends at most one epoch late.
pub(super) const EPOCH: Duration = Duration::from_millis(10);

/// How plugins are compiled and run.
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// By the processor or an interpreter.
    pub execution: Execution,
    /// What ends a call that goes on for too long.
    pub bound: Bound,
    /// Who compiles.
    pub compiler: Compiler,
    /// How many stages there are to be, as far as that is known.
    pub stages: usize,
    /// Where compiled plugins are kept.
    pub cache: Option<Arc<CodeCache>>,
}

impl EngineSettings {
    fn kind(&self) -> CodeKind {
        CodeKind::here(self.execution, self.bound).for_stages(self.stages)
    }
}

/// Compiles plugins. One for a process.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Arc<Linker<HostState>>,
    settings: EngineSettings,
    limits: HostLimits,
}

/// A compiled plugin: what instances are made of.
#[derive(Clone)]
pub struct Plugin {
    pub(super) engine: wasmtime::Engine,
    pub(super) world: World,
    pub(super) bound: Bound,
    pub(super) stack_bytes: usize,
}

/// A plugin that is ready to be instantiated, by its world.
#[derive(Clone)]
pub(super) enum World {
    Filter(FilterPre<HostState>),
    Calibration(CalibrationPre<HostState>),
    Alert(AlertPre<HostState>),
}

impl Engine {
    /// Starts the engine and the thread that counts its epochs.
    pub fn start(settings: EngineSettings, limits: HostLimits) -> Result<Engine, CompileError> {
        let failed = |e: wasmtime::Error| CompileError::Engine(format!("{e:#}"));
        let kind = settings.kind();
        let config = kind.config(limits.stack_bytes).map_err(failed)?;
        let engine = wasmtime::Engine::new(&config).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        host::add_to_linker::<HostState, HasSelf<HostState>>(&mut linker, |state| state)
            .map_err(failed)?;
        if settings.bound == Bound::Time {
            count_epochs(&engine)
                .map_err(|e| CompileError::Engine(format!("no thread for deadlines: {e}")))?;
        }
        Ok(Engine { engine, linker: Arc::new(linker), settings, limits })
    }

    /// The plugin of a checked file, ready to run: its code from the cache, or compiled. Nothing of the plugin runs yet.
    pub fn compile(&self, file: &PluginFile) -> Result<Plugin, CompileError> {
        let kind = self.settings.kind();
        let cache = self.settings.cache.as_deref();
        let mut unusable = None;
        if let Some(code) = cache.and_then(|cache| cache.load(&file.sha256, &kind)) {
            match self.load(file, &code) {
                Ok(plugin) => return Ok(plugin),
                // Another processor's, for instance: the card was put into an older Pi.
                Err(error) => {
                    tracing::warn!(
                        plugin = file.manifest.name,
                        "A compiled plugin does not fit: {error}."
                    );
                    unusable = Some(error.to_string());
                }
            }
        }
        let code = compiler::compile(&self.settings.compiler, &file.bytes, &kind, &self.limits);
        let code = code.map_err(|error| match error {
            CompileError::NoCompiler { machine, .. } => {
                CompileError::NoCompiler { machine, unusable }
            }
            other => other,
        })?;
        if let Some(Err(error)) = cache.map(|cache| cache.store(&file.sha256, &kind, &code)) {
            tracing::warn!(
                plugin = file.manifest.name,
                "A compiled plugin cannot be kept; the next start compiles it again. {error}"
            );
        }
        self.load(file, &code)
    }

    #[expect(unsafe_code, reason = "code is what the processor runs; nothing can make that safe")]
    fn load(&self, file: &PluginFile, code: &[u8]) -> Result<Plugin, CompileError> {
        let unusable = |e: wasmtime::Error| {
            let text = format!("{e:#}");
            let hint = if text.contains("memory executable") {
                "; where no memory may become executable, --interpret runs plugins all the same"
            } else {
                ""
            };
            CompileError::Unusable(text + hint)
        };
        // SAFETY: the bytes were made by the compiler of this very program, in a process of ours just now, or were sealed by one
        // with a key that only this user has; wasmtime itself refuses those of another version or configuration.
        let component = unsafe { Component::deserialize(&self.engine, code) }.map_err(unusable)?;
        let pre = self.linker.instantiate_pre(&component).map_err(unusable)?;
        let world = match file.manifest.kind {
            PluginKind::Filter => World::Filter(FilterPre::new(pre).map_err(unusable)?),
            PluginKind::Calibration => {
                World::Calibration(CalibrationPre::new(pre).map_err(unusable)?)
            }
            PluginKind::Alert => World::Alert(AlertPre::new(pre).map_err(unusable)?),
        };
        let (engine, bound) = (self.engine.clone(), self.settings.bound);
        Ok(Plugin { engine, world, bound, stack_bytes: self.limits.stack_bytes })
    }
}

/// Ends with the engine.
fn count_epochs(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let epochs = engine.weak();
    let thread = std::thread::Builder::new().name("epochs".to_owned()).stack_size(64 << 10);
    thread.spawn(move || {
        while let Some(engine) = epochs.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH);
        }
    })?;
    Ok(())
}

/// Compiles a plugin for another machine, or this one, into a cache.
pub fn compile_into(
    cache: &CodeCache,
    file: &PluginFile,
    kind: &CodeKind,
    compiler: &Compiler,
    limits: &HostLimits,
) -> Result<std::path::PathBuf, CompileError> {
    let code = compiler::compile(compiler, &file.bytes, kind, limits)?;
    cache
        .store(&file.sha256, kind, &code)
        .map_err(|e| CompileError::Engine(format!("cannot keep the code: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::standard;

    #[test]
    fn without_a_compiler_it_is_told_why_code_that_is_there_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path()).unwrap();
        let limits = HostLimits::default();
        let file = PluginFile::check(standard("filter-median").unwrap(), &limits).unwrap();
        let kind = CodeKind::here(Execution::Native, Bound::Time);
        cache.store(&file.sha256, &kind, b"another machine's").unwrap();
        let cache = Some(Arc::new(cache));
        let told = |cache| {
            let settings =
                EngineSettings { compiler: Compiler::Nobody, cache, ..Default::default() };
            let engine = Engine::start(settings, limits).unwrap();
            engine.compile(&file).err().unwrap().to_string()
        };
        for (cache, why) in
            [(None, "can be used: make it"), (cache, "(what is there: cannot run its code: ")]
        {
            let told = told(cache);
            println!("{told}");
            assert!(told.contains(why), "{told}");
        }
    }
}
