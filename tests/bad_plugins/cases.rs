//! Every hostile plugin by name: how it is made, and what must become of it.
//! Long because it is the list of them all, a few lines each.

use weir::plugin::PluginKind::{Alert, Calibration, Filter};
use weir::reading::FaultReason::{self, PluginDeadline, PluginMemory, PluginTrap};

use super::bombs;
use super::guests::{Guest, LOOP, hostile};

/// One hostile plugin.
pub struct Case {
    /// Its name in the table.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Lines of the pipeline file before the first table, such as `plugins.nesting = 9`.
    pub host_limits: &'static str,
    /// Lines of its stage.
    pub stage: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// Most memory of a process that runs a hostile plugin, the test around it included, in MiB. The plugin may have 16 of them.
pub const MEMORY_MIB: u64 = 128;

/// Where a plugin comes from.
pub enum Origin {
    /// `tests/guests/hostile`, with the deed in its settings.
    Rust,
    /// A file that is made when its turn comes.
    File(Box<dyn Fn() -> Vec<u8> + Send + Sync>),
    /// A file with no bytes that are worth writing, so long.
    Sparse(u64),
}

/// What becomes of a hostile plugin and of the readings that it is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// `weir check` refuses its file, with this in the text.
    Refused(&'static str),
    /// Its stage does not start, with this in the text.
    NotStarted(&'static str),
    /// Some readings become faults of this reason.
    Loses(FaultReason),
    /// It traps, and no reading is lost by that, until it trapped so often that the stage rests.
    Traps,
    /// Nothing at all.
    Harmless,
}
use Fate::{Harmless, Loses, NotStarted, Refused, Traps};

impl Case {
    fn new(name: impl Into<String>, origin: Origin, fate: Fate) -> Case {
        let (host_limits, stage) = ("", String::new());
        Case { name: name.into(), origin, host_limits, stage, fate }
    }

    fn host_limits(mut self, lines: &'static str) -> Case {
        self.host_limits = lines;
        self
    }

    fn stage(mut self, lines: &str) -> Case {
        self.stage += lines;
        self
    }
}

/// A deed of the Rust plugin.
fn deed(does: &str, when: &str, amount: u32, fate: Fate) -> Case {
    let amount_text = if amount == 0 { String::new() } else { format!(", amount = {amount}") };
    Case::new(
        format!(
            "{does} in {when}{}",
            if amount == 0 { String::new() } else { format!(" ({amount})") }
        ),
        Origin::Rust,
        fate,
    )
    .stage(&format!("config = {{ does = \"{does}\", in = \"{when}\"{amount_text} }}\n"))
}

/// A module in text, as it is and as a component.
fn module(name: &str, guest: Guest, fate: Fate) -> Case {
    Case::new(name, Origin::File(Box::new(move || guest.module())), fate)
}

fn component(name: &str, guest: Guest, fate: Fate) -> Case {
    Case::new(name, Origin::File(Box::new(move || guest.component())), fate)
}

fn bomb(name: &str, bytes: impl Fn() -> Vec<u8> + Send + Sync + 'static, fate: Fate) -> Case {
    Case::new(name, Origin::File(Box::new(bytes)), fate)
}

/// All of them.
pub fn cases() -> Vec<Case> {
    [
        deeds(),
        answers(),
        memories(),
        abi(),
        calibrations_and_alerts(),
        files(),
        check_bombs(),
        compile_bombs(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What can be done in any call.
fn deeds() -> Vec<Case> {
    vec![
        deed("loop", "configure", 0, NotStarted("call_deadline")),
        deed("loop", "apply", 0, Loses(PluginDeadline)),
        deed("loop", "tick", 0, Traps),
        deed("loop", "fault", 0, Traps),
        deed("loop", "save", 0, Traps),
        // It is the trap before that loses a reading.
        deed("loop", "load", 0, Loses(PluginTrap)),
        deed("trap", "configure", 0, NotStarted("unreachable")),
        deed("trap", "apply", 0, Loses(PluginTrap)),
        deed("trap", "tick", 0, Traps),
        deed("trap", "fault", 0, Traps),
        deed("trap", "save", 0, Traps),
        deed("trap", "load", 0, Loses(PluginTrap)),
        deed("eat-memory", "configure", 0, NotStarted("memory_mib")),
        deed("eat-memory", "apply", 0, Loses(PluginMemory)),
        deed("eat-memory", "tick", 0, Traps),
        deed("eat-memory", "save", 0, Traps),
        deed("leak", "tick", 0, Traps),
        deed("recurse", "configure", 0, NotStarted("stack_kib")),
        deed("recurse", "apply", 0, Loses(PluginTrap)),
        deed("flood-the-log", "apply", 10_000, Harmless),
        deed("flood-the-log", "tick", 1_000, Harmless),
        deed("log-a-long-line", "apply", 1_000_000, Harmless),
        deed("log-a-long-line", "apply", 10_000_000, Loses(PluginTrap)),
        deed("flood-the-counters", "apply", 10_000, Harmless),
        deed("save-much", "save", (1 << 20) + 1, Traps),
        deed("save-much", "save", 1_000_000_000, Traps),
        deed("refuse-at-length", "configure", 3_000_000, NotStarted("does not start: no")),
        deed("refuse-at-length", "configure", 10_000_000, NotStarted("call_kib")),
        deed("refuse-at-length", "load", 3_000_000, Loses(PluginTrap)),
    ]
}

/// Wrong readings.
fn answers() -> Vec<Case> {
    let wrong = ["give-nan", "give-infinity", "give-unequal-columns", "give-undeclared-series"];
    let wrong = wrong.into_iter().chain(["give-unknown-quality", "go-back-in-time"]);
    let mut cases: Vec<Case> =
        wrong.map(|does| deed(does, "apply", 0, Loses(PluginTrap))).collect();
    cases.extend([
        // Its own sensor's readings are as it says.
        deed("give-the-end-of-time", "apply", 0, Harmless),
        deed("give-the-beginning-of-time", "apply", 0, Harmless),
        deed("give-nan", "tick", 0, Traps),
        deed("give-undeclared-series", "tick", 0, Traps),
        deed("give-many", "tick", 5_000, Traps),
        deed("give-many", "apply", 5_000, Loses(PluginTrap)),
        deed("give-many", "apply", 250_000, Loses(PluginTrap)),
        deed("give-many", "apply", 1_000_000, Loses(PluginMemory)),
    ]);
    cases
}

/// Memories, tables and instances.
fn memories() -> Vec<Case> {
    let grow = |what: &str| format!("(loop $more (br_if $more (i32.ne {what} (i32.const -1))))");
    let guest = || Guest::new(Filter);
    let good = || Guest::new(Filter).component();
    vec![
        module("an honest module", guest(), Harmless),
        component("an honest component", guest(), Harmless),
        module("a memory of 4 GiB", guest().memory("65536"), NotStarted("memory_mib")),
        module(
            "memory, page by page",
            guest().when_hot(&grow("(memory.grow (i32.const 1))")),
            Harmless,
        ),
        module(
            "memory, page by page, then a trap",
            guest().when_hot(&(grow("(memory.grow (i32.const 1))") + "(unreachable)")),
            Loses(PluginMemory),
        ),
        module("8 memories", guest().fields(&"(memory 1)".repeat(8)), NotStarted("`memories`")),
        module(
            "64 tables",
            guest().fields(&"(table 1 funcref)".repeat(64)),
            NotStarted("`tables`"),
        ),
        module(
            "a table of a million",
            guest().fields("(table 1000000 funcref)"),
            NotStarted("table_entries"),
        ),
        module(
            "a table, entry by entry, then a trap",
            guest().fields("(table $t 1 funcref)").when_hot(
                &(grow("(table.grow $t (ref.null func) (i32.const 1))") + "(unreachable)"),
            ),
            Loses(PluginMemory),
        ),
        bomb("80 instances", move || bombs::crowd(&good(), 80), NotStarted("`instances`")),
        bomb("handles without end", move || bombs::handles(&good()), NotStarted("`handles`")),
        // The pages are never written, so that only who copies them needs memory.
        module(
            "a state of 900 MiB",
            guest()
                .memory("14464")
                .part("save", "(i32.store (i32.const 36) (i32.const 943718400)) (i32.const 32)"),
            Traps,
        )
        .stage("limits.memory_mib = 1024\n"),
    ]
}

/// What only hand-written code does with the canonical ABI.
fn abi() -> Vec<Case> {
    let guest = || Guest::new(Filter);
    // Of its column `series`, the address and the length.
    let column = |at: i64, rows: i64| {
        format!(
            "(i32.store (i32.const 48) (i32.const {at})) (i32.store (i32.const 52) (i32.const {rows})) (return (i32.const 48))"
        )
    };
    // `configure` needs a handful of allocations; the batches after it four each.
    let later = |does: &str| {
        let honest = guest();
        let counted = format!(
            "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
             (if (i32.gt_u (global.get $calls) (i32.const 40)) (then {does}))"
        );
        let body = "(local $at i32) (local.set $at (global.get $free))
             (global.set $free (i32.add (global.get $free)
                 (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))";
        honest
            .fields("(global $calls (mut i32) (i32.const 0))")
            .part("realloc", format!("{body} {counted} (local.get $at)"))
    };
    let log = "(call $log (i32.const 1) (i32.const 8) (i32.const 5))";
    vec![
        module("a start function that loops", guest().part("start", "(loop (br 0))"), NotStarted("call_deadline")),
        module("a start function that traps", guest().part("start", "(unreachable)"), NotStarted("unreachable")),
        module("a start function that calls the host", guest().part("start", log), NotStarted("")),
        module("a column outside of memory", guest().when_hot(&column(-16, 10)), Loses(PluginTrap)),
        module("a column without end", guest().when_hot(&column(0, -1)), Loses(PluginTrap)),
        module("a column out of line", guest().when_hot(&column(4097, 1)), Loses(PluginTrap)),
        module("an answer outside of memory", guest().when_hot("(return (i32.const 65532))"), Loses(PluginTrap)),
        module("an answer out of line", guest().when_hot("(return (i32.const 49))"), Loses(PluginTrap)),
        module("a realloc that gives wild addresses", later("(return (i32.const -4096))"), Loses(PluginTrap)),
        module("a realloc that gives what is out of line", later("(return (i32.const 4097))"), Loses(PluginTrap)),
        module("a realloc that loops", later("(loop (br 0))"), Loses(PluginDeadline)),
        module("a realloc that calls the host", later(log), Loses(PluginTrap)),
        module(
            "a realloc that always gives the same place",
            guest().part("realloc", "(i32.const 4096)"),
            // Its columns overlap, so that it gives a time of the year 2116; its value is by chance the right one.
            Harmless,
        ),
        module(
            "a post-return that loops",
            guest().fields("(global $hot (mut i32) (i32.const 0))")
                .when_hot("(global.set $hot (i32.const 1))")
                .part("post", "(if (global.get $hot) (then (loop (br 0)))) (global.set $free (i32.const 4096))"),
            Loses(PluginDeadline),
        ),
        module(
            "a post-return that calls the host",
            guest().fields("(global $hot (mut i32) (i32.const 0))")
                .when_hot("(global.set $hot (i32.const 1))")
                .part("post", format!("(if (global.get $hot) (then {log})) (global.set $free (i32.const 4096))")),
            Loses(PluginTrap),
        ),
        module(
            "a log line that is no text",
            guest().fields("(data (i32.const 24) \"\\ff\\fe\")")
                .when_hot("(call $log (i32.const 1) (i32.const 24) (i32.const 2))"),
            Loses(PluginTrap),
        ),
        module(
            "a log line outside of memory",
            guest().when_hot("(call $log (i32.const 1) (i32.const -8) (i32.const 16))"),
            Loses(PluginTrap),
        ),
        module(
            "a log level that is none",
            guest().when_hot("(call $log (i32.const 99) (i32.const 8) (i32.const 5))"),
            Loses(PluginTrap),
        ),
        module(
            "a counter that overflows",
            guest().when_hot("(call $count (i32.const 8) (i32.const 5) (i64.const -1)) (call $count (i32.const 8) (i32.const 5) (i64.const -1))"),
            Harmless,
        ),
        module(
            "a result that is neither",
            guest().part("configure", "(i32.store8 (i32.const 16) (i32.const 7)) (i32.const 16)"),
            NotStarted(""),
        ),
        component("a component whose apply loops", guest().when_hot(LOOP), Loses(PluginDeadline)),
    ]
}

/// What the other two kinds can answer.
fn calibrations_and_alerts() -> Vec<Case> {
    let calibration = |does: &str| Guest::new(Calibration).when_hot(does);
    let values = |rows: u32| {
        format!(
            "(i32.store (i32.const 48) (i32.const 2048)) (i32.store (i32.const 52) (i32.const {rows})) (return (i32.const 48))"
        )
    };
    // One alarm of 64 bytes at 8192: series, time, condition, state, severity, value, limit.
    let alarms = |count: u32, fields: &str| {
        Guest::new(Alert).memory("16").fields("(data (i32.const 40) \"ABOVE\")").when_hot(&format!(
            "(i32.store (i32.const 8208) (i32.const 8)) (i32.store (i32.const 8212) (i32.const 5)) {fields}
             (i32.store (i32.const 48) (i32.const 8192)) (i32.store (i32.const 52) (i32.const {count}))
             (return (i32.const 48))"
        ))
    };
    vec![
        module("an honest calibration", Guest::new(Calibration), Harmless),
        module("a calibration with no values", calibration(&values(0)), Loses(PluginTrap)),
        module("a calibration with many values", calibration(&values(500)), Loses(PluginTrap)),
        module(
            "a calibration to infinity",
            calibration(&format!("(f64.store (i32.const 2048) (f64.const inf)) {}", values(1))),
            Loses(PluginTrap),
        ),
        module(
            "a calibration to what is no number",
            calibration(&format!("(f64.store (i32.const 2048) (f64.const nan)) {}", values(1))),
            Loses(PluginTrap),
        ),
        module("a calibration that loops", calibration(LOOP), Loses(PluginDeadline)),
        module("an honest alert", Guest::new(Alert), Harmless),
        module("an alert with one alarm", alarms(1, ""), Harmless),
        module("10,000 alarms", alarms(10_000, ""), Loses(PluginTrap)),
        module("a million alarms", alarms(1_000_000, ""), Loses(PluginTrap)),
        module(
            "an alarm of an undeclared series",
            alarms(1, "(i32.store (i32.const 8192) (i32.const 99))"),
            Loses(PluginTrap),
        ),
        module(
            "an alarm whose condition shouts",
            alarms(1, "(i32.store (i32.const 8208) (i32.const 40))"),
            Loses(PluginTrap),
        ),
        module(
            "an alarm without a condition",
            alarms(1, "(i32.store (i32.const 8212) (i32.const 0))"),
            Loses(PluginTrap),
        ),
        module(
            "an alarm whose limit is no number",
            alarms(
                1,
                "(i32.store8 (i32.const 8240) (i32.const 1)) (f64.store (i32.const 8248) (f64.const nan))",
            ),
            Loses(PluginTrap),
        ),
        module(
            "an alarm whose severity is none",
            alarms(1, "(i32.store8 (i32.const 8217) (i32.const 9))"),
            Loses(PluginTrap),
        ),
        module("an alert that loops", Guest::new(Alert).when_hot(LOOP), Loses(PluginDeadline)),
    ]
}

/// Files that are refused for what they are.
fn files() -> Vec<Case> {
    let text = |text: &'static str| move || wat::parse_str(text).unwrap();
    vec![
        bomb("a text file", || b"# plugin".to_vec(), Refused("it is not a WebAssembly file")),
        Case::new("a file of 100 MB", Origin::Sparse(100 << 20), Refused("file_mib")),
        bomb("components in each other, 100 deep", || bombs::nested(100), Refused("nesting")),
        bomb(
            "components in each other, 100,000 deep",
            || bombs::nested(100_000),
            Refused("nesting"),
        ),
        bomb("10,000 components beside each other", || bombs::wide(10_000), Refused("modules")),
        bomb(
            "wasi",
            text(
                r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#,
            ),
            Refused("wasi_snapshot_preview1#fd_write"),
        ),
        bomb(
            "wasi, as a component",
            text(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#),
            Refused("wasi:cli/environment@0.2.0"),
        ),
        bomb(
            "an unknown import",
            text(r#"(module (import "env" "secret" (func)))"#),
            Refused("env#secret"),
        ),
        bomb("threads", text("(module (memory 1 1 shared))"), Refused("it is damaged")),
        bomb("a memory of 64 bit", text("(module (memory i64 1))"), Refused("it is damaged")),
        bomb(
            "half a file",
            || {
                let mut bytes = Guest::new(Filter).component();
                bytes.truncate(bytes.len() / 2);
                bytes
            },
            Refused("it is damaged"),
        ),
    ]
}

/// Files that are large to look at: the check is made by the gateway itself, and not by a process that is limited.
fn check_bombs() -> Vec<Case> {
    vec![
        // wasmparser keeps some 500 bytes of each type that differs from the others: the file's 8 MiB would become 300.
        bomb("600,000 types", || bombs::many_types(600_000), Refused("`definitions`")),
        bomb("30,000 types", || bombs::many_types(30_000), Refused("no manifest")),
        bomb(
            "900,000 types of a component",
            || bombs::many_component_types(900_000),
            Refused("`definitions`"),
        ),
        bomb("700,000 records", || bombs::many_records(700_000), Refused("`definitions`")),
        bomb("49,000 records", || bombs::many_records(49_000), Refused("no manifest")),
        bomb(
            "80 records of 9,000 fields",
            || bombs::wide_records(80, 9_000),
            Refused("`definitions`"),
        ),
        bomb("4 records of 9,000 fields", || bombs::wide_records(4, 9_000), Refused("no manifest")),
        bomb(
            "a million types in the type of an instance",
            || bombs::instance_type(1_000_000),
            Refused("`definitions`"),
        ),
        bomb(
            "90,000 types in the type of an instance",
            || bombs::instance_type(90_000),
            Refused("no manifest"),
        ),
        bomb(
            "a million types in the type of a component",
            || bombs::component_type(1_000_000),
            Refused("`definitions`"),
        ),
        bomb(
            "20 instances of 40,000 names",
            || bombs::instances_of_names(20, 40_000),
            Refused("`definitions`"),
        ),
        bomb("a million imports", || bombs::many_imports(1_000_000), Refused("`definitions`")),
        bomb("600,000 exports", || bombs::many_exports(600_000), Refused("`definitions`")),
        bomb(
            "a manifest of 7 MiB",
            || bombs::long_manifest(7 << 20),
            Refused("its manifest is wrong"),
        ),
    ]
}

/// Files over which a compiler works for a long time, or needs much memory.
fn compile_bombs() -> Vec<Case> {
    let with = |module: fn() -> wasm_encoder::Module| {
        move || bombs::with_module(&Guest::new(Filter).component(), &module())
    };
    vec![
        bomb(
            "20,000 locals in 500 loops",
            with(|| bombs::many_locals(20_000, 500)),
            NotStarted("compile_memory_mib"),
        )
        // It takes all that it is given; so it is told sooner.
        .host_limits("compile_memory_mib = 256\n"),
        bomb("jump tables", with(|| bombs::jump_tables(1_000, 3_500)), NotStarted("compile_"))
            .host_limits("compile_time = \"1s\"\n"),
        bomb(
            "a million functions",
            with(|| bombs::many_functions(1_000_000)),
            NotStarted("compile_"),
        )
        .host_limits("compile_time = \"2s\"\n"),
        // One of the mutants: `configure` returns what is no result. Its compiler panics, in its own process.
        bomb(
            "a contract over which wit-parser panics",
            || {
                let mut bytes = Guest::new(Calibration).module();
                let returns = b"\x06series\x0b\x00\x0c";
                let at = bytes.windows(returns.len()).position(|bytes| bytes == returns).unwrap();
                bytes[at + returns.len() - 1] = 4;
                bytes
            },
            NotStarted("the compiler crashed over it"),
        ),
    ]
}

/// The path of the Rust plugin, built when it is first asked for.
pub fn rust_plugin() -> String {
    hostile().display().to_string()
}
