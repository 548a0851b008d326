//! What reaches a block device: an ext4 of its own on a loop device, which counts. Needs root, and says so.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A mounted filesystem that goes with it.
pub(super) struct LoopDisk {
    _folder: tempfile::TempDir,
    device: String,
    pub(super) mounted: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        eprintln!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl LoopDisk {
    /// Blocks of 4 KiB as on a Pi's card. Its own journal is committed each second instead of each fifth.
    fn new(mib: u64) -> Option<LoopDisk> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-b", "4096", image.to_str().unwrap()])?;
        let device = run("losetup", &["-f", "--show", image.to_str().unwrap()])?;
        let mounted = folder.path().join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        let disk = LoopDisk { _folder: folder, device, mounted };
        run("mount", &["-o", "noatime,commit=1", &disk.device, disk.mounted.to_str().unwrap()])?;
        Some(disk)
    }

    /// Bytes that reached the device so far, without those that the filesystem still holds back.
    fn bytes(&self) -> u64 {
        let name = self.device.trim_start_matches("/dev/");
        let text = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        text.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
    }

    fn sync(&self) {
        run("sync", &["-f", self.mounted.to_str().unwrap()]).unwrap();
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        run("umount", &[self.mounted.to_str().unwrap()]);
        run("losetup", &["-d", &self.device]);
    }
}

/// Between two commits the filesystem commits its own journal, as it does between commits a minute apart.
const PAUSE: Duration = Duration::from_millis(1_200);
/// Readings before it is measured.
const WARM: u64 = 60;
/// And while.
const MEASURED: u64 = 240;
/// With `WEIR_SPOOL_DEVICE`: so many that the journal goes into the store once.
const MEASURED_WELL: u64 = 1_020;
/// What that adds to each reading, and what the file's growth does.
const LATER: u64 = 250;

#[test]
fn few_bytes_reach_the_card() {
    let Some(disk) = LoopDisk::new(64) else {
        eprintln!("SKIPPED: no loop devices, or not root: bytes on a card are not measured");
        return;
    };
    let well = std::env::var_os("WEIR_SPOOL_DEVICE").is_some();
    let (measured, later) = if well { (MEASURED_WELL, 0) } else { (MEASURED, LATER) };
    let settings = SpoolSettings::default();
    let interval = settings.commit_interval.as_secs();
    let folder = Box::new(DiskFolder::new(&disk.mounted.join("spool")));
    let keeper = Keeper::open(settings, Some(folder), &["hub"]);
    // Offline, one reading a second.
    let mut begun = 0;
    let mut second = 0;
    let mut commits = 0;
    while second < WARM + measured {
        second += 1;
        let now = Duration::from_secs(second);
        keeper.append(vec![reading(1, second)], now);
        keeper.step(now);
        if keeper.queue().commits() > commits {
            commits = keeper.queue().commits();
            std::thread::sleep(PAUSE);
        }
        if second == WARM {
            disk.sync();
            begun = disk.bytes();
        }
    }
    disk.sync();
    let each = (disk.bytes() - begun) / measured;
    let json = keeper.read(0, 1, Duration::ZERO)[0].json.len();
    println!(
        "offline: {each} bytes a reading of {json} bytes reached the device, with a commit each {interval} s"
    );
    assert!(each + later <= 1_024, "{each}");

    // Online for the first day: three sensors each ten seconds, and the hub acks within the second.
    disk.sync();
    let begun = disk.bytes();
    let folder = Box::new(DiskFolder::new(&disk.mounted.join("online")));
    let keeper = Keeper::open(SpoolSettings::default(), Some(folder), &["hub"]);
    let mut commits = 0;
    for second in (0..86_400).step_by(10) {
        let now = Duration::from_secs(second);
        keeper.append((0..3).map(|sensor| reading(sensor, second)).collect(), now);
        keeper.step(now);
        if keeper.queue().commits() > commits {
            commits = keeper.queue().commits();
            std::thread::sleep(PAUSE);
        }
        let last = keeper.queue().last();
        keeper.ack(0, last, now);
        keeper.step(now);
    }
    disk.sync();
    let day = disk.bytes() - begun;
    println!("online: {day} bytes reached the device on the first day, in {commits} commits");

    // Beside that, the states of three stages, three times a day.
    let begun = disk.bytes();
    for count in 0..4 {
        let state = format!("{count} {}", "s".repeat(600));
        crate::file::write_atomically(&disk.mounted.join("a.state"), &[state.as_bytes()]).unwrap();
        std::thread::sleep(PAUSE);
    }
    disk.sync();
    let each = (disk.bytes() - begun) / 4;
    println!("a state: {each} bytes; with three stages {} bytes a day", day + 9 * each);
    assert!(day + 9 * each <= 1 << 20, "{day} {each}");
}

