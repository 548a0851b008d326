//! Recorded readings: CSV files with the columns `timestamp,sensor,celsius`. No clock, no chain.

use std::collections::HashMap;
use std::io;

use crate::file;
use crate::reading::{FaultReason, Measured, Measurement, Timestamp};

/// What a recording must begin with.
const HEADER: [&str; 3] = ["timestamp", "sensor", "celsius"];
/// What a DS18B20 can measure: other numbers stand for a failed measurement, such as -273.2 or -127.
const RANGE: std::ops::RangeInclusive<f64> = -55.0..=125.0;
/// Largest recording, in bytes: five years of one reading a minute of three sensors.
pub const LONGEST_FILE: u64 = 256 << 20;
/// Longer names are cut short in messages and refused as sensors.
const LONGEST_NAME: usize = 64;

/// A recording, in the order of time.
#[derive(Debug, Default, PartialEq)]
pub struct Recording {
    /// The sensors' names, in the order in which they first appear.
    pub names: Vec<String>,
    /// Sorted by time; rows of equal time are in the file's order.
    pub rows: Vec<Row>,
    /// How many rows there were, good or not.
    pub rows_read: u64,
    /// How many rows are not as they should be.
    pub problems: u64,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// When it was measured.
    pub time: Timestamp,
    /// The position of its sensor in [`Recording::names`].
    pub name: usize,
    /// What was measured.
    pub measurement: Measurement,
}

/// A row that was skipped or became a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowProblem {
    /// The line in the file, counted from 1.
    pub line: u64,
    /// What is wrong, and what was done about it.
    pub what: String,
}

/// A file that is no recording at all.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// Its first line names other columns.
    #[error("line 1: the columns are `{found}`: must be `timestamp,sensor,celsius`")]
    Header {
        /// What they are.
        found: String,
    },
}

/// Reads a recording. A row without a usable time or sensor, and one that goes back in the time of its sensor, is
/// skipped. A value that no DS18B20 can measure becomes the fault `out-of-range`, a missing one `no-answer`,
/// and a text that is no number `io-error`. `report` is told of each such row, in the file's order.
pub fn read(
    input: impl io::Read,
    mut report: impl FnMut(RowProblem),
) -> Result<Recording, RecordingError> {
    let bytes = file::bounded(input, LONGEST_FILE).map_err(RecordingError::Read)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = (1..).zip(text.lines());
    check_header(lines.next().map_or("", |(_, line)| line))?;

    let mut recording = Recording::default();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut last_of: Vec<Timestamp> = Vec::new();
    for (line, row) in lines {
        if row.trim().is_empty() {
            continue;
        }
        recording.rows_read += 1;
        let mut problem = |what: String| {
            recording.problems += 1;
            report(RowProblem { line, what });
        };
        let (time, name, value) = match split(row) {
            Ok(row) => row,
            Err(why) => {
                problem(format!("{why}: skipped"));
                continue;
            }
        };
        let number = *numbers.entry(name.to_owned()).or_insert_with(|| {
            recording.names.push(name.to_owned());
            last_of.push(Timestamp::default());
            recording.names.len() - 1
        });
        let Some(last) = last_of.get_mut(number) else { continue };
        if time < *last {
            problem(format!("`timestamp` is {time}, before the sensor's row at {last}: skipped"));
            continue;
        }
        *last = time;
        let measurement = match measure(value) {
            Ok(value) => Ok(Measured::good(value)),
            Err((reason, why)) => {
                problem(format!("`celsius` {why}: fault {reason}"));
                Err(reason)
            }
        };
        recording.rows.push(Row { time, name: number, measurement });
    }
    recording.rows.sort_by_key(|row| row.time);
    Ok(recording)
}

/// The columns of a line. Three columns of names and numbers need no more of CSV than this.
fn columns(line: &str) -> Vec<&str> {
    line.split(',').map(|field| field.trim().trim_matches('"')).collect()
}

fn check_header(line: &str) -> Result<(), RecordingError> {
    // A byte order mark is what spreadsheets put first.
    if columns(line.trim_start_matches('\u{feff}')) == HEADER {
        return Ok(());
    }
    let mut found: String = line.chars().take(2 * LONGEST_NAME).collect();
    if found.len() < line.len() {
        found.push('…');
    }
    Err(RecordingError::Header { found: found.escape_debug().to_string() })
}

