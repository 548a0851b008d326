//! The misbehaving plugins: those of `tests/guests` in Rust, and small modules in text for what Rust cannot do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use weir::plugin::{PluginKind, standard};

use crate::support::repository;

/// The plugin of `tests/guests/hostile`, built once, the others beside it.
pub fn hostile() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // …/target/debug/weir: the standard plugins' folder has what this one depends on already.
        let target =
            Path::new(env!("CARGO_BIN_EXE_weir")).ancestors().nth(2).unwrap().join("plugins");
        let status = Command::new(env!("CARGO"))
            .current_dir(repository("tests/guests"))
            .args([
                "build",
                "--locked",
                "--profile",
                "plugin",
                "--target",
                "wasm32-unknown-unknown",
                "--target-dir",
            ])
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status();
        assert!(status.unwrap().success());
        target.join("wasm32-unknown-unknown/plugin/hostile.wasm")
    })
}

/// Another plugin of `tests/guests`, by its name.
pub fn guest(name: &str) -> PathBuf {
    hostile().with_file_name(format!("{name}.wasm"))
}

/// What the parts of a module are when nobody replaces them: a plugin that passes everything on untouched.
///
/// The canonical ABI in a few words: arguments that are lists arrive as address and length in memory that
/// `cabi_realloc` gave; a result is an address of a record, `cabi_post_…` is called when the host has read it.
const HONEST: [(&str, &str); 7] = [
    ("start", ""),
    ("configure", "(i32.store8 (i32.const 16) (i32.const 0)) (i32.const 16)"),
    (
        "save",
        "(i32.store (i32.const 32) (i32.const 8)) (i32.store (i32.const 36) (i32.const 5)) (i32.const 32)",
    ),
    ("load", "(i32.store8 (i32.const 16) (i32.const 0)) (i32.const 16)"),
    ("fault", ""),
    (
        "realloc",
        // Upwards only; `cabi_post_…` begins anew. What is asked for is rounded up to 8 bytes.
        "(local $at i32) (local.set $at (global.get $free))
         (global.set $free (i32.add (global.get $free)
             (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
         (block $room (loop $more
             (br_if $room (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
             (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
             (unreachable)))
         (local.get $at)",
    ),
    ("post", "(global.set $free (i32.const 4096))"),
];
/// The four columns of the answer are those of the batch.
const HONEST_FILTER: (&str, &str) = (
    "(i32.store (i32.const 48) (local.get 0)) (i32.store (i32.const 52) (local.get 1))
     (i32.store (i32.const 56) (local.get 2)) (i32.store (i32.const 60) (local.get 3))
     (i32.store (i32.const 64) (local.get 4)) (i32.store (i32.const 68) (local.get 5))
     (i32.store (i32.const 72) (local.get 6)) (i32.store (i32.const 76) (local.get 7))
     (i32.const 48)",
    "(i32.const 80)",
);
/// The values of the batch.
const HONEST_CALIBRATION: (&str, &str) = (
    "(i32.store (i32.const 48) (local.get 4)) (i32.store (i32.const 52) (local.get 5)) (i32.const 48)",
    "",
);
/// No alarm.
const HONEST_ALERT: (&str, &str) = ("(i32.const 80)", "(i32.const 80)");

/// For a body: never returns.
pub const LOOP: &str = "(loop (br 0)) (unreachable)";

/// A plugin in the text format, honest but for what is replaced.
pub struct Guest {
    kind: PluginKind,
    parts: Vec<(&'static str, String)>,
    memory: String,
    fields: String,
}

impl Guest {
    pub fn new(kind: PluginKind) -> Guest {
        let (apply, tick) = match kind {
            PluginKind::Filter => HONEST_FILTER,
            PluginKind::Calibration => HONEST_CALIBRATION,
            PluginKind::Alert => HONEST_ALERT,
        };
        let own = [("apply", apply), ("tick", tick)];
        let parts = HONEST.iter().chain(&own).map(|&(name, body)| (name, body.to_owned()));
        Guest { kind, parts: parts.collect(), memory: "1".to_owned(), fields: String::new() }
    }

    /// Replaces the body of an export, or of `start`, `realloc`, `post`.
    pub fn part(mut self, name: &str, body: impl Into<String>) -> Guest {
        let part = self.parts.iter_mut().find(|(part, _)| *part == name);
        part.unwrap_or_else(|| panic!("no part {name}")).1 = body.into();
        self
    }

    /// Does this in `apply` when the first value is 50 or more, and is honest else.
    pub fn when_hot(self, body: &str) -> Guest {
        let honest = self.body("apply").to_owned();
        self.part(
            "apply",
            format!(
                "(if (f64.ge (f64.load (local.get 4)) (f64.const 50)) (then {body}))\n{honest}"
            ),
        )
    }

    /// Pages of memory: `initial` or `initial most`.
    pub fn memory(mut self, pages: &str) -> Guest {
        pages.clone_into(&mut self.memory);
        self
    }

    /// Further fields of the module.
    pub fn fields(mut self, fields: &str) -> Guest {
        self.fields += fields;
        self
    }

    fn body(&self, name: &str) -> &str {
        &self.parts.iter().find(|(part, _)| *part == name).unwrap().1
    }

    fn text(&self) -> String {
        let (applied, ticked) = match self.kind {
            PluginKind::Filter | PluginKind::Alert => ("(result i32)", "(result i32)"),
            PluginKind::Calibration => ("(result i32)", ""),
        };
        let signatures = [
            ("configure", "(param i32 i32 i32 i32) (result i32)"),
            ("save", "(result i32)"),
            ("load", "(param i32 i32) (result i32)"),
            ("fault", "(param i32 i64 i32)"),
            ("apply", &format!("(param i32 i32 i32 i32 i32 i32 i32 i32) {applied}")),
            ("tick", &format!("(param i64) {ticked}")),
        ];
        let mut text = format!(
            r#"(module
            (import "weir:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
            (import "weir:plugin/host@0.1.0" "count" (func $count (param i32 i32 i64)))
            (memory (export "memory") {})
            (global $free (mut i32) (i32.const 4096))
            (data (i32.const 8) "state")
            (func (export "cabi_realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32)
                (result i32) {})
            {}"#,
            self.memory,
            self.body("realloc"),
            self.fields
        );
        for (name, signature) in signatures {
            let body = self.body(name);
            writeln!(text, "(func (export \"{name}\") {signature} {body})").unwrap();
            if signature.contains("result") {
                let post = self.body("post");
                writeln!(text, "(func (export \"cabi_post_{name}\") (param i32) {post})").unwrap();
            }
        }
        if !self.body("start").is_empty() {
            writeln!(text, "(func $start {}) (start $start)", self.body("start")).unwrap();
        }
        text + ")"
    }

    /// The core module, with what the standard plugin of its kind says of its world and its settings.
    pub fn module(&self) -> Vec<u8> {
        let text = self.text();
        let mut bytes = wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        bytes.extend(sections(self.kind));
        bytes
    }

    /// The component, as another toolchain would deliver it.
    pub fn component(&self) -> Vec<u8> {
        let mut encoder =
            wit_component::ComponentEncoder::default().module(&self.module()).unwrap();
        encoder.encode().unwrap()
    }
}

/// The custom sections of a standard plugin that say of which world it is, and a manifest without parameters.
fn sections(kind: PluginKind) -> Vec<u8> {
    let (name, word) = match kind {
        PluginKind::Filter => ("filter-median", "filter"),
        PluginKind::Calibration => ("calibrate-linear", "calibration"),
        PluginKind::Alert => ("alert-limit", "alert"),
    };
    let mut sections = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(standard(name).unwrap()) {
        if let wasmparser::Payload::CustomSection(section) = payload.unwrap()
            && section.name().starts_with("component-type")
        {
            custom_section(&mut sections, section.name(), section.data());
        }
    }
    let manifest = format!(
        r#"{{"api":"0.1.0","kind":"{word}","name":"guest","version":"0.1.0","description":"A guest","parameters":[]}}"#
    );
    custom_section(&mut sections, "weir-manifest", manifest.as_bytes());
    sections
}

fn custom_section(to: &mut Vec<u8>, name: &str, data: &[u8]) {
    let section = wasm_encoder::CustomSection { name: name.into(), data: data.into() };
    wasm_encoder::Section::append_to(&section, to);
}