/// Delivers all, whatever the disk does, and counts.
fn account(keeper: &Keeper, mut now: Duration) -> SpoolState {
    let mut hub = Hub::default();
    for _ in 0..8 {
        drain(keeper, &mut hub, now);
        now += Duration::from_secs(61);
        keeper.step(now);
    }
    let state = keeper.queue().state();
    hub.account(state.last);
    assert_eq!(hub.declared(), state.dropped);
    state
}

#[test]
fn a_card_that_is_full_costs_the_oldest_and_one_that_is_read_only_nothing() {
    let Some(disk) = LoopDisk::new(16) else {
        eprintln!("SKIPPED: no loop devices, or not root: a full card is not tried");
        return;
    };
    let settings = SpoolSettings { memory_bytes: 128 << 10, ..SpoolSettings::default() };
    let open = |name: &str| {
        let folder = Box::new(DiskFolder::new(&disk.mounted.join(name)));
        Keeper::open(settings.clone(), Some(folder), &["hub"])
    };
    let fill = |keeper: &Keeper, seconds: std::ops::Range<u64>| {
        for second in seconds {
            let now = Duration::from_secs(second);
            keeper.append((0..10).map(|sensor| reading(sensor, second)).collect(), now);
            keeper.step(now);
        }
    };
    // More than fits. The reserve stays free.
    let keeper = open("full");
    fill(&keeper, 0..20_000);
    let card = rustix::fs::statvfs(&disk.mounted).unwrap();
    let [all, free] = [card.f_blocks, card.f_bavail].map(|blocks| blocks * card.f_frsize);
    let when_full = keeper.queue().state();
    let file = std::fs::metadata(disk.mounted.join("full/spool.redb")).unwrap().len();
    println!("{} KiB of messages in a file of {} KiB", when_full.bytes_on_disk >> 10, file >> 10);
    let state = account(&keeper, Duration::from_secs(20_000));
    println!("full card: {state:?}, {} KiB free", free >> 10);
    assert!(state.dropped > 0 && free > all / 20);
    assert_eq!(when_full.memory_only, None, "it goes on with what there is");
    assert!(when_full.bytes_on_disk > 4 << 20, "{when_full:?}");
    keeper.close(None);
    keeper.step(Duration::from_secs(30_000));
    drop(keeper);
    std::fs::remove_dir_all(disk.mounted.join("full")).unwrap();

    let keeper = open("read-only");
    fill(&keeper, 0..1_000);
    let mounted = disk.mounted.to_str().unwrap();
    // As ext4 does by itself when the card has errors: also with files that are open to be written.
    run("mount", &["-o", "remount,abort", mounted]).unwrap();
    fill(&keeper, 1_000..1_030);
    let state = keeper.queue().state();
    println!("read-only card: {state:?}");
    let mut hub = Hub::default();
    drain(&keeper, &mut hub, Duration::from_secs(1_030));
    assert_eq!((hub.got.len() as u64, state.dropped), (state.last, 0));
    hub.account(state.last);
}