fn split(row: &str) -> Result<(Timestamp, &str, &str), String> {
    let columns = columns(row);
    let [time, name, value] = columns[..] else {
        return Err(format!("{} columns instead of 3", columns.len()));
    };
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control)
    {
        return Err(format!("`sensor` must be 1 to {LONGEST_NAME} printable characters"));
    }
    let time =
        time.parse().map_err(|e| format!("`timestamp` is \"{}\": {e}", time.escape_debug()))?;
    Ok((time, name, value))
}

fn measure(text: &str) -> Result<f64, (FaultReason, String)> {
    if text.is_empty() {
        return Err((FaultReason::NoAnswer, "is empty".to_owned()));
    }
    let Ok(value) = text.parse::<f64>() else {
        let shown: String = text.chars().take(LONGEST_NAME).collect();
        return Err((
            FaultReason::IoError,
            format!("is \"{}\", not a number", shown.escape_debug()),
        ));
    };
    if !RANGE.contains(&value) {
        let (low, high) = (RANGE.start(), RANGE.end());
        return Err((FaultReason::OutOfRange, format!("is {text}, not from {low} to {high}")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recording, and `line: problem` of each bad row.
    fn read_text(text: &str) -> (Recording, Vec<String>) {
        let mut problems = Vec::new();
        let recording = read(text.as_bytes(), |p| problems.push(format!("{}: {}", p.line, p.what)));
        (recording.unwrap(), problems)
    }

    #[test]
    fn good_rows_are_merged_by_time() {
        let text = "timestamp,sensor,celsius\n\
                    2026-01-01T00:00:02Z,a,2\n\
                    2026-01-01T00:00:04Z,a,4\n\
                    2026-01-01T00:00:01,b,1.5\n\
                    2026-01-01 00:00:03,b,3\n";
        let (recording, problems) = read_text(text);
        assert_eq!(recording.names, ["a", "b"]);
        assert_eq!(problems, [""; 0]);
        let values: Vec<_> =
            recording.rows.iter().map(|row| row.measurement.unwrap().value).collect();
        assert_eq!(values, [1.5, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn each_bad_row_is_named_and_becomes_a_fault_or_is_skipped() {
        let text = "\u{feff}timestamp, sensor ,celsius\r\n\
                    2026-01-01T00:00:02Z,a,-273.2\r\n\
                    2026-01-01T00:00:01Z,a,4\r\n\
                    2026-01-01T00:00:03Z,a,\r\n\
                    2026-01-01T00:00:04Z,a,U\r\n\
                    \r\n\
                    2026-01-01T00:00:05Z,a,NaN\r\n\
                    yesterday,a,4\r\n\
                    2026-01-01T00:00:06Z,a\r\n\
                    2026-01-01T00:00:06Z,,4\r\n\
                    2026-01-01T00:00:06Z,a,125\r\n";
        let (recording, problems) = read_text(text);
        assert_eq!(
            problems,
            [
                "2: `celsius` is -273.2, not from -55 to 125: fault out-of-range",
                "3: `timestamp` is 2026-01-01T00:00:01.000Z, before the sensor's row at \
                 2026-01-01T00:00:02.000Z: skipped",
                "4: `celsius` is empty: fault no-answer",
                "5: `celsius` is \"U\", not a number: fault io-error",
                "7: `celsius` is NaN, not from -55 to 125: fault out-of-range",
                "8: `timestamp` is \"yesterday\": must be a time in UTC from 1970 on, such as \
                 2026-11-21T23:00:00Z: skipped",
                "9: 2 columns instead of 3: skipped",
                "10: `sensor` must be 1 to 64 printable characters: skipped",
            ]
        );
        assert_eq!(recording.rows.len(), 5);
    }

    #[test]
    fn a_file_with_other_columns_is_refused() {
        for text in ["", "time,value\n1,2\n", "\x00\x01\x02", "timestamp,sensor,fahrenheit\n"] {
            assert!(
                matches!(read(text.as_bytes(), drop), Err(RecordingError::Header { .. })),
                "{text:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(rows: Vec<u8>) {
            let mut text = b"timestamp,sensor,celsius\n".to_vec();
            text.extend(rows);
            let _any = read(text.as_slice(), drop);
        }
    }
}
