//! Plugins from other toolchains: the examples in C and JavaScript do what `calibrate-linear` in Rust does, to the last bit.
//! Long because the toolchains are found, run and compared in one place, whichever of them are there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir::pipeline::{Chain, Pipeline, check};
use weir::plugin::{CodeCache, Engine, EngineSettings, HostLimits, PluginFile, standard};
use weir::reading::{Batch, FaultReason, Input, Quality, Reading, Timestamp};

use crate::support::{engine_settings, repository, weir};

/// One plugin in one language: what a pipeline file calls it.
struct Guest {
    language: &'static str,
    plugin: String,
}

/// Where the examples are built, and what was compiled of them is kept from run to run.
fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_weir")).ancestors().nth(2).unwrap();
    target.join("foreign")
}

fn componentize_qjs() -> PathBuf {
    repository("target/node/node_modules/.bin/componentize-qjs")
}

fn answers(program: impl AsRef<Path>, argument: &str) -> bool {
    let output = Command::new(program.as_ref()).arg(argument).output();
    output.is_ok_and(|output| output.status.success())
}

/// Whether a toolchain's programs are all here; says so when not.
fn has(language: &str, programs: &[(&Path, &str)], install: &str) -> bool {
    let missing = programs.iter().find(|(program, argument)| !answers(program, argument));
    if let Some((program, _)) = missing {
        eprintln!(
            "SKIPPED: the plugin in {language}: there is no {} ({install})",
            program.display()
        );
    }
    missing.is_none()
}

fn has_clang() -> bool {
    let programs = ["make", "clang", "wasm-ld"].map(|program| (Path::new(program), "--version"));
    has("C", &programs, "apt-get install make clang lld")
}

fn has_quickjs() -> bool {
    let qjs = componentize_qjs();
    let programs = [(Path::new("make"), "--version"), (qjs.as_path(), "--help")];
    has("JavaScript", &programs, "npm install --prefix target/node componentize-qjs")
}

/// Takes a minute to compile, so `.ci/run` does not install it.
fn has_python() -> bool {
    let programs = ["make", "componentize-py"].map(|program| (Path::new(program), "--version"));
    has("Python", &programs, "pip install componentize-py")
}

/// `calibrate-linear` in each language whose toolchain is here, Rust first. Built once, by one process at a time, and only
/// when its sources are newer; then compiled, so that the chains find the code.
fn guests() -> &'static [Guest] {
    static GUESTS: OnceLock<Vec<Guest>> = OnceLock::new();
    GUESTS.get_or_init(|| {
        let folder = folder();
        fs::create_dir_all(&folder).unwrap();
        let lock = fs::File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        let mut guests = vec![Guest { language: "Rust", plugin: "calibrate-linear".to_owned() }];
        for (language, name, is_here) in [
            ("C", "calibrate-linear-c", has_clang as fn() -> bool),
            ("JavaScript", "calibrate-linear-js", has_quickjs),
            ("Python", "calibrate-linear-python", has_python),
        ] {
            if is_here() {
                let plugin = make(name, &folder.join(format!("{name}.wasm")));
                guests.push(Guest { language, plugin });
            }
        }
        println!("{:<11} {:>9} {:>13}", "language", "bytes", "ready after");
        for guest in &guests {
            let begun = Instant::now();
            let file = plugin_file(guest);
            engine().compile(&file).unwrap();
            println!("{:<11} {:>9} {:>13.1?}", guest.language, bytes(guest).len(), begun.elapsed());
        }
        guests
    })
}

fn make(name: &str, out: &Path) -> String {
    let output = Command::new("make")
        .arg("--directory")
        .arg(repository(&format!("plugins/examples/{name}")))
        .arg(format!("OUT={}", out.display()))
        .arg(format!("WEIR={}", env!("CARGO_BIN_EXE_weir")))
        .arg(format!(
            "COMPONENTIZE_QJS={}",
            componentize_qjs().canonicalize().unwrap_or_default().display()
        ))
        // Flags of an outer make are not meant for this one.
        .env_remove("MAKEFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", printed(&output));
    out.display().to_string()
}

fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).join("")
}

