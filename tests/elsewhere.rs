//! The same recording gives the same bytes on other machines: a host without a compiler, cross-built for 64-bit and 32-bit ARM
//! and run by qemu, with plugins that this machine compiled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use weir::plugin::{CodeCache, Compiler, Engine, EngineSettings, HostLimits, PluginFile, standard};

use crate::support::{Running, repository, weir};

/// A machine that qemu can be.
struct Machine {
    target: &'static str,
    /// The cross compiler of Debian, which links.
    linker: &'static str,
    qemu: &'static str,
    /// Where the C library of that machine is.
    root: &'static str,
    code: &'static str,
}

const MACHINES: [Machine; 2] = [
    Machine {
        target: "aarch64-unknown-linux-gnu",
        linker: "aarch64-linux-gnu-gcc",
        qemu: "qemu-aarch64-static",
        root: "/usr/aarch64-linux-gnu",
        code: "aarch64",
    },
    Machine {
        target: "armv7-unknown-linux-gnueabihf",
        linker: "arm-linux-gnueabihf-gcc",
        qemu: "qemu-arm-static",
        root: "/usr/arm-linux-gnueabihf",
        code: "pulley32",
    },
];

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

impl Machine {
    /// What is missing for it here.
    fn missing(&self) -> Option<String> {
        let libraries = Command::new("rustc")
            .args(["--print", "target-libdir", "--target", self.target])
            .output()
            .unwrap();
        if !Path::new(String::from_utf8(libraries.stdout).unwrap().trim()).is_dir() {
            return Some(format!("Rust's target {} (rustup target add)", self.target));
        }
        [self.linker, self.qemu].into_iter().find(|program| !is_there(program)).map(str::to_owned)
    }

    /// The host for that machine, without a compiler.
    fn build(&self) -> PathBuf {
        // …/target/debug/weir: beside it.
        let target = Path::new(env!("CARGO_BIN_EXE_weir")).ancestors().nth(2).unwrap();
        let folder = target.join("elsewhere");
        let linker =
            format!("CARGO_TARGET_{}_LINKER", self.target.to_uppercase().replace('-', "_"));
        let built = Command::new(env!("CARGO"))
            .current_dir(repository("."))
            .args(["build", "--locked", "--package", "weir", "--no-default-features"])
            .args(["--target", self.target, "--target-dir"])
            .arg(&folder)
            .env(linker, self.linker)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status();
        assert!(built.unwrap().success());
        folder.join(self.target).join("debug/weir")
    }
}

/// A freezer that warms and cools within seconds, with noise and faults: every plugin has something to do.
const PIPELINE: &str = r#"
    [device]
    name = "d"
    [[sensor]]
    name = "freezer"
    driver = "simulated"
    interval = "100ms"
    period = "1s"
    swing_celsius = 3
    fault_percent = 10
    [[sensor]]
    name = "room"
    driver = "simulated"
    interval = "100ms"
    [[stage]]
    name = "despike"
    plugin = "filter-median"
    [[stage]]
    name = "calibrate"
    plugin = "calibrate-linear"
    config = { gain = 1.0173, offset = -0.3 }
    [[stage]]
    name = "too-warm"
    plugin = "alert-limit"
    config = { above = 20.0, deadband = 0.1 }
    [dashboard]
    listen = "127.0.0.1:0"
    "#;

fn record(folder: &Path) -> (PathBuf, PathBuf) {
    let (pipeline, recording) = (folder.join("pipeline.toml"), folder.join("recording"));
    std::fs::write(&pipeline, PIPELINE).unwrap();
    let [file, out] = [&pipeline, &recording].map(|path| path.to_str().unwrap());
    let (status, lines) =
        Running::start(weir(&["run", file, "--record", out, "--duration", "4s"])).end();
    assert!(status.success(), "{lines:#?}");
    (pipeline, recording)
}

/// The lines that some weir makes of a recording.
fn replay(mut weir: Command, pipeline: &Path, recording: &Path, options: &[&str]) -> Vec<u8> {
    weir.arg("replay").arg(pipeline).arg("--input").arg(recording).args(options);
    let begun = Instant::now();
    let done = weir.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{weir:?}: {said}");
    assert!(!said.contains("is another file"), "the same plugins: {said}");
    println!("{:?} {:.1?}: {}", weir.get_program(), begun.elapsed(), said.trim());
    done.stdout
}

