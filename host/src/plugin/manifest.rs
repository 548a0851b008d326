//! What a plugin file says of itself, read from its custom section without running it.

mod check;

use serde::Deserialize;

use super::file::FileError;

/// The contract that this host speaks.
pub(super) const API: &str = "0.1.0";

/// The three kinds of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// 0 to n readings for n readings.
    Filter,
    /// One value for each reading.
    Calibration,
    /// Readings in, alarms out.
    Alert,
}

/// A plugin's manifest.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Manifest {
    /// The version of the contract `weir:plugin`.
    pub api: String,
    /// Which world it exports.
    pub kind: PluginKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in one sentence.
    pub description: String,
    /// What `[stage.config]` accepts.
    pub parameters: Vec<Parameter>,
}

impl Manifest {
    /// Reads the JSON text and checks all of it.
    pub fn read(text: &[u8]) -> Result<Manifest, FileError> {
        let manifest: Manifest =
            serde_json::from_slice(text).map_err(|e| FileError::BadManifest(e.to_string()))?;
        if manifest.api != API {
            return Err(FileError::OtherApi { found: manifest.api });
        }
        let problems = check::problems(&manifest);
        if problems.is_empty() {
            Ok(manifest)
        } else {
            Err(FileError::BadManifest(problems.join("; ")))
        }
    }
}

/// One parameter of a plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Parameter {
    /// The key in `[stage.config]`.
    pub name: String,
    /// What it is for, in one sentence.
    pub description: String,
    /// What it accepts.
    #[serde(flatten)]
    pub kind: ParameterKind,
    /// Whether the file must give it.
    #[serde(default)]
    pub required: bool,
    /// What holds when the file does not give it.
    #[serde(default)]
    pub default: Option<serde_json::Value>,
    /// The smallest number allowed.
    #[serde(default)]
    pub min: Option<f64>,
    /// The largest number allowed.
    #[serde(default)]
    pub max: Option<f64>,
    /// Numbers allowed are `min`, `min` + `step`, and so on.
    #[serde(default)]
    pub step: Option<f64>,
    /// The unit of the number.
    #[serde(default)]
    pub unit: Option<String>,
}

/// What a parameter accepts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ParameterKind {
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
    /// A length of time.
    Duration,
    /// One of a few words.
    Choice {
        /// The words.
        choices: Vec<String>,
    },
    /// A table of parameters.
    Table {
        /// Its keys.
        parameters: Vec<Parameter>,
    },
    /// A table by sensor name, of tables of parameters.
    PerSensor {
        /// The keys of each.
        parameters: Vec<Parameter>,
    },
}
