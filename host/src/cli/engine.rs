//! The arguments that say how plugins run.

use clap::Args;

use crate::plugin::{EngineSettings, Execution};

/// How plugins run.
#[derive(Args)]
pub(super) struct EngineArguments {
    /// Run plugins in an interpreter: 8 to 45 times slower, but no memory is ever writable and executable (systemd's
    /// MemoryDenyWriteExecute).
    #[arg(long)]
    interpret: bool,
}

impl EngineArguments {
    pub(super) fn settings(&self) -> EngineSettings {
        let execution = if self.interpret { Execution::Interpreted } else { Execution::Native };
        EngineSettings { execution, ..EngineSettings::default() }
    }
}
