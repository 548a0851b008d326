//! Reads a recorded run line by line: nothing of it is believed, and no more than a line is in memory.

use std::io::{self, BufRead, Read as _};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::LONGEST_LINE;
use super::line::{FORMAT, Header, Line, Recorded};
use crate::file::excerpt;
use crate::pipeline::state::SavedStateError;

/// What a recording cannot be read for.
#[derive(Debug, thiserror::Error)]
pub enum BadRecording {
    /// The file cannot be read.
    #[error("line {line}: cannot read it")]
    Read {
        /// Counted from 1.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not as it should be.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong, and what is allowed.
        what: String,
    },
    /// What a stage went on from is not a state that Weir saved.
    #[error("the state of stage `{stage}`")]
    State {
        /// Which stage.
        stage: String,
        /// What is wrong.
        #[source]
        source: SavedStateError,
    },
}

/// Reads one recording.
pub(in crate::pipeline) struct Reader<R> {
    input: R,
    pub(in crate::pipeline) header: Header,
    /// The number of the line that was read last.
    pub(in crate::pipeline) line: u64,
    bytes: Vec<u8>,
    has_ended: bool,
}

/// What comes next in a recording.
pub(in crate::pipeline) enum Next {
    Line(Recorded),
    /// The last line is cut off, and nothing follows.
    Torn,
    End,
}

/// Which format the first line is of: asked before anything else of it is.
#[derive(Deserialize)]
struct Format {
    recording: u32,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub(in crate::pipeline) fn open(mut input: R) -> Result<Self, BadRecording> {
        let mut bytes = Vec::new();
        read_line(&mut input, &mut bytes, 1)?;
        let bad = |what| BadRecording::Line { line: 1, what };
        let Format { recording } = parse(&bytes)
            .map_err(|what| bad(format!("it does not begin as a recording does: {what}")))?;
        if recording != FORMAT {
            return Err(bad(format!(
                "the recording has format {recording}: this version reads {FORMAT}"
            )));
        }
        let header = parse(&bytes).map_err(bad)?;
        Ok(Reader { input, header, line: 1, bytes, has_ended: false })
    }

    /// The next line.
    pub(in crate::pipeline) fn next(&mut self) -> Result<Next, BadRecording> {
        self.bytes.clear();
        read_line(&mut self.input, &mut self.bytes, self.line + 1)?;
        if self.bytes.is_empty() {
            return Ok(Next::End);
        }
        self.line += 1;
        let what = match self.parsed() {
            Ok(recorded) => return Ok(Next::Line(recorded)),
            Err(_) if !self.bytes.ends_with(b"\n") => return Ok(Next::Torn),
            Err(what) => what,
        };
        Err(BadRecording::Line { line: self.line, what })
    }

    fn parsed(&mut self) -> Result<Recorded, String> {
        if self.has_ended {
            return Err("nothing may follow the line `end`".to_owned());
        }
        let recorded = self.header.meaning(parse::<Line>(&self.bytes)?)?;
        self.has_ended = matches!(recorded, Recorded::End { .. });
        Ok(recorded)
    }
}

fn read_line(input: &mut impl BufRead, bytes: &mut Vec<u8>, line: u64) -> Result<(), BadRecording> {
    let mut bounded = input.take(LONGEST_LINE as u64 + 1);
    bounded.read_until(b'\n', bytes).map_err(|source| BadRecording::Read { line, source })?;
    if bytes.len() > LONGEST_LINE && !bytes.ends_with(b"\n") {
        let what = format!("it has more than {LONGEST_LINE} bytes, which no line has");
        return Err(BadRecording::Line { line, what });
    }
    Ok(())
}

/// What JSON says, or where and how it is wrong.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        // A value that does not fit has no place of its own in an untagged part: column 0.
        format!("column {}: {}", error.column(), excerpt(what))
    })
}
