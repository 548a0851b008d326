//! What the sandbox costs: the chain filter-median → calibrate-linear → alert-limit as plugins, beside the same
//! algorithms as plain Rust in the same run. `cargo bench`; figures are medians of rounds taken in turn.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may fail loudly")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use alert_limit::Limit;
use calibrate_linear::Linear;
use filter_median::Median;
use weir::pipeline::{Chain, Pipeline, Stage, check};
use weir::plugin::{Compiler, Engine, EngineSettings};
use weir::reading::{Batch, Input, Quality, Reading, Readings, Timestamp};
use weir_plugin::{AlertStage, CalibrationStage, FilterStage, SeriesInfo};

const BATCHES: [usize; 4] = [1, 16, 256, 4_096];
const SENSORS: usize = 16;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);

fn main() {
    let pipeline = pipeline();
    let compiler = Compiler::Process(env!("CARGO_BIN_EXE_weir").into());
    let settings = EngineSettings { compiler, ..EngineSettings::default() };
    let engine = Engine::start(settings, pipeline.host_limits).unwrap();
    println!(
        "Chain of filter-median (window 5), calibrate-linear, alert-limit; {SENSORS} sensors.\n"
    );
    println!(
        "{:>8}  {:>14} {:>14} {:>12} {:>12} {:>8}",
        "batch", "plugins", "plain Rust", "plugins", "plain Rust", "ratio"
    );
    println!(
        "{:>8}  {:>14} {:>14} {:>12} {:>12} {:>8}",
        "readings", "readings/s", "readings/s", "ns/reading", "ns/reading", ""
    );
    for rows in BATCHES {
        let [plugins, plain] = compare(
            rows,
            &mut [
                &mut plugin_chain(&engine, &pipeline, &pipeline.stages),
                &mut plain_chain(&pipeline),
            ],
        );
        println!(
            "{rows:>8}  {:>14.0} {:>14.0} {plugins:>12.1} {plain:>12.1} {:>7.2}x",
            1e9 / plugins,
            1e9 / plain,
            plugins / plain
        );
    }
    println!("\nOne reading through one stage:\n");
    for (position, stage) in pipeline.stages.iter().enumerate() {
        let one = pipeline.stages.get(position..=position).unwrap();
        let [through] = compare(1, &mut [&mut plugin_chain(&engine, &pipeline, one)]);
        println!("{:>18}  {through:>8.0} ns", stage.plugin.manifest.name);
    }
}

fn pipeline() -> Pipeline {
    let mut text =
        String::from("[device]\nname = \"bench\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n");
    for sensor in 0..SENSORS {
        text.push_str(&format!("[[sensor]]\nname = \"s{sensor}\"\ndriver = \"simulated\"\n"));
    }
    text.push_str(
        "[[stage]]\nname = \"a\"\nplugin = \"filter-median\"\n\
         [[stage]]\nname = \"b\"\nplugin = \"calibrate-linear\"\nconfig = { gain = 1.01, offset = -0.2 }\n\
         [[stage]]\nname = \"c\"\nplugin = \"alert-limit\"\n\
         config = { above = 30.0, deadband = 0.5, on_delay = \"5m\", on_missing = \"10m\" }\n",
    );
    check("bench.toml", &text, Path::new(".")).unwrap()
}

type Way<'w> = dyn FnMut(Batch) -> usize + 'w;

fn plugin_chain<'w>(
    engine: &Engine,
    pipeline: &Pipeline,
    stages: &[Stage],
) -> impl FnMut(Batch) -> usize + use<'w> {
    let mut chain = Chain::start(engine, stages, &pipeline.series()).unwrap();
    move |batch| {
        let outcome = chain.pass(Input::Batch(batch));
        outcome.batch.readings.len() + outcome.alarms.len()
    }
}

fn plain_chain(pipeline: &Pipeline) -> impl FnMut(Batch) -> usize + use<> {
    let series: Vec<SeriesInfo> = pipeline
        .series()
        .iter()
        .map(|series| SeriesInfo {
            sensor: series.sensor.to_string(),
            id: None,
            quantity: "temperature".to_owned(),
            unit: series.quantity.unit().to_owned(),
            interval: None,
        })
        .collect();
    let [a, b, c] = [0, 1, 2].map(|stage| pipeline.stages[stage].settings.as_str());
    let mut filter = FilterStage::<Median>::configure(a, &series).unwrap();
    let mut calibration = CalibrationStage::<Linear>::configure(b, &series).unwrap();
    let mut alert = AlertStage::<Limit>::configure(c, &series).unwrap();
    move |batch| {
        let Readings { series, time, value, quality } = batch.readings;
        let mut columns = filter.apply(&weir_plugin::Readings { series, time, value, quality });
        columns.value = calibration.apply(&columns);
        let alarms = alert.apply(&columns);
        columns.series.len() + alarms.len()
    }
}

/// The median time of each way for one reading, in nanoseconds. The ways take turns, so that a slow moment of the machine
/// meets them all.
fn compare<const WAYS: usize>(rows: usize, ways: &mut [&mut Way<'_>; WAYS]) -> [f64; WAYS] {
    let mut times: [Vec<f64>; WAYS] = std::array::from_fn(|_| Vec::new());
    let mut source = Source { second: 1_700_000_000 };
    for _ in 0..ROUNDS {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            let template = source.batch(rows);
            let begun = Instant::now();
            let mut readings = 0;
            while begun.elapsed() < ROUND {
                for _ in 0..(1_000 / rows).max(1) {
                    // Each cycle brings its own columns, in both ways.
                    black_box(way(black_box(template.clone())));
                    readings += rows;
                }
            }
            times.push(begun.elapsed().as_nanos() as f64 / readings as f64);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// Readings as they come: one a sensor and second.
struct Source {
    second: u64,
}

impl Source {
    fn batch(&mut self, rows: usize) -> Batch {
        let readings = (0..rows).map(|row| {
            let series = row % SENSORS;
            if series == 0 {
                self.second += 1;
            }
            let time = Timestamp::from_epoch(Duration::from_secs(self.second));
            let value = 20.0 + ((self.second * 7 + series as u64 * 3) % 32) as f64 / 16.0;
            Reading { series: series as u32, time, value, quality: Quality::Good }
        });
        Batch { readings: readings.collect(), ..Batch::default() }
    }
}
