//! Files that are replaced while Weir runs, and authorities that are those of the system.

use std::path::Path;

use super::{Certificates, allow, device, https, hub, new_token, secret, strict_hub, uplink_url};
use crate::support::{Running, pipeline, weir};

/// As those do who renew certificates: nobody sees half of a file.
fn replace(new: &str, old: &str) {
    let beside = format!("{old}.new");
    std::fs::copy(new, &beside).unwrap();
    std::fs::rename(&beside, old).unwrap();
}

#[test]
fn a_renewed_certificate_is_taken_without_a_restart() {
    let old = Certificates::new();
    let new = Certificates::new();
    let [certificate, key] = old.sign("hub", &["localhost"]);
    let arguments =
        ["--listen", "127.0.0.1:0", "--certificate-file", &certificate, "--key-file", &key];
    let (mut hub, address) = hub(&arguments);
    assert!(https(address, old.ca(), "/healthz").is_ok());
    let renewed = new.sign("hub", &["localhost"]);
    // Half of it first: the hub goes on with what it has.
    replace(&renewed[0], &certificate);
    hub.line("The hub goes on with the certificate that it has");
    assert!(https(address, old.ca(), "/healthz").is_ok());
    replace(&renewed[1], &key);
    hub.line("The hub's certificate was read anew.");
    assert!(https(address, new.ca(), "/healthz").is_ok());
    assert!(https(address, old.ca(), "/healthz").is_err());
}

#[test]
fn a_new_token_and_a_renewed_certificate_of_a_device_are_taken_without_a_restart() {
    let certificates = Certificates::new();
    let stranger = Certificates::new();
    let (ca, data_dir) = (certificates.ca(), certificates.path("data"));
    let right = new_token(&data_dir, "d");
    let file = certificates.path("token");
    let token = Path::new(&file);
    secret(token, "of-another-hub\n");
    let (mut hub, address) = strict_hub(&certificates, &data_dir);
    let own = stranger.sign("device", &["d"]);
    let lines = format!(
        "ca_file = \"{ca}\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\ntoken_file = \"{file}\"",
        own[0], own[1]
    );
    let (_folder, mut device) = device(&uplink_url(address), &lines);
    device.line("the hub refuses the certificate of this device");
    let renewed = certificates.sign("renewed", &["d"]);
    // Half of it first: the device goes on with what it has.
    replace(&renewed[0], &own[0]);
    let line = device.line("The uplink goes on with the token and the certificates that it has");
    assert!(
        line.contains("uplink=uplink") && line.contains(" is not that of the certificate in "),
        "{line}"
    );
    device.line("the hub refuses the certificate of this device");
    replace(&renewed[1], &own[1]);
    device.line("The uplink's token and certificates were read anew.");
    device.line("the hub refuses the token");
    // What others may read is no secret, not even later.
    allow(token, 0o644);
    std::fs::write(token, &right).unwrap();
    let line = device.line("The uplink goes on with the token and the certificates that it has");
    assert!(line.contains("others may read or change it (mode 0644): `chmod 600` it"), "{line}");
    allow(token, 0o600);
    device.line("Uplink connected.");
    hub.line("A device connected.");
    device.signal("INT");
    let (_, lines) = device.end();
    assert!(!lines.iter().any(|line| line.contains(&right)), "a token was logged");
}

#[test]
fn without_a_file_of_authorities_those_of_the_system_are_trusted() {
    let certificates = Certificates::new();
    let others = Certificates::named("another");
    let [certificate, key] = certificates.sign("hub", &["localhost"]);
    let arguments =
        ["--listen", "127.0.0.1:0", "--certificate-file", &certificate, "--key-file", &key];
    let (mut hub, address) = hub(&arguments);
    let (_folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"s\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n\
         [uplink]\nurl = {}\n",
        uplink_url(address)
    ));
    // The system's list, as OpenSSL and rustls find it.
    let mut command = weir(&["run", &file]);
    command.env("SSL_CERT_FILE", certificates.ca());
    let mut trusting = Running::start(command);
    trusting.line("Uplink connected.");
    hub.line("A device connected.");
    let mut command = weir(&["run", &file]);
    command.env("SSL_CERT_FILE", others.ca());
    let mut other = Running::start(command);
    other.line("the hub's certificate has an unknown issuer: none that this system trusts");
}
