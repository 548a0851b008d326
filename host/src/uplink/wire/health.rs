//! What a device says of its ways out and of its spool.

use serde::{Deserialize, Serialize};

/// How one way out of a device is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UplinkHealth {
    /// Its name.
    pub uplink: Box<str>,
    /// `up` or `down`.
    pub state: Box<str>,
    /// Messages that wait for it.
    #[serde(default)]
    pub queued: u64,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Box<str>>,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

/// Where a device's messages wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpoolHealth {
    /// Whether they outlive the process.
    pub on_disk: bool,
    /// Bytes that it takes.
    #[serde(default)]
    pub bytes: u64,
    /// Why it is in memory though it should be on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// How many damaged files were set aside since the process began.
    #[serde(default, skip_serializing_if = "is_none")]
    pub set_aside: u64,
    /// How often its stream went on after a power cut or a crash.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unclean_starts: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}