fn bytes(guest: &Guest) -> Vec<u8> {
    standard(&guest.plugin).map_or_else(|| fs::read(&guest.plugin).unwrap(), <[u8]>::to_vec)
}

fn plugin_file(guest: &Guest) -> PluginFile {
    PluginFile::check(bytes(guest), &limits()).unwrap()
}

/// The usual ones, but for the size of a file with Python in it.
fn limits() -> HostLimits {
    HostLimits { file_bytes: 32 << 20, ..HostLimits::default() }
}

/// One engine, whose compiled code stays: unoptimised, compiling the JavaScript interpreter takes half a minute.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let code = folder().join("code");
        fs::create_dir_all(&code).unwrap();
        let cache = CodeCache::open(&code).unwrap();
        let settings = EngineSettings { cache: Some(Arc::new(cache)), ..engine_settings() };
        Engine::start(settings, limits()).unwrap()
    })
}

const SENSORS: u32 = 12;

/// A pipeline whose only stage is this plugin, with these settings.
fn pipeline(guest: &Guest, settings: &str) -> Pipeline {
    let sensors: String = (0..SENSORS)
        .map(|sensor| format!("[[sensor]]\nname = \"s{sensor}\"\ndriver = \"simulated\"\n"))
        .collect();
    let text = format!(
        "[device]\nname = \"test\"\n[plugins]\nfile_mib = 32\n{sensors}[[stage]]\nname = \"calibrate\"\nplugin = \"{}\"\n\
         [stage.limits]\ncall_deadline = \"10s\"\ninstances = 64\n[stage.config]\n{settings}\n\
         [dashboard]\nlisten = \"127.0.0.1:0\"\n",
        guest.plugin
    );
    check("test.toml", &text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"))
}

fn chain(guest: &Guest, settings: &str) -> Result<Chain, String> {
    let pipeline = pipeline(guest, settings);
    Chain::start(engine(), &pipeline.stages, &pipeline.series()).map_err(|errors| {
        let texts = errors.iter().map(|error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        });
        texts.collect::<Vec<_>>().join("\n")
    })
}

fn batch(second: u64, rows: impl IntoIterator<Item = (u32, f64)>) -> Input {
    let time = Timestamp::from_epoch(Duration::from_secs(1_700_000_000 + second));
    let rows = rows.into_iter();
    let readings =
        rows.map(|(series, value)| Reading { series, time, value, quality: Quality::Good });
    Input::Batch(Batch { readings: readings.collect(), ..Batch::default() })
}

/// Every kind of settings: none of its own, gain and offset with all their digits, two points, and what is almost nothing.
fn settings(random: &mut fastrand::Rng) -> String {
    let mut between = |low: f64, high: f64| low + (high - low) * random.f64();
    let mut text = format!("gain = {:?}\noffset = {:?}\n", between(0.5, 2.0), between(-50.0, 50.0));
    for sensor in 0..SENSORS {
        let own = match sensor {
            0 | 1 => continue,
            2 => "gain = 1.25".to_owned(),
            3 => "offset = -0.0".to_owned(),
            4 => "offset = 5e-324\ngain = 1.0000000000000002".to_owned(),
            5 => "offset = 2.2250738585072011e-308\ngain = 0.5".to_owned(),
            6 => "offset = -1.7976931348623157e-292\ngain = 2".to_owned(),
            7 | 8 => format!("gain = {:?}\noffset = {:?}", between(0.5, 2.0), between(-50.0, 50.0)),
            _ => {
                let (low, high) = (between(-5.0, 5.0), between(60.0, 100.0));
                format!(
                    "low = {{ measured = {low:?}, reference = {:?} }}\nhigh = {{ measured = {high:?}, reference = {:?} }}",
                    low + between(-1.0, 1.0),
                    high + between(-1.0, 1.0)
                )
            }
        };
        text += &format!("[stage.config.sensor.s{sensor}]\n{own}\n");
    }
    text
}

