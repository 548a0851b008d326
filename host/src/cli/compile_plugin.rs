//! `weir compile-plugin`: the process that compiles a plugin for another weir. Not for people.

use clap::Args;

use super::Failure;
use crate::plugin::{CompileOrder, compile_as_ordered};

/// Compile one plugin from standard input to standard output, within limits.
#[derive(Args)]
pub(super) struct CompilePlugin {
    order: Vec<String>,
}

impl CompilePlugin {
    pub(super) fn run(self) -> Result<(), Failure> {
        let order = CompileOrder::from_arguments(&self.order)
            .ok_or("this command is for weir itself: `weir plugin compile` is for you")?;
        compile_as_ordered(&order).map_err(Into::into)
    }
}
