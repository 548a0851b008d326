//! The DS18B20 and its relatives through the kernel's `w1_therm` driver, by the file `w1_slave`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::scratchpad::parse_w1_slave;
use super::{Measurement, RomId};
use crate::reading::FaultReason;

/// Longest time that one read may take. A conversion takes 750 ms and the kernel tries a failed one up to five
/// times, but a sensor that needs that long must not stop the others of its bus for so long.
const READ_DEADLINE: Duration = Duration::from_millis(2_500);

/// One sensor in a folder tree as under `/sys/bus/w1/devices`.
#[derive(Debug)]
pub struct W1Sensor {
    rom_id: RomId,
    file: PathBuf,
    /// A read that passed its deadline and is still held by the kernel: no second one is begun beside it.
    overdue: Option<JoinHandle<io::Result<String>>>,
}

impl W1Sensor {
    /// The sensor with this ROM id, present or not.
    pub fn new(w1_root: &Path, rom_id: RomId) -> Self {
        let file = w1_root.join(rom_id.to_string()).join("w1_slave");
        W1Sensor { rom_id, file, overdue: None }
    }

    /// Makes a conversion and reads it. Opening and reading blocks for the conversion, so it is done off the
    /// async workers.
    pub async fn read(&mut self) -> Measurement {
        if self.overdue.as_ref().is_some_and(|read| !read.is_finished()) {
            return Err(FaultReason::Timeout);
        }
        let file = self.file.clone();
        let mut read = tokio::task::spawn_blocking(move || read_text(&file));
        let Ok(done) = tokio::time::timeout(READ_DEADLINE, &mut read).await else {
            self.overdue = Some(read);
            return Err(FaultReason::Timeout);
        };
        self.overdue = None;
        let text = done.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(|e| fault_of(&e))?;
        parse_w1_slave(&text, self.rom_id.family())
    }
}

/// The kernel's text has about 75 bytes; a file that is much longer is not it.
const LONGEST_TEXT: u64 = 4_096;

fn read_text(file: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(LONGEST_TEXT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn fault_of(error: &io::Error) -> FaultReason {
    match error.kind() {
        io::ErrorKind::NotFound => FaultReason::NotPresent,
        io::ErrorKind::TimedOut => FaultReason::Timeout,
        // ENODEV: the folder is still there, the chip is not.
        _ if error.raw_os_error() == Some(19) => FaultReason::NotPresent,
        _ => FaultReason::IoError,
    }
}

/// Every thermometer in a folder tree as under `/sys/bus/w1/devices`, by ROM id.
pub fn scan(w1_root: &Path) -> io::Result<Vec<RomId>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(w1_root)? {
        if let Some(rom_id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push(rom_id);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The bus that a sensor is on: in sysfs its folder is a link into that of its bus master. Sensors that are not
/// there, and trees without links, count as one bus.
pub fn bus_of(w1_root: &Path, rom_id: RomId) -> PathBuf {
    let real = std::fs::canonicalize(w1_root.join(rom_id.to_string())).ok();
    let parent = real.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    parent
        .unwrap_or_else(|| std::fs::canonicalize(w1_root).unwrap_or_else(|_| w1_root.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Quality;
    use crate::sensor::Measured;
    use crate::sensor::scratchpad::{genuine, print_w1_slave};

    #[tokio::test]
    async fn reads_a_sensor_that_comes_and_goes() {
        let tree = tempfile::tempdir().unwrap();
        let rom_id: RomId = "28-0316a2794dff".parse().unwrap();
        let mut sensor = W1Sensor::new(tree.path(), rom_id);
        assert_eq!(sensor.read().await, Err(FaultReason::NotPresent));

        let folder = tree.path().join("28-0316a2794dff");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("w1_slave"), print_w1_slave(genuine(-18.5), None)).unwrap();
        assert_eq!(sensor.read().await, Ok(Measured { value: -18.5, quality: Quality::Good }));
        assert_eq!(scan(tree.path()).unwrap(), [rom_id]);

        std::fs::write(folder.join("w1_slave"), "").unwrap();
        assert_eq!(sensor.read().await, Err(FaultReason::NoAnswer));
        std::fs::write(folder.join("w1_slave"), [0xff; 64]).unwrap();
        assert_eq!(sensor.read().await, Err(FaultReason::IoError));
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir_all(folder.join("w1_slave")).unwrap();
        assert_eq!(sensor.read().await, Err(FaultReason::IoError));
    }

    #[tokio::test]
    async fn a_read_that_hangs_is_a_timeout_and_not_begun_twice() {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("28-0316a2794dff");
        std::fs::create_dir(&folder).unwrap();
        // A FIFO without a writer blocks its reader as a stuck bus does.
        let fifo = folder.join("w1_slave");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut sensor = W1Sensor::new(tree.path(), "28-0316a2794dff".parse().unwrap());
        assert_eq!(sensor.read().await, Err(FaultReason::Timeout));
        let begun = std::time::Instant::now();
        assert_eq!(sensor.read().await, Err(FaultReason::Timeout));
        assert!(begun.elapsed() < READ_DEADLINE / 2, "the second read must not wait for the first");
        // Lets the blocked thread end.
        drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    }
}
