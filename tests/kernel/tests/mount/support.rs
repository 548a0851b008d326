//! What the tests share.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use emulated_kernel::{EmulatedKernel, KernelOptions};

pub const ROM: &str = "28-0316a2794dff";

/// Mounts a kernel, or says that this machine cannot.
pub fn mount(options: KernelOptions) -> Option<EmulatedKernel> {
    match EmulatedKernel::mount(options) {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

/// A kernel whose waits are a fiftieth: 12 bit take 15 ms.
pub fn quick() -> KernelOptions {
    KernelOptions::default().times_faster(50)
}

pub fn path(kernel: &EmulatedKernel, rom: &str, file: &str) -> PathBuf {
    kernel.w1_root().join(rom).join(file)
}

pub fn read(kernel: &EmulatedKernel, rom: &str, file: &str) -> String {
    fs::read_to_string(path(kernel, rom, file)).unwrap()
}

pub fn write(kernel: &EmulatedKernel, rom: &str, file: &str, text: &str) -> io::Result<()> {
    fs::write(path(kernel, rom, file), text)
}

/// The number of an error.
pub fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

/// How long something takes.
pub fn taken<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = run();
    (result, started.elapsed())
}
