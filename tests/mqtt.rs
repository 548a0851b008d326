//! The uplink by MQTT against a real Mosquitto: its restarts, passwords, refusals, and what Home Assistant reads.
//! Long because every test needs the same broker, device and watcher.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Running, pipeline, weir};

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
        // Another process may take the port in between: then the broker says so, and the test fails loudly.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let own = folder.path().display();
        // Saved after each change: what it acknowledged is then on the disk but for the last moment.
        let text = format!(
            "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {own}/\n\
             autosave_on_changes true\nautosave_interval 1\nlog_type all\nlog_dest stderr\n\
             max_queued_messages 100000\n{}\n",
            settings.replace("{folder}", &own.to_string())
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
        let format = ["-t", filter, "-F", "%t %p", "--retained-only", "-W", "2"];
        let output = self.client("mosquitto_sub", &format).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines = lines.lines().map(|line| line.split_once(' ').unwrap());
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

/// The number of messages that the last line counts by this word.
fn counted(lines: &[String], word: &str) -> u64 {
    let last = lines.iter().find(|line| line.contains("Stopped: ")).unwrap();
    let value = last.split(&format!(" {word}=")).nth(1).unwrap();
    value.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn no_message_is_missing_though_the_broker_is_killed_again_and_again() {
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    let mut watch = broker.watch("weir/#", &[]);
    let (_folder, mut run) = run(&broker, &["a", "b"], "");
    run.line("Uplink connected.");
    let joined = broker.log().line("as weir-d");
    assert!(joined.contains("p5, c1, k15"), "MQTT 5, a clean start, 15 s of keep-alive: {joined}");
    assert!(watch.line("weir/d/status").ends_with(" online"));
    for _ in 0..3 {
        watch.line("weir/d/a ");
        broker.kill();
        run.line("Uplink lost");
        broker.up();
        run.line("Uplink connected.");
    }
    watch.line("weir/d/b ");
    let lines = stop(run);
    assert_eq!(counted(&lines, "not_delivered"), 0);
    watch.line("weir/d/status 0 offline");
    let numbers: Vec<u64> = watch.seen.iter().filter_map(|line| number(line)).collect();
    let last = *numbers.iter().max().unwrap();
    assert!(last > counted(&lines, "messages"), "the readings, and the start");
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
    let (_folder, mut stopped) = run(&broker, &["a"], "");
    stopped.line("Uplink connected.");
    watch.line(" online");
    stop(stopped);
    watch.line(" offline");
    let end = broker.log().line("weir-d disconnected");
    assert!(!end.contains("not authorised"), "{end}");
    broker.log().seen.clear();
    let retained = broker.retained("weir/d/status");
    assert_eq!(retained["weir/d/status"], "offline");
}

#[test]
fn a_broker_that_hangs_is_noticed() {
    let Some(mut broker) = Broker::start("allow_anonymous true\n") else { return };
    let (_folder, mut run) = run(&broker, &["a"], "keep_alive = \"5s\"\n");
    run.line("Uplink connected.");
    broker.log().signal("STOP");
    let begun = Instant::now();
    let lost = run.line("Uplink lost");
    println!("noticed after {:?}: {lost}", begun.elapsed());
    // Twice the keep-alive; by default that is 30 s.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(lost.contains("acknowledged nothing for 10 s"), "{lost}");
    broker.log().signal("CONT");
    run.line("Uplink connected.");
    let lines = stop(run);
    assert_eq!(counted(&lines, "not_delivered"), 0);
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
    let mut watch = broker.watch("weir/d/a", &[]);
    std::fs::write(format!("{own}/rights"), rights("#")).unwrap();
    broker.log().signal("HUP");
    // What was refused first is the first that comes.
    let first = loop {
        let line = watch.line("weir/d/a ");
        if parts(&line).1 == "0" {
            break number(&line).unwrap();
        }
    };
    let lines = stop(run);
    let refusals = lines.iter().filter(|line| line.contains("Uplink lost")).count();
    println!("the first that came after the refusal: {first}; refused {refusals} times");
    assert!(first <= 3, "the start, then the sensor's first reading: {first}");
    // Full jitter may make some pauses short; a loop without pauses would have counted thousands.
    assert!(refusals < 30, "{refusals}");
    assert_eq!(counted(&lines, "not_delivered"), 0);
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
    assert_eq!(counted(&stop(run), "not_delivered"), 0);
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
    // A broker that was killed before it saved anything has forgotten the watcher.
    broker.log().line("Sending SUBACK to watcher");
    let mut back = Running::start(weir(&arguments));
    back.line("Uplink connected.");
    let mut numbers = Vec::new();
    while numbers.iter().filter(|seq| **seq > waiting).count() < 5 {
        let line = watch.line("weir/d/");
        // A message that the broker kept for those that come later is not a second one.
        numbers.extend(number(&line).filter(|_| parts(&line).1 == "0"));
    }
    assert_eq!(counted(&stop(back), "not_delivered"), 0);
    println!("{waiting} waited for the second process; then {} came in order", numbers.len());
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}
