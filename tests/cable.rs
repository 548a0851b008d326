//! A cable that is pulled: no end of the connection is told. Three network namespaces, as a device, a hub and the switch
//! between them; what is pulled is the hub's cable at the switch, so that the device's own link stays up.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Came, PATIENCE, Running, all_but_the_last_came, counter, pipeline, weir};

/// What the issue asks for: two pings without an answer, 35 s, and what a busy machine adds. After a third it would be 47 s.
const NOTICED: Duration = Duration::from_secs(45);

/// The namespaces; gone with it.
struct Network {
    names: [String; 3],
}

impl Network {
    /// `None` where this user may not make any.
    fn new() -> Option<Network> {
        let names =
            ["device", "switch", "hub"].map(|part| format!("weir-{part}-{}", std::process::id()));
        let network = Network { names };
        let [device, switch, hub] = &network.names;
        for name in &network.names {
            if !ip(&["netns", "add", name]) {
                return None;
            }
        }
        let is_up = ip(&["-n", switch, "link", "add", "br0", "type", "bridge"])
            && ip(&["-n", switch, "link", "set", "br0", "up"])
            && [(device, "device", "10.213.7.1/24"), (hub, "hub", "10.213.7.2/24")].iter().all(
                |(name, port, address)| {
                    ip(&[
                        "-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0",
                        "netns", name,
                    ]) && ip(&["-n", switch, "link", "set", port, "master", "br0", "up"])
                        && ip(&["-n", name, "addr", "add", address, "dev", "eth0"])
                        && ip(&["-n", name, "link", "set", "eth0", "up"])
                        && ip(&["-n", name, "link", "set", "lo", "up"])
                },
            );
        is_up.then_some(network)
    }

    /// The hub's cable at the switch.
    fn cable(&self, state: &str) {
        assert!(ip(&["-n", &self.names[1], "link", "set", "hub", state]));
    }

    /// What the hub counts: asked in its own namespace, where bash is at home everywhere.
    fn metrics(&self) -> String {
        const ASK: &str = r#"exec 3<>/dev/tcp/10.213.7.2/8080 && printf 'GET /metrics HTTP/1.0\r\nHost: hub\r\n\r\n' >&3 && cat <&3"#;
        let asked =
            Command::new("ip").args(["netns", "exec", &self.names[2], "bash", "-c", ASK]).output();
        String::from_utf8(asked.unwrap().stdout).unwrap()
    }

    fn start(&self, name: usize, arguments: &[&str]) -> Running {
        let weir = weir(arguments);
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.names[name]])
            .arg(weir.get_program())
            .args(weir.get_args());
        Running::start(command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_pulled_cable_is_noticed_by_both_ends_and_nothing_is_lost() {
    let Some(network) = Network::new() else {
        eprintln!("SKIPPED: no network namespaces can be made here (that needs root and `ip`)");
        return;
    };
    let mut hub = network.start(2, &["hub", "--listen", "10.213.7.2:8080", "--insecure"]);
    hub.line("Dashboard: ");
    let (_folder, file) = pipeline(
        "[device]\nname = \"far\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\ninterval = \"1s\"\n\
         [uplink]\nurl = \"ws://10.213.7.2:8080/uplink\"\n",
    );
    let mut device = network.start(0, &["run", &file]);
    device.line("Uplink connected.");
    hub.line("A device connected.");
    network.cable("down");
    let pulled = Instant::now();
    device.line("Uplink lost: ");
    let device_noticed = pulled.elapsed();
    hub.line("The device's connection ended: ");
    let hub_noticed = pulled.elapsed();
    eprintln!(
        "noticed by the device after {device_noticed:?}, by the hub after {hub_noticed:?}, of 35 s"
    );
    assert!(device_noticed < NOTICED && hub_noticed < NOTICED, "too late");
    network.cable("up");
    device.line("Uplink connected.");
    // Those of the outage come, one a second, and later ones.
    let waited = pulled.elapsed().as_secs();
    let end = Instant::now() + PATIENCE;
    while counter(&network.metrics(), "weir_device_readings_total") < waited {
        assert!(Instant::now() < end, "not all came: {}", network.metrics());
        std::thread::sleep(Duration::from_millis(50));
    }
    device.signal("TERM");
    let (status, lines) = device.end();
    assert!(status.success());
    let metrics = network.metrics();
    let readings = counter(&metrics, "weir_device_readings_total");
    all_but_the_last_came(&lines, Came::Readings(readings), 1);
    for counter in ["weir_device_lost_total", "weir_device_gaps"] {
        assert!(metrics.contains(&format!("{counter}{{device=\"far\"}} 0\n")), "{metrics}");
    }
}