/// Mostly what a thermometer measures; sometimes what only a double can hold.
fn value(random: &mut fastrand::Rng) -> f64 {
    let sign = if random.bool() { 1.0 } else { -1.0 };
    match random.u32(0..10) {
        0..6 => f64::from(random.i32(-880..=2_000)) / 16.0,
        6 | 7 => -55.0 + 180.0 * random.f64(),
        8 => {
            let extremes = [0.0, 5e-324, f64::MIN_POSITIVE, f64::EPSILON, 1e300, 8.9e307];
            sign * extremes[random.usize(0..extremes.len())]
        }
        // Any magnitude, subnormal ones among them, but none that twice of it is infinite.
        _ => sign * f64::from_bits(random.u64(0..0x7fd0_0000_0000_0000)),
    }
}

#[test]
fn every_language_gives_the_same_bits() {
    const INPUTS: usize = 10_000;
    let mut random = fastrand::Rng::with_seed(28);
    let settings = settings(&mut random);
    let mut batches = Vec::new();
    let mut left = INPUTS;
    while left > 0 {
        let rows = random.usize(1..=400).min(left);
        batches.push(
            (0..rows).map(|_| (random.u32(0..SENSORS), value(&mut random))).collect::<Vec<_>>(),
        );
        left -= rows;
    }
    let results = guests().iter().map(|guest| {
        let mut chain =
            chain(guest, &settings).unwrap_or_else(|error| panic!("{}: {error}", guest.language));
        let begun = Instant::now();
        let mut values = Vec::with_capacity(INPUTS);
        for (second, rows) in (0..).zip(&batches) {
            let outcome = chain.pass(batch(second, rows.iter().copied()));
            assert_eq!(outcome.batch.faults, [], "{}", guest.language);
            values.extend(outcome.batch.readings.value);
        }
        println!(
            "{:<11} {INPUTS} inputs in {} batches took {:.1?}",
            guest.language,
            batches.len(),
            begun.elapsed()
        );
        values
    });
    let results: Vec<Vec<f64>> = results.collect();
    let inputs: Vec<(u32, f64)> = batches.into_iter().flatten().collect();
    for (guest, values) in guests().iter().zip(&results) {
        assert_eq!(values.len(), INPUTS, "{}", guest.language);
        for ((value, rusts), input) in values.iter().zip(&results[0]).zip(&inputs) {
            assert_eq!(
                value.to_bits(),
                rusts.to_bits(),
                "{} of {input:?}: {value:?}, not {rusts:?}",
                guest.language
            );
        }
    }
    let changed =
        results[0].iter().zip(&inputs).filter(|(value, (_, input))| *value != input).count();
    assert!(changed > INPUTS / 2, "only {changed} were calibrated at all");
}

#[test]
fn every_language_refuses_the_same_settings() {
    for (settings, expected) in [
        (
            "low = { measured = 0, reference = 0 }",
            "`low` and `high` go together: two reference points make a line",
        ),
        ("high = { measured = 0, reference = 0 }\noffset = 1", "`low` and `high` go together"),
        (
            "low = { measured = 0, reference = 0 }\nhigh = { measured = 50, reference = 50 }\ngain = 1",
            "`low` and `high` already say gain and offset: give the one pair or the other",
        ),
        (
            "low = { measured = 20, reference = 20 }\nhigh = { measured = 20.9, reference = 21 }",
            "be at least 1 apart, the lower one first",
        ),
        (
            "low = { measured = 50, reference = 50 }\nhigh = { measured = 0, reference = 0 }",
            "be at least 1 apart, the lower one first",
        ),
        (
            "low = { measured = 0, reference = 0 }\nhigh = { measured = 10, reference = 21 }",
            "so one of them is wrong",
        ),
    ] {
        let settings = format!("[stage.config.sensor.s7]\n{settings}");
        for guest in guests() {
            let Err(error) = chain(guest, &settings) else {
                panic!("{} takes {settings}", guest.language)
            };
            assert!(
                error.contains("sensor.s7: ") && error.contains(expected),
                "{} says of {settings}: {error}",
                guest.language
            );
        }
    }
}

#[test]
fn every_language_traps_alike_and_goes_on() {
    for guest in guests() {
        let mut chain = chain(guest, "gain = 2.0\noffset = 1.0").unwrap();
        let mut at = |second, value| {
            let outcome = chain.pass(batch(second, [(3, value)]));
            let reading = outcome.batch.readings.value.first().copied();
            reading.ok_or_else(|| outcome.batch.faults[0].reason)
        };
        assert_eq!(at(1, 20.5), Ok(42.0), "{}", guest.language);
        // Infinity is no temperature.
        assert_eq!(at(2, 1e308), Err(FaultReason::PluginTrap), "{}", guest.language);
        assert_eq!(at(3, -0.5), Ok(0.0), "{}", guest.language);
    }
}

