//! What outlives the process in `--data-dir`: alarms, delays and windows, through restarts, kills and broken disks.
//! Long because every way in which a process or a disk can fail meets the same gateway.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};
use weir::pipeline::SavedState;

use crate::support::{PATIENCE, Running, W1Tree, weir};

const FREEZER: &str = "28-0316a2794dff";

/// A gateway with one thermometer and one stage, its folders, and the server that it sends to.
struct Gateway {
    folder: TempDir,
    tree: W1Tree,
    server: TcpListener,
    /// The stream, and the highest number of it that came: a plain server acks nothing, so after a kill some come again.
    seen: Arc<Mutex<(Value, u64)>>,
}

impl Gateway {
    fn new() -> Gateway {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = TempDir::new().unwrap();
        Gateway { folder, tree: W1Tree::new(), server, seen: Arc::default() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn state_file(&self) -> PathBuf {
        self.data().join("state/watch.state")
    }

    /// `weir run` with these keys of the stage `watch`.
    fn command(&self, stage: &str) -> Command {
        let file = self.folder.path().join("pipeline.toml");
        let text = format!(
            r#"
            [device]
            name = "cold-room"
            [[sensor]]
            name = "freezer"
            driver = "ds18b20"
            id = "{FREEZER}"
            interval = "100ms"
            [[stage]]
            name = "watch"
            {stage}
            [uplink]
            url = "ws://{}"
            [plugins]
            save_interval = "200ms"
            "#,
            self.server.local_addr().unwrap()
        );
        fs::write(&file, text).unwrap();
        let mut command =
            weir(&["run", file.to_str().unwrap(), "--w1-root", self.tree.path(), "--log", "debug"]);
        command.arg("--data-dir").arg(self.data()).env_remove("STATE_DIRECTORY");
        command
    }

    /// Starts it and takes its connection.
    fn start(&self, stage: &str) -> (Running, Messages) {
        let run = Running::start(self.command(stage));
        (run, self.accept())
    }

    #[expect(clippy::result_large_err, reason = "the library's type")]
    fn accept(&self) -> Messages {
        let (stream, _) = self.server.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let plain = |_: &Request, mut response: Response| {
            response.headers_mut().insert("sec-websocket-protocol", "weir.plain".parse().unwrap());
            Ok(response)
        };
        Messages { socket: accept_hdr(stream, plain).unwrap(), seen: self.seen.clone() }
    }

    /// Waits until the state on the disk is such.
    fn wait_for_state(&self, fits: impl Fn(&SavedState) -> bool) -> SavedState {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(bytes) = fs::read(self.state_file()) {
                let state = SavedState::from_bytes(&bytes).unwrap();
                if fits(&state) {
                    return state;
                }
            }
            assert!(Instant::now() < end, "no such state within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What the gateway sends, one after the other, each once.
struct Messages {
    socket: WebSocket<TcpStream>,
    seen: Arc<Mutex<(Value, u64)>>,
}

impl Messages {
    fn next(&mut self) -> Value {
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            let mut seen = self.seen.lock().unwrap();
            match message["seq"].as_u64() {
                Some(seq) if seq <= seen.1 => {}
                Some(seq) => {
                    seen.1 = seq;
                    return message;
                }
                None => {
                    if message["stream"] != seen.0 {
                        *seen = (message["stream"].clone(), 0);
                    }
                    return message;
                }
            }
        }
    }

    fn of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next();
            if message["type"] == kind {
                return message;
            }
        }
    }
}

fn stop(run: Running) -> Vec<String> {
    run.signal("TERM");
    let (status, lines) = run.end();
    assert!(status.success(), "{lines:#?}");
    lines
}

/// But for the one that a pin is simulated.
fn warnings(lines: &[String]) -> Vec<&String> {
    let is_one = |line: &&String| line.contains(" WARN ") || line.contains("ERROR");
    lines.iter().filter(is_one).filter(|line| !line.contains("The pin is simulated")).collect()
}

const ALARM: &str = "plugin = \"alert-limit\"\nconfig = { above = -10.0 }\n\
                     [[output]]\ngpio = 17\nalarm = \"watch\"\nsimulate = true";

#[test]
fn an_active_alarm_is_told_again_after_a_stop_and_after_a_power_cut_and_clears() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    let (mut run, mut messages) = gateway.start(ALARM);
    let first = messages.of("alarm");
    assert_eq!((&first["state"], &first["value"]), (&"active".into(), &5.0.into()));
    run.line("gpio=17 on=true");
    assert_eq!(warnings(&stop(run)), [""; 0]);

    // The plugin knows of it and says nothing: the host tells it, with its time.
    let (mut run, mut messages) = gateway.start(ALARM);
    let again = messages.of("alarm");
    let key =
        |alarm: &Value| (alarm["state"].clone(), alarm["condition"].clone(), alarm["time"].clone());
    assert_eq!(key(&again), key(&first));
    run.line("gpio=17 on=true");
    messages.of("temperature");
    run.signal("KILL");
    run.end();

    let (mut run, mut messages) = gateway.start(ALARM);
    assert_eq!(key(&messages.of("alarm")), key(&first));
    run.line("gpio=17 on=true");
    gateway.tree.measure(FREEZER, -18.0);
    assert_eq!(messages.of("alarm")["state"], "cleared");
    run.line("gpio=17 on=false");
    // At once on the disk, too: nothing is told after the next power cut.
    gateway.wait_for_state(|state| state.alarms.is_empty());
    run.signal("KILL");
    run.end();
    let (mut run, mut messages) = gateway.start(ALARM);
    run.line("The plugin goes on from its saved state.");
    messages.of("temperature");
    messages.of("temperature");
    let lines = stop(run);
    assert!(!lines.iter().any(|line| line.contains("on=true")), "{lines:#?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&gateway.state_file()), mode(&gateway.data())), (0o600, 0o700));
    assert_eq!(mode(gateway.state_file().parent().unwrap()), 0o700);
}

#[test]
fn a_delay_runs_on_across_a_restart_though_its_length_was_changed_meanwhile() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    let stage = |delay: &str| {
        format!("plugin = \"alert-limit\"\nconfig = {{ above = -10.0, on_delay = \"{delay}\" }}")
    };
    let (run, mut messages) = gateway.start(&stage("10m"));
    let first = messages.of("temperature")["time"].clone();
    stop(run);
    let (run, mut messages) = gateway.start(&stage("1s"));
    let alarm = messages.of("alarm")["time"].clone();
    let time = |text: Value| humantime::parse_rfc3339(text.as_str().unwrap()).unwrap();
    let took = time(alarm).duration_since(time(first)).unwrap();
    // To the millisecond, to which each time is cut.
    assert!((999..=1_001).contains(&took.as_millis()), "{took:?}");
    stop(run);
}

#[test]
fn a_filters_window_survives_a_restart() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 10.0);
    let stage = "plugin = \"filter-median\"\nconfig = { window = 5 }";
    let (run, mut messages) = gateway.start(stage);
    for _ in 0..5 {
        messages.of("temperature");
    }
    stop(run);
    gateway.tree.measure(FREEZER, 50.0);
    let (run, mut messages) = gateway.start(stage);
    let values: Vec<Value> = (0..3).map(|_| messages.of("temperature")["value"].clone()).collect();
    assert_eq!(values, [10.0, 10.0, 50.0].map(Value::from));
    stop(run);
}

