//! A plugin's file: what it is, what it imports, what it says of itself. Nothing of it is run or compiled.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use super::limits;
use super::manifest::{API, Manifest};
use crate::file;

/// What a module may be made of: WebAssembly 2.0 and three small things more that toolchains use. The engine is built
/// without the rest, so a file that needs it is refused here and not when it is compiled.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL);
/// The custom section that holds the manifest.
const MANIFEST_SECTION: &str = "weir-manifest";
/// What a plugin may import: the host's interface, and the types that it is written with.
const ALLOWED_IMPORTS: [&str; 2] = ["weir:plugin/host@0.1.0", "weir:plugin/types@0.1.0"];
/// Most imports that a message names.
const MOST_IMPORTS: usize = 20;
/// What a plugin must export.
const EXPORTS: [&str; 6] = ["configure", "apply", "tick", "fault", "save", "load"];

/// A plugin's file that can be compiled.
#[derive(Debug)]
pub struct PluginFile {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The component: the file itself, or what its core module was encoded to.
    pub(super) component: Vec<u8>,
}

/// Why a file cannot be a plugin.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error(
        "it is not a WebAssembly file: it must begin with the bytes 00 61 73 6d, but begins with {begins}"
    )]
    NotWasm {
        /// Its first bytes.
        begins: String,
    },
    /// It is cut off or damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It wants more than a plugin may have.
    #[error("it imports what no plugin may have: {}{}", first(imports), hint(imports))]
    ForeignImports {
        /// What it imports, by name.
        imports: Vec<String>,
    },
    /// It has no manifest.
    #[error(
        "it has no manifest (custom section `weir-manifest`): a plugin ends with the line weir_plugin::export!(…)"
    )]
    NoManifest,
    /// Its manifest cannot be read.
    #[error("its manifest is wrong: {0}")]
    BadManifest(String),
    /// It was made for another contract.
    #[error("it was made for weir:plugin@{found}: this host speaks weir:plugin@{API}")]
    OtherApi {
        /// Which.
        found: String,
    },
    /// It lacks a function of the contract.
    #[error("it does not export `{0}` of the contract weir:plugin@{API}")]
    NoExport(&'static str),
    /// Its core module does not follow the contract.
    #[error("its module does not follow the contract weir:plugin@{API}: {0}")]
    NotEncodable(String),
}

/// The first few names: a hostile file may have thousands.
fn first(imports: &[String]) -> String {
    let shown: Vec<&str> = imports.iter().take(MOST_IMPORTS).map(String::as_str).collect();
    let more = match imports.len().saturating_sub(MOST_IMPORTS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

/// What to do about imports that toolchains add by themselves.
fn hint(imports: &[String]) -> &'static str {
    if imports.iter().any(|import| import.starts_with("wasi")) {
        "; in Rust, build for wasm32-unknown-unknown instead of a wasi target"
    } else {
        ""
    }
}

impl PluginFile {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<PluginFile, FileError> {
        let bytes = file::read(path, limits::FILE_BYTES)
            .map_err(|source| FileError::Read { file: path.to_path_buf(), source })?;
        PluginFile::check(bytes.into())
    }

    /// Checks the bytes of a core module or a component.
    pub fn check(bytes: Cow<'_, [u8]>) -> Result<PluginFile, FileError> {
        if !bytes.starts_with(b"\0asm") {
            let begins: Vec<String> =
                bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            let begins = if begins.is_empty() { "nothing".to_owned() } else { begins.join(" ") };
            return Err(FileError::NotWasm { begins });
        }
        let damaged = |e: wasmparser::BinaryReaderError| FileError::Damaged(e.to_string());
        Validator::new_with_features(FEATURES).validate_all(&bytes).map_err(damaged)?;
        let outline = outline(&bytes).map_err(damaged)?;
        let foreign: Vec<_> =
            outline.imports.into_iter().filter(|import| !is_allowed(import)).collect();
        if !foreign.is_empty() {
            return Err(FileError::ForeignImports { imports: foreign });
        }
        let manifest = outline.manifest.ok_or(FileError::NoManifest)?;
        let manifest: Manifest =
            serde_json::from_slice(&manifest).map_err(|e| FileError::BadManifest(e.to_string()))?;
        if manifest.api != API {
            return Err(FileError::OtherApi { found: manifest.api });
        }
        for export in EXPORTS {
            if !outline.exports.iter().any(|name| name == export) {
                return Err(FileError::NoExport(export));
            }
        }
        let component = match outline.encoding {
            Encoding::Component => bytes.into_owned(),
            Encoding::Module => encode(&bytes)?,
        };
        Ok(PluginFile { manifest, component })
    }
}

/// What can be seen of a file without running it.
struct Outline {
    encoding: Encoding,
    manifest: Option<Vec<u8>>,
    imports: Vec<String>,
    exports: Vec<String>,
}

fn outline(bytes: &[u8]) -> Result<Outline, wasmparser::BinaryReaderError> {
    let encoding = if Parser::is_component(bytes) { Encoding::Component } else { Encoding::Module };
    let mut outline =
        Outline { encoding, manifest: None, imports: Vec::new(), exports: Vec::new() };
    // Payloads of modules inside a component come between its own; only the outermost imports are the file's.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                outline.manifest.get_or_insert_with(|| section.data().to_vec());
            }
            Payload::ImportSection(imports) if depth == 0 => {
                for import in imports.into_imports() {
                    let import = import?;
                    outline.imports.push(format!("{}#{}", import.module, import.name));
                }
            }
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    outline.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ExportSection(exports) if depth == 0 => {
                for export in exports {
                    outline.exports.push(export?.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    outline.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

fn is_allowed(import: &str) -> bool {
    let interface = import.split_once('#').map_or(import, |(interface, _)| interface);
    ALLOWED_IMPORTS.contains(&interface)
        // Types that a world uses are imported under their own names.
        || ["readings", "series", "fault-reason", "alarm"].contains(&import)
}

fn encode(module: &[u8]) -> Result<Vec<u8>, FileError> {
    let failed = |e: &dyn std::fmt::Display| FileError::NotEncodable(e.to_string());
    let encoder = wit_component::ComponentEncoder::default().module(module);
    encoder
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| failed(&format!("{e:#}")))
}
