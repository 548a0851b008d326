//! The page in headless Chromium: values change, a fault shows, an alarm appears and clears, and nothing is wrong in
//! the console. The PNGs are left in `target/page`.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{PATIENCE, Running, W1Tree, http, pipeline, repository, weir};

const PROBE: &str = "28-0316a2794dff";

#[test]
fn a_person_sees_values_faults_and_alarms() {
    if !has_browser() {
        return;
    }
    let tree = W1Tree::new();
    tree.measure(PROBE, -18.5);
    let (_folder, file) = pipeline(&format!(
        "[device]\nname = \"cold-room\"\n\
         [[sensor]]\nname = \"freezer\"\ndriver = \"ds18b20\"\nid = \"{PROBE}\"\ninterval = \"200ms\"\n\
         [[stage]]\nname = \"too-warm\"\nplugin = \"alert-limit\"\nconfig = {{ above = -10.0, severity = \"critical\" }}\n\
         [dashboard]\nlisten = \"127.0.0.1:0\"\n"
    ));
    let mut run = Running::start(weir(&["run", &file, "--w1-root", tree.path()]));
    let hub = run.dashboard();
    let browser = Browser::start();
    browser.open(&format!("http://{hub}/"));

    browser.wait("text('section.device .connection')", |text| {
        text.contains("connected") && !text.contains("not")
    });
    browser.wait("text('article.sensor[data-sensor=\"freezer\"] .value')", |text| {
        text.contains("-18.50")
    });
    tree.measure(PROBE, -17.0);
    browser.wait("text('article.sensor .value')", |text| text.contains("-17.00"));
    browser.wait("String(weir.charts)", |charts| charts == "1");
    browser.wait("String(weir.points('cold-room', 'freezer') > 5)", |more| more == "true");

    tree.measure(PROBE, 3.25);
    browser
        .wait("document.querySelector('li.alarm')?.dataset.state ?? ''", |state| state == "active");
    browser.wait("text('li.alarm')", |text| text.contains("too-warm"));
    tree.answer(PROBE, "");
    browser.wait("text('article.sensor .fault')", |text| text.contains("no-answer"));
    browser.picture("fault-and-alarm");

    tree.measure(PROBE, -18.0);
    browser.wait("document.querySelector('li.alarm')?.dataset.state ?? ''", |state| {
        state == "cleared"
    });
    browser.wait("text('article.sensor .value')", |text| text.contains("-18.00"));
    browser.wait("text('article.sensor .faults')", |text| text.contains("no-answer"));
    browser.wait("String(document.querySelector('article.sensor .fault').hidden)", |hidden| {
        hidden == "true"
    });
    browser.picture("cleared");

    // Nothing was asked of anybody but this hub, and nobody complained.
    let asked = browser
        .script("return performance.getEntriesByType('resource').map((r) => new URL(r.name).host)");
    let asked = asked.as_array().unwrap();
    assert!(
        asked.len() >= 4 && asked.iter().all(|host| *host == json!(hub.to_string())),
        "{asked:?}"
    );
    assert_eq!(browser.console(), Vec::<String>::new());

    // The hub goes: the page says so.
    run.signal("KILL");
    browser.wait("String(document.body.innerText)", |text| text.to_lowercase().contains("lost"));
}

