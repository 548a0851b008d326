//! A plugin's file: what it is, what it imports, what it says of itself. Nothing of it is run or compiled.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ring::digest;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use super::HostLimits;
use super::manifest::{API, Manifest};
use super::toolchains::Makers;
use crate::file;

/// What a module may be made of: WebAssembly 2.0 and three small things more that toolchains use. The engine is built
/// without the rest, so a file that needs it is refused here and not when it is compiled.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL);
/// The custom section that holds the manifest.
pub(super) const MANIFEST_SECTION: &str = "weir-manifest";
/// What a plugin may import: the host's interface, and the types that it is written with.
const ALLOWED_IMPORTS: [&str; 2] = ["weir:plugin/host@0.1.0", "weir:plugin/types@0.1.0"];
/// What a core module carries that can become a component: the contract as its toolchain saw it.
const CONTRACT_SECTION: &str = "component-type";
/// Longest manifest, in bytes. That of `alert-limit` has 2,000.
const MANIFEST_BYTES: usize = 1 << 20;
/// Most imports that a message names.
const MOST_IMPORTS: usize = 20;
/// What a plugin must export.
const EXPORTS: [&str; 6] = ["configure", "apply", "tick", "fault", "save", "load"];

/// A plugin's file that can be compiled.
#[derive(Debug)]
pub struct PluginFile {
    /// What it says of itself.
    pub manifest: Manifest,
    /// A core module or a component.
    pub(super) bytes: Cow<'static, [u8]>,
    /// The SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// Where it was read; `None` for a standard plugin.
    pub path: Option<PathBuf>,
}

/// Files are the same when their bytes are.
impl PartialEq for PluginFile {
    fn eq(&self, other: &PluginFile) -> bool {
        self.sha256 == other.sha256
    }
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
    /// It was made for asynchronous calls.
    #[error(
        "it was made for asynchronous calls, which this host does not make ({0}): build it without them, by \
         componentize-qjs with `--sync`, by jco with `--backend-qjs-disable-async`"
    )]
    Async(String),
    /// It wants more than a plugin may have.
    #[error("it imports what no plugin may have: {}; {remedy}", first(imports))]
    ForeignImports {
        /// What it imports, by name.
        imports: Vec<String>,
        /// How its toolchain is told to leave them out.
        remedy: &'static str,
    },
    /// It has no manifest.
    #[error(
        "it has no manifest (custom section `weir-manifest`): in Rust it comes from the line weir_plugin::export!(…), in other \
         languages from `weir plugin embed`"
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
    /// It is a core module that was not made for a contract.
    #[error(
        "its module does not follow the contract weir:plugin@{API}: it has no section `{CONTRACT_SECTION}`, which \
         wit-bindgen adds"
    )]
    NoContract,
    /// It is larger or more nested than a plugin may be.
    #[error("it has {has} {what}: at most {most} are allowed (`{key}` in [plugins])")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many it has, or more.
        has: usize,
        /// How many it may have.
        most: usize,
        /// The key that allows more.
        key: &'static str,
    },
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

impl PluginFile {
    /// Reads and checks a file.
    pub fn read(path: &Path, limits: &HostLimits) -> Result<PluginFile, FileError> {
        let failed = |source| FileError::Read { file: path.to_path_buf(), source };
        // Only a regular file has a length that says how much would be read.
        let length = std::fs::metadata(path).map_err(failed)?;
        if length.is_file() {
            within(
                "bytes",
                usize::try_from(length.len()).unwrap_or(usize::MAX),
                limits.file_bytes,
                "file_mib",
            )?;
        }
        let bytes = file::read(path, limits.file_bytes as u64).map_err(failed)?;
        let file = PluginFile::check(bytes, limits)?;
        Ok(PluginFile { path: Some(path.to_path_buf()), ..file })
    }

    /// The same without its bytes: it can be compared with others, but not compiled.
    pub(crate) fn without_code(&self) -> PluginFile {
        let (manifest, path) = (self.manifest.clone(), self.path.clone());
        PluginFile { manifest, bytes: Cow::Borrowed(&[]), sha256: self.sha256, path }
    }