#[test]
fn a_damaged_state_is_set_aside_and_the_stage_starts_anew() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    let (run, mut messages) = gateway.start(ALARM);
    messages.of("alarm");
    stop(run);
    let good = fs::read(gateway.state_file()).unwrap();
    let half = &good[..good.len() / 2];
    fs::write(gateway.state_file(), half).unwrap();
    // What a killed write leaves behind does no harm.
    fs::write(gateway.data().join("state/.new-watch.state"), half).unwrap();
    fs::write(gateway.data().join("state/of-old.state"), &good).unwrap();

    let (mut run, mut messages) = gateway.start(ALARM);
    let line = run.line("cannot be used");
    assert!(line.contains(" WARN ") && line.contains("its checksum is wrong"), "{line}");
    run.line("of no stage in this pipeline");
    assert_eq!(messages.of("alarm")["state"], "active");
    stop(run);
    let aside = gateway.data().join("state/watch.state.damaged");
    assert_eq!(fs::read(aside).unwrap(), half);
    assert_eq!(fs::read(gateway.data().join("state/of-old.state")).unwrap(), good);
    SavedState::from_bytes(&fs::read(gateway.state_file()).unwrap()).unwrap();
}

#[test]
fn a_state_of_another_plugin_is_not_loaded_and_its_alarms_are_cleared() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    let (run, mut messages) = gateway.start(ALARM);
    messages.of("alarm");
    stop(run);
    let (mut run, mut messages) = gateway.start("plugin = \"filter-median\"");
    run.line("The saved state is another plugin's");
    assert_eq!(messages.of("alarm")["state"], "cleared");
    stop(run);
}

