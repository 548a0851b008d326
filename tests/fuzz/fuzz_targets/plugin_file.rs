//! Any bytes as a plugin's file, all the way from its check to its work: no panic, and nothing unbelievable let through.
//!
//! The environment variable `WEIR` names the `weir` binary, whose processes compile.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use weir::plugin::{Compiler, Engine, EngineSettings, HostLimits};

#[path = "../plugin_file.rs"]
mod plugin_file;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let weir = std::env::var_os("WEIR").expect("WEIR must name the weir binary");
    let settings =
        EngineSettings { compiler: Compiler::Process(weir.into()), ..EngineSettings::default() };
    Engine::start(settings, HostLimits::default()).expect("the engine starts")
});

fuzz_target!(|data: &[u8]| -> Corpus {
    // What the check refuses teaches the fuzzer nothing about what comes after it.
    match plugin_file::follow(data.to_vec(), Some(&ENGINE)) {
        plugin_file::End::Refused => Corpus::Reject,
        _ => Corpus::Keep,
    }
});
