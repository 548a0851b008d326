//! A changed pipeline file, or a changed plugin, is taken over by a running pipeline: nothing is lost, nothing comes twice, and what
//! did not change goes on.

use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, accept};
use weir::plugin::standard;

use crate::support::{PATIENCE, Running, pipeline, weir};

/// A plain WebSocket server; gives the address and the messages in the order in which they came.
fn server() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    let (sender, messages) = mpsc::channel();
    std::thread::spawn(move || {
        // The first connection may be an offer of subprotocols that this server does not answer.
        for stream in listener.incoming() {
            let Ok(mut socket) = accept(stream.unwrap()) else { continue };
            while let Ok(message) = socket.read() {
                if let Message::Text(text) = message {
                    let json: Value = serde_json::from_str(&text).unwrap();
                    if sender.send(json).is_err() {
                        return;
                    }
                }
            }
        }
    });
    (address, messages)
}

/// Reads until a message fits; gives all that were read, that one last.
fn until(messages: &Receiver<Value>, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut read = Vec::new();
    // For all of them together: readings go on coming while another message is waited for.
    let end = Instant::now() + PATIENCE;
    loop {
        let wait = end.saturating_duration_since(Instant::now());
        let message = messages.recv_timeout(wait).unwrap_or_else(|e| {
            panic!("no such message ({e}); the last of {}: {:?}", read.len(), read.last())
        });
        let found = fits(&message);
        read.push(message);
        if found {
            return read;
        }
    }
}

fn value(message: &Value) -> Option<f64> {
    (message["type"] == "temperature").then(|| message["value"].as_f64().unwrap())
}

fn text(address: &str, stages: &str) -> String {
    format!(
        "[device]\nname = \"d\"\n\
         [[sensor]]\nname = \"a\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n\
         [[sensor]]\nname = \"b\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n\
         {stages}[uplink]\nurl = \"{address}\"\n"
    )
}

const MEDIAN: &str = "[[stage]]\nname = \"smooth\"\nplugin = \"filter-median\"\n";

fn shifted(offset: f64) -> String {
    format!(
        "[[stage]]\nname = \"shift\"\nplugin = \"calibrate-linear\"\nconfig = {{ offset = {offset} }}\n"
    )
}

#[test]
fn a_changed_stage_is_taken_over_between_two_batches() {
    let (address, messages) = server();
    let (_folder, file) = pipeline(&text(&address, &format!("{MEDIAN}{}", shifted(0.0))));
    let mut run = Running::start(weir(&["run", &file]));
    let mut all = until(&messages, |m| value(m).is_some());

    // 20 °C and 25 °C are far enough apart to be told from each other.
    std::fs::write(&file, text(&address, &format!("{MEDIAN}{}", shifted(5.0)))).unwrap();
    run.signal("HUP");
    let line = run.line("The pipeline was changed.");
    assert!(line.contains("shift") && !line.contains("smooth"), "{line}");
    all.extend(until(&messages, |m| value(m).is_some_and(|value| value > 23.0)));

    // A broken file leaves all as it is and says why.
    std::fs::write(&file, text(&address, "[[stage]]\nname = \"x\"\nplugin = \"filter-medain\"\n"))
        .unwrap();
    run.signal("HUP");
    run.line("all runs on as before");
    run.line("`plugin` is \"filter-medain\"");
    // So does one that wants what only a start can give,
    let more = text(&address, "").replace("name = \"b\"", "name = \"c\"");
    std::fs::write(&file, more.replace("[device]\nname = \"d\"", "[device]\nname = \"e\""))
        .unwrap();
    run.signal("HUP");
    run.line("[device], [[sensor]] cannot change while it runs");
    // and one whose plugin refuses its settings, which shows only when it is asked.
    let refused = "[[stage]]\nname = \"w\"\nplugin = \"alert-limit\"\nconfig = { above = 1.0, below = 2.0 }\n";
    std::fs::write(&file, text(&address, refused)).unwrap();
    run.signal("HUP");
    run.line("stage `w`: plugin `alert-limit` does not start");
    all.extend(until(&messages, |m| value(m).is_some()));

    // Stages may go.
    std::fs::write(&file, text(&address, MEDIAN)).unwrap();
    run.signal("HUP");
    run.line("The pipeline was changed.");
    all.extend(until(&messages, |m| value(m).is_some_and(|value| value < 23.0)));
    run.signal("INT");
    let (status, lines) = run.end();
    assert!(status.success());
    all.extend(messages.try_iter());
    nothing_is_lost_or_doubled(&all, &lines);

    // Before, between and after: the shift came once and went once.
    let shifts: Vec<bool> = all.iter().filter_map(value).map(|value| value > 23.0).collect();
    let changes = shifts.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((shifts.first(), changes), (Some(&false), 2));
}