#[test]
fn steady_time_does_not_go_back_when_the_clock_boots_in_the_past() {
    let Some(library) = crate::clock::faketime() else { return };
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    let stage = "plugin = \"alert-limit\"\nconfig = { above = -10.0, on_delay = \"10m\" }";
    let (run, mut messages) = gateway.start(stage);
    messages.of("temperature");
    stop(run);
    let saved = gateway.wait_for_state(|_| true);
    // What is as it was is not written again.
    gateway.tree.measure(FREEZER, 6.0);
    let mut command = gateway.command(stage);
    command.env("LD_PRELOAD", library).env("FAKETIME", "-60d").env("DONT_FAKE_MONOTONIC", "1");
    let run = Running::start(command);
    let reading = gateway.accept().of("temperature");
    // The wire has the time that the clock shows, and the plugin one that goes on.
    let time = humantime::parse_rfc3339(reading["time"].as_str().unwrap()).unwrap();
    let behind = std::time::SystemTime::now().duration_since(time).unwrap();
    assert!((59..61).contains(&(behind.as_secs() / 86_400)), "{behind:?}");
    let later = gateway.wait_for_state(|state| state.saved_at > saved.saved_at);
    let passed = later.saved_at.since(saved.saved_at);
    assert!(passed < PATIENCE, "{passed:?}");
    stop(run);
}

#[test]
fn a_folder_of_another_weir_is_refused() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    let (run, _messages) = gateway.start(ALARM);
    let (status, lines) = Running::start(gateway.command(ALARM)).end();
    let last = lines.last().unwrap();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    assert!(last.contains("is in use by another weir") && last.contains("--data-dir"), "{last}");
    stop(run);
}

#[test]
fn without_a_usable_folder_the_run_goes_on_in_memory_and_says_so() {
    const STATE: &str = "State is kept in memory";
    const SPOOL: &str = "The spool is kept in memory, until its disk works";
    type Break = fn(&Path);
    let broken: [(Break, &[&str]); 2] = [
        // A file where the folder should be, and one where the folder of states should be.
        (|data| fs::write(data, "").unwrap(), &[STATE, SPOOL]),
        (
            |data| {
                fs::create_dir(data).unwrap();
                fs::write(data.join("state"), "").unwrap();
            },
            &[STATE],
        ),
    ];
    for (break_it, expected) in broken {
        let gateway = Gateway::new();
        gateway.tree.measure(FREEZER, 5.0);
        break_it(&gateway.data());
        let (run, mut messages) = gateway.start(ALARM);
        assert_eq!(messages.of("alarm")["state"], "active");
        let lines = stop(run);
        let warnings = warnings(&lines);
        assert_eq!(warnings.len(), expected.len(), "{lines:#?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{warnings:?}");
        }
    }
}

