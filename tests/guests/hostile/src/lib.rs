//! A filter that passes readings untouched until one is 50 or more. Then it does what its setting says.

use serde::Deserialize;
use weir_plugin::{Choice, Filter, Level, Quality, Reading, Readings, SeriesInfo, Settings, log};

struct Hostile {
    does: Deed,
}

#[derive(Deserialize, Settings)]
struct HostileSettings {
    /// What it does.
    does: Deed,
}

#[derive(Clone, Copy, Deserialize, Choice)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Loop,
    LoopInConfigure,
    EatMemory,
    Trap,
    GiveNan,
    GiveUnequalColumns,
    GiveUndeclaredSeries,
    GiveAMillion,
    GiveGoodForUncertain,
    FloodTheLog,
}

impl Filter for Hostile {
    type Settings = HostileSettings;
    type Sensor = u32;

    fn new(settings: HostileSettings, _series: &[SeriesInfo]) -> Result<Self, String> {
        if matches!(settings.does, Deed::LoopInConfigure) {
            for_ever();
        }
        Ok(Hostile { does: settings.does })
    }

    fn apply(&mut self, seen: &mut u32, reading: Reading, out: &mut Readings) {
        *seen += 1;
        if reading.value < 50.0 {
            out.push(reading);
            return;
        }
        match self.does {
            Deed::Loop | Deed::LoopInConfigure => for_ever(),
            Deed::EatMemory => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(vec![1_u8; 1 << 20]);
                }
            }
            Deed::Trap => panic!("as it was told to"),
            Deed::GiveNan => out.push(Reading { value: f64::NAN, ..reading }),
            Deed::GiveUnequalColumns => out.value.push(1.0),
            Deed::GiveUndeclaredSeries => out.push(Reading { series: 99, ..reading }),
            Deed::GiveAMillion => (0..1_000_000).for_each(|_| out.push(reading)),
            Deed::GiveGoodForUncertain => out.push(Reading { quality: Quality::Good, ..reading }),
            Deed::FloodTheLog => {
                (0..10_000)
                    .for_each(|n| log(Level::Info, &format!("line {n}\nand one more \x1b[31m")));
                out.push(reading);
            }
        }
    }
}

fn for_ever() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

weir_plugin::export!(filter: Hostile);
