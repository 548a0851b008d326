//! The whole way of a plugin's file that somebody else made: check, compile, instantiate, configure, a few batches, save,
//! load. Shared by the fuzz target `plugin_file` and by the test of mutations.

use std::time::Duration;

use weir::plugin::{
    Applied, CompileError, Engine, HostLimits, Instance, Kept, Limits, Manifest, Parameter,
    ParameterKind, Plugin, PluginFile, Trap,
};
use weir::reading::{Fault, FaultReason, Quality, Quantity, Reading, Readings, Series, Timestamp};

/// How far a file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The check refused it.
    Refused,
    /// It passed the check, and there was no engine to go on with.
    Checked,
    /// The compiler refused it, or was stopped by its limits.
    NotCompiled,
    /// The compiler crashed, in its own process.
    CrashedCompiler,
    /// It could not be linked or instantiated.
    NotStarted,
    /// It refused its settings, or trapped over them.
    NotConfigured,
    /// It trapped at work.
    Trapped,
    /// It did all that it was asked for.
    Ran,
}

/// Two series, as a pipeline would declare them.
const SERIES: usize = 2;

/// Takes a file as far as it goes. A panic in here is a bug of the host's.
pub fn follow(bytes: Vec<u8>, engine: Option<&Engine>) -> End {
    let Ok(file) = PluginFile::check(bytes, &HostLimits::default()) else { return End::Refused };
    let Some(engine) = engine else { return End::Checked };
    let plugin = match engine.compile(&file) {
        Ok(plugin) => plugin,
        Err(CompileError::Unusable(_)) => return End::NotStarted,
        Err(CompileError::Crashed(_)) => return End::CrashedCompiler,
        Err(CompileError::Refused(_) | CompileError::Limit { .. }) => return End::NotCompiled,
        Err(broken) => panic!("the compiler does not work here: {broken}"),
    };
    let settings = settings(&file.manifest);
    let mut instance = match started(&plugin, &settings) {
        Ok(instance) => instance,
        Err(end) => return end,
    };
    let Ok(state) = work(&mut instance) else { return End::Trapped };
    drop(instance);
    // What it saved goes into a fresh one, as after a restart.
    let mut next = match started(&plugin, &settings) {
        Ok(instance) => instance,
        Err(end) => return end,
    };
    // That it refuses its own state is its own affair.
    if next.load(&state).is_err() || work(&mut next).is_err() { End::Trapped } else { End::Ran }
}

fn started(plugin: &Plugin, settings: &str) -> Result<Instance, End> {
    let limits = Limits {
        call_deadline: Duration::from_millis(20),
        memory_bytes: 4 << 20,
        ..Limits::default()
    };
    let mut instance =
        Instance::start(plugin, "fuzz", limits, Kept::default()).map_err(|_| End::NotStarted)?;
    let series: Vec<Series> = ["a", "b"]
        .into_iter()
        .map(|sensor| Series {
            sensor: sensor.into(),
            id: Some("28-0316a2794dff".into()),
            quantity: Quantity::Temperature,
            interval: Some(Duration::from_secs(10)),
        })
        .collect();
    match instance.configure(settings, &series) {
        Ok(Ok(())) => Ok(instance),
        Ok(Err(_)) | Err(_) => Err(End::NotConfigured),
    }
}

/// Batches of one and of many readings, faults, ticks; the state in the end.
fn work(instance: &mut Instance) -> Result<Vec<u8>, Trap> {
    let seconds = |n: u64| Timestamp { nanos: 1_700_000_000_000_000_000 + n * 1_000_000_000 };
    for (round, rows) in [1_u64, 2, 100].into_iter().enumerate() {
        let now = round as u64 * 1_000;
        let mut batch: Readings = (0..rows)
            .map(|row| Reading {
                series: (row % SERIES as u64) as u32,
                time: seconds(now + row),
                value: if row % 7 == 3 { 85.0 } else { row as f64 / 16.0 },
                quality: if row % 5 == 4 { Quality::Uncertain } else { Quality::Good },
            })
            .collect();
        let given = batch.clone();
        instance.begin_pass();
        let applied = instance.apply(&mut batch);
        assert_eq!(batch, given, "a batch is lent, and comes back as it was");
        believable(&applied?, given.series.len());
        let fault =
            Fault { series: 1, time: seconds(now + rows), reason: FaultReason::CrcMismatch };
        instance.fault(fault)?;
        believable(&instance.tick(seconds(now + 500))?, 0);
    }
    instance.begin_pass();
    let state = instance.save()?;
    assert!(state.len() <= Limits::default().state_bytes);
    Ok(state)
}

/// What the host lets through, whoever gave it.
fn believable(applied: &Applied, given: usize) {
    match applied {
        Applied::Filtered(readings) => {
            let rows = readings.series.len();
            assert!(rows <= given + Limits::default().extra_readings);
            let columns = [readings.time.len(), readings.value.len(), readings.quality.len()];
            assert_eq!(columns, [rows; 3]);
            assert!(readings.series.iter().all(|series| (*series as usize) < SERIES));
            assert!(readings.value.iter().all(|value| value.is_finite()));
            assert!(readings.quality.iter().all(|quality| *quality <= 1));
        }
        Applied::Calibrated(values) => {
            assert_eq!(values.len(), given);
            assert!(values.iter().all(|value| value.is_finite()));
        }
        Applied::Alarms(alarms) => {
            assert!(alarms.len() <= 2 * (given + SERIES) + Limits::default().extra_alarms);
            for alarm in alarms {
                assert!((alarm.series as usize) < SERIES);
                assert!((1..=64).contains(&alarm.condition.len()));
                assert!(alarm.value.iter().chain(&alarm.limit).all(|number| number.is_finite()));
            }
        }
    }
}

/// Settings as the host would hand them over: what the manifest says holds, or else something that fits.
fn settings(manifest: &Manifest) -> String {
    let settings = manifest
        .parameters
        .iter()
        .filter(|parameter| parameter.default.is_some() || parameter.required);
    let pairs: Vec<String> =
        settings.map(|parameter| format!("{:?}:{}", parameter.name, value(parameter))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn value(parameter: &Parameter) -> String {
    match (&parameter.kind, &parameter.default) {
        // In the pipeline file it is a text, for the plugin a number.
        (ParameterKind::Duration, _) => return Duration::from_secs(60).as_nanos().to_string(),
        (_, Some(default)) => return default.to_string(),
        (_, None) => {}
    }
    match &parameter.kind {
        ParameterKind::Number | ParameterKind::Integer | ParameterKind::Duration => {
            format!("{}", parameter.min.unwrap_or(1.0))
        }
        ParameterKind::Boolean => "true".to_owned(),
        ParameterKind::Text => "\"text\"".to_owned(),
        ParameterKind::Choice { choices } => format!("{:?}", choices.first().map_or("", |c| c)),
        ParameterKind::Table { .. } | ParameterKind::PerSensor { .. } => "{}".to_owned(),
    }
}