#[test]
fn a_full_disk_is_told_once_and_ends_nothing() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    fs::create_dir_all(gateway.data().join("state")).unwrap();
    // The kernel's own full disk, under the name that is written to.
    let new = gateway.data().join("state/.new-watch.state");
    let fill = || {
        let made = Command::new("mknod").arg(&new).args(["c", "1", "7"]).status();
        made.is_ok_and(|made| made.success())
    };
    if !fill() {
        eprintln!("SKIPPED: only root may make the device of a full disk");
        return;
    }
    let (mut run, mut messages) = gateway.start(ALARM);
    let line = run.line("A state cannot be written");
    assert!(line.contains("No space left on device"), "{line}");
    for _ in 0..10 {
        messages.of("temperature");
    }
    // There is room again.
    fs::remove_file(&new).unwrap();
    run.line("States are written again.");
    assert!(fill());
    gateway.tree.measure(FREEZER, 6.0);
    run.line("A state cannot be written");
    let lines = stop(run);
    let told = lines.iter().filter(|line| line.contains("A state cannot be written")).count();
    assert_eq!(told, 2, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("are not on the disk")), "{lines:#?}");
}

#[test]
fn a_disk_that_hangs_stops_no_reading_and_no_stop() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    fs::create_dir_all(gateway.data().join("state")).unwrap();
    // Opening a FIFO that nobody reads from waits for ever, as a write to a dying card does.
    let fifo = gateway.data().join("state/.new-watch.state");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (run, mut messages) = gateway.start(ALARM);
    for _ in 0..20 {
        messages.of("temperature");
    }
    let begun = Instant::now();
    let lines = stop(run);
    let took = begun.elapsed();
    assert!(lines.iter().any(|line| line.contains("Not everything ended")), "{lines:#?}");
    // Within two seconds; the rest is for a machine that is busy with other tests.
    assert!(took < Duration::from_secs(2 + 8), "{took:?}");
}

#[test]
fn systemds_folder_is_the_default_and_its_absence_is_said_once() {
    let gateway = Gateway::new();
    gateway.tree.measure(FREEZER, 5.0);
    let without = || {
        let with = gateway.command(ALARM);
        let mut command = Command::new(with.get_program());
        command.args(with.get_args().take_while(|argument| *argument != "--data-dir"));
        command
    };
    let mut command = without();
    command.env("STATE_DIRECTORY", format!("{}:/nowhere/else", gateway.data().display()));
    let run = Running::start(command);
    gateway.accept().of("alarm");
    gateway.wait_for_state(|state| !state.alarms.is_empty());
    assert!(!stop(run).iter().any(|line| line.contains("No --data-dir")));

    let mut command = without();
    command.env_remove("STATE_DIRECTORY");
    let mut run = Running::start(command);
    gateway.accept().of("alarm");
    run.line("No --data-dir: a restart begins delays, windows and alarms of plugins anew, and loses what waits for a hub.");
    stop(run);
}

/// How often a gateway is killed, each time at another moment; beside each other, in a folder each.
const KILLS: u32 = 200;
const GATEWAYS: u32 = 2;
/// Stages of such a gateway, with a file each.
const STAGES: usize = 4;

/// What kills met.
#[derive(Default)]
struct Met {
    new_states: u32,
    writes_cut_off: usize,
    compilations_cut_off: u32,
}

