//! Puts a manifest into a plugin's file that some other toolchain made.

use wasmparser::{BinaryReader, BinaryReaderError};

use super::file::{FileError, MANIFEST_SECTION, must_be_wasm};
use super::manifest::Manifest;

/// Magic number, version, and whether it is a module or a component.
const HEAD_BYTES: usize = 8;
/// The id of custom sections, in modules and components alike.
const CUSTOM: u8 = 0;

/// A core module's or component's bytes with this manifest as its own, and whether it had one before.
///
/// The manifest is checked as when a plugin is loaded. The rest of the file stays as it is and is left to
/// [`PluginFile::check`](super::PluginFile::check).
pub fn embed(bytes: &[u8], manifest: &[u8]) -> Result<(Vec<u8>, bool), FileError> {
    Manifest::read(manifest)?;
    must_be_wasm(bytes)?;
    let (mut embedded, had_one) =
        without_manifest(bytes).map_err(|e| FileError::Damaged(e.to_string()))?;
    let name = MANIFEST_SECTION.as_bytes();
    let mut section = Vec::with_capacity(name.len() + manifest.len() + 1);
    push_len(&mut section, name.len());
    section.extend_from_slice(name);
    section.extend_from_slice(manifest);
    embedded.push(CUSTOM);
    push_len(&mut embedded, section.len());
    embedded.extend_from_slice(&section);
    Ok((embedded, had_one))
}

/// The file without its outermost manifests. Those of modules within a component stay: the component's own counts.
fn without_manifest(bytes: &[u8]) -> Result<(Vec<u8>, bool), BinaryReaderError> {
    let mut reader = BinaryReader::new(bytes, 0);
    let mut kept = reader.read_bytes(HEAD_BYTES)?.to_vec();
    let mut had_one = false;
    while !reader.eof() {
        let begin = reader.original_position();
        let id = reader.read_u8()?;
        let len = reader.read_var_u32()?;
        let mut section = BinaryReader::new(reader.read_bytes(len as usize)?, 0);
        if id == CUSTOM && section.read_string()? == MANIFEST_SECTION {
            had_one = true;
        } else {
            kept.extend_from_slice(
                bytes.get(begin..reader.original_position()).unwrap_or_default(),
            );
        }
    }
    Ok((kept, had_one))
}

/// A length as WebAssembly writes it: seven bits a byte, the lowest first.
fn push_len(bytes: &mut Vec<u8>, mut len: usize) {
    while let rest @ 1.. = len >> 7 {
        bytes.push(0x80 | low_bits(len));
        len = rest;
    }
    bytes.push(low_bits(len));
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest seven bits are what is meant")]
fn low_bits(len: usize) -> u8 {
    (len & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{HostLimits, PluginFile, standard};

    fn manifest(name: &str, kind: &str) -> String {
        format!(
            r#"{{"api":"0.1.0","kind":"{kind}","name":"{name}","version":"7","description":"{}","parameters":[]}}"#,
            "long ".repeat(100)
        )
    }

    fn the_last_manifest_is_the_files_own(file: &[u8]) {
        let mut bytes = file.to_vec();
        let mut lens = Vec::new();
        for name in ["first", "other"] {
            bytes = embed(&bytes, manifest(name, "calibration").as_bytes()).unwrap().0;
            let plugin = PluginFile::check(bytes.clone(), &HostLimits::default()).unwrap();
            assert_eq!(plugin.manifest.name, name);
            lens.push(bytes.len());
        }
        assert_eq!(lens[0], lens[1], "the first one stayed in it");
        assert!(embed(&bytes, manifest("x", "calibration").as_bytes()).unwrap().1);
    }

    #[test]
    fn the_last_manifest_is_the_modules_own() {
        the_last_manifest_is_the_files_own(standard("calibrate-linear").unwrap());
    }

    #[cfg(feature = "compiler")]
    #[test]
    fn the_last_manifest_is_the_components_own() {
        let encoder = wit_component::ComponentEncoder::default();
        let component = encoder.module(standard("calibrate-linear").unwrap()).unwrap().encode();
        // It has the module inside it, and with that a manifest already.
        the_last_manifest_is_the_files_own(&component.unwrap());
    }

    #[test]
    fn neither_a_wrong_manifest_nor_a_damaged_file_is_taken() {
        let module = standard("calibrate-linear").unwrap();
        let good = manifest("a", "filter");
        let cut = &module[..module.len() - 1];
        for (bytes, manifest, expected) in [
            (module, "{}", "missing field `api`"),
            (module, &manifest("a", "sieve"), "unknown variant `sieve`"),
            (module, &good.replace("0.1.0", "9.9.9"), "made for weir:plugin@9.9.9"),
            (b"hello", &good, "it is not a WebAssembly file"),
            (b"\0asm\x01", &good, "it is damaged"),
            (cut, &good, "it is damaged"),
        ] {
            let error = embed(bytes, manifest.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
