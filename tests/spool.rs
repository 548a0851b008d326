//! `weir run` on a small card of its own that gets full and then breaks, while nobody takes what it sends: a hub that comes
//! later gets each reading or is told of it. Needs root and a loop device, and says so.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{
    AFTER_AN_OUTAGE, PATIENCE, Running, counted, counter, get, held_address, pipeline, weir,
};

const SENSORS: usize = 40;
/// Of each sensor, so that they do not fit on the card.
const CYCLES: usize = 2_000;
/// A recording is played a hundred times as fast at most.
const SPEED: f64 = 100.0;

/// An ext4 of 16 MiB on a loop device, which goes with it.
struct Card {
    folder: tempfile::TempDir,
    device: String,
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        eprintln!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Card {
    fn new() -> Option<Card> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let image = image.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-F", "-b", "4096", image])?;
        let device = run("losetup", &["-f", "--show", image])?;
        let card = Card { folder, device };
        std::fs::create_dir(card.mounted()).unwrap();
        run("mount", &["-o", "noatime", &card.device, card.mounted().to_str().unwrap()])?;
        Some(card)
    }

    fn mounted(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// As ext4 does by itself when a card has errors: also with files that are open to be written.
    fn turn_read_only(&self) {
        run("mount", &["-o", "remount,abort", self.mounted().to_str().unwrap()]).unwrap();
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        run("umount", &["-l", self.mounted().to_str().unwrap()]);
        run("losetup", &["-d", &self.device]);
    }
}

/// A pipeline that sends to an address where nobody listens yet, and what it plays.
fn gateway() -> (tempfile::TempDir, String, SocketAddr) {
    let address = held_address();
    let mut text = format!(
        "[device]\nname = \"card\"\n[spool]\ncommit_interval = \"1s\"\nmemory_kib = 1024\n\
         [uplink]\nurl = \"ws://{address}/uplink\"\norder = \"in-order\"\n"
    );
    let mut csv = String::from("timestamp,sensor,celsius\n");
    for sensor in 0..SENSORS {
        write!(
            text,
            "[[sensor]]\nname = \"s{sensor}\"\ndriver = \"replay\"\nfile = \"p.csv\"\nspeed = {SPEED:?}\n"
        )
        .unwrap();
    }
    for cycle in 0..CYCLES {
        let (minute, second) = (cycle / 60, cycle % 60);
        for sensor in 0..SENSORS {
            let celsius = cycle % 40;
            writeln!(csv, "2026-11-21T00:{minute:02}:{second:02}Z,s{sensor},{celsius}.5").unwrap();
        }
    }
    let (folder, file) = pipeline(&text);
    std::fs::write(folder.path().join("p.csv"), csv).unwrap();
    (folder, file, address)
}

#[test]
fn a_card_that_gets_full_and_breaks_while_it_runs_loses_nothing_unsaid() {
    let Some(card) = Card::new() else {
        eprintln!("SKIPPED: no loop devices, or not root: no card gets full and breaks");
        return;
    };
    let (_folder, file, address) = gateway();
    let data = card.mounted().join("data");
    let mut device = Running::start(weir(&["run", &file, "--data-dir", data.to_str().unwrap()]));
    device.line("Running.");
    let begun = Instant::now();
    // It is full: the oldest go.
    device.line("Messages were given up.");
    let full = begun.elapsed();
    let stat = rustix::fs::statvfs(card.mounted()).unwrap();
    assert!(stat.f_bavail >= stat.f_blocks / 20, "the reserve is for others");
    card.turn_read_only();
    device.line("The spool goes on in memory");
    let played = Duration::from_secs_f64(CYCLES as f64 / SPEED) + Duration::from_secs(1);
    std::thread::sleep(played.saturating_sub(begun.elapsed()));
    let mut hub = Running::start(weir(&["hub", "--listen", &address.to_string()]));
    hub.dashboard();
    device.line_within(AFTER_AN_OUTAGE, "Uplink connected.");
    let all = (SENSORS * CYCLES) as u64;
    let end = Instant::now() + PATIENCE;
    // All is known, and nothing more comes for a second.
    let (mut before, mut still) = ([0, 0], 0);
    while still < 20 && Instant::now() < end {
        let metrics = get(address, "/metrics");
        let known = ["weir_device_readings_total", "weir_device_lost_total"]
            .map(|name| counter(&metrics, name));
        let is_all = known[0] + known[1] >= all && counter(&metrics, "weir_device_awaited") == 0;
        still = if is_all && known == before { still + 1 } else { 0 };
        before = known;
        std::thread::sleep(Duration::from_millis(50));
    }
    device.signal("TERM");
    let (status, lines) = device.end();
    assert!(status.success(), "{lines:#?}");
    let last = lines.last().unwrap();
    let metrics = get(address, "/metrics");
    let [readings, lost, gaps, repeated] =
        ["readings_total", "lost_total", "gaps", "repeated_total"]
            .map(|name| counter(&metrics, &format!("weir_device_{name}")));
    println!(
        "full after {full:.1?}; of {all} readings {readings} came, {lost} messages were declared lost, {gaps} gaps: {last}"
    );
    // A notice that was given up counts as well.
    assert!(readings + lost >= all && lost < all, "{readings} came, {lost} lost of {all}");
    assert!(readings + lost < all + all / 50, "{readings} came, {lost} lost of {all}");
    assert_eq!((gaps, repeated), (0, 0));
    // Two messages of its health may be on their way.
    assert!((lost..=lost + 2).contains(&counted(&lines, "not_delivered")), "{last}");
}
