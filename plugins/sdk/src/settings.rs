//! A plugin's parameters, described so that the host can check a pipeline file without running the plugin.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What one parameter accepts.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
    /// A length of time: `"500ms"` in the pipeline file, whole nanoseconds for the plugin.
    Duration,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A table of parameters.
    Table(&'static [Parameter]),
    /// A table of parameters for each sensor named in it.
    PerSensor(&'static [Parameter]),
}

/// One parameter, as the manifest lists it. Numbers are JSON text, so that they stay as the author wrote them.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The key in `[stage.config]`.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub description: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Whether the file must give it.
    pub required: bool,
    /// What holds when the file does not give it, as JSON.
    pub default: Option<&'static str>,
    /// The smallest number allowed; for a duration, in seconds.
    pub min: Option<&'static str>,
    /// The largest number allowed; for a duration, in seconds.
    pub max: Option<&'static str>,
    /// Numbers allowed are `min`, `min` + `step`, and so on.
    pub step: Option<&'static str>,
    /// The unit of the number, for instance `celsius`.
    pub unit: Option<&'static str>,
}

/// A struct whose fields are parameters. Derived.
pub trait Settings {
    /// The fields, in order.
    const PARAMETERS: &'static [Parameter];
}

/// An enum of unit variants whose names are the words that a parameter accepts. Derived.
pub trait Choice {
    /// The words, in order.
    const CHOICES: &'static [&'static str];
}

/// A type that a field of a settings struct can have.
pub trait Setting {
    /// What the parameter accepts.
    const KIND: Kind;
    /// Whether the file must give it when there is no default.
    const REQUIRED: bool = true;
}

/// A length of time in a settings struct: a string such as `"5m"` in the pipeline file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Duration {
    /// Nanoseconds.
    pub nanos: u64,
}

macro_rules! setting {
    ($kind:ident: $($type:ty),+) => {
        $(impl Setting for $type {
            const KIND: Kind = Kind::$kind;
        })+
    };
}
setting!(Number: f64);
setting!(Integer: u8, u16, u32, u64, i32, i64, usize);
setting!(Boolean: bool);
setting!(Text: String);
setting!(Duration: Duration);

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
    const REQUIRED: bool = false;
}

/// A table by sensor name.
impl<T: Settings> Setting for BTreeMap<String, T> {
    const KIND: Kind = Kind::PerSensor(T::PARAMETERS);
    const REQUIRED: bool = false;
}
