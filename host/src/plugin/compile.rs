//! Compiles a plugin, in a process that does nothing else: a hostile file may make a compiler slow, greedy, or worse.

use std::io::{self, Read as _, Write as _};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::code::CodeKind;
use super::compiler::CompileOrder;

/// The whole life of the compiling process: a plugin from standard input, compiled code to standard output. An error is a text
/// for whoever ordered it.
pub fn compile_as_ordered(order: &CompileOrder) -> Result<(), String> {
    confine(order).map_err(|e| format!("the compiling process cannot limit itself: {e}"))?;
    let mut file = Vec::new();
    io::stdin().read_to_end(&mut file).map_err(|e| format!("no plugin came: {e}"))?;
    let code = compile(&file, &order.kind)?;
    io::stdout().write_all(&code).map_err(|e| format!("nobody takes the code: {e}"))
}

/// No more time and memory than ordered, no files, and no life after whoever ordered it.
fn confine(order: &CompileOrder) -> io::Result<()> {
    let limit =
        |resource, most| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    // The first second beyond the limit sends a signal that says so, the next one kills.
    let time = Rlimit { current: Some(order.secs), maximum: Some(order.secs.saturating_add(1)) };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // When the machine's memory ends, this process goes first, and not the gateway. Where it cannot be asked for, it is not.
    let _asked = std::fs::write("/proc/self/oom_score_adj", "1000");
    limit(Resource::As, order.memory_bytes)?;
    setrlimit(Resource::Cpu, time)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    // Standard input, output and error are open; nothing more can be.
    limit(Resource::Nofile, 3)?;
    Ok(())
}

/// Compiles a core module or a component.
pub(super) fn compile(file: &[u8], kind: &CodeKind) -> Result<Vec<u8>, String> {
    let encoded;
    let component = if wasmparser::Parser::is_component(file) {
        file
    } else {
        encoded = encode(file)?;
        &encoded
    };
    let failed = |e: wasmtime::Error| format!("{e:#}");
    // The stack's size is no part of the code.
    let config = kind.config(1 << 20).map_err(failed)?;
    wasmtime::Engine::new(&config)
        .and_then(|engine| engine.precompile_component(component))
        .map_err(failed)
}

fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    wit_component::ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("its module does not follow the contract weir:plugin: {e:#}"))
}
