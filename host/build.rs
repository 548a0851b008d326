//! Compiles the standard plugins to wasm and packs the page's chart library, so that the binary carries both.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
const PLUGINS: [&str; 3] = ["alert-limit", "calibrate-linear", "filter-median"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    add_target()?;
    build_plugins(&workspace, &out)?;
    pack_chart_library(&out)?;
    println!("cargo::rustc-env=WASMTIME_VERSION={}", wasmtime_version(&workspace)?);
    println!("cargo::rerun-if-changed=build.rs");
    for input in ["plugins", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    Ok(())
}

/// The version that the lock file holds: compiled plugins are good for that one alone.
fn wasmtime_version(workspace: &Path) -> Result<String, Box<dyn Error>> {
    let lock = fs::read_to_string(workspace.join("Cargo.lock"))?;
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"wasmtime\"").skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \""));
    Ok(version.ok_or("Cargo.lock has no wasmtime")?.trim_end_matches('"').to_owned())
}

/// Adds the wasm target through rustup when it is missing.
fn add_target() -> Result<(), Box<dyn Error>> {
    let rustc = env::var("RUSTC")?;
    let printed =
        Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output()?;
    if Path::new(String::from_utf8(printed.stdout)?.trim()).is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(format!(
        "the plugins need Rust's target {TARGET}, and `rustup target add {TARGET}` did not work. \
         Install Rust by rustup (https://rustup.rs), or the target by your system's packages (Debian: libstd-rust-dev-wasm32)"
    )
    .into())
}

/// Runs cargo for the plugins, in a target folder of their own: this cargo holds the lock of the usual one.
fn build_plugins(workspace: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    // …/target/release/build/weir-…/out: one folder for all profiles, so that plugins are built once.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not in a target folder")?;
    let target = target.join("plugins");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", "plugin", "--target", TARGET, "--target-dir"])
        .arg(&target);
    for plugin in PLUGINS {
        cargo.args(["--package", plugin]);
    }
    // These are meant for the host: a linter in place of the compiler, flags of the host's processor.
    for name in [
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(name);
    }
    let built = cargo.output()?;
    if !built.status.success() {
        return Err(format!(
            "cannot build the plugins:\n{}",
            String::from_utf8_lossy(&built.stderr)
        )
        .into());
    }
    for plugin in PLUGINS {
        let file = format!("{}.wasm", plugin.replace('-', "_"));
        let built = target.join(TARGET).join("plugin").join(file);
        fs::copy(&built, out.join(format!("{plugin}.wasm")))?;
    }
    Ok(())
}

/// Takes Plotly out of the `plotly` crate and compresses it as browsers take it.
fn pack_chart_library(out: &Path) -> Result<(), Box<dyn Error>> {
    let scripts = plotly::Plot::offline_js_sources();
    let script = scripts
        .split("<script")
        .filter_map(|script| script.split_once('>'))
        .map(|(_, script)| script.trim_end().trim_end_matches("</script>"))
        .find(|script| script.trim_start().starts_with("/**\n* plotly.js v"))
        .ok_or("the crate `plotly` no longer carries plotly.js where it was")?;
    let file = fs::File::create(out.join("plotly.js.gz"))?;
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    packed.write_all(script.as_bytes())?;
    packed.finish()?;
    Ok(())
}
