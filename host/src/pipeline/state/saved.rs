//! What is kept of a stage for the next start, as the bytes of a file.
//!
//! ```text
//! {"weir_state":1,"stage":"too-warm","plugin":"alert-limit","version":"0.1.0","settings":"9f86…","saved":"2026-11-21T23:00:00.000Z","saved_nanos":1795302000000000000,"alarms":[…],"bytes":57}
//! (the plugin's own bytes, as many as `bytes` says)
//! (64 hexadecimal digits: the SHA-256 of all before them but the line break that they begin with)
//! ```

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::file::hex;
use crate::reading::{Severity, Timestamp};

/// The format that is written. One that is not known is not read: the stage starts anew.
const FORMAT: u32 = 1;
/// A line break, 64 digits, a line break.
const SUM_BYTES: usize = 66;

/// The state of a stage as it was saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedState {
    /// The stage's name.
    pub stage: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// The SHA-256 of the plugin's settings, in hexadecimal digits.
    pub settings: String,
    /// When, by the steady clock.
    pub saved_at: Timestamp,
    /// How far the wall clock was ahead of that, in nanoseconds.
    pub ahead_nanos: i64,
    /// The alarms that the plugin had told active and not cleared.
    pub alarms: Vec<SavedAlarm>,
    /// What the plugin gave. Empty when there is nothing to load.
    pub state: Vec<u8>,
}

/// An alarm that is active. Its series is known by names: numbers change with the pipeline file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedAlarm {
    /// The sensor's name.
    pub sensor: String,
    /// What it measures, as on the wire.
    pub quantity: String,
    /// What is watched.
    pub condition: String,
    /// When it was told last, in nanoseconds of the steady clock.
    pub time: u64,
    /// How urgent it is.
    #[serde(with = "severity")]
    pub severity: Severity,
    /// The value that decided, where there is one.
    pub value: Option<f64>,
    /// The limit that it was compared with, where there is one.
    pub limit: Option<f64>,
}

/// Why bytes are not a saved state.
#[derive(Debug, thiserror::Error)]
pub enum SavedStateError {
    /// The sum does not fit the bytes.
    #[error("it is cut off or changed: its checksum is wrong")]
    Sum,
    /// Written by another version of Weir.
    #[error("it has the format {0}, and this version reads only {FORMAT}")]
    Format(u32),
    /// The first line is none of ours.
    #[error("its first line is not that of a saved state")]
    Head(#[source] serde_json::Error),
    /// The first line speaks of another length.
    #[error("it should hold {said} bytes of the plugin's, and holds {held}")]
    Length {
        /// As in the first line.
        said: u64,
        /// What is there.
        held: u64,
    },
}

#[derive(Deserialize)]
struct Format {
    weir_state: u32,
}

#[derive(Serialize, Deserialize)]
struct Head {
    weir_state: u32,
    stage: String,
    plugin: String,
    version: String,
    settings: String,
    /// For people.
    saved: String,
    saved_nanos: u64,
    ahead_nanos: i64,
    alarms: Vec<SavedAlarm>,
    bytes: u64,
}

impl SavedState {
    /// As a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head {
            weir_state: FORMAT,
            stage: self.stage.clone(),
            plugin: self.plugin.clone(),
            version: self.version.clone(),
            settings: self.settings.clone(),
            saved: self.saved_at.to_string(),
            saved_nanos: self.saved_at.nanos,
            ahead_nanos: self.ahead_nanos,
            alarms: self.alarms.clone(),
            bytes: self.state.len() as u64,
        };
        // A struct of texts and numbers is always JSON; were it not, reading would say so.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend(&self.state);
        let sum = sum_of(&bytes);
        bytes.extend(sum);
        bytes
    }

    /// From a file's bytes. No cut and no changed byte goes unseen.
    pub fn from_bytes(bytes: &[u8]) -> Result<SavedState, SavedStateError> {
        let end = bytes.len().checked_sub(SUM_BYTES).ok_or(SavedStateError::Sum)?;
        let (content, sum) = bytes.split_at_checked(end).ok_or(SavedStateError::Sum)?;
        if sum != sum_of(content) {
            return Err(SavedStateError::Sum);
        }
        let end = content.iter().position(|&byte| byte == b'\n').unwrap_or(content.len());
        let (head, state) = content.split_at_checked(end).ok_or(SavedStateError::Sum)?;
        let state = state.get(1..).unwrap_or_default();
        let format: Format = serde_json::from_slice(head).map_err(SavedStateError::Head)?;
        if format.weir_state != FORMAT {
            return Err(SavedStateError::Format(format.weir_state));
        }
        let head: Head = serde_json::from_slice(head).map_err(SavedStateError::Head)?;
        let held = state.len() as u64;
        if head.bytes != held {
            return Err(SavedStateError::Length { said: head.bytes, held });
        }
        Ok(SavedState {
            stage: head.stage,
            plugin: head.plugin,
            version: head.version,
            settings: head.settings,
            saved_at: Timestamp { nanos: head.saved_nanos },
            ahead_nanos: head.ahead_nanos,
            alarms: head.alarms,
            state: state.to_vec(),
        })
    }

    /// A sum of all but the time: what has the same need not be written again.
    pub(super) fn sum(&self) -> String {
        let timeless =
            SavedState { saved_at: Timestamp::default(), ahead_nanos: 0, ..self.clone() };
        sha256(&timeless.to_bytes())
    }
}

