//! `weir plugin`: tools for whoever makes and installs plugins.

mod compile;
mod embed;

use clap::{Args, Subcommand};

use super::Failure;

/// Tools for whoever makes and installs plugins.
#[derive(Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compile(compile::Compile),
    Embed(embed::Embed),
}

impl Plugin {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Compile(compile) => compile.run(),
            Command::Embed(embed) => embed.run(),
        }
    }
}
