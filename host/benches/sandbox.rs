//! What each protection of the sandbox costs: one call of `calibrate-linear` as plain Rust, by bare wasmtime, and with one
//! protection after the other, in the same run; then what a start costs, and how much memory stages take.
//! `cargo bench --bench sandbox`; figures are medians of rounds taken in turn.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may fail loudly")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use calibrate_linear::Linear;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Store, StoreLimits, StoreLimitsBuilder};
use weir::pipeline::{Chain, Pipeline, check};
use weir::plugin::{
    Bound, CodeCache, Compiler, Engine, EngineSettings, Execution, HostLimits, Instance, Kept,
    Limits, PluginFile, standard,
};
use weir::reading::{Readings, Series};
use weir_plugin::{CalibrationStage, SeriesInfo};

mod bindings {
    #![allow(missing_docs, unsafe_code, clippy::all, clippy::pedantic, reason = "generated")]
    #![allow(clippy::allow_attributes, reason = "generated")]
    wasmtime::component::bindgen!({ path: "../wit", world: "calibration" });
}

use bindings::Calibration;
use bindings::weir::plugin::{host, types};

const BATCHES: [usize; 4] = [1, 16, 256, 4_096];
const SENSORS: usize = 16;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(30);
const SETTINGS: &str = r#"{"gain":1.01,"offset":-0.2,"sensors":{}}"#;

fn main() {
    calls();
    starts();
    memory();
}

/// One way to calibrate a batch; gives how many values came.
type Way = Box<dyn FnMut(&Readings) -> usize>;

fn calls() {
    let epoch = |config: &mut Config| {
        config.epoch_interruption(true);
    };
    let mut ways: Vec<(&str, Way)> = vec![
        ("plain Rust", plain()),
        ("bare wasmtime", bare(|_| {}, Given::Nothing)),
        ("+ the same bits everywhere", bare(same_bits, Given::Nothing)),
        (
            "+ deadline by epochs",
            bare(
                |config| {
                    same_bits(config);
                    epoch(config);
                },
                Given::Deadline,
            ),
        ),
        (
            "+ limits of memory and copies",
            bare(
                |config| {
                    same_bits(config);
                    epoch(config);
                },
                Given::DeadlineAndLimits,
            ),
        ),
        ("weir: + checks of what returns", weir(Execution::Native, Bound::Time)),
        ("weir, fuel in place of epochs", weir(Execution::Native, Bound::Fuel)),
        (
            "the same in 64 MiB of addresses",
            bare(
                |config| {
                    same_bits(config);
                    epoch(config);
                    small(config);
                },
                Given::DeadlineAndLimits,
            ),
        ),
        ("weir, interpreted", weir(Execution::Interpreted, Bound::Time)),
    ];
    println!(
        "One call of calibrate-linear, {SENSORS} sensors; ns a call, and the ratio to bare wasmtime.\n"
    );
    print!("{:>32}", "readings in the batch");
    for rows in BATCHES {
        print!("  {rows:>16}");
    }
    println!();
    let columns: Vec<Vec<f64>> = BATCHES.iter().map(|&rows| compare(rows, &mut ways)).collect();
    for (position, (name, _)) in ways.iter().enumerate() {
        print!("{name:>32}");
        for column in &columns {
            print!("  {:>9.0} {:>5.2}x", column[position], column[position] / column[1]);
        }
        println!();
    }
    print!("{:>32}", "weir, ns a reading");
    for (rows, column) in BATCHES.iter().zip(&columns) {
        print!("  {:>9.1} {:>6}", column[5] / *rows as f64, "");
    }
    println!("\n");
}

/// The median time of a call by each way, in nanoseconds. The ways take turns, so that a slow moment meets them all.
fn compare(rows: usize, ways: &mut [(&str, Way)]) -> Vec<f64> {
    let batch = batch(rows);
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, way), times) in ways.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            let mut calls = 0_u32;
            while begun.elapsed() < ROUND {
                for _ in 0..(500 / rows).max(1) {
                    assert_eq!(black_box(way(black_box(&batch))), rows);
                    calls += 1;
                }
            }
            times.push(begun.elapsed().as_nanos() as f64 / f64::from(calls));
        }
    }
    times.into_iter().map(median).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn batch(rows: usize) -> Readings {
    Readings {
        series: (0..rows).map(|row| (row % SENSORS) as u32).collect(),
        time: (0..rows).map(|row| (row as u64) * 1_000_000_000).collect(),
        value: (0..rows).map(|row| (row % 32) as f64 / 16.0).collect(),
        quality: vec![0; rows],
    }
}

