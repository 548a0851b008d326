//! The command line: one file a subcommand.

mod check;
#[cfg(feature = "compiler")]
mod compile_plugin;
mod demo;
mod engine;
mod hub;
mod plugin;
mod replay;
mod run;
mod sensors;
mod system;

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::causes::with_causes;
use crate::file::printable;
use crate::pipeline::{Pipeline, load};

/// A gateway for DS18B20 thermometers: readings through sandboxed WebAssembly plugins to a WebSocket and a live page.
#[derive(Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is logged to standard error: off, error, warn, info, debug or trace.
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    log: LevelFilter,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Check(check::Check),
    Replay(replay::Replay),
    Sensors(sensors::Sensors),
    Hub(hub::Hub),
    Plugin(plugin::Plugin),
    #[cfg(feature = "compiler")]
    #[command(hide = true)]
    CompilePlugin(compile_plugin::CompilePlugin),
}

/// Why a command failed: a text that is complete, or an error whose causes are printed behind it.
type Failure = Box<dyn Error>;

/// Parses the arguments and carries out what they ask for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(arguments.log)
        .with_target(false)
        // Whoever read the log may be gone: nothing can be said about that, and it must not end a gateway.
        .log_internal_errors(false)
        .init();
    let done = match arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Replay(replay) => replay.run(),
        Command::Sensors(sensors) => sensors.run(),
        Command::Hub(hub) => hub.run(),
        Command::Plugin(plugin) => plugin.run(),
        #[cfg(feature = "compiler")]
        Command::CompilePlugin(compile) => compile.run(),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    let output = failure.downcast_ref::<io::Error>();
    if output.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Whoever read the lines, `head` for instance, has enough.
        return ExitCode::SUCCESS;
    }
    // Nobody is left to be told when standard error is gone too.
    let _told = writeln!(io::stderr(), "{}", lines(&with_causes(&*failure)));
    ExitCode::FAILURE
}

/// Prints a line to standard output.
fn say(line: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Each line of a text that may hold names from elsewhere, printable.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Reads and checks a pipeline file; the failure is all that is wrong with it, a line each.
fn load_pipeline(file: &Path) -> Result<Pipeline, Failure> {
    load(file).map_err(|problems| problems.into())
}

/// The runtime of commands that run on.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // Two workers: one may be held up by a slow peer's TLS while the other samples.
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Runs to the end. Reads that the kernel still holds are not waited for.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(done)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "must be a duration such as 500ms, 10s or 5m".to_owned())
}