#[test]
fn every_language_has_the_same_parameters() {
    let rust = plugin_file(&guests()[0]).manifest;
    for example in ["calibrate-linear-c", "calibrate-linear-js", "calibrate-linear-python"] {
        // The folder's own, so that it is compared also where its toolchain is not.
        let text =
            fs::read(repository(&format!("plugins/examples/{example}/manifest.json"))).unwrap();
        let manifest = weir::plugin::Manifest::read(&text).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.kind), (example, rust.kind));
        assert_eq!(manifest.parameters, rust.parameters, "{example}");
        for guest in guests().iter().filter(|guest| guest.plugin.contains(example)) {
            assert_eq!(plugin_file(guest).manifest, manifest);
        }
    }
}

#[test]
fn a_plugin_that_was_built_for_another_host_is_told_the_flags_that_it_lacks() {
    if !has_quickjs() {
        return;
    }
    for (flags, expected) in [
        (
            &["--sync"][..],
            &["wasi:cli/exit@", "wasi:io/poll@", "; componentize-qjs made it: build with `"][..],
        ),
        (&["--stub-wasi"], &["it was made for asynchronous calls", "`--sync`"]),
    ] {
        let error = PluginFile::check(built_with(flags), &HostLimits::default()).unwrap_err();
        let error = error.to_string();
        assert!(expected.iter().all(|expected| error.contains(expected)), "{flags:?}: {error}");
    }
}

/// The example in JavaScript, built with these flags in place of its own.
fn built_with(flags: &[&str]) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("plugin.wasm");
    let output = Command::new(componentize_qjs())
        .arg("--wit")
        .arg(repository("wit"))
        .arg("--js")
        .arg(repository("plugins/examples/calibrate-linear-js/plugin.js"))
        .args(["--world", "calibration"])
        .args(flags)
        .arg("--output")
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    fs::read(file).unwrap()
}

/// `weir plugin embed` with a copy of a standard plugin: the folder, and what it was made to say.
fn embed(manifest: &str, arguments: &[&str]) -> (TempDir, Output) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("in.wasm"), standard("calibrate-linear").unwrap()).unwrap();
    fs::write(folder.path().join("m.json"), manifest).unwrap();
    let output = weir(&["plugin", "embed", "in.wasm", "--manifest", "m.json"])
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    (folder, output)
}

const MANIFEST: &str = r#"{"api":"0.1.0","kind":"calibration","name":"other","version":"3","description":"","parameters":[]}"#;

#[test]
fn embed_puts_the_manifest_into_the_file_or_a_new_one() {
    let name = |folder: &TempDir, file: &str| {
        let file = PluginFile::read(&folder.path().join(file), &HostLimits::default());
        file.unwrap().manifest.name
    };
    let (folder, output) = embed(MANIFEST, &[]);
    let said = printed(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("in.wasm: calibration other 3 (parameters: 0, bytes: "), "{said}");
    assert!(said.contains("in place of the manifest that it had"), "{said}");
    assert_eq!(name(&folder, "in.wasm"), "other");

    let (folder, output) = embed(MANIFEST, &["--output", "out.wasm"]);
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(name(&folder, "in.wasm"), "calibrate-linear");
    assert_eq!(name(&folder, "out.wasm"), "other");
}

#[test]
fn embed_writes_nothing_that_would_be_refused() {
    for (manifest, expected) in [
        ("{", "m.json: its manifest is wrong: "),
        (&MANIFEST.replace("0.1.0", "0.9.0"), "m.json: it was made for weir:plugin@0.9.0"),
        (&MANIFEST.replace("\"3\"", "\"\""), "m.json: its manifest is wrong: `version` is empty"),
    ] {
        let (folder, output) = embed(manifest, &["--output", "out.wasm"]);
        let said = printed(&output);
        assert!(!output.status.success() && said.contains(expected), "{said}");
        assert!(!folder.path().join("out.wasm").exists(), "{said}");
    }
}
