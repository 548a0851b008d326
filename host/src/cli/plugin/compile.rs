//! `weir plugin compile`: compiled plugins for a gateway that has no compiler, or no time for one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{Failure, say, with_causes};
use crate::data_dir::DataDir;
use crate::plugin::{
    Bound, CodeCache, CodeKind, Compiler, Execution, HostLimits, PluginFile, compile_into, standard,
};

/// Compile plugins for this machine or another one, into a data folder that `weir run --data-dir` takes code from. The folder
/// holds the key that its code is sealed with: copy it whole, and keep it secret.
#[derive(Args)]
pub(super) struct Compile {
    /// Names of standard plugins, or paths of .wasm files.
    #[arg(required = true, value_name = "PLUGIN")]
    plugins: Vec<String>,
    /// The data folder; made when it is missing.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The machine, as Rust calls it, for instance aarch64-unknown-linux-gnu or armv7-unknown-linux-gnueabihf: the code runs on
    /// any processor of it [default: this one, with all that its processor has].
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// For `weir run --interpret`.
    #[arg(long)]
    interpret: bool,
    /// For `weir replay`, which counts fuel in place of time.
    #[arg(long)]
    replay: bool,
}

impl Compile {
    pub(super) fn run(self) -> Result<(), Failure> {
        let execution = if self.interpret { Execution::Interpreted } else { Execution::Native };
        let bound = if self.replay { Bound::Fuel } else { Bound::Time };
        let kind = match &self.target {
            None => CodeKind::here(execution, bound),
            Some(target) => {
                let kind = CodeKind::of_target(target, execution).ok_or_else(|| {
                    format!(
                        "weir does not run on `{target}`: --target must be a Linux target of x86_64, aarch64, or 32-bit \
                         ARM, such as aarch64-unknown-linux-gnu or armv7-unknown-linux-gnueabihf"
                    )
                })?;
                CodeKind { bound, ..kind }
            }
        };
        let data_dir = DataDir::open(&self.data_dir)?;
        let cache = CodeCache::of(&data_dir)
            .map_err(|e| format!("cannot use the folder {}: {e}", self.data_dir.display()))?;
        // Whoever compiles by hand has the time and the memory.
        let limits = HostLimits::LARGEST;
        let compiler = Compiler::default();
        for name in &self.plugins {
            let failed = |error: &dyn std::error::Error| format!("{name}: {}", with_causes(error));
            let file = match standard(name) {
                Some(bytes) => PluginFile::check(bytes, &limits),
                None => PluginFile::read(Path::new(name), &limits),
            };
            let file = file.map_err(|e| failed(&e))?;
            let made = compile_into(&cache, &file, &kind, &compiler, &limits);
            let made = made.map_err(|e| failed(&e))?;
            say(format_args!("{} for {}: {}", file.manifest.name, kind.machine, made.display()))?;
        }
        Ok(())
    }
}
