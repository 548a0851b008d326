//! `weir hub`: the receiver with the live page.

mod token;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::run::state_directory;
use super::{Failure, block_on, parse_duration, say};
use crate::hub::{self, Asked, Door, Gate, HubTls, Limits, Listening, Store, TlsFiles, is_private};
use crate::pipeline::Signals;
use crate::stop;
use crate::uplink::certificate::CertificateFiles;

/// Receive devices' messages and show them on a live page.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Hub {
    #[command(subcommand)]
    command: Option<HubCommand>,
    #[command(flatten)]
    listen: Listen,
}

#[derive(Subcommand)]
enum HubCommand {
    Token(token::Token),
}

#[derive(Args)]
struct Listen {
    /// Where to listen. Beyond this machine it needs --certificate-file, or --insecure.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,
    /// PEM: the hub's certificate, and those between it and its authority. Read again when it is renewed.
    #[arg(long, value_name = "FILE", alias = "cert-file", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// PEM: the certificate's private key, readable by its owner alone.
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
    /// PEM: who signs the certificates of devices. Without one that it signed no device may send, and each needs its token as well; the page needs no certificate.
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    client_ca_file: Option<PathBuf>,
    /// Listen beyond this machine without encryption: whoever is on the way can read and change everything.
    #[arg(long, conflicts_with = "certificate_file")]
    insecure: bool,
    /// The hub's folder: what devices send, acked when it is there, and their tokens. Without one a restart forgets it. Default: the first folder of $STATE_DIRECTORY, which systemd sets.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep what devices send in the folder for so long, 1h to 10y. Default: 30d.
    #[arg(long, value_name = "DURATION", value_parser = keep)]
    keep: Option<Duration>,
    /// Keep about so many MiB of it, 1 to 1048576; the oldest messages make room. Default: 4096.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    most_mib: Option<u64>,
    /// Write at most so often, 100ms to 20s: each time costs a card about 140 KB. Devices keep what they sent until then. Default: 100ms.
    #[arg(long, value_name = "DURATION", value_parser = commit_interval)]
    commit_interval: Option<Duration>,
}

impl Hub {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Some(HubCommand::Token(token)) => token.run(),
            None => self.listen.run(),
        }
    }
}

impl Listen {
    fn run(self) -> Result<(), Failure> {
        allow_files();
        let files = self.certificate_file.zip(self.key_file);
        if !self.insecure && files.is_none() && !is_private(self.listen) {
            let text = format!(
                "--listen {}: other machines can reach it: add --certificate-file and --key-file, or --insecure in a \
                 network that you trust",
                self.listen
            );
            return Err(text.into());
        }
        let has_client_ca = self.client_ca_file.is_some();
        let files = files.map(|(certificate_file, key_file)| TlsFiles {
            certificate: CertificateFiles { certificate_file, key_file },
            client_ca_file: self.client_ca_file,
        });
        let tls = files.map(HubTls::new).transpose()?;
        let is_open = !is_private(self.listen) && tls.is_none();
        // Who listens to nobody but this machine, or is told to trust everybody, needs no token. A certificate says that a
        // device is one of ours, and not which.
        let asked = if !has_client_ca && (is_private(self.listen) || self.insecure) {
            Asked::WithAFile
        } else {
            Asked::Everybody
        };
        let data_dir = self.data_dir.or_else(state_directory);
        let usual = Limits::default();
        let limits = Limits {
            keep: self.keep.unwrap_or(usual.keep),
            most_bytes: self.most_mib.map_or(usual.most_bytes, |mib| mib.saturating_mul(1 << 20)),
            commit_interval: self.commit_interval.unwrap_or(usual.commit_interval),
        };
        for (option, is_given) in [
            ("--keep", self.keep.is_some()),
            ("--most-mib", self.most_mib.is_some()),
            ("--commit-interval", self.commit_interval.is_some()),
        ] {
            if is_given && data_dir.is_none() {
                return Err(
                    format!("{option} is about what is kept in --data-dir: name one").into()
                );
            }
        }
        let store = data_dir.as_deref().map(|folder| Store::new(folder, limits)).transpose()?;
        if store.is_none() {
            tracing::info!(
                "What devices send is kept in memory and forgotten with a restart (--data-dir keeps it)."
            );
        }
        let gate = gate(data_dir, asked)?;
        warn(&gate, self.listen, is_open);
        block_on(async {
            let door = Door::open(self.listen, tls).await?;
            let mut signals = Signals::new()?;
            // The hub goes on when nobody reads what it prints.
            let _said =
                say(format_args!("Dashboard: {}\nDevices:   {}", door.page(), door.uplink()));
            let listening = Listening { doors: vec![door], gate };
            let (stopper, stopped) = stop::channel();
            let mut served = tokio::spawn(hub::serve(listening, store, stopped));
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

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"")
}

fn keep(text: &str) -> Result<Duration, String> {
    within(text, hub::KEEP_RANGE)
}

fn commit_interval(text: &str) -> Result<Duration, String> {
    within(text, hub::COMMIT_INTERVALS)
}

fn within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let [least, most] = [range.start(), range.end()].map(|end| humantime::format_duration(*end));
    Err(format!("must be from {least} to {most}"))
}

fn gate(data_dir: Option<PathBuf>, asked: Asked) -> Result<Gate, Failure> {
    match (data_dir, asked) {
        (Some(folder), asked) => Ok(Gate::of_folder(&folder, asked)?),
        (None, Asked::WithAFile) => Ok(Gate::open()),
        (None, Asked::Everybody) => Err(
            "devices from other machines need tokens: add --data-dir DIR, and make one for each by `weir hub token new \
             DEVICE --data-dir DIR`"
                .into(),
        ),
    }
}

fn warn(gate: &Gate, listen: SocketAddr, is_open: bool) {
    match gate.count() {
        Some(0) => tracing::warn!(
            "No device has a token, so none is let in: make one by `weir hub token new DEVICE`."
        ),
        Some(tokens) => tracing::info!(tokens, "Devices are asked for their tokens."),
        None if is_open => tracing::warn!(
            %listen,
            "Nobody is asked for a token: whoever reaches this address can send in any device's name."
        ),
        None => {}
    }
    if is_open {
        tracing::warn!(%listen, "Nothing is encrypted: whoever is on the way can read it, tokens too.");
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
