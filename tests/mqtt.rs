//! The uplink by MQTT against a real Mosquitto: its restarts, passwords, refusals, and what Home Assistant reads.
//! Long because every test needs the same broker, device and watcher.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use weir::reading::Timestamp;

use crate::support::{
    Came, Running, all_but_the_last_came, counted, deliver_the_rest, held_address, in_one_of_three,
    pipeline, weir,
};

/// Of a broker that is to know after a death what it knew. Saved after each change: what it acknowledged is then on the disk
/// but for the last moment; it is several times slower with each message.
const SAVED: &str = "persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n";
/// What [`run`] reads of each sensor in a second.
const A_SECOND: u64 = 10;

/// A Mosquitto with a folder of its own, as a child of the test.
struct Broker {
    folder: TempDir,
    port: u16,
    running: Option<Running>,
}

impl Broker {
    /// `None`, and says so, where there is no Mosquitto.
    fn start(settings: &str) -> Option<Broker> {
        for program in ["mosquitto", "mosquitto_sub", "mosquitto_pub", "mosquitto_passwd"] {
            if Command::new(program).arg("--help").output().is_err() {
                eprintln!(
                    "SKIPPED: there is no {program} (apt-get install mosquitto mosquitto-clients)"
                );
                return None;
            }
        }
        let folder = TempDir::new().unwrap();
        let port = held_address().port();
        let own = folder.path().to_str().unwrap();
        let text = format!(
            "listener {port} 127.0.0.1\nuser root\nlog_type all\nlog_dest stderr\n\
             max_queued_messages 100000\n{}\n",
            settings.replace("{folder}", own)
        );
        std::fs::write(folder.path().join("conf"), text).unwrap();
        let mut broker = Broker { folder, port, running: None };
        broker.up();
        Some(broker)
    }

    fn up(&mut self) {
        let mut command = Command::new("mosquitto");
        command.args(["-c", self.folder.path().join("conf").to_str().unwrap()]);
        let mut running = Running::start(command);
        running.line(" running");
        self.running = Some(running);
    }

    fn log(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// As by `kill -9`.
    fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.signal("KILL");
        drop(running.end());
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-V", "mqttv5", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command.args(arguments);
        command
    }

    /// A client whose subscription outlives the broker, with a line `<topic> <retained> <payload>` a message.
    fn watch(&mut self, filter: &str, further: &[&str]) -> Running {
        let mut command = self.client("mosquitto_sub", &["-t", filter, "-F", "%t %r %p"]);
        command.args(["-q", "1", "-c", "-i", "watcher", "-x", "3600"]).args(further);
        let watch = Running::start(command);
        self.log().line("Sending SUBACK to watcher");
        watch
    }

    /// What is retained under a filter: topic and payload.
    fn retained(&self, filter: &str) -> BTreeMap<String, String> {
        // What every broker keeps of itself is asked for last and comes last: then all is there.
        const LAST: &str = "$SYS/broker/version";
        let arguments = ["-t", filter, "-t", LAST, "-F", "%t %p", "--retained-only"];
        let mut client = Running::start(self.client("mosquitto_sub", &arguments));
        client.line(LAST);
        client.seen.pop();
        let lines = client.seen.iter().map(|line| line.split_once(' ').unwrap());
        lines.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).collect()
    }

    fn publish(&self, topic: &str, payload: &str) {
        let status = self.client("mosquitto_pub", &["-t", topic, "-m", payload]).status();
        assert!(status.unwrap().success());
    }
}

/// A pipeline of simulated sensors, each read every 100 ms, with an uplink to the broker.
fn run(broker: &Broker, sensors: &[&str], further: &str) -> (TempDir, Running) {
    let (folder, file) = pipeline(&text(broker, sensors, further));
    let run = Running::start(weir(&["run", &file]));
    (folder, run)
}

fn text(broker: &Broker, sensors: &[&str], further: &str) -> String {
    let mut text = "[device]\nname = \"d\"\n".to_owned();
    for (seed, sensor) in sensors.iter().enumerate() {
        text += &format!(
            "[[sensor]]\nname = \"{sensor}\"\ndriver = \"simulated\"\ninterval = \"100ms\"\nseed = {seed}\n"
        );
    }
    let port = broker.port;
    text + &format!("[uplink]\nprotocol = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n{further}")
}

