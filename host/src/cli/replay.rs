//! `weir replay`: a recording through a pipeline's stages, offline.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::engine::EngineArguments;
use super::{Failure, load_pipeline};
use crate::file::printable;
use crate::pipeline::{Naming, ReplayError, replay};
use crate::sensor::recording::{self, RowProblem};

/// Pass recorded readings through a pipeline's stages, offline, as fast as it goes: JSON lines as on the wire, the
/// same every time.
#[derive(Args)]
pub(super) struct Replay {
    /// The pipeline file.
    file: PathBuf,
    /// The recording: CSV with the columns timestamp,sensor,celsius.
    #[arg(long, value_name = "READINGS.csv")]
    input: PathBuf,
    /// Take a name of the recording as this sensor of the pipeline. Can be given more than once.
    #[arg(long, value_name = "NAME=SENSOR", value_parser = parse_map)]
    map: Vec<(String, String)>,
    /// Take every name that the pipeline does not know as one more sensor.
    #[arg(long)]
    adopt: bool,
    /// Where the lines go; standard output when not given.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
}

impl Replay {
    pub(super) fn run(self) -> Result<(), Failure> {
        let pipeline = load_pipeline(&self.file)?;
        let shown = printable(&self.input.display().to_string());
        let input = File::open(&self.input).map_err(|e| format!("cannot open {shown}: {e}"))?;
        let recording = recording::read(input, |problem| report(&shown, &problem))
            .map_err(|e| format!("{shown}: {}", super::with_causes(&e)))?;
        let naming = Naming { map: self.map, adopt: self.adopt };
        let engine = self.engine.settings();
        let lines = match &self.output {
            Some(file) => {
                if file.canonicalize().ok() == self.input.canonicalize().ok() && file.exists() {
                    return Err(
                        format!("--output {} is the recording itself", file.display()).into()
                    );
                }
                let out = File::create(file)
                    .map_err(|e| format!("cannot write {}: {e}", file.display()))?;
                replay(&pipeline, &recording, &naming, engine, &mut BufWriter::new(out))
            }
            None => replay(
                &pipeline,
                &recording,
                &naming,
                engine,
                &mut BufWriter::new(io::stdout().lock()),
            ),
        };
        let lines = match lines {
            // Whoever read the lines, `head` for instance, has enough.
            Err(ReplayError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(());
            }
            lines => lines?,
        };
        writeln!(
            io::stderr(),
            "{shown}: {} rows read, {} of them with a problem, {lines} lines written",
            recording.rows_read,
            recording.problems,
        )?;
        Ok(())
    }
}

/// Names a bad row on standard error. When nobody reads that any more, the replay goes on.
fn report(file: &impl Display, problem: &RowProblem) {
    let _told = writeln!(io::stderr(), "{file}:{}: {}", problem.line, printable(&problem.what));
}

fn parse_map(text: &str) -> Result<(String, String), String> {
    // Names of recordings may hold anything, names of sensors no equals sign: so the last one divides.
    match text.rsplit_once('=') {
        Some((name, sensor)) if !name.is_empty() && !sensor.is_empty() => {
            Ok((name.to_owned(), sensor.to_owned()))
        }
        _ => {
            Err("must be NAME=SENSOR: a name of the recording and a sensor of the pipeline"
                .to_owned())
        }
    }
}
