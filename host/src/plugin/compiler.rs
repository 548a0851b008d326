//! Has plugins compiled: by a process of our own that is limited, or not at all in a host without a compiler.

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::HostLimits;
use super::code::CodeKind;
use crate::file::printable;

/// The hidden command of the binary that compiles one plugin.
pub const COMPILE_COMMAND: &str = "compile-plugin";

/// Who compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// A process of this program, which is the `weir` binary.
    Process(PathBuf),
    /// Nobody: only code that another machine compiled runs.
    Nobody,
}

impl Default for Compiler {
    /// This very program, also when its file was replaced meanwhile.
    fn default() -> Self {
        if cfg!(feature = "compiler") {
            Compiler::Process(PathBuf::from("/proc/self/exe"))
        } else {
            Compiler::Nobody
        }
    }
}

/// What the compiling process is told beside the plugin, which it reads from standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileOrder {
    /// What to compile to.
    pub(super) kind: CodeKind,
    /// Longest processor time, in seconds.
    pub(super) secs: u64,
    /// Most address space, in bytes.
    pub(super) memory_bytes: u64,
}

impl CompileOrder {
    fn new(kind: &CodeKind, limits: &HostLimits) -> CompileOrder {
        CompileOrder {
            kind: kind.clone(),
            secs: limits.compile_time.as_secs().max(1),
            memory_bytes: limits.compile_memory_bytes,
        }
    }

    fn arguments(&self) -> [String; 3] {
        [self.kind.words(), self.secs.to_string(), self.memory_bytes.to_string()]
    }

    /// From the arguments of the command [`COMPILE_COMMAND`].
    pub fn from_arguments(arguments: &[String]) -> Option<CompileOrder> {
        let [kind, secs, memory_bytes] = arguments else { return None };
        Some(CompileOrder {
            kind: CodeKind::from_words(kind)?,
            secs: secs.parse().ok()?,
            memory_bytes: memory_bytes.parse().ok()?,
        })
    }
}

/// Why a file that looked right was not compiled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it.
    #[error("cannot compile it: {0}")]
    Refused(String),
    /// The compiler needed more than it may have.
    #[error("compiling it needs more than {limit} of {what}: `{key}` in [plugins] allows more")]
    Limit {
        /// Processor time or memory.
        what: &'static str,
        /// How much it may have.
        limit: String,
        /// The key that allows more.
        key: &'static str,
    },
    /// The compiling process crashed.
    #[error("the compiler crashed over it: {0}")]
    Crashed(String),
    /// The compiling process did not run.
    #[error("cannot run the compiler: {0}")]
    NoProcess(String),
    /// There is no compiler.
    #[error(
        "this host has no compiler, and its data folder has no code of this plugin for {machine}: make it on another \
         machine with `weir plugin compile`"
    )]
    NoCompiler {
        /// For which machine.
        machine: &'static str,
    },
    /// The code does not run here.
    #[error("cannot run its code: {0}")]
    Unusable(String),
    /// The engine does not start.
    #[error("{0}")]
    Engine(String),
}

/// Most bytes of the compiling process's complaint that are read.
const MOST_COMPLAINT: u64 = 4 << 10;
/// A process that gets no processor is left alone for so many times its processor time.
const PATIENCE: u32 = 10;

/// Compiles a core module or a component.
pub(super) fn compile(
    compiler: &Compiler,
    file: &[u8],
    kind: &CodeKind,
    limits: &HostLimits,
) -> Result<Vec<u8>, CompileError> {
    let Compiler::Process(program) = compiler else {
        return Err(CompileError::NoCompiler { machine: kind.machine });
    };
    let no_process = |e: std::io::Error| CompileError::NoProcess(e.to_string());
    let mut process = Command::new(program)
        .arg(COMPILE_COMMAND)
        .args(CompileOrder::new(kind, limits).arguments())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_process)?;
    let output = exchange(&mut process, file, limits.compile_time * PATIENCE);
    // It is dead already, or is to be.
    let _killed = process.kill();
    let status = process.wait().map_err(no_process)?;
    let Some((code, complaint)) = output else { return Err(too_slow(limits)) };
    judge(status, code, &complaint, limits)
}

/// Hands the file to the process and takes its answer; nothing when that takes too long.
fn exchange(process: &mut Child, file: &[u8], patience: Duration) -> Option<(Vec<u8>, String)> {
    let (stdin, stdout, stderr) =
        (process.stdin.take(), process.stdout.take(), process.stderr.take());
    std::thread::scope(|scope| {
        // A process that is killed closes its pipes, so that each of these ends.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(file)));
        let complaint = scope.spawn(move || {
            let mut text = Vec::new();
            if let Some(mut pipe) = stderr {
                // Whatever came is better than nothing.
                let _read = pipe.by_ref().take(MOST_COMPLAINT).read_to_end(&mut text);
                let _rest = std::io::copy(&mut pipe, &mut std::io::sink());
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let (answer, answered) = mpsc::channel();
        scope.spawn(move || {
            let mut code = Vec::new();
            if let Some(mut pipe) = stdout {
                let _read = pipe.read_to_end(&mut code);
            }
            let _told = answer.send(code);
        });
        let code = answered.recv_timeout(patience).ok();
        if code.is_none() {
            let _killed = process.kill();
        }
        let complaint = complaint.join().unwrap_or_default();
        code.map(|code| (code, complaint))
    })
}

fn judge(
    status: ExitStatus,
    code: Vec<u8>,
    complaint: &str,
    limits: &HostLimits,
) -> Result<Vec<u8>, CompileError> {
    let complaint = complaint.lines().filter(|line| !line.is_empty());
    let complaint: Vec<String> = complaint.map(printable).collect();
    let complaint = complaint.join("; ");
    match status.signal() {
        _ if status.success() => Ok(code),
        _ if complaint.contains("memory allocation of") => Err(CompileError::Limit {
            what: "memory",
            limit: format!("{} MiB", limits.compile_memory_bytes >> 20),
            key: "compile_memory_mib",
        }),
        Some(libc::SIGXCPU) => Err(too_slow(limits)),
        Some(libc::SIGKILL) => Err(CompileError::Crashed(
            "the system killed it: this machine may have too little memory".to_owned(),
        )),
        Some(signal) => Err(CompileError::Crashed(format!("signal {signal}: {complaint}"))),
        None if complaint.contains("panicked at") => Err(CompileError::Crashed(complaint)),
        None => Err(CompileError::Refused(complaint)),
    }
}

fn too_slow(limits: &HostLimits) -> CompileError {
    CompileError::Limit {
        what: "processor time",
        limit: humantime::format_duration(limits.compile_time).to_string(),
        key: "compile_time",
    }
}