/// The topic, whether it was retained, and the payload of a watcher's line.
fn parts(line: &str) -> (&str, &str, &str) {
    let mut parts = line.splitn(3, ' ');
    (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
}

/// The number of a line's message, where it has one.
fn number(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(parts(line).2).ok()?["seq"].as_u64()
}

fn stop(run: Running) -> Vec<String> {
    run.signal("INT");
    let (status, lines) = run.end();
    assert!(status.success(), "{lines:#?}");
    lines
}

/// Reads a watcher until a reading comes that was taken after this: all that waited before it came as well.
fn catch_up(watch: &mut Running) {
    let now = Timestamp::now();
    loop {
        let line = watch.line("\"temperature\"");
        let reading: Value = serde_json::from_str(parts(&line).2).unwrap();
        if reading["time"].as_str().unwrap().parse::<Timestamp>().unwrap() > now {
            return;
        }
    }
}

/// How many readings a watcher saw until the device was gone.
fn readings(watch: &mut Running) -> u64 {
    watch.line("weir/d/status 0 offline");
    let readings = watch.seen.iter().filter(|line| line.contains("\"temperature\""));
    readings.filter_map(|line| number(line)).collect::<BTreeSet<_>>().len() as u64
}

#[test]
fn no_message_is_missing_though_the_broker_is_killed_again_and_again() {
    let settings = format!("{SAVED}allow_anonymous true\n");
    let Some(mut broker) = Broker::start(&settings) else { return };
    let mut watch = broker.watch("weir/#", &[]);
    let (_folder, mut run) = run(&broker, &["a", "b"], "");
    run.line("Uplink connected.");
    let joined = broker.log().line("as weir-d");
    assert!(joined.contains("p5, c1, k15"), "MQTT 5, a clean start, 15 s of keep-alive: {joined}");
    assert!(watch.line("weir/d/status").ends_with(" online"));
    for _ in 0..3 {
        // It acknowledges a moment before it saves: what the watcher has by then is not lost with it.
        catch_up(&mut watch);
        broker.kill();
        run.line("Uplink lost");
        broker.up();
        broker.log().line("Sending SUBACK to watcher");
        run.line("Uplink connected.");
    }
    catch_up(&mut watch);
    let lines = stop(run);
    all_but_the_last_came(&lines, Came::Readings(readings(&mut watch)), 2 * A_SECOND);
    let numbers: Vec<u64> = watch.seen.iter().filter_map(|line| number(line)).collect();
    let last = *numbers.iter().max().unwrap();
    let missing: Vec<u64> = (1..=last).filter(|seq| !numbers.contains(seq)).collect();
    let again = numbers.len() as u64 + missing.len() as u64 - last;
    println!("{last} messages, {} missing, {again} of them more than once", missing.len());
    assert_eq!(missing, [0_u64; 0], "of {last}");
    // In order, but for those that come again after a broker's death.
    let firsts: Vec<u64> = numbers
        .iter()
        .scan(0, |highest, seq| {
            let is_first = seq > highest;
            *highest = (*highest).max(*seq);
            Some(is_first.then_some(*seq))
        })
        .flatten()
        .collect();
    assert_eq!(firsts, (1..=last).collect::<Vec<_>>());
}

#[test]
fn a_wrong_password_gives_a_clear_line_and_the_right_one_connects() {
    let settings = "allow_anonymous false\npassword_file {folder}/passwords\n";
    // The file must be there before the broker reads it.
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    broker.kill();
    let own = broker.folder.path().to_str().unwrap().to_owned();
    let passwords = format!("{own}/passwords");
    let mut made = Command::new("mosquitto_passwd");
    made.args(["-b", "-c", &passwords, "weir", "right"]);
    assert!(made.status().unwrap().success());
    let conf = format!("{own}/conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    let text = text.replace("allow_anonymous true\n", &settings.replace("{folder}", &own));
    std::fs::write(&conf, text).unwrap();
    broker.up();
    for (password, expected) in [("wrong", "not authorized"), ("right", "Uplink connected.")] {
        let secret = broker.folder.path().join(password);
        std::fs::write(&secret, format!("{password}\n")).unwrap();
        let mode = Command::new("chmod").arg("600").arg(&secret).status();
        assert!(mode.unwrap().success());
        let keys = format!("username = \"weir\"\npassword_file = \"{}\"\n", secret.display());
        let (_folder, mut run) = run(&broker, &["a"], &keys);
        let line = run.line(expected);
        if password == "wrong" {
            assert!(line.contains("are `username` and `password_file` right?"), "{line}");
        }
        let lines = stop(run);
        assert!(!lines.iter().any(|line| line.contains("wrong")), "a password in the log");
    }
}

#[test]
fn a_device_that_is_gone_is_offline() {
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    let mut watch = broker.watch("weir/d/status", &[]);
    let (_folder, mut killed) = run(&broker, &["a"], "");
    killed.line("Uplink connected.");
    watch.line(" online");
    killed.signal("KILL");
    // The last will: nobody of ours says it.
    watch.line(" offline");
    assert_eq!(broker.retained("weir/d/status")["weir/d/status"], "offline");
    drop(killed);
    let (_folder, file) = pipeline(&text(&broker, &["a"], ""));
    in_one_of_three(|| {
        let mut stopped = Running::start(weir(&["run", &file, "--log", "debug"]));
        stopped.line("Uplink connected.");
        watch.line(" online");
        let lines = stop(stopped);
        watch.line(" offline");
        // It waits for 200 ms only; then it may go without a farewell.
        if let Some(line) = lines.iter().find(|line| line.contains("going was not told")) {
            return Err(line.clone());
        }
        let end = broker.log().line("weir-d disconnected");
        assert!(!end.contains("not authorised"), "{end}");
        // Nor does it wait for longer than a second for what it sent last.
        if counted(&lines, "not_delivered") == 0 { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    let retained = broker.retained("weir/d/status");
    assert_eq!(retained["weir/d/status"], "offline");
}

#[test]
fn a_broker_that_hangs_is_noticed() {
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    let mut watch = broker.watch("weir/d/#", &[]);
    let (_folder, mut run) = run(&broker, &["a"], "keep_alive = \"5s\"\n");
    run.line("Uplink connected.");
    broker.log().signal("STOP");
    let begun = Instant::now();
    let lost = run.line("Uplink lost");
    println!("noticed after {:?}: {lost}", begun.elapsed());
    // Twice the keep-alive; by default that is 30 s.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // Where a ping was due just then, that is what is not answered.
    let reasons = ["acknowledged nothing for 10 s", "a ping was not answered"];
    assert!(reasons.iter().any(|reason| lost.contains(reason)), "{lost}");
    broker.log().signal("CONT");
    run.line("Uplink connected.");
    catch_up(&mut watch);
    let lines = stop(run);
    all_but_the_last_came(&lines, Came::Readings(readings(&mut watch)), A_SECOND);
}

#[test]
fn what_a_broker_refuses_stays_and_is_tried_again_later() {
    let rights = |topics: &str| format!("topic readwrite {topics}\n");
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    broker.kill();
    let own = broker.folder.path().to_str().unwrap().to_owned();
    // The sensor's own topic may be read, not written.
    let few = ["weir/d/status", "weir/d/device/#", "homeassistant/#"].map(rights).concat()
        + "topic read weir/d/a\n";
    std::fs::write(format!("{own}/rights"), few).unwrap();
    let conf = std::fs::read_to_string(format!("{own}/conf")).unwrap();
    std::fs::write(format!("{own}/conf"), format!("{conf}acl_file {own}/rights\n")).unwrap();
    broker.up();
    let (_folder, mut run) = run(&broker, &["a"], "");
    let begun = Instant::now();
    let line = run.line("Uplink lost");
    assert!(line.contains("the broker refuses `weir/d/a`: not authorized"), "{line}");
    while begun.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Before the device may: what it sends at once is then seen.
    let mut watch = broker.watch("weir/d/a", &["-t", "weir/d/status"]);
    std::fs::write(format!("{own}/rights"), rights("#")).unwrap();
    broker.log().signal("HUP");
    // What was refused first is the first that comes.
    let first = loop {
        let line = watch.line("weir/d/a ");
        if parts(&line).1 == "0" {
            break number(&line).unwrap();
        }
    };
    catch_up(&mut watch);
    let lines = stop(run);
    let refusals = lines.iter().filter(|line| line.contains("Uplink lost")).count();
    println!("the first that came after the refusal: {first}; refused {refusals} times");
    assert!(first <= 3, "the start, then the sensor's first reading: {first}");
    // Full jitter may make some pauses short; a loop without pauses would have counted thousands.
    assert!(refusals < 30, "{refusals}");
    all_but_the_last_came(&lines, Came::Readings(readings(&mut watch)), A_SECOND);
}

#[test]
fn home_assistant_learns_of_sensors_and_alarms_and_is_told_again_when_it_starts() {
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    let text = text(&broker, &["air", "water"], "")
        .replace("seed = 0\n", "seed = 0\nmean_celsius = 40.0\n");
    let stage =
        "[[stage]]\nname = \"hot\"\nplugin = \"alert-limit\"\n[stage.config]\nabove = 30.0\n";
    let (_folder, file) = pipeline(&format!("{text}{stage}"));
    let mut watch = broker.watch("weir/d/alarm/#", &["-t", "homeassistant/#"]);
    let mut run = Running::start(weir(&["run", &file]));
    run.line("Uplink connected.");
    watch.line("weir/d/alarm/hot/air 0 ON");
    broker.publish("homeassistant/status", "online");
    watch.line("homeassistant/status 0 online");
    let told = watch.line("homeassistant/sensor/d/air/config");
    assert_eq!(parts(&told).1, "0", "told anew, not kept: {told}");
    watch.line("weir/d/alarm/hot/water 0 OFF");
    stop(run);
    let configs = broker.retained("homeassistant/#");
    let topics: Vec<&str> = configs.keys().map(String::as_str).collect();
    assert_eq!(
        topics,
        [
            "homeassistant/binary_sensor/d/hot--air/config",
            "homeassistant/binary_sensor/d/hot--water/config",
            "homeassistant/sensor/d/air/config",
            "homeassistant/sensor/d/water/config",
        ]
    );
    for (topic, config) in &configs {
        let config: Value = serde_json::from_str(config).unwrap();
        for key in ["name", "unique_id", "state_topic", "device_class", "device", "origin"] {
            assert!(!config[key].is_null(), "{topic} has no {key}: {config}");
        }
        // What it points to is there.
        let state = config["state_topic"].as_str().unwrap();
        assert!(broker.retained(state).contains_key(state), "{state}");
    }
    let reading = &broker.retained("weir/d/air")["weir/d/air"];
    let reading: Value = serde_json::from_str(reading).unwrap();
    assert_eq!(reading["type"], "temperature");
    assert!(reading["value"].as_f64().unwrap() > 30.0, "{reading}");
    assert_eq!(broker.retained("weir/d/alarm/hot/#").len(), 2);
    println!("{} configs, all with what they point to", configs.len());
}

/// An authority of the test's own, and a server's certificate and key that it signed: `ca.pem`, `server.pem`, `server.key`.
pub fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let authority = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

#[test]
fn over_tls_only_a_broker_that_the_authority_signed_is_believed() {
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    broker.kill();
    let own = broker.folder.path().to_path_buf();
    certificates(&own);
    let conf = std::fs::read_to_string(own.join("conf")).unwrap();
    let (cert, key) = (own.join("server.pem"), own.join("server.key"));
    let tls = format!("certfile {}\nkeyfile {}\n", cert.display(), key.display());
    std::fs::write(own.join("conf"), conf + &tls).unwrap();
    broker.up();
    let text = text(&broker, &["a"], "").replace("mqtt://127.0.0.1", "mqtts://localhost");
    let (_folder, file) = pipeline(&text);
    let mut run = Running::start(weir(&["run", &file]));
    let line = run.line("Cannot connect");
    assert!(line.contains("unknown issuer"), "{line}");
    stop(run);
    let ca = own.join("ca.pem");
    let (_folder, file) = pipeline(&format!("{text}ca_file = \"{}\"\n", ca.display()));
    let mut run = Running::start(weir(&["run", &file]));
    run.line("Uplink connected.");
    for _ in 0..5 {
        broker.log().line("Sending PUBACK to weir-d");
    }
    let lines = stop(run);
    let log = broker.log();
    log.line(": Client weir-d ");
    let is_reading = |line: &&String| {
        line.contains("Received PUBLISH from weir-d") && line.contains("'weir/d/a'")
    };
    all_but_the_last_came(
        &lines,
        Came::Readings(log.seen.iter().filter(is_reading).count() as u64),
        A_SECOND,
    );
}

#[test]
fn what_waited_for_the_broker_comes_after_a_restart_of_the_device() {
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    let mut watch = broker.watch("weir/d/#", &[]);
    broker.kill();
    let data = TempDir::new().unwrap();
    let (_folder, file) = pipeline(&text(&broker, &["a"], ""));
    let arguments = ["run", &file, "--data-dir", data.path().to_str().unwrap()];
    let mut away = Running::start(weir(&arguments));
    for _ in 0..3 {
        away.line("Cannot connect");
    }
    let waiting = counted(&stop(away), "not_delivered");
    assert!(waiting > 1);
    broker.up();
    // A broker that was killed has forgotten the watcher.
    broker.log().line("Sending SUBACK to watcher");
    let mut back = Running::start(weir(&arguments));
    back.line("Uplink connected.");
    let mut numbers = Vec::new();
    while numbers.iter().filter(|seq| **seq > waiting).count() < 5 {
        let line = watch.line("weir/d/");
        // A message that the broker kept for those that come later is not a second one.
        numbers.extend(number(&line).filter(|_| parts(&line).1 == "0"));
    }
    if counted(&stop(back), "not_delivered") > 0 {
        deliver_the_rest(data.path().to_str().unwrap(), &file);
    }
    println!("{waiting} waited for the second process; then {} came in order", numbers.len());
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}