#[test]
fn a_person_sees_other_quantities_doubts_and_what_is_not_in_the_pipeline() {
    use tokio_tungstenite::tungstenite::{Message, connect};
    if !has_browser() {
        return;
    }
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let (mut socket, _) = connect(format!("ws://{address}/uplink")).unwrap();
    let mut send = |message: Value| socket.send(Message::text(message.to_string())).unwrap();
    let now = weir::reading::Timestamp::now();
    let at = |secs: i64| now.shifted(secs * 1_000_000_000).to_string();
    send(
        json!({"type": "connect", "device": "greenhouse", "stream": "00000000-0000-0000-0000-000000000001",
                "sensors": [{"sensor": "air", "id": "iio:bme280/humidityrelative", "quantity": "humidity", "unit": "percent"},
                            {"sensor": "soil", "id": PROBE, "unit": "celsius"}]}),
    );
    for second in 0..60_i32 {
        let time = at(i64::from(second) - 60);
        let wave = f64::from(second) / 10.0;
        send(
            json!({"type": "humidity", "sensor": "air", "time": time, "value": 61.25 + wave.sin(), "unit": "percent"}),
        );
        send(
            json!({"type": "pressure", "sensor": "weather", "time": time, "value": 1013.25 + wave.cos(), "unit": "hectopascal"}),
        );
        send(
            json!({"type": "temperature", "sensor": "soil", "time": time, "value": 85.0, "quality": "uncertain",
                    "doubt": "power-on-value"}),
        );
    }
    send(
        json!({"type": "alarm", "alarm": "too-damp", "sensor": "air", "condition": "above", "state": "active",
                "severity": "warning", "value": 90.04, "limit": 85.0, "time": at(-10)}),
    );
    for id in ["28-01131bcd22a1", "28-3c01f0965a74"] {
        send(json!({"type": "sensor", "id": id, "state": "found", "time": at(-5)}));
    }
    let browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    let card = |sensor: &str, part: &str| format!("text('[data-sensor=\"{sensor}\"] {part}')");
    browser.wait(&card("air", ".value"), |text| text.ends_with('%') && text.starts_with("60."));
    browser.wait(&card("weather", ".unit"), |text| text == "hPa");
    browser.wait(&card("soil", ".quality"), |text| text == "uncertain");
    browser.wait(&card("soil", ".doubt"), |text| text.contains("before its first measurement"));
    browser.wait(&card("air", ".doubt"), str::is_empty);
    browser.wait("text('li.alarm .what')", |text| text == "90.0 % (alarm above 85.0 %)");
    browser.wait("text('.strangers h3')", |text| text == "Not in the pipeline");
    browser.wait("text('.stranger .block')", |text| {
        text == "[[sensor]]\nname = \"28-01131bcd22a1\"\ndriver = \"ds18b20\"\nid = \"28-01131bcd22a1\""
    });
    browser.wait("String(weir.charts)", |charts| charts == "3");
    browser.picture("greenhouse");
    browser.click(".stranger button");
    browser.wait("text('.stranger button')", |text| text == "Copied");
    send(json!({"type": "sensor", "id": "28-01131bcd22a1", "state": "gone", "time": at(0)}));
    browser.wait("String(document.querySelectorAll('.stranger').length)", |count| count == "1");

    send(json!({"type": "start", "time": at(0), "version": "0.2.0"}));
    send(
        json!({"type": "health", "time": at(0), "uptime_secs": 1, "queued": 0, "dropped": 0, "missed_cycles": 0, "plugin_traps": 0,
                "uplinks": [{"uplink": "hub", "state": "up"},
                            {"uplink": "mqtt", "state": "down", "queued": 3412, "since": at(0), "reason": "refused"}],
                "spool": {"on_disk": false, "reason": "disk full"}}),
    );
    browser.wait("text('.ways')", |text| {
        text.starts_with("2 uplinks: hub up, mqtt down since ")
            && text.ends_with(": refused (3,412 waiting) · spool in memory: disk full")
    });
    browser.wait("text('.version')", |text| text == "0.2.0");

    // The clock is not set yet, and then it is: what the page has moves, and the note goes.
    let unset = |kind: &str, value: f64| json!({"type": kind, "sensor": "air", "time": "2024-01-01T00:00:00Z", "value": value, "clock": "unsynchronized"});
    let hidden = "String(document.querySelector('.unset').hidden)";
    browser.wait(hidden, |hidden| hidden == "true");
    send(unset("humidity", 55.5));
    browser.wait(hidden, |hidden| hidden == "false");
    browser.wait(&card("air", ".age"), |text| text.starts_with("at 1 Jan"));
    browser.wait("text('.behind')", |text| text.ends_with(" s"));
    browser.picture("clock-not-set");
    // Silent for a while by the page's clock: late, whatever the device's own clock showed.
    let is_old = "String(document.querySelector('[data-sensor=\"air\"]').matches('.old'))";
    browser.wait(is_old, |old| old == "false");
    browser.script("const real = Date.now; Date.now = () => real() + 20_000");
    browser.wait(is_old, |old| old == "true");
    let set: weir::reading::Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    let step_secs = now.since(set).as_secs_f64();
    send(json!({"type": "clock", "time": at(0), "synchronized": true, "step_secs": step_secs}));
    browser.wait(hidden, |hidden| hidden == "true");
    browser.wait(&card("air", ".age"), |text| text.ends_with(" s ago"));
    browser.wait(&card("air", ".value"), |text| text.starts_with("55.5"));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn a_hostile_name_is_text_and_not_markup() {
    use tokio_tungstenite::tungstenite::{Message, connect};
    if !has_browser() {
        return;
    }
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let evil = "<img src=x onerror=document.title='owned'>";
    let (mut socket, _) = connect(format!("ws://{address}/uplink")).unwrap();
    for message in [
        json!({"type": "connect", "device": evil, "sensors": [{"sensor": evil, "unit": evil}]}),
        json!({"type": "temperature", "sensor": evil, "time": "2026-01-01T00:00:00.000Z", "value": 1.5, "quality": "uncertain",
               "doubt": evil}),
        json!({"type": "sensor", "id": evil, "state": "found", "time": "2026-01-01T00:00:00.000Z"}),
        json!({"type": "fault", "sensor": evil, "time": "2026-01-01T00:00:01.000Z", "reason": evil}),
        json!({"type": "alarm", "alarm": evil, "sensor": evil, "condition": evil, "state": "active",
               "severity": "warning", "time": "2026-01-01T00:00:01.000Z"}),
    ] {
        socket.send(Message::text(message.to_string())).unwrap();
    }
    let browser = Browser::start();
    browser.open(&format!("http://{address}/"));
    browser.wait("text('li.alarm')", |text| text.contains("<img"));
    browser.wait("text('article.sensor .faults')", |text| text.contains("<img"));
    browser.wait("text('.stranger .block')", |text| text.contains("<img"));
    assert_eq!(browser.script("return document.querySelectorAll('img').length"), 0);
    assert_ne!(browser.script("return document.title"), "owned");
    assert_eq!(browser.console(), Vec::<String>::new());
}

fn has_browser() -> bool {
    for program in ["chromium", "chromedriver"] {
        if !Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
        {
            eprintln!(
                "SKIPPED: there is no {program} (Debian: apt-get install chromium chromium-driver)"
            );
            return false;
        }
    }
    true
}

/// A headless Chromium, spoken to through chromedriver (W3C WebDriver).
struct Browser {
    driver: SocketAddr,
    session: String,
    // Dropped after the session is ended.
    _process: Running,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Browser {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut process = Running::start(command);
        let started = process.line("started successfully on port ");
        let port = started.rsplit(' ').next().unwrap().trim_end_matches('.').parse().unwrap();
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1100,1000",
            &format!("--user-data-dir={}", profile.path().display()),
        ]
        .map(str::to_owned);
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let session = ask(driver, "POST", "/session", &capabilities)["sessionId"]
            .as_str()
            .unwrap()
            .to_owned();
        Browser { driver, session, _process: process, _profile: profile }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        ask(self.driver, method, &format!("/session/{}{path}", self.session), body)
    }

    fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// As a person does it: a click by a script may not copy.
    fn click(&self, selector: &str) {
        let found =
            self.ask("POST", "/element", &json!({"using": "css selector", "value": selector}));
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    fn script(&self, script: &str) -> Value {
        let script =
            format!("const text = (s) => document.querySelector(s)?.textContent ?? ''; {script}");
        self.ask("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Asks for a text until it fits.
    fn wait(&self, expression: &str, fits: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < end {
            last = self.script(&format!("return {expression}"));
            if last.as_str().is_some_and(&fits) {
                return;
            }
            // A page has no end of its own to wait for here.
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{expression} is {last}; console: {:?}", self.console());
    }

    /// What the page has written to the console since it was asked last.
    fn console(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    fn picture(&self, name: &str) {
        let folder = repository("target/page");
        std::fs::create_dir_all(&folder).unwrap();
        let png = self.ask("GET", "/screenshot", &Value::Null);
        std::fs::write(folder.join(format!("{name}.png")), decode_base64(png.as_str().unwrap()))
            .unwrap();
        assert!(Path::new(&folder.join(format!("{name}.png"))).metadata().unwrap().len() > 10_000);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Also after a failed test: the browser is chromedriver's child, not ours. A second panic would hide the first.
        let path = format!("DELETE /session/{}", self.session);
        drop(std::panic::catch_unwind(|| http(self.driver, "HTTP/1.1", &path, "")));
    }
}

fn ask(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (head, mut reader) = http(driver, "HTTP/1.1", &format!("{method} {path}"), &body);
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut answer = vec![0; length.unwrap_or_else(|| panic!("no length: {head}"))];
    reader.read_exact(&mut answer).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(head.contains(" 200 "), "{method} {path}: {answer}");
    answer["value"].clone()
}

/// RFC 4648, for one picture: not worth a dependency.
fn decode_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        bits = bits << 6 | alphabet.iter().position(|known| *known == letter).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
