//! The invariants of host/ARCHITECTURE.md that a machine can see.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;

/// Every Rust file under a folder, with its path from there.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What cargo-fuzz builds is none of ours.
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The top folder or file of a path in `host/src`.
fn room(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn each_thing_is_named_in_its_own_rooms_only() {
    for (word, rooms) in [
        ("sys/bus/", &["sensor"][..]),
        ("sys/class/", &["sensor"]),
        ("w1_slave\"", &["sensor"]),
        ("adjtimex", &["clock"]),
        ("rppal::", &["output"]),
        ("wasmtime::", &["plugin"]),
        ("wasmparser::", &["plugin"]),
        ("tungstenite", &["uplink"]),
        ("axum::", &["hub"]),
        ("redb::", &["hub", "spool"]),
        ("rumqttc::", &["uplink"]),
        ("rustls::", &["hub", "uplink"]),
        ("toml::", &["pipeline"]),
    ] {
        let mut found = BTreeSet::new();
        for (path, text) in sources(&repository("host/src")) {
            if code(&text).contains(word) {
                found.insert(room(&path));
            }
        }
        let allowed: BTreeSet<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
        assert_eq!(found, allowed, "{word}");
    }
}

#[test]
fn arrows_point_one_way() {
    // What each room may use of ours; `pipeline` and `cli` may use all before them.
    for (room_name, may_use) in [
        ("reading", &[][..]),
        ("stop", &[]),
        ("clock", &["reading"]),
        ("file", &[]),
        ("causes", &[]),
        ("ranges", &[]),
        ("data_dir", &[]),
        ("sensor", &["reading", "clock", "stop", "file"]),
        ("plugin", &["reading", "file", "data_dir"]),
        ("spool", &["reading", "file", "ranges", "uplink"]),
        ("uplink", &["reading", "clock", "stop", "file", "causes", "spool"]),
        ("output", &["reading", "stop", "uplink"]),
        ("hub", &["reading", "clock", "stop", "file", "causes", "ranges", "data_dir", "uplink"]),
    ] {
        for (path, text) in sources(&repository("host/src")) {
            if room(&path) != room_name {
                continue;
            }
            for used in code(&text).split("crate::").skip(1) {
                let used: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(
                    !used.is_empty(),
                    "{} uses crate::{{…}}: one line a room, please",
                    path.display()
                );
                let fits = used == room_name || may_use.contains(&used.as_str());
                assert!(fits, "{} uses crate::{used}", path.display());
            }
        }
    }
}

#[test]
fn a_long_file_says_why() {
    for folder in ["host/src", "plugins", "tests"] {
        for (path, text) in sources(&repository(folder)) {
            let lines = text.lines().count();
            let head: Vec<&str> = text.lines().take(12).collect();
            assert!(
                lines <= 400 || head.join("\n").contains("Long because"),
                "{folder}/{} has {lines} lines: divide it, or say why not in its `//!`: Long because …",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["host", "plugins", "tests"] {
        for (path, text) in sources(&repository(folder)) {
            assert!(text.starts_with("//!"), "{folder}/{} does not begin with //!", path.display());
        }
    }
}
