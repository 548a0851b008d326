//! Linux's 1-Wire subsystem with `w1_gpio` and `w1_therm`, emulated: a FUSE file system whose `sys/bus/w1` behaves as
//! theirs does, with chips that a test plugs in, heats and breaks.
//!
//! What the kernel does is by reading `drivers/w1` and `Documentation/w1` of Linux 5.4, 5.10 and 6.6; what the chips
//! do is by their data sheets. Mounting needs `/dev/fuse` and the right to mount, and no `fusermount`.
//!
//! ```no_run
//! use emulated_kernel::{Chip, EmulatedKernel, Fail, KernelOptions};
//!
//! let kernel = EmulatedKernel::mount(KernelOptions::default().times_faster(10))?;
//! let bus = kernel.add_bus();
//! let sensor = kernel.plug(bus, "28-0316a2794dff", Chip::genuine(-18.5));
//! sensor.script([Fail::Crc]);
//! let file = kernel.w1_root().join("28-0316a2794dff/w1_slave");
//! assert_eq!(std::fs::read_to_string(&file)?, "");
//! assert!(std::fs::read_to_string(&file)?.ends_with("t=-18500\n"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Not emulated: signals other than SIGKILL (the kernel ends a wait for a conversion when its reader gets one), searches
//! (chips are found at once), alarm searches, netlink, what `rw` does, `w1_seq`, and `uevent` and
//! the links that each device has besides.

mod attributes;
mod bus;
mod chip;
mod files;
mod fuse;
mod kernel;
mod measurement;
mod options;
mod pace;
mod registers;
mod scratchpad;
mod script;
mod sensor;
mod therm;
mod tree;
mod world;

pub use bus::{BusHold, BusId};
pub use chip::Chip;
pub use files::Entry;
pub use kernel::EmulatedKernel;
pub use options::{BulkFile, EepromFile, KernelOptions, Release, StrongPullUp, Timing};
pub use scratchpad::{Scratchpad, crc8};
pub use script::{BusFail, Errno, Fail};
pub use sensor::Sensor;
