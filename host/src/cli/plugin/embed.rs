//! `weir plugin embed`: puts a manifest into a file that another toolchain made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{Failure, say};
use crate::file::{self, printable, write_atomically};
use crate::plugin::{FileError, HostLimits, PluginFile, PluginKind, embed};

/// Put a manifest into a plugin that another toolchain made, in place of the one that it may have, and check the result.
#[derive(Args)]
pub(super) struct Embed {
    /// The core module or component.
    file: PathBuf,
    /// The manifest: a JSON file with api, kind, name, version, description and parameters.
    #[arg(long)]
    manifest: PathBuf,
    /// Where the plugin goes; the file itself when not given.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Largest manifest: the standard plugins' have 2 kB.
const MANIFEST_BYTES: u64 = 1 << 20;

impl Embed {
    pub(super) fn run(self) -> Result<(), Failure> {
        // Whether it is small enough for a gateway is asked there.
        let limits = HostLimits::LARGEST;
        let bytes = read(&self.file, limits.file_bytes as u64)?;
        let manifest = read(&self.manifest, MANIFEST_BYTES)?;
        let (embedded, had_one) =
            embed(&bytes, &manifest).map_err(|error| at(self.culprit(&error), &error))?;
        // Nothing is written that would be refused when it is loaded.
        let plugin =
            PluginFile::check(embedded.clone(), &limits).map_err(|error| at(&self.file, &error))?;
        let output = self.output.as_ref().unwrap_or(&self.file);
        write(output, &embedded, &self.file)
            .map_err(|error| format!("cannot write {}: {error}", shown(output)))?;
        let kind = match plugin.manifest.kind {
            PluginKind::Filter => "filter",
            PluginKind::Calibration => "calibration",
            PluginKind::Alert => "alert",
        };
        let replaced = if had_one { ", in place of the manifest that it had" } else { "" };
        say(format_args!(
            "{}: {kind} {} {} (parameters: {}, bytes: {}){replaced}",
            shown(output),
            printable(&plugin.manifest.name),
            printable(&plugin.manifest.version),
            plugin.manifest.parameters.len(),
            embedded.len(),
        ))?;
        Ok(())
    }
}

impl Embed {
    /// Which of the two files an error is about.
    fn culprit(&self, error: &FileError) -> &Path {
        match error {
            FileError::BadManifest(_) | FileError::OtherApi { .. } => &self.manifest,
            _ => &self.file,
        }
    }
}

fn at(file: &Path, error: &FileError) -> Failure {
    format!("{}: {error}", shown(file)).into()
}

fn shown(file: &Path) -> String {
    printable(&file.display().to_string())
}

fn read(file: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    file::read(file, most).map_err(|error| format!("cannot read {}: {error}", shown(file)).into())
}

/// Writes the whole file or nothing, readable for whom the plugin without the manifest was.
fn write(file: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    let permissions = fs::metadata(like)?.permissions();
    // The folder of a bare name is the one that it is written in.
    write_atomically(&std::path::absolute(file)?, &[bytes])?;
    fs::set_permissions(file, permissions)
}
