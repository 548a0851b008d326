//! A filter that passes readings untouched until its moment comes. Then it does what its settings say.
//!
//! It implements the contract itself, without the SDK's traits: those keep an honest author from most of this.

use std::cell::RefCell;
use std::hint::black_box;

use serde::Deserialize;
use weir_plugin::bindings::filter::{Guest, weir::plugin::types::Readings};
use weir_plugin::{Choice, Level, Manifest, PluginKind, SeriesInfo, Settings, count, log};

#[derive(Clone, Copy, Deserialize, Settings)]
struct HostileSettings {
    /// What it does.
    does: Deed,
    /// In which call. In `apply` it waits for a value of 50 or more; before `load` it traps at such a value, so that
    /// there is something to load.
    #[setting(default = "apply")]
    r#in: Call,
    /// How much of it, where that can be chosen: bytes, readings, lines, rounds.
    #[setting(default = 1_000_000)]
    amount: u32,
}

#[derive(Clone, Copy, Deserialize, Choice, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Call {
    Configure,
    Apply,
    Tick,
    Fault,
    Save,
    Load,
}

#[derive(Clone, Copy, Deserialize, Choice, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Loop,
    Dawdle,
    EatMemory,
    Leak,
    Recurse,
    Trap,
    GiveNan,
    GiveInfinity,
    GiveUnequalColumns,
    GiveUndeclaredSeries,
    GiveUnknownQuality,
    GoBackInTime,
    GiveTheEndOfTime,
    GiveTheBeginningOfTime,
    GiveMany,
    GiveGoodForUncertain,
    FloodTheLog,
    LogALongLine,
    FloodTheCounters,
    SaveMuch,
    RefuseAtLength,
}

#[derive(Default)]
struct Hostile {
    settings: Option<HostileSettings>,
    /// What it does not let go.
    hoard: Vec<Vec<u8>>,
}

thread_local! {
    static HOSTILE: RefCell<Hostile> = RefCell::default();
}

/// Its deed and how much of it, if this is its moment.
fn moment(call: Call) -> Option<(Deed, u32)> {
    let settings = HOSTILE.with_borrow(|hostile| hostile.settings)?;
    (settings.r#in == call).then_some((settings.does, settings.amount))
}

struct Exported;

impl Guest for Exported {
    fn configure(settings: String, _series: Vec<SeriesInfo>) -> Result<(), String> {
        weir_plugin::log_panics();
        let settings = serde_json::from_str(&settings).map_err(|e| e.to_string())?;
        HOSTILE.with_borrow_mut(|hostile| hostile.settings = Some(settings));
        answer(Call::Configure)
    }

    fn save() -> Vec<u8> {
        match moment(Call::Save) {
            None => b"state".to_vec(),
            Some((Deed::SaveMuch, amount)) => vec![0; amount as usize],
            Some((deed, amount)) => {
                anywhere(deed, amount);
                b"state".to_vec()
            }
        }
    }

    fn load(state: Vec<u8>) -> Result<(), String> {
        assert_eq!(state, b"state");
        answer(Call::Load)
    }

    fn fault(_of: u32, _time: u64, _reason: weir_plugin::FaultReason) {
        if let Some((deed, amount)) = moment(Call::Fault) {
            anywhere(deed, amount);
        }
    }

    fn apply(batch: Readings) -> Readings {
        if batch.value.iter().all(|value| *value < 50.0) {
            return batch;
        }
        let traps_before_load =
            HOSTILE.with_borrow(|hostile| hostile.settings.is_some_and(|s| s.r#in == Call::Load));
        assert!(!traps_before_load, "so that there is something to load");
        match moment(Call::Apply) {
            None => batch,
            Some((deed, amount)) => {
                anywhere(deed, amount);
                lie(deed, amount, batch)
            }
        }
    }

    fn tick(now: u64) -> Readings {
        let Some((deed, amount)) = moment(Call::Tick) else { return rows(0, now) };
        anywhere(deed, amount);
        lie(deed, amount, rows(1, now))
    }
}

/// What `configure` and `load` answer.
fn answer(call: Call) -> Result<(), String> {
    match moment(call) {
        None => Ok(()),
        Some((Deed::RefuseAtLength, amount)) => Err("no\n".repeat(amount as usize / 3)),
        Some((deed, amount)) => {
            anywhere(deed, amount);
            Ok(())
        }
    }
}

/// Deeds that can be done in any call.
fn anywhere(deed: Deed, amount: u32) {
    match deed {
        Deed::Loop => loop {
            black_box(0);
        },
        Deed::Dawdle => (0..amount).for_each(|n| {
            black_box(n);
        }),
        Deed::EatMemory => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 1 << 20]);
            }
        }
        // A mebibyte a call, and never one back.
        Deed::Leak => HOSTILE.with_borrow_mut(|hostile| hostile.hoard.push(vec![1; 1 << 20])),
        Deed::Recurse => {
            black_box(deeper(1));
        }
        Deed::Trap => panic!("as it was told to"),
        Deed::FloodTheLog => {
            (0..amount).for_each(|n| log(Level::Info, &format!("line {n}\nand one more \x1b[31m")))
        }
        Deed::LogALongLine => log(Level::Info, &"x".repeat(amount as usize)),
        Deed::FloodTheCounters => (0..amount).for_each(|n| count(&format!("counter-{n}"), 1)),
        _ => {}
    }
}

/// Wrong answers.
fn lie(deed: Deed, amount: u32, batch: Readings) -> Readings {
    let mut out = batch;
    match deed {
        Deed::GiveNan => out.value.fill(f64::NAN),
        Deed::GiveInfinity => out.value.fill(f64::NEG_INFINITY),
        Deed::GiveUnequalColumns => out.value.push(1.0),
        Deed::GiveUndeclaredSeries => out.series.fill(99),
        Deed::GiveUnknownQuality => out.quality.fill(2),
        Deed::GoBackInTime => {
            let rows = out.series.len();
            out.series.extend_from_within(..rows);
            out.time.extend_from_within(..rows);
            out.value.extend_from_within(..rows);
            out.quality.extend_from_within(..rows);
            out.time.iter_mut().skip(rows).for_each(|time| *time -= 1);
        }
        Deed::GiveTheEndOfTime => out.time.fill(u64::MAX),
        Deed::GiveTheBeginningOfTime => out.time.fill(0),
        Deed::GiveMany => {
            out = rows(amount as usize, out.time.first().copied().unwrap_or_default());
        }
        Deed::GiveGoodForUncertain => out.quality.fill(0),
        _ => {}
    }
    out
}

fn rows(rows: usize, time: u64) -> Readings {
    Readings {
        series: vec![0; rows],
        time: vec![time; rows],
        value: vec![1.0; rows],
        quality: vec![0; rows],
    }
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "as deep as the stack is")]
fn deeper(n: u64) -> u64 {
    let here = black_box([n; 16]);
    deeper(here[0] + 1) + here[15]
}

/// What stands in the manifest, in the section that the host reads.
const MANIFEST: Manifest = Manifest {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    description: env!("CARGO_PKG_DESCRIPTION"),
    kind: PluginKind::Filter,
    parameters: HostileSettings::PARAMETERS,
};
#[unsafe(link_section = "weir-manifest")]
#[used]
static SECTION: [u8; MANIFEST.json_len()] = MANIFEST.json();

weir_plugin::bindings::filter::export_filter!(Exported with_types_in weir_plugin::bindings::filter);
