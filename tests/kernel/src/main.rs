//! Mounts a healthy tree for people to look at, until it gets a signal to end.

use std::path::PathBuf;
use std::process::ExitCode;

use emulated_kernel::{Chip, EmulatedKernel, KernelOptions, Timing};
use nix::sys::signal::{SigSet, Signal};

const USAGE: &str =
    "usage: emulated-kernel MOUNTPOINT [--sensors N] [--buses N] [--parasite] [--bit-banged]";

struct Arguments {
    root: PathBuf,
    sensors: u32,
    buses: u32,
    parasite: bool,
    timing: Timing,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments {
        root: words.next().filter(|word| !word.starts_with('-'))?.into(),
        sensors: 3,
        buses: 1,
        parasite: false,
        timing: Timing::instant(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--sensors" => arguments.sensors = words.next()?.parse().ok()?,
            "--buses" => arguments.buses = words.next()?.parse().ok()?,
            "--parasite" => arguments.parasite = true,
            "--bit-banged" => arguments.timing = Timing::bit_banged(),
            _ => return None,
        }
    }
    Some(arguments)
}

fn run(arguments: &Arguments) -> std::io::Result<()> {
    let mut end = SigSet::empty();
    end.add(Signal::SIGINT);
    end.add(Signal::SIGTERM);
    // Before the first thread: they inherit it, and the signals wait for `end.wait`.
    end.thread_block()?;
    let options = KernelOptions { timing: arguments.timing, ..KernelOptions::default() };
    let kernel = EmulatedKernel::mount_at(&arguments.root, options)?;
    for _ in 0..arguments.buses {
        let bus = kernel.add_bus();
        for sensor in 0..arguments.sensors {
            let rom = format!("28-0316a279{:02x}{sensor:02x}", bus.number());
            // Half a degree up and down, a cycle a minute.
            let celsius = 20.0 + f64::from(sensor);
            let chip = Chip::genuine(celsius).following(move |elapsed| {
                celsius + (elapsed.as_secs_f64() / 60.0 * std::f64::consts::TAU).sin() / 2.0
            });
            kernel.plug(bus, &rom, if arguments.parasite { chip.parasite() } else { chip });
        }
    }
    println!("{}", kernel.w1_root().display());
    end.wait()?;
    Ok(())
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
