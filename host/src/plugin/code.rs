//! What a plugin is compiled to, and the one configuration with which it is compiled and run.

use wasmtime::Config;

/// How plugins run on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// As the processor's own code. On 32-bit ARM, for which there is none, as [`Execution::Interpreted`].
    #[default]
    Native,
    /// By an interpreter: 8 to 45 times slower, and no memory is ever writable and executable.
    Interpreted,
}

/// What ends a call that goes on for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Its deadline.
    #[default]
    Time,
    /// Its fuel: the same on every machine, however busy.
    Fuel,
}

/// Which processors of a machine's kind compiled code runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// This very one, with all that it has.
    This,
    /// Any.
    Any,
}

/// How much address space is reserved for one linear memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// 4 GiB, all that an address can reach: the code need not check bounds, and is up to twice as fast.
    #[default]
    Whole,
    /// 64 MiB, or 8 on 32-bit machines; a memory that outgrows it moves. Interpreters check bounds in any case.
    Part,
}

/// A kind of compiled code. Code for any processor runs on every machine that asks for its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeKind {
    /// The machine, as compiled code is named after it: `x86_64`, `aarch64`, `pulley64` or `pulley32`.
    pub machine: &'static str,
    /// What ends a call.
    pub bound: Bound,
    /// How much address space its memories take.
    pub room: Room,
    /// For which processors it is compiled. No part of the kind's name: whoever looks for code takes either.
    pub processor: Processor,
}

/// What this machine runs without an interpreter.
const HERE: &str = if cfg!(target_arch = "x86_64") {
    "x86_64"
} else if cfg!(target_arch = "aarch64") {
    "aarch64"
} else {
    INTERPRETED_HERE
};
const INTERPRETED_HERE: &str =
    if cfg!(target_pointer_width = "64") { "pulley64" } else { "pulley32" };

/// With more stages their memories have no room for 4 GiB each: kernels of small machines give a process 512 GB.
const MOST_WHOLE: usize = 64;
/// Address space around each linear memory that is never mapped, in bytes. Around a whole one it catches offsets too.
const GUARD_WHOLE: u64 = 32 << 20;
const GUARD_PART: u64 = 64 << 10;

impl CodeKind {
    /// What this machine runs.
    pub fn here(execution: Execution, bound: Bound) -> CodeKind {
        let machine = match execution {
            Execution::Native => HERE,
            Execution::Interpreted => INTERPRETED_HERE,
        };
        CodeKind { machine, bound, room: room(machine), processor: Processor::This }
    }

    /// The same for a pipeline with so many stages.
    pub(super) fn for_stages(self, stages: usize) -> CodeKind {
        let room = if stages > MOST_WHOLE { Room::Part } else { self.room };
        CodeKind { room, ..self }
    }

    /// What all machines of a Rust target run, such as `aarch64-unknown-linux-gnu`; `None` when Weir does not run there.
    pub fn of_target(target: &str, execution: Execution) -> Option<CodeKind> {
        let architecture = target.split('-').next().unwrap_or_default();
        let machine = match (architecture, execution) {
            ("x86_64", Execution::Native) => "x86_64",
            ("aarch64", Execution::Native) => "aarch64",
            ("x86_64" | "aarch64", Execution::Interpreted) => "pulley64",
            ("arm" | "armv6" | "armv7" | "i686", _) => "pulley32",
            _ => return None,
        };
        let room = room(machine);
        let kind = CodeKind { machine, bound: Bound::Time, room, processor: Processor::Any };
        target.contains("linux").then_some(kind)
    }

    /// The words that name this kind among others.
    pub(super) fn words(&self) -> String {
        let bound = match self.bound {
            Bound::Time => "time",
            Bound::Fuel => "fuel",
        };
        // Only where both are to be had is the room worth a word.
        let room = if self.room == room(self.machine) { "" } else { "-part" };
        format!("{}-{bound}{room}", self.machine)
    }

    /// The kind of some words, for these processors.
    pub(super) fn from_words(words: &str, processor: Processor) -> Option<CodeKind> {
        let machines = ["x86_64", "aarch64", "pulley64", "pulley32"];
        let kinds = machines.into_iter().flat_map(|machine| {
            [Bound::Time, Bound::Fuel].map(move |bound| CodeKind {
                machine,
                bound,
                room: room(machine),
                processor,
            })
        });
        let kinds = kinds.flat_map(|kind| [kind.clone(), kind.for_stages(usize::MAX)]);
        kinds.into_iter().find(|kind| kind.words() == words)
    }

    /// With this plugins are compiled, in whatever process, and run.
    pub(super) fn config(&self, stack_bytes: usize) -> wasmtime::Result<Config> {
        let mut config = Config::new();
        match self.machine {
            // With no target named, the compiler uses what this very processor has. A named one has the least that its
            // architecture promises.
            here if here == HERE
                && self.processor == Processor::This
                && !here.starts_with("pulley") => {}
            pulley if pulley.starts_with("pulley") => {
                config.target(pulley)?;
            }
            other => {
                config.target(&format!("{other}-unknown-linux-gnu"))?;
            }
        }
        // A component call falls from 561 to 148 ns when nothing can be concurrent in it.
        config.concurrency_support(false);
        match self.bound {
            Bound::Time => config.epoch_interruption(true),
            Bound::Fuel => config.consume_fuel(true),
        };
        config.max_wasm_stack(stack_bytes);
        let (reservation, guard) = match (self.room, self.machine) {
            (Room::Whole, _) => (4 << 30, GUARD_WHOLE),
            (Room::Part, "pulley32") => (8 << 20, GUARD_PART),
            (Room::Part, _) => (64 << 20, GUARD_PART),
        };
        config.memory_reservation(reservation);
        config.memory_reservation_for_growth(reservation);
        config.memory_guard_size(guard);
        // The same bits on every machine. A runtime without a compiler does not know the option, and has no use for it.
        #[cfg(feature = "compiler")]
        config.cranelift_nan_canonicalization(true);
        config.wasm_relaxed_simd(false);
        config.wasm_memory64(false);
        Ok(config)
    }
}

/// What a machine's memories take, where there is room.
fn room(machine: &str) -> Room {
    if machine.starts_with("pulley") { Room::Part } else { Room::Whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_the_code_that_its_machine_runs() {
        for (target, native, interpreted) in [
            ("x86_64-unknown-linux-gnu", Some("x86_64"), Some("pulley64")),
            ("aarch64-unknown-linux-gnu", Some("aarch64"), Some("pulley64")),
            ("aarch64-unknown-linux-musl", Some("aarch64"), Some("pulley64")),
            ("armv7-unknown-linux-gnueabihf", Some("pulley32"), Some("pulley32")),
            ("arm-unknown-linux-gnueabihf", Some("pulley32"), Some("pulley32")),
            ("aarch64-apple-darwin", None, None),
            ("toaster", None, None),
        ] {
            let machine =
                |execution| CodeKind::of_target(target, execution).map(|kind| kind.machine);
            assert_eq!(machine(Execution::Native), native, "{target}");
            assert_eq!(machine(Execution::Interpreted), interpreted, "{target}");
        }
    }

    #[test]
    fn words_name_one_kind() {
        for bound in [Bound::Time, Bound::Fuel] {
            for execution in [Execution::Native, Execution::Interpreted] {
                for stages in [1, 1_000] {
                    let kind = CodeKind::here(execution, bound).for_stages(stages);
                    assert_eq!(CodeKind::from_words(&kind.words(), Processor::This), Some(kind));
                }
            }
        }
        assert_eq!(CodeKind::from_words("toaster-time", Processor::Any), None);
    }
}
