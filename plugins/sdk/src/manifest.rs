//! The manifest: JSON text, made while the plugin is compiled, in a custom section that can be read
//! without running it.

use crate::{Kind, Parameter};

/// The three kinds of plugin.
#[derive(Clone, Copy, Debug)]
pub enum PluginKind {
    /// See [`crate::Filter`].
    Filter,
    /// See [`crate::Calibration`].
    Calibration,
    /// See [`crate::Alert`].
    Alert,
}

/// What a plugin file says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Manifest {
    /// The crate's name.
    pub name: &'static str,
    /// The crate's version.
    pub version: &'static str,
    /// The crate's description.
    pub description: &'static str,
    /// Which world it exports.
    pub kind: PluginKind,
    /// The fields of its settings.
    pub parameters: &'static [Parameter],
}

/// The version of the contract, `weir:plugin`, that this SDK speaks.
const API: &str = "0.1.0";

impl Manifest {
    /// How long the JSON text is, in bytes.
    pub const fn json_len(&self) -> usize {
        self.write(Text::<0>::new()).len
    }

    /// The JSON text. `N` is what [`Manifest::json_len`] says.
    pub const fn json<const N: usize>(&self) -> [u8; N] {
        self.write(Text::<N>::new()).bytes
    }

    const fn write<const N: usize>(&self, text: Text<N>) -> Text<N> {
        let kind = match self.kind {
            PluginKind::Filter => "filter",
            PluginKind::Calibration => "calibration",
            PluginKind::Alert => "alert",
        };
        text.raw("{\"api\":")
            .string(API)
            .raw(",\"kind\":")
            .string(kind)
            .raw(",\"name\":")
            .string(self.name)
            .raw(",\"version\":")
            .string(self.version)
            .raw(",\"description\":")
            .string(self.description)
            .raw(",\"parameters\":")
            .parameters(self.parameters)
            .raw("}")
    }
}

/// JSON text in the making. With room for nothing it only counts.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Text { bytes: [0; N], len: 0 }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "runs while the plugin is compiled, and is bounded by N"
    )]
    const fn byte(mut self, byte: u8) -> Self {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
        self
    }

    #[expect(clippy::indexing_slicing, reason = "const code has no iterators")]
    const fn raw(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self = self.byte(bytes[i]);
            i += 1;
        }
        self
    }

    #[expect(clippy::indexing_slicing, reason = "const code has no iterators")]
    const fn string(mut self, text: &str) -> Self {
        self = self.byte(b'"');
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self = match bytes[i] {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                0..0x20 => self.byte(b' '),
                byte => self.byte(byte),
            };
            i += 1;
        }
        self.byte(b'"')
    }

    const fn number(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.raw(",\"").raw(key).raw("\":").raw(value),
            None => self,
        }
    }

    #[expect(clippy::indexing_slicing, reason = "const code has no iterators")]
    const fn parameters(mut self, parameters: &[Parameter]) -> Self {
        self = self.byte(b'[');
        let mut i = 0;
        while i < parameters.len() {
            if i > 0 {
                self = self.byte(b',');
            }
            self = self.parameter(&parameters[i]);
            i += 1;
        }
        self.byte(b']')
    }

    const fn parameter(mut self, parameter: &Parameter) -> Self {
        self = self.raw("{\"name\":").string(parameter.name).raw(",\"type\":");
        self = match parameter.kind {
            Kind::Number => self.string("number"),
            Kind::Integer => self.string("integer"),
            Kind::Boolean => self.string("boolean"),
            Kind::Text => self.string("text"),
            Kind::Duration => self.string("duration"),
            Kind::Choice(words) => self.string("choice").choices(words),
            Kind::Table(inner) => self.string("table").raw(",\"parameters\":").parameters(inner),
            Kind::PerSensor(inner) => {
                self.string("per-sensor").raw(",\"parameters\":").parameters(inner)
            }
        };
        if parameter.required {
            self = self.raw(",\"required\":true");
        }
        self = self
            .number("default", parameter.default)
            .number("min", parameter.min)
            .number("max", parameter.max)
            .number("step", parameter.step);
        if let Some(unit) = parameter.unit {
            self = self.raw(",\"unit\":").string(unit);
        }
        self.raw(",\"description\":").string(parameter.description).byte(b'}')
    }

    #[expect(clippy::indexing_slicing, reason = "const code has no iterators")]
    const fn choices(mut self, words: &[&str]) -> Self {
        self = self.raw(",\"choices\":[");
        let mut i = 0;
        while i < words.len() {
            if i > 0 {
                self = self.byte(b',');
            }
            self = self.string(words[i]);
            i += 1;
        }
        self.byte(b']')
    }
}
