//! `weir replay`: a recording through a pipeline's stages, offline.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::engine::EngineArguments;
use super::{Failure, load_pipeline};
use crate::causes::with_causes;
use crate::data_dir::DataDir;
use crate::file::printable;
use crate::pipeline::{Naming, Pipeline, ReplayError, ReplayedRun, replay, replay_run};
use crate::plugin::{CodeCache, EngineSettings};
use crate::sensor::recording::{self, RowProblem};

/// Pass recorded readings through a pipeline's stages, offline, as fast as it goes: JSON lines as on the wire, the
/// same every time.
#[derive(Args)]
pub(super) struct Replay {
    /// The pipeline file.
    file: PathBuf,
    /// The recording: what `weir run --record` wrote, or CSV with the columns timestamp,sensor,celsius.
    #[arg(long, value_name = "RECORDING")]
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
    /// The folder that compiled plugins are taken from and kept in; else they are compiled each time.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(self) -> Result<(), Failure> {
        let pipeline = load_pipeline(&self.file)?;
        let data_dir = self.data_dir.as_deref().map(DataDir::open).transpose()?;
        let shown = printable(&self.input.display().to_string());
        let input = File::open(&self.input).map_err(|e| format!("cannot open {shown}: {e}"))?;
        let mut input = BufReader::new(input);
        // A recorded run begins with JSON, a CSV file with its columns.
        let begins = input.fill_buf().map_err(|e| format!("cannot read {shown}: {e}"))?;
        let is_run = begins.first() == Some(&b'{');
        let naming = Naming { map: self.map.clone(), adopt: self.adopt };
        let cache = data_dir.as_ref().map(CodeCache::of).transpose();
        let cache = cache.map_err(|e| format!("cannot keep compiled plugins: {e}"))?;
        let engine = EngineSettings { cache: cache.map(Arc::new), ..self.engine.settings() };
        let done = if is_run {
            let mut out = self.output()?;
            of_run(&pipeline, input, &naming, engine, &mut out, &shown)
        } else {
            let recording = recording::read(input, |problem| report(&shown, &problem))
                .map_err(|e| format!("{shown}: {}", with_causes(&e)))?;
            let mut out = self.output()?;
            replay(&pipeline, &recording, &naming, engine, &mut out).map(|lines| {
                let (rows, problems) = (recording.rows_read, recording.problems);
                format!(
                    "{rows} rows read, {problems} of them with a problem, {lines} lines written"
                )
            })
        };
        match done {
            Ok(done) => writeln!(io::stderr(), "{shown}: {done}")?,
            // Whoever read the lines, `head` for instance, has enough.
            Err(ReplayError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(ReplayError::Recording(error)) => {
                return Err(format!("{shown}: {}", with_causes(&error)).into());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn output(&self) -> Result<Box<dyn Write>, Failure> {
        let Some(file) = &self.output else {
            return Ok(Box::new(BufWriter::new(io::stdout().lock())));
        };
        if file.canonicalize().ok() == self.input.canonicalize().ok() && file.exists() {
            return Err(format!("--output {} is the recording itself", file.display()).into());
        }
        let out =
            File::create(file).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        Ok(Box::new(BufWriter::new(out)))
    }
}

/// Replays what `weir run --record` wrote.
fn of_run(
    pipeline: &Pipeline,
    input: impl BufRead,
    naming: &Naming,
    engine: EngineSettings,
    out: &mut impl Write,
    shown: &str,
) -> Result<String, ReplayError> {
    let ReplayedRun { inputs, lines, sent } =
        replay_run(pipeline, input, naming, engine, out, |warning| {
            // When nobody reads that any more, the replay goes on.
            let _told = writeln!(io::stderr(), "{shown}: {}", printable(&warning));
        })?;
    let sent = match sent {
        Some(sent) => format!("the run itself gave {sent}"),
        None => "the recording has no end, so the run was killed, or its disk was full".to_owned(),
    };
    Ok(format!("{inputs} inputs read, {lines} lines written; {sent}"))
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
