//! Finds buses and chips in a folder tree as under `/sys/bus/w1/devices`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::sensor::RomId;

/// Most chips that are looked at: more than any pipeline may have.
const MOST: usize = 1_024;

/// Every thermometer, with the folder of its bus.
///
/// In sysfs a chip's folder is a link into that of its bus master, which is all that is looked at: this is done in each
/// cycle. Trees without such links count as one bus.
pub fn scan(w1_root: &Path) -> io::Result<BTreeMap<RomId, PathBuf>> {
    let mut found = BTreeMap::new();
    // An entry that vanishes meanwhile is not there.
    let chips = std::fs::read_dir(w1_root)?.filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, entry))
    });
    for (rom_id, entry) in chips.take(MOST) {
        let link = std::fs::read_link(entry.path()).ok();
        let bus = link.as_deref().and_then(Path::parent).map(|bus| w1_root.join(bus));
        found.insert(rom_id, bus.unwrap_or_else(|| w1_root.to_path_buf()));
    }
    Ok(found)
}

/// The table that takes a chip into a pipeline.
pub fn toml_block(rom_id: RomId) -> String {
    format!("[[sensor]]\nname = \"{rom_id}\"\ndriver = \"ds18b20\"\nid = \"{rom_id}\"")
}
