//! `weir hub`: the receiver with the live page.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Failure, block_on, parse_duration, say};
use crate::hub::{Limits, Store};
use crate::pipeline::Signals;
use crate::{hub, stop};

/// Receive devices' messages and show them on a live page.
#[derive(Args)]
pub(super) struct Hub {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Keep what devices send in this folder, and ack it when it is there. Without, a restart forgets it.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep it for so long.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration, requires = "data_dir")]
    keep: Duration,
    /// Keep about so many MiB; the oldest messages make room.
    #[arg(long, value_name = "MIB", default_value_t = 4096, requires = "data_dir")]
    most_mib: u64,
}

impl Hub {
    pub(super) fn run(self) -> Result<(), Failure> {
        allow_files();
        block_on(async {
            let limits =
                Limits { keep: self.keep, most_bytes: self.most_mib.saturating_mul(1 << 20) };
            let store = self.data_dir.as_deref().map(|folder| Store::new(folder, limits));
            let store = store.transpose()?;
            let listener = hub::bind(self.listen).await?;
            let address = listener.local_addr()?;
            let mut signals = Signals::new()?;
            // The hub goes on when nobody reads what it prints.
            let _said = say(format_args!(
                "Dashboard: http://{address}/
Devices:   ws://{address}/uplink"
            ));
            if store.is_none() {
                tracing::info!(
                    "What devices send is kept in memory and forgotten with a restart (--data-dir keeps it)."
                );
            }
            let (stopper, stopped) = stop::channel();
            let mut served = tokio::spawn(hub::serve(listener, store, stopped));
            tokio::select! {
                _signal = signals.wait(None) => {
                    stopper.stop();
                    served.await?;
                    Ok::<(), Failure>(())
                }
                ended = &mut served => {
                    ended?;
                    Err("the hub ended by itself".into())
                }
            }
        })?
    }
}

/// Each device and page needs a file, and the usual limit of a process is 1,024.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::debug!("The number of open files stays as it is: {error}.");
    }
}