fn plain() -> Way {
    let series: Vec<SeriesInfo> = (0..SENSORS)
        .map(|sensor| SeriesInfo {
            sensor: format!("s{sensor}"),
            id: None,
            quantity: "temperature".to_owned(),
            unit: "celsius".to_owned(),
            interval: None,
        })
        .collect();
    let mut stage = CalibrationStage::<Linear>::configure(SETTINGS, &series).unwrap();
    Box::new(move |batch| {
        let Readings { series, time, value, quality } = batch.clone();
        stage.apply(&weir_plugin::Readings { series, time, value, quality }).len()
    })
}

/// Canonical NaNs: without them the payload is the processor's.
fn same_bits(config: &mut Config) {
    config.cranelift_nan_canonicalization(true);
}

/// 64 MiB a memory in place of 4 GiB: the code checks bounds by itself.
fn small(config: &mut Config) {
    config.memory_reservation(64 << 20).memory_reservation_for_growth(64 << 20);
    config.memory_guard_size(64 << 10);
}

#[derive(Clone, Copy, PartialEq)]
enum Given {
    Nothing,
    Deadline,
    DeadlineAndLimits,
}

#[derive(Default)]
struct Host {
    limits: StoreLimits,
}

impl types::Host for Host {}

impl host::Host for Host {
    fn log(&mut self, _level: host::Level, _message: String) {}

    fn count(&mut self, _name: String, _by: u64) {}
}

