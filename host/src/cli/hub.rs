//! `weir hub`: the receiver with the live page.

use std::net::SocketAddr;

use clap::Args;

use super::{Failure, block_on, say};
use crate::pipeline::Signals;
use crate::{hub, stop};

/// Receive devices' messages and show them on a live page.
#[derive(Args)]
pub(super) struct Hub {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

impl Hub {
    pub(super) fn run(self) -> Result<(), Failure> {
        block_on(async {
            let listener = hub::bind(self.listen).await?;
            let address = listener.local_addr()?;
            let mut signals = Signals::new()?;
            // The hub goes on when nobody reads what it prints.
            let _said = say(format_args!(
                "Dashboard: http://{address}/
Devices:   ws://{address}/uplink"
            ));
            let (stopper, stopped) = stop::channel();
            let served = tokio::spawn(hub::serve(listener, stopped));
            signals.wait(None).await;
            stopper.stop();
            served.await?;
            Ok::<(), Failure>(())
        })?
    }
}