/// Numbers without a gap, times that go on, and as many as were taken.
fn nothing_is_lost_or_doubled(all: &[Value], lines: &[String]) {
    let numbers: Vec<u64> = all.iter().filter_map(|message| message["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    for sensor in ["a", "b"] {
        let of = all.iter().filter(|m| m["sensor"] == sensor && value(m).is_some());
        let times: Vec<&str> = of.map(|m| m["time"].as_str().unwrap()).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }
    let measured = all.iter().filter(|m| value(m).is_some()).count();
    let last = lines.last().unwrap();
    assert!(last.contains(&format!(" taken={measured} ")), "{measured} arrived: {last}");
}

fn alert(name: &str, above: f64) -> String {
    format!(
        "[[stage]]\nname = \"{name}\"\nplugin = \"alert-limit\"\nsensors = [\"a\"]\nconfig = {{ above = {above} }}\n\
         [[output]]\ngpio = 17\nalarm = \"{name}\"\nsimulate = true\n"
    )
}

#[test]
fn an_alarm_goes_on_through_a_change_of_its_limit_and_ends_with_its_stage() {
    let alarm = |state: &'static str| move |m: &Value| m["type"] == "alarm" && m["state"] == state;
    let (address, messages) = server();
    let (_folder, file) = pipeline(&text(&address, &alert("warm", 10.0)));
    let mut run = Running::start(weir(&["run", &file]));
    until(&messages, alarm("active"));
    // Still above: the alarm does not end with the old instance.
    std::fs::write(&file, text(&address, &alert("warm", 12.0))).unwrap();
    run.signal("HUP");
    run.line("The pipeline was changed.");
    let mut meanwhile = until(&messages, |m| value(m).is_some());
    meanwhile.extend(until(&messages, |m| value(m).is_some()));
    assert!(!meanwhile.iter().any(alarm("cleared")), "{meanwhile:?}");
    // Below the new limit: the new instance knows what the old one raised, and clears it.
    std::fs::write(&file, text(&address, &alert("warm", 40.0))).unwrap();
    run.signal("HUP");
    until(&messages, alarm("cleared"));
    std::fs::write(&file, text(&address, &alert("warm", 10.0))).unwrap();
    run.signal("HUP");
    until(&messages, alarm("active"));
    // Its output names it: with both gone nobody would ever clear it.
    std::fs::write(
        &file,
        text(&address, &alert("warm", 10.0))
            .replace("alert-limit", "filter-median")
            .replace("config = { above = 10 }\n", ""),
    )
    .unwrap();
    run.signal("HUP");
    run.line("the name of a stage that is an alert");
    let gone =
        alert("hot", 90.0).replace("[[output]]\ngpio = 17\nalarm = \"hot\"\nsimulate = true\n", "");
    let still = alert("warm", 10.0)
        .replace("[[stage]]", "[[stage]]\nsensors = [\"b\"]")
        .replace("sensors = [\"a\"]\n", "");
    std::fs::write(&file, text(&address, &format!("{gone}{still}"))).unwrap();
    run.signal("HUP");
    let cleared = until(&messages, alarm("cleared"));
    assert_eq!(cleared.last().unwrap()["alarm"], "warm");
    assert_eq!(cleared.last().unwrap()["sensor"], "a");
}

/// Written beside it and moved there, as tools do.
fn put(file: &Path, bytes: &[u8]) {
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn with_watch_a_plugin_that_is_built_anew_is_taken_over_by_itself() {
    let (address, messages) = server();
    let stage = "[[stage]]\nname = \"own\"\nplugin = \"./own.wasm\"\n";
    let (folder, file) = pipeline(&text(&address, stage));
    let own = folder.path().join("own.wasm");
    let good = standard("filter-median").unwrap();
    put(&own, good);
    let mut run = Running::start(weir(&["run", &file, "--watch"]));
    let mut all = until(&messages, |m| value(m).is_some());
    // Half a file, as a build that was cut off leaves it.
    put(&own, &good[..good.len() / 2]);
    run.line("all runs on as before");
    run.line("plugin `./own.wasm`: it is damaged");
    all.extend(until(&messages, |m| value(m).is_some()));
    put(&own, standard("calibrate-linear").unwrap());
    let line = run.line("The pipeline was changed.");
    assert!(line.contains("own"), "{line}");
    all.extend(until(&messages, |m| value(m).is_some()));
    run.signal("TERM");
    let (status, lines) = run.end();
    assert!(status.success());
    all.extend(messages.try_iter());
    nothing_is_lost_or_doubled(&all, &lines);
}