/// The plugin by wasmtime alone, called synchronously.
fn bare(configure: impl Fn(&mut Config), given: Given) -> Way {
    let mut config = Config::new();
    config.concurrency_support(false);
    configure(&mut config);
    let engine = wasmtime::Engine::new(&config).unwrap();
    let module = standard("calibrate-linear").unwrap();
    let mut encoder = wit_component::ComponentEncoder::default().module(module).unwrap();
    let component = Component::new(&engine, encoder.encode().unwrap()).unwrap();
    let mut linker = Linker::new(&engine);
    host::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host).unwrap();
    let mut store = Store::new(&engine, Host::default());
    if given == Given::DeadlineAndLimits {
        store.data_mut().limits = StoreLimitsBuilder::new().memory_size(16 << 20).build();
        store.limiter(|host| &mut host.limits);
        store.set_max_component_handles(64);
    }
    if given != Given::Nothing {
        store.set_epoch_deadline(11);
        let epochs = engine.weak();
        std::thread::spawn(move || {
            while let Some(engine) = epochs.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
    let plugin = Calibration::instantiate(&mut store, &component, &linker).unwrap();
    let series: Vec<types::Series> = (0..SENSORS)
        .map(|sensor| types::Series {
            sensor: format!("s{sensor}"),
            id: None,
            quantity: "temperature".to_owned(),
            unit: "celsius".to_owned(),
            interval: None,
        })
        .collect();
    plugin.call_configure(&mut store, SETTINGS, &series).unwrap().unwrap();
    Box::new(move |batch| {
        let Readings { series, time, value, quality } = batch.clone();
        let columns = types::Readings { series, time, value, quality };
        if given != Given::Nothing {
            store.set_epoch_deadline(11);
        }
        if given == Given::DeadlineAndLimits {
            store.set_hostcall_fuel(4 << 20);
        }
        plugin.call_apply(&mut store, &columns).unwrap().len()
    })
}

fn settings(execution: Execution, bound: Bound, cache: Option<Arc<CodeCache>>) -> EngineSettings {
    let compiler = Compiler::Process(env!("CARGO_BIN_EXE_weir").into());
    EngineSettings { execution, bound, compiler, cache, ..EngineSettings::default() }
}

fn weir(execution: Execution, bound: Bound) -> Way {
    let limits = HostLimits::default();
    let engine = Engine::start(settings(execution, bound, None), limits).unwrap();
    let file = PluginFile::check(standard("calibrate-linear").unwrap(), &limits).unwrap();
    let plugin = engine.compile(&file).unwrap();
    let mut instance =
        Instance::start(&plugin, "bench", Limits::default(), Kept::default()).unwrap();
    let series: Vec<Series> = pipeline(1).series();
    instance.configure(SETTINGS, &series).unwrap().unwrap();
    Box::new(move |batch| {
        let mut batch = batch.clone();
        instance.begin_pass();
        black_box(instance.apply(&mut batch).unwrap());
        batch.value.len()
    })
}

/// A pipeline with so many stages, of the three standard plugins in turn.
fn pipeline(stages: usize) -> Pipeline {
    check("bench.toml", &pipeline_text(stages), Path::new(".")).unwrap()
}

fn pipeline_text(stages: usize) -> String {
    let mut text =
        String::from("[device]\nname = \"bench\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n");
    for sensor in 0..SENSORS {
        write!(text, "[[sensor]]\nname = \"s{sensor}\"\ndriver = \"simulated\"\n").unwrap();
    }
    for stage in 0..stages {
        let (plugin, config) = match stage % 3 {
            0 => ("filter-median", ""),
            1 => ("calibrate-linear", "config = { gain = 1.01, offset = -0.2 }\n"),
            _ => ("alert-limit", "config = { above = 30.0 }\n"),
        };
        write!(text, "[[stage]]\nname = \"t{stage}\"\nplugin = \"{plugin}\"\n{config}").unwrap();
    }
    text
}

fn starts() {
    let pipeline = pipeline(3);
    let series = pipeline.series();
    let folder = private_folder();
    let cache = Arc::new(CodeCache::open(folder.path()).unwrap());
    let start = |execution, cache| {
        let begun = Instant::now();
        let engine = Engine::start(settings(execution, Bound::Time, cache), pipeline.host_limits);
        black_box(Chain::start(&engine.unwrap(), &pipeline.stages, &series).unwrap());
        begun.elapsed().as_secs_f64() * 1e3
    };
    println!("Start of an engine and a chain of the three standard plugins, ms.\n");
    for (name, execution) in
        [("native", Execution::Native), ("interpreted", Execution::Interpreted)]
    {
        // The first one fills the cache.
        start(execution, Some(cache.clone()));
        let (mut compiled, mut cached) = (Vec::new(), Vec::new());
        for _ in 0..11 {
            compiled.push(start(execution, None));
            cached.push(start(execution, Some(cache.clone())));
        }
        let (compiled, cached) = (median(compiled), median(cached));
        println!(
            "{name:>32}  compiled {compiled:>7.1}   from the cache {cached:>6.1}   {:>5.0}x",
            compiled / cached
        );
    }
    println!();
}

fn private_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().unwrap()
}

fn memory() {
    println!(
        "Memory of `weir run` two seconds after its start, {SENSORS} simulated sensors, MB.\n"
    );
    println!("{:>32}  {:>10} {:>10} {:>10}", "", "resident", "anonymous", "peak");
    for (name, execution) in [("from the cache", None), ("interpreted", Some("--interpret"))] {
        for stages in [1, 5, 20] {
            let folder = private_folder();
            let file = folder.path().join("pipeline.toml");
            fs::write(&file, pipeline_text(stages)).unwrap();
            // The first run fills the cache.
            run(&file, folder.path(), execution, Duration::ZERO);
            let [resident, anonymous, peak] =
                run(&file, folder.path(), execution, Duration::from_secs(2));
            let name = format!("{stages} stages, {name}");
            println!("{name:>32}  {resident:>10.1} {anonymous:>10.1} {peak:>10.1}");
        }
    }
}

/// VmRSS, RssAnon and VmHWM of a run that has lasted for so long.
fn run(file: &Path, folder: &Path, execution: Option<&str>, lasts: Duration) -> [f64; 3] {
    let mut process = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", file.to_str().unwrap(), "--data-dir"])
        .arg(folder.join("data"))
        .args(execution)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    for line in lines.by_ref() {
        if line.unwrap().contains("Running.") {
            break;
        }
    }
    std::thread::sleep(lasts);
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    ["VmRSS:", "RssAnon:", "VmHWM:"].map(|name| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
    })
}
