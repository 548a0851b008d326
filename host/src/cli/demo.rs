//! `weir demo`: the whole way in one process, with simulated thermometers.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::run::all_of;
use super::{Failure, block_on, parse_duration, say};
use crate::hub::is_private;
use crate::pipeline::{Dashboard, LiveError, LiveOptions, check, run};
use crate::plugin::EngineSettings;
use crate::sensor::SystemPaths;

const PIPELINE: &str = include_str!("../../../pipelines/demo.toml");

/// Simulated thermometers through the standard plugins to a live page, in one process.
#[derive(Args)]
pub(super) struct Demo {
    /// Where the page is served; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Let other machines see the page, without encryption: in a network that you trust.
    #[arg(long)]
    insecure: bool,
    /// Stop after this, for instance 10s.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut pipeline = check("demo.toml", PIPELINE, Path::new("."))?;
        if let Some(listen) = self.listen {
            if !self.insecure && !is_private(listen) {
                let text = format!(
                    "--listen {listen}: other machines can reach it: add --insecure in a network that you trust"
                );
                return Err(text.into());
            }
            pipeline.dashboard = Some(Dashboard { listen, certificate: None });
        }
        let options = LiveOptions {
            system: SystemPaths::new(Path::new("/"), None),
            duration: self.duration,
            engine: EngineSettings::default(),
            record: None,
            reload: None,
            data_dir: None,
        };
        let ran = block_on(run(pipeline, &options, |dashboard| {
            if let Some(page) = dashboard {
                // The demo goes on when nobody reads what it prints.
                let _said = say(format_args!("Dashboard: {page}  (Ctrl-C ends the demo)"));
            }
        }))?;
        ran.map_err(|refused| {
            let in_use = |error: &LiveError| {
                matches!(error, LiveError::Dashboard(error) if error.kind() == io::ErrorKind::AddrInUse)
            };
            let text = all_of(&refused);
            if !refused.iter().any(in_use) {
                return text;
            }
            format!("{text}; choose another with --listen 127.0.0.1:0").into()
        })
    }
}