/// The SHA-256 in hexadecimal digits.
pub(in crate::pipeline) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn sum_of(content: &[u8]) -> Vec<u8> {
    format!("\n{}\n", sha256(content)).into_bytes()
}

mod severity {
    //! As on the wire.

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::reading::Severity;

    pub(super) fn serialize<S: Serializer>(severity: &Severity, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(severity.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Severity, D::Error> {
        let given = String::deserialize(from)?;
        let found = Severity::ALL.iter().copied().find(|severity| severity.as_str() == given);
        found.ok_or_else(|| D::Error::custom("must be info, warning or critical"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pipeline) fn example() -> SavedState {
        SavedState {
            stage: "too-warm".to_owned(),
            plugin: "alert-limit".to_owned(),
            version: "0.1.0".to_owned(),
            settings: sha256(b"{}"),
            saved_at: Timestamp { nanos: 1_795_302_000_123_456_789 },
            ahead_nanos: -7,
            alarms: vec![SavedAlarm {
                sensor: "größe".to_owned(),
                quantity: "temperature".to_owned(),
                condition: "above".to_owned(),
                time: 1_795_301_999_000_000_001,
                severity: Severity::Critical,
                value: Some(0.1 + 0.2),
                limit: None,
            }],
            state: b"\n{\"line\nbreaks\":\0}\n".to_vec(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let saved = example();
        assert_eq!(SavedState::from_bytes(&saved.to_bytes()).unwrap(), saved);
        let empty = SavedState::default();
        assert_eq!(SavedState::from_bytes(&empty.to_bytes()).unwrap(), empty);
    }

    #[test]
    fn the_first_line_and_the_last_are_for_people_too() {
        let bytes = example().to_bytes();
        let text = String::from_utf8(bytes).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with(r#"{"weir_state":1,"stage":"too-warm","plugin":"alert-limit","#));
        assert!(first.contains(r#""saved":"2026-11-21T23:00:00.123Z""#), "{first}");
        let (content, sum) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(sum, sha256(content.as_bytes()));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_seen() {
        let good = example().to_bytes();
        for length in 0..good.len() {
            SavedState::from_bytes(&good[..length]).unwrap_err();
        }
        let mut bad = good.clone();
        for place in 0..good.len() {
            // Each bit, and the change that keeps a digit a digit.
            for change in [1, 2, 4, 8, 16, 32, 64, 128, 0xff] {
                bad[place] = good[place] ^ change;
                let error = SavedState::from_bytes(&bad).unwrap_err();
                assert!(matches!(error, SavedStateError::Sum), "byte {place}: {error}");
            }
            bad[place] = good[place];
        }
        let mut longer = good.clone();
        longer.push(b'\n');
        SavedState::from_bytes(&longer).unwrap_err();
    }

    #[track_caller]
    fn check(head: &str, state: &str, expected: &str) {
        let mut bytes = format!("{head}\n{state}").into_bytes();
        let sum = sum_of(&bytes);
        bytes.extend(sum);
        assert_eq!(SavedState::from_bytes(&bytes).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_file_with_a_right_sum_that_says_something_else_is_refused() {
        check(r#"{"weir_state":2}"#, "", "it has the format 2, and this version reads only 1");
        check("", "", "its first line is not that of a saved state");
        check(r#"{"weir_state":1}"#, "", "its first line is not that of a saved state");
        let good = String::from_utf8(example().to_bytes()).unwrap();
        let head = good.lines().next().unwrap();
        check(head, "x", "it should hold 19 bytes of the plugin's, and holds 1");
        check(
            &head.replace("critical", "grave"),
            "x",
            "its first line is not that of a saved state",
        );
    }

    #[test]
    fn the_time_alone_is_no_change() {
        let saved = example();
        let later = SavedState { saved_at: Timestamp { nanos: 1 }, ..saved.clone() };
        assert_eq!(saved.sum(), later.sum());
        let other = SavedState { state: Vec::new(), ..saved.clone() };
        assert_ne!(saved.sum(), other.sum());
    }
}