#[test]
fn a_recorded_run_gives_the_same_bytes_on_arm() {
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, recording) = record(folder.path());
    let here = replay(weir(&[]), &pipeline, &recording, &[]);
    let text = String::from_utf8(here.clone()).unwrap();
    for kind in ["temperature", "fault", "alarm"] {
        assert!(text.contains(&format!("{{\"type\":\"{kind}\"")), "{kind}: {text}");
    }
    assert_eq!(replay(weir(&[]), &pipeline, &recording, &["--interpret"]), here);
    let data_dir = folder.path().join("data");
    let data_dir = data_dir.to_str().unwrap();
    for machine in &MACHINES {
        if let Some(missing) = machine.missing() {
            eprintln!("SKIPPED: {} needs {missing}", machine.target);
            continue;
        }
        let there = machine.build();
        let run = |command: &str| {
            let mut qemu = Command::new(machine.qemu);
            qemu.args(["-L", machine.root]).arg(&there).arg(command);
            qemu
        };
        // Without code it says what to do,
        let mut bare = run("replay");
        let refused = bare.arg(&pipeline).arg("--input").arg(&recording).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        let told = format!("no code of this plugin for {} that can be used", machine.code);
        assert!(said.contains(&told) && said.contains("weir plugin compile"), "{said}");
        // which is done here.
        for interpret in [&[][..], &["--interpret"]] {
            let compile = ["plugin", "compile", "--replay", "--data-dir", data_dir, "--target"];
            let plugins = ["alert-limit", "calibrate-linear", "filter-median"];
            let mut compile = weir(&compile);
            compile.arg(machine.target).args(interpret).args(plugins);
            let (status, lines) = Running::start(compile).end();
            assert!(status.success(), "{lines:#?}");
            let mut options = vec!["--data-dir", data_dir];
            options.extend(interpret);
            let mut qemu = Command::new(machine.qemu);
            qemu.args(["-L", machine.root]).arg(&there);
            assert!(replay(qemu, &pipeline, &recording, &options) == here, "{}", machine.target);
        }
    }
}

/// Runs its arguments where no memory can become executable that was writable, as systemd's `MemoryDenyWriteExecute` has it.
const HARDENED: &str = r#"
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn where_no_memory_may_become_executable_plugins_are_interpreted() {
    let hardened = |program: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", HARDENED, program]);
        python
    };
    let able = hardened("/bin/true").status();
    if !able.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: needs python3 and a kernel since 6.3 (PR_SET_MDWE)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, recording) = record(folder.path());
    let here = replay(weir(&[]), &pipeline, &recording, &[]);
    let weir = || hardened(env!("CARGO_BIN_EXE_weir"));
    let refused = weir().arg("run").arg(&pipeline).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("--interpret runs plugins all the same"),
        "{said}"
    );
    assert_eq!(replay(weir(), &pipeline, &recording, &["--interpret"]), here);
}

#[test]
fn code_for_any_processor_of_this_machine_runs_on_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().to_str().unwrap();
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let compile = ["plugin", "compile", "filter-median", "--data-dir", data_dir, "--target"];
    let (status, lines) = Running::start({
        let mut compile = weir(&compile);
        compile.arg(&target);
        compile
    })
    .end();
    assert!(status.success(), "{lines:#?}");
    let cache = Some(Arc::new(CodeCache::open(&folder.path().join("code")).unwrap()));
    let settings = EngineSettings { compiler: Compiler::Nobody, cache, ..Default::default() };
    let limits = HostLimits::default();
    let engine = Engine::start(settings, limits).unwrap();
    let file = |name| PluginFile::check(standard(name).unwrap(), &limits).unwrap();
    assert_eq!(engine.compile(&file("filter-median")).err().map(|error| error.to_string()), None);
    let refused = engine.compile(&file("alert-limit")).err().unwrap().to_string();
    assert!(refused.contains("no code of this plugin for"), "{refused}");
}