    /// Checks the bytes of a core module or a component.
    pub fn check(
        bytes: impl Into<Cow<'static, [u8]>>,
        limits: &HostLimits,
    ) -> Result<PluginFile, FileError> {
        let bytes = bytes.into();
        must_be_wasm(&bytes)?;
        within("bytes", bytes.len(), limits.file_bytes, "file_mib")?;
        let outline = outline(&bytes, limits)?;
        Validator::new_with_features(FEATURES).validate_all(&bytes).map_err(damaged)?;
        let foreign: Vec<_> =
            outline.imports.into_iter().filter(|import| !is_allowed(import)).collect();
        if !foreign.is_empty() {
            let remedy = outline.makers.remedy(&foreign);
            return Err(FileError::ForeignImports { imports: foreign, remedy });
        }
        let manifest = outline.manifest.ok_or(FileError::NoManifest)?;
        let manifest = Manifest::read(&manifest)?;
        for export in EXPORTS {
            if !outline.exports.iter().any(|name| name == export) {
                return Err(FileError::NoExport(export));
            }
        }
        if outline.encoding == Encoding::Module && !outline.has_contract {
            return Err(FileError::NoContract);
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
        Ok(PluginFile { manifest, bytes, sha256, path: None })
    }
}

fn damaged(error: wasmparser::BinaryReaderError) -> FileError {
    let text = error.to_string();
    // The validator says so of whatever it meets first that only asynchronous components have.
    if text.contains("component model async") {
        FileError::Async(text)
    } else {
        FileError::Damaged(text)
    }
}

fn within(what: &'static str, has: usize, most: usize, key: &'static str) -> Result<(), FileError> {
    if has <= most { Ok(()) } else { Err(FileError::Limit { what, has, most, key }) }
}

/// Refuses what is no WebAssembly at all.
pub(super) fn must_be_wasm(bytes: &[u8]) -> Result<(), FileError> {
    if bytes.starts_with(b"\0asm") {
        return Ok(());
    }
    let begins: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let begins = if begins.is_empty() { "nothing".to_owned() } else { begins.join(" ") };
    Err(FileError::NotWasm { begins })
}

/// What can be seen of a file without running it.
struct Outline {
    encoding: Encoding,
    manifest: Option<Vec<u8>>,
    has_contract: bool,
    imports: Vec<String>,
    exports: Vec<String>,
    makers: Makers,
}

fn outline(bytes: &[u8], limits: &HostLimits) -> Result<Outline, FileError> {
    let encoding = if Parser::is_component(bytes) { Encoding::Component } else { Encoding::Module };
    let mut outline = Outline {
        encoding,
        manifest: None,
        has_contract: false,
        imports: Vec::new(),
        exports: Vec::new(),
        makers: Makers::default(),
    };
    // Payloads of modules inside a component come between its own; only the outermost imports are the file's.
    let (mut depth, mut modules, mut definitions) = (0, 0, 0_usize);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(damaged)?;
        definitions = definitions.saturating_add(count(&payload));
        within("definitions", definitions, limits.definitions, "definitions")?;
        outline.makers.see(&payload);
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                modules += 1;
                within("levels of components", depth, limits.nesting, "nesting")?;
                within("modules and components", modules, limits.modules, "modules")?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                if section.data().len() > MANIFEST_BYTES {
                    let text = format!("it has more than {MANIFEST_BYTES} bytes");
                    return Err(FileError::BadManifest(text));
                }
                // The file's own counts before that of a module inside it, which a toolchain took over.
                if depth == 0 || outline.manifest.is_none() {
                    outline.manifest = Some(section.data().to_vec());
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(CONTRACT_SECTION) => {
                outline.has_contract = true;
            }
            Payload::ImportSection(imports) if depth == 0 => {
                for import in imports.into_imports() {
                    let import = import.map_err(damaged)?;
                    outline.imports.push(format!("{}#{}", import.module, import.name));
                }
            }
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    outline.imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ExportSection(exports) if depth == 0 => {
                for export in exports {
                    outline.exports.push(export.map_err(damaged)?.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    outline.exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

/// One definition may have a million others in it, or ten thousand fields, so each eight bytes of a section that has such
/// count as one at least. What the standard plugins and those of other toolchains define takes longer.
const BYTES_A_DEFINITION: usize = 8;

/// How many things a section defines that take memory to check.
fn count(payload: &Payload<'_>) -> usize {
    let (count, range) = match payload {
        Payload::TypeSection(section) => (section.count(), section.range()),
        Payload::ImportSection(section) => (section.count(), 0..0),
        Payload::ExportSection(section) => (section.count(), 0..0),
        Payload::CoreTypeSection(section) => (section.count(), section.range()),
        Payload::InstanceSection(section) => (section.count(), section.range()),
        Payload::ComponentTypeSection(section) => (section.count(), section.range()),
        Payload::ComponentInstanceSection(section) => (section.count(), section.range()),
        Payload::ComponentAliasSection(section) => (section.count(), 0..0),
        Payload::ComponentCanonicalSection(section) => (section.count(), 0..0),
        Payload::ComponentImportSection(section) => (section.count(), 0..0),
        Payload::ComponentExportSection(section) => (section.count(), 0..0),
        _ => (0, 0..0),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    count.max(range.len().div_ceil(BYTES_A_DEFINITION))
}

fn is_allowed(import: &str) -> bool {
    let interface = import.split_once('#').map_or(import, |(interface, _)| interface);
    ALLOWED_IMPORTS.contains(&interface)
        // Types that a world uses are imported under their own names.
        || ["readings", "series", "fault-reason", "alarm"].contains(&import)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::STANDARD;

    fn definitions(bytes: &[u8]) -> usize {
        Parser::new(0).parse_all(bytes).map(|payload| count(&payload.unwrap())).sum()
    }

    #[test]
    fn honest_plugins_define_little() {
        for (name, module) in STANDARD {
            let has = definitions(module);
            assert!((1..100).contains(&has), "{name}: {has}");
            #[cfg(feature = "compiler")]
            {
                let encoder = wit_component::ComponentEncoder::default().module(module).unwrap();
                let has = definitions(&{ encoder }.encode().unwrap());
                println!("{name}, a component: {has}");
                assert!((100..1_000).contains(&has), "{name}: {has}");
            }
        }
    }
}
