//! Has plugins compiled: by a process of our own that is limited, or not at all in a host without a compiler.

use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::HostLimits;
use super::code::{CodeKind, Processor};
use crate::file::{self, printable};

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

    fn arguments(&self) -> [String; 4] {
        let processor = match self.kind.processor {
            Processor::This => "this",
            Processor::Any => "any",
        };
        let (secs, memory_bytes) = (self.secs.to_string(), self.memory_bytes.to_string());
        [self.kind.words(), processor.to_owned(), secs, memory_bytes]
    }

    /// From the arguments of the command [`COMPILE_COMMAND`].
    pub fn from_arguments(arguments: &[String]) -> Option<CompileOrder> {
        let [kind, processor, secs, memory_bytes] = arguments else { return None };
        let processor = match processor.as_str() {
            "this" => Processor::This,
            "any" => Processor::Any,
            _ => return None,
        };
        Some(CompileOrder {
            kind: CodeKind::from_words(kind, processor)?,
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
        "this host has no compiler, and the folder given by --data-dir has no code of this plugin for {machine} that can be \
         used{}: make it on another machine with `weir plugin compile --data-dir DIR` and copy that folder here",
        because(unusable.as_deref())
    )]
    NoCompiler {
        /// For which machine.
        machine: &'static str,
        /// Why code that is there is not used.
        unusable: Option<String>,
    },
    /// The code does not run here.
    #[error("cannot run its code: {0}")]
    Unusable(String),
    /// The engine does not start.
    #[error("{0}")]
    Engine(String),
}

/// Most bytes of compiled code: a Python plugin has 43 MB of it.
pub(super) const MOST_CODE: u64 = 256 << 20;
/// Most bytes of the compiling process's complaint that are read.
const MOST_COMPLAINT: u64 = 4 << 10;
/// A process that gets no processor is left alone for so many times its processor time.
const PATIENCE: u32 = 10;
/// How often is looked whether the process has ended: compiling takes 50 ms at least.
const LOOK: Duration = Duration::from_millis(2);

fn because(unusable: Option<&str>) -> String {
    unusable.map(|why| format!(" (what is there: {why})")).unwrap_or_default()
}

/// Compiles a core module or a component.
pub(super) fn compile(
    compiler: &Compiler,
    file: &[u8],
    kind: &CodeKind,
    limits: &HostLimits,
) -> Result<Vec<u8>, CompileError> {
    let Compiler::Process(program) = compiler else {
        return Err(CompileError::NoCompiler { machine: kind.machine, unusable: None });
    };
    let mut command = Command::new(program);
    command.arg(COMPILE_COMMAND).args(CompileOrder::new(kind, limits).arguments()).env_clear();
    let patience = limits.compile_time.saturating_mul(PATIENCE);
    let answer = run(&mut command, file, patience, MOST_CODE)
        .map_err(|e| CompileError::NoProcess(e.to_string()))?;
    answer.map_or_else(|| Err(too_slow(limits)), |answer| judge(answer, limits))
}

/// What a process has answered when it has ended.
struct Answer {
    status: ExitStatus,
    /// What it wrote to standard output, or why that was not taken.
    code: io::Result<Vec<u8>>,
    /// The beginning of what it wrote to standard error.
    complaint: String,
}

/// Hands the file to a process and takes its answer; nothing when that takes too long.
fn run(
    command: &mut Command,
    file: &[u8],
    patience: Duration,
    most_code: u64,
) -> io::Result<Option<Answer>> {
    let begun = Instant::now();
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdin, stdout, stderr) =
        (process.stdin.take(), process.stdout.take(), process.stderr.take());
    thread::scope(|scope| {
        // A process that has ended, by itself or killed, has closed its pipes, so that each of these ends. It has no children.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(file)));
        let complaint = scope.spawn(move || stderr.map(complaint).unwrap_or_default());
        let code = scope.spawn(move || {
            stdout.map_or_else(|| Ok(Vec::new()), |pipe| file::bounded(pipe, most_code))
        });
        let Some(status) = wait(&mut process, begun, patience)? else { return Ok(None) };
        let code = code.join().unwrap_or_else(|_| Err(io::Error::other("it cannot be read")));
        Ok(Some(Answer { status, code, complaint: complaint.join().unwrap_or_default() }))
    })
}

/// Waits for the end of a process; where that does not come in time, it is killed.
fn wait(process: &mut Child, begun: Instant, patience: Duration) -> io::Result<Option<ExitStatus>> {
    while begun.elapsed() < patience {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK);
    }
    // It may have ended just now: then there is nothing to kill.
    let _killed = process.kill();
    process.wait()?;
    Ok(None)
}

/// The beginning; the rest is read all the same, since a process whose pipe is full would wait.
fn complaint(mut pipe: impl Read) -> String {
    let mut text = Vec::new();
    // Whatever came is better than nothing.
    let _read = pipe.by_ref().take(MOST_COMPLAINT).read_to_end(&mut text);
    let _rest = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&text).into_owned()
}

fn judge(answer: Answer, limits: &HostLimits) -> Result<Vec<u8>, CompileError> {
    let Answer { status, code, complaint } = answer;
    let code = code.map_err(|e| CompileError::Refused(format!("its code cannot be taken: {e}")))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn an_answer_is_taken_whole_and_with_the_status_of_its_process() {
        let file = vec![7; 1 << 20];
        let answer = run(&mut shell("exec cat"), &file, LONG, MOST_CODE).unwrap().unwrap();
        assert!(answer.status.success());
        assert_eq!(answer.code.unwrap(), file);
        // It goes on after its last byte: that is no reason to kill it.
        let slow = "echo code; exec 1>&- 2>&-; sleep 0.2; exit 3";
        let answer = run(&mut shell(slow), b"", LONG, MOST_CODE).unwrap().unwrap();
        assert_eq!(answer.status.code(), Some(3));
        let talks = "head -c 1000000 /dev/zero >&2; echo code";
        let answer = run(&mut shell(talks), b"", LONG, MOST_CODE).unwrap().unwrap();
        assert_eq!(answer.complaint.len() as u64, MOST_COMPLAINT);
        assert_eq!(answer.code.unwrap(), b"code\n");
    }

    #[test]
    fn a_process_that_does_not_end_is_ended_whichever_pipe_it_keeps() {
        let file = vec![7; 1 << 20];
        for script in
            ["exec sleep 60", "exec sleep 60 >&-", "exec sleep 60 2>&-", "exec sleep 60 <&-"]
        {
            let begun = Instant::now();
            let answer = run(&mut shell(script), &file, Duration::from_millis(200), MOST_CODE);
            assert!(answer.unwrap().is_none(), "{script}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{script}");
        }
    }

    #[test]
    fn an_answer_without_end_is_not_taken() {
        let answer = run(&mut shell("exec cat /dev/zero"), b"", LONG, 1 << 20).unwrap().unwrap();
        let refused = judge(answer, &HostLimits::default()).unwrap_err().to_string();
        assert!(refused.contains("it has more than 1048576 bytes"), "{refused}");
    }

    #[test]
    fn an_order_arrives_as_it_was_given() {
        for processor in [Processor::This, Processor::Any] {
            let kind = CodeKind {
                processor,
                ..CodeKind::of_target("aarch64-unknown-linux-gnu", Default::default()).unwrap()
            };
            let order = CompileOrder::new(&kind, &HostLimits::default());
            assert_eq!(CompileOrder::from_arguments(&order.arguments()), Some(order));
        }
        assert_eq!(CompileOrder::from_arguments(&["aarch64-time".to_owned()]), None);
    }
}
