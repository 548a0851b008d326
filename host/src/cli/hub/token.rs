//! `weir hub token`: makes, lists and revokes the tokens of devices.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::run::state_directory;
use crate::cli::{Failure, say};
use crate::hub;

/// Make, list and revoke tokens of devices. A hub that runs sees the change by itself.
#[derive(Args)]
pub(super) struct Token {
    #[command(subcommand)]
    command: TokenCommand,
    /// The hub's folder. Default: the first folder of $STATE_DIRECTORY.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it: it cannot be shown again, because only its hash is kept. A device may have several.
    New {
        /// The device's name, as in `[device]` of its pipeline file.
        device: String,
    },
    /// All tokens: device, id, when it was made.
    List,
    /// Take tokens away; a connection that was made with one is closed within seconds.
    Revoke {
        /// Whose.
        device: String,
        /// Only the one that `list` shows with this id.
        id: Option<String>,
    },
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        let folder = self.data_dir.or_else(state_directory);
        let folder = folder.ok_or("where are the tokens? Add --data-dir DIR, as for the hub")?;
        match self.command {
            TokenCommand::New { device } => say(hub::make(&folder, &device)?.reveal())?,
            TokenCommand::List => {
                for token in hub::list(&folder)? {
                    say(format_args!("{}  {}  {}", token.device, token.id(), token.made))?;
                }
            }
            TokenCommand::Revoke { device, id } => {
                let revoked = hub::revoke(&folder, &device, id.as_deref())?;
                say(format_args!("{revoked} revoked"))?;
            }
        }
        Ok(())
    }
}
