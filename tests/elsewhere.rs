//! The same recording gives the same bytes on other machines: a host without a compiler, cross-built for 64-bit and 32-bit ARM
//! and run by qemu, with plugins that this machine compiled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::{Running, recorded, repository, weir};

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
        let linker = format!("CARGO_TARGET_{}_LINKER", self.target.to_uppercase().replace('-', "_"));
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

/// The lines of a replay of the recording by some weir.
fn replay(mut weir: Command, recording: &Path, arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines");
    weir.args(["replay", repository("pipelines/freezer.toml").to_str().unwrap(), "--adopt", "--input"])
        .arg(recording)
        .arg("--output")
        .arg(&lines)
        .args(arguments);
    let (status, printed) = Running::start(weir).end();
    assert!(status.success(), "{printed:#?}");
    std::fs::read(lines).unwrap()
}