#[test]
fn killed_at_any_moment_a_gateway_starts_with_a_state_that_was_saved() {
    let begun = Instant::now();
    let met: Vec<Met> = std::thread::scope(|scope| {
        let killed = |gateway| scope.spawn(move || kill_again_and_again(gateway));
        let threads: Vec<_> = (0..GATEWAYS).map(killed).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let new_states: u32 = met.iter().map(|met| met.new_states).sum();
    let cut_off: usize = met.iter().map(|met| met.writes_cut_off).sum();
    let compiling: u32 = met.iter().map(|met| met.compilations_cut_off).sum();
    println!(
        "{KILLS} kills in {:.1?}: {new_states} new states of {STAGES} stages, {cut_off} writes cut off; {compiling} starts \
         killed before compiled code was kept",
        begun.elapsed()
    );
    assert!(new_states > KILLS / 4, "{new_states}");
    assert!(compiling > 0);
}

fn kill_again_and_again(gateway: u32) -> Met {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("p.toml");
    fs::write(&file, pipeline_of_medians()).unwrap();
    let mut random = 20_261_125_u64 + u64::from(gateway);
    let mut met = Met::default();
    let mut last: [Option<SavedState>; STAGES] = Default::default();
    for round in 0..KILLS / GATEWAYS {
        if round % 4 == 0 {
            met.compilations_cut_off += u32::from(kill_while_compiling(&data, &mut random));
        }
        let started = std::time::SystemTime::now();
        let mut command = weir(&["run", file.to_str().unwrap()]);
        command.arg("--data-dir").arg(&data).env_remove("STATE_DIRECTORY");
        let mut run = Running::start(command);
        run.line("Running.");
        // What it went on from is what was there.
        let loaded = run.seen.iter().filter(|line| line.contains("goes on from its saved state"));
        assert_eq!(loaded.count(), last.iter().flatten().count(), "{:#?}", run.seen);
        std::thread::sleep(Duration::from_micros(next(&mut random) % 250_000));
        run.signal("KILL");
        let (_, lines) = run.end();
        let mut warned = warnings(&lines);
        // That it was killed is seen by the spool.
        warned.retain(|line| !line.contains("The spool was not closed in order"));
        assert_eq!(warned, [""; 0], "round {round}");
        for (number, last) in last.iter_mut().enumerate() {
            let path = data.join(format!("state/m{number}.state"));
            let Ok(bytes) = fs::read(&path) else {
                assert!(last.is_none(), "round {round}: {} is gone", path.display());
                continue;
            };
            let state = SavedState::from_bytes(&bytes).unwrap();
            let before = last.as_ref().map(|last| last.saved_at).unwrap_or_default();
            assert!(state.saved_at >= before, "round {round}");
            met.new_states += u32::from(state.saved_at > before);
            *last = Some(state);
        }
        let entries = fs::read_dir(data.join("state")).unwrap().map(Result::unwrap);
        let cut_off = entries.filter(|entry| {
            entry.file_name().as_encoded_bytes().starts_with(b".new-")
                && entry.metadata().unwrap().modified().unwrap() >= started
        });
        met.writes_cut_off += cut_off.count();
    }
    met
}

fn next(random: &mut u64) -> u64 {
    *random =
        random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

/// Kills a gateway that has the same plugin to compile, at any moment from its very start on. Whether that was before it kept
/// the code.
fn kill_while_compiling(data: &Path, random: &mut u64) -> bool {
    let code = data.join("code");
    for entry in fs::read_dir(&code).into_iter().flatten().map(Result::unwrap) {
        // The key too, now and then.
        if entry.file_name() != "key" || next(random).is_multiple_of(4) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("p.toml");
    let text = "[device]\nname = \"d\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n\
                [[sensor]]\nname = \"s\"\ndriver = \"simulated\"\n\
                [[stage]]\nname = \"other\"\nplugin = \"filter-median\"\n";
    fs::write(&file, text).unwrap();
    let mut command = weir(&["run", file.to_str().unwrap()]);
    command.arg("--data-dir").arg(data).env_remove("STATE_DIRECTORY");
    let run = Running::start(command);
    std::thread::sleep(Duration::from_micros(next(random) % 600_000));
    run.signal("KILL");
    run.end();
    let kept = fs::read_dir(&code).into_iter().flatten().map(Result::unwrap);
    !kept.into_iter().any(|entry| entry.path().extension().is_some_and(|e| e == "cwasm"))
}

/// Windows that change with each reading, and that are written as often as may be.
fn pipeline_of_medians() -> String {
    let mut text = "[device]\nname = \"d\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n\
                    [plugins]\nsave_interval = \"100ms\"\n"
        .to_owned();
    for number in 0..32 {
        text += &format!(
            "[[sensor]]\nname = \"s{number}\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n"
        );
    }
    for number in 0..STAGES {
        text += &format!(
            "[[stage]]\nname = \"m{number}\"\nplugin = \"filter-median\"\nconfig = {{ window = 99 }}\n"
        );
    }
    text
}
