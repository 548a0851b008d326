//! Encryption, certificates and tokens, at both ends: who gets in, who does not, and what each is told.
//! Long because each way in is tried with each thing that can be wrong with it, by one set of certificates.

mod renewed;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, connect};
use weir::uplink::{TlsSettings, client_config};

use crate::support::{
    Came, PATIENCE, Running, all_but_the_last_came, counter, get, held_address, pipeline,
    repository, weir,
};

/// A folder of certificates, and the authority that signs them.
struct Certificates {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Certificates {
        Certificates::named("authority of the test")
    }

    fn named(name: &str) -> Certificates {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
        Certificates { folder, authority: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn ca(&self) -> String {
        self.path("ca.pem")
    }

    /// Signs a certificate for these names. Gives the paths of it and of its key.
    fn sign(&self, file: &str, names: &[&str]) -> [String; 2] {
        self.sign_changed(file, names, |_| {})
    }

    fn sign_changed(
        &self,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> [String; 2] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.authority).unwrap().pem();
        self.write(file, &pem, &key)
    }

    fn write(&self, file: &str, pem: &str, key: &KeyPair) -> [String; 2] {
        let paths = [self.path(&format!("{file}.pem")), self.path(&format!("{file}.key"))];
        std::fs::write(&paths[0], pem).unwrap();
        secret(Path::new(&paths[1]), &key.serialize_pem());
        paths
    }
}

fn secret(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    allow(file, 0o600);
}

fn allow(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A hub, and where it listens: as a peer on this machine reaches it.
fn hub(arguments: &[&str]) -> (Running, SocketAddr) {
    let mut hub = Running::start(weir(&[&["hub", "--log", "trace"], arguments].concat()));
    let line = hub.line("Dashboard: http");
    let address = line.split("://").nth(1).unwrap().trim_end_matches('/');
    let address: SocketAddr = address.parse().unwrap();
    (hub, SocketAddr::from(([127, 0, 0, 1], address.port())))
}

/// A hub that wants certificates of its devices, and tokens.
fn strict_hub(certificates: &Certificates, data_dir: &str) -> (Running, SocketAddr) {
    let [certificate, key] = certificates.sign("hub", &["localhost"]);
    let ca = certificates.ca();
    let tls = ["--certificate-file", &certificate, "--key-file", &key, "--client-ca-file", &ca];
    hub(&[&["--listen", "0.0.0.0:0", "--data-dir", data_dir], &tls[..]].concat())
}

/// A device that sends to `url`, with further lines of `[uplink]`.
fn device(url: &str, lines: &str) -> (TempDir, Running) {
    let (folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"s\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n\
         [uplink]\nurl = {url}\n{lines}\n"
    ));
    // At this level no token may be seen either.
    let running = Running::start(weir(&["run", &file, "--log", "trace"]));
    (folder, running)
}

/// As the address of a device's uplink.
fn uplink_url(address: SocketAddr) -> String {
    format!("\"wss://localhost:{}/uplink\"", address.port())
}

fn new_token(data_dir: &str, device: &str) -> String {
    let made = weir(&["hub", "token", "new", device, "--data-dir", data_dir]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn token_command(data_dir: &str, arguments: &[&str]) -> String {
    let command = [&["hub", "token"], arguments, &["--data-dir", data_dir]].concat();
    String::from_utf8(weir(&command).output().unwrap().stdout).unwrap()
}

/// An encrypted connection to a hub as `localhost`.
fn tls(
    address: SocketAddr,
    settings: &TlsSettings,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(client_config(settings).unwrap(), name).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    stream.flush()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn trusting(ca_file: String) -> TlsSettings {
    TlsSettings { ca_file: Some(ca_file.into()), certificate: None }
}

/// The answer to a request over TLS, head and body.
fn https(address: SocketAddr, ca_file: String, path: &str) -> std::io::Result<String> {
    let mut stream = tls(address, &trusting(ca_file))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The answer of a hub that does not take a connection.
type Refusal = Box<Response<Option<Vec<u8>>>>;

/// A WebSocket of a peer that shows this.
fn knock(
    address: SocketAddr,
    headers: &[(&'static str, &str)],
) -> Result<WebSocket<MaybeTlsStream<TcpStream>>, Refusal> {
    let mut request = format!("ws://{address}/uplink").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect(request) {
        Ok((socket, _)) => {
            let MaybeTlsStream::Plain(stream) = socket.get_ref() else { panic!("{address}") };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Ok(socket)
        }
        Err(Error::Http(response)) => Err(response),
        Err(error) => panic!("{error}"),
    }
}

fn bearer(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

fn knock_with(
    address: SocketAddr,
    token: &str,
) -> Result<WebSocket<MaybeTlsStream<TcpStream>>, Refusal> {
    let headers = bearer(token);
    knock(address, &[(headers[0].0, headers[0].1.as_str())])
}

/// Waits until something is so.
fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it did not come to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_device_with_a_pinned_authority_and_a_token_is_delivered_over_tls() {
    let certificates = Certificates::new();
    let [certificate, key] = certificates.sign("hub", &["localhost"]);
    let data_dir = certificates.path("data");
    let token = new_token(&data_dir, "d");
    secret(Path::new(&certificates.path("token")), &format!("{token}\n"));
    let (mut hub, address) = hub(&[
        "--listen",
        "0.0.0.0:0",
        "--cert-file",
        &certificate,
        "--key-file",
        &key,
        "--data-dir",
        &data_dir,
    ]);
    let url = uplink_url(address);
    let lines = format!(
        "ca_file = \"{}\"\ntoken_file = \"{}\"",
        certificates.ca(),
        certificates.path("token")
    );
    let (_folder, mut device) = device(&url, &lines);
    device.line("Uplink connected.");
    let connected = hub.line("A device connected.");
    assert!(connected.contains("device=d ") && connected.contains("acks=true"), "{connected}");
    until(|| {
        let readings = https(address, certificates.ca(), "/api/readings?device=d&sensor=s");
        readings.unwrap().contains("\"value\"")
    });
    let devices = https(address, certificates.ca(), "/api/devices").unwrap();
    let (_, body) = devices.split_once("\r\n\r\n").unwrap();
    let devices: Value = serde_json::from_str(body).unwrap();
    let entry = &devices[0];
    assert_eq!((&entry["device"], &entry["connected"]), (&"d".into(), &true.into()));
    assert!(https(address, certificates.ca(), "/").unwrap().starts_with("HTTP/1.0 200"));
    // In the clear there is nothing to be had at this door.
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset is an answer too.
    drop(plain.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    device.signal("INT");
    let (status, lines) = device.end();
    assert!(status.success());
    let metrics = https(address, certificates.ca(), "/metrics").unwrap();
    assert_eq!(counter(&metrics, "weir_device_gaps"), 0);
    let readings = counter(&metrics, "weir_device_readings_total");
    all_but_the_last_came(&lines, Came::Readings(readings), 10);
    hub.signal("INT");
    let (_, told) = hub.end();
    assert!(!lines.iter().chain(&told).any(|line| line.contains(&token)), "a token was logged");
}

#[test]
fn a_hub_that_cannot_be_trusted_is_refused_with_the_reason() {
    let certificates = Certificates::new();
    let stranger = Certificates::named("another");
    let namesake = Certificates::new();
    let own = |names: &[&str], file: &str| certificates.sign(file, names);
    let expired = certificates.sign_changed("expired", &["localhost"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 2, 3);
    });
    let future = certificates.sign_changed("future", &["localhost"], |params| {
        params.not_before = date_time_ymd(2090, 4, 5);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    // What `openssl req -x509` makes: an authority that is used as a hub's certificate.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let both = certificates.write("both", &params.self_signed(&key).unwrap().pem(), &key);
    let pinned = |file: &str| format!("ca_file = \"{file}\"");
    let good = own(&["localhost"], "good");
    let unset = if weir::clock::is_synchronized() { "" } else { "clock_unsynced" };
    let cases = [
        (&good, String::new(), "unknown issuer: none that this system trusts", ""),
        (&good, pinned(&stranger.ca()), "unknown issuer: none of those in ", ""),
        (&good, pinned(&namesake.ca()), "unknown issuer: none of those in ", ""),
        (
            &own(&["hub.example"], "other"),
            pinned(&certificates.ca()),
            "is for hub.example, not for localhost",
            "",
        ),
        (&expired, pinned(&certificates.ca()), "certificate expired on 2021-02-03", unset),
        (&future, pinned(&certificates.ca()), "is valid from 2090-04-05 on, and this", unset),
        (&both, pinned(&both[0]), "is that of an authority (CA:TRUE)", ""),
    ];
    for ([certificate, key], lines, text, reason) in &cases {
        let arguments =
            ["--listen", "127.0.0.1:0", "--certificate-file", certificate, "--key-file", key];
        let (mut hub, address) = hub(&arguments);
        let url = uplink_url(address);
        let (_folder, mut device) = device(&url, lines);
        let line = device.line("Cannot connect: ");
        assert!(line.contains(text) && line.contains(reason), "{text}: {line}");
        hub.line("A TLS handshake failed: ");
        if certificate == &expired[0] {
            let is_told = |line: &String| line.contains("This certificate expired on 2021-02-03");
            assert!(hub.seen.iter().any(is_told), "{:?}", hub.seen);
        }
    }
    eprintln!("{} certificates were refused, each with its reason", cases.len());

    // The scheme of the other kind of hub.
    let (_plain, address) = hub(&["--listen", "127.0.0.1:0"]);
    let (_folder, mut to_plain) = device(
        &format!("\"wss://localhost:{}/uplink\"", address.port()),
        &pinned(&certificates.ca()),
    );
    to_plain.line("its answer is not TLS: is the hub's address ws://");
    let (_tls, address) =
        hub(&["--listen", "127.0.0.1:0", "--certificate-file", &good[0], "--key-file", &good[1]]);
    let (_folder, mut to_tls) =
        device(&format!("\"ws://localhost:{}/uplink\"", address.port()), "");
    to_tls.line("does the hub want wss://");
}

/// A Raspberry Pi without a battery boots in the past, where no certificate is valid yet.
#[test]
fn a_device_connects_by_itself_when_its_clock_is_set() {
    let Some(library) = crate::clock::faketime() else { return };
    let certificates = Certificates::new();
    let [certificate, key] = certificates.sign_changed("hub", &["localhost"], |params| {
        params.not_before = date_time_ymd(2025, 1, 1);
    });
    let arguments =
        ["--listen", "127.0.0.1:0", "--certificate-file", &certificate, "--key-file", &key];
    let (_hub, address) = hub(&arguments);
    let (folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"s\"\ndriver = \"simulated\"\n\
         [uplink]\nurl = \"wss://localhost:{}/uplink\"\nca_file = \"{}\"\n",
        address.port(),
        certificates.ca()
    ));
    let offset = folder.path().join("offset");
    std::fs::write(&offset, "@2020-01-01 00:00:00\n").unwrap();
    let mut command = weir(&["run", &file]);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let mut device = Running::start(command);
    let line = device.line("Cannot connect: the hub's certificate is valid from 2025-01-01 on");
    assert!(line.contains("and this device's clock shows 20"), "{line}");
    let is_unset = !weir::clock::is_synchronized();
    assert_eq!(line.contains("reason=\"clock_unsynced\""), is_unset, "{line}");
    std::fs::write(&offset, "+0d\n").unwrap();
    device.line("Uplink connected.");
}

#[test]
fn a_hub_that_wants_certificates_takes_those_of_its_authority() {
    let certificates = Certificates::new();
    let stranger = Certificates::new();
    let ca = certificates.ca();
    let data_dir = certificates.path("data");
    let token = certificates.path("token");
    std::fs::write(&token, new_token(&data_dir, "d")).unwrap();
    allow(Path::new(&token), 0o600);
    let (mut hub, address) = strict_hub(&certificates, &data_dir);
    let url = uplink_url(address);
    let with_certificate = |[certificate, key]: [String; 2]| {
        format!("ca_file = \"{ca}\"\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"")
    };
    let with = |files| format!("{}\ntoken_file = \"{token}\"", with_certificate(files));
    let (_good, mut good) = device(&url, &with(certificates.sign("device", &["d"])));
    good.line("Uplink connected.");
    hub.line("A device connected.");
    let (_none, mut none) = device(&url, &format!("ca_file = \"{ca}\""));
    let line = none.line("Cannot connect: ");
    assert!(line.contains("(HTTP 403: this hub wants a certificate of the device)"), "{line}");
    // A certificate says that a device is one of ours, and not which.
    let (_any, mut any) = device(&url, &with_certificate(certificates.sign("device", &["d"])));
    let line = any.line("Cannot connect: ");
    assert!(line.contains("(HTTP 401: it shows no token)"), "{line}");
    let (_other, mut other) = device(&url, &with(stranger.sign("device", &["d"])));
    let line = other.line("Cannot connect: ");
    assert!(line.contains("the hub refuses the certificate of this device"), "{line}");
    // A browser has no certificate.
    assert!(https(address, ca, "/").unwrap().starts_with("HTTP/1.0 200"));
}

#[test]
fn a_token_is_asked_for_as_soon_as_there_is_one() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().to_str().unwrap();
    let (mut hub, address) = hub(&["--listen", "127.0.0.1:0", "--data-dir", data_dir]);
    assert!(knock(address, &[]).is_ok(), "nobody is asked");
    let token = new_token(data_dir, "d");
    let other = new_token(data_dir, "e");
    hub.line("The devices' tokens have changed.");

    // Missing, wrong, of the wrong form: slowly refused, and told of once.
    let refused = [
        knock(address, &[]),
        knock_with(address, &"0".repeat(64)),
        knock(address, &[("authorization", "Basic ZDpk")]),
    ];
    for refusal in refused {
        assert_eq!(refusal.unwrap_err().status(), 401);
    }
    let begun = Instant::now();
    assert!(knock_with(address, &token[1..]).is_err());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    // Its own, and then it can be nobody else.
    let mut socket = knock_with(address, &token).unwrap();
    socket.send(Message::text(r#"{"type":"connect","device":"d"}"#)).unwrap();
    hub.line("A device connected. device=d");
    let mut impostor = knock_with(address, &other).unwrap();
    impostor.send(Message::text(r#"{"type":"connect","device":"d"}"#)).unwrap();
    hub.line("its token is that of `e`, not of `d`");
    let mut unnamed = knock_with(address, &other).unwrap();
    unnamed.send(Message::text(r#"{"type":"connect"}"#)).unwrap();
    hub.line("A device connected. device=e");

    // Revoked while it is connected.
    let listed = token_command(data_dir, &["list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.starts_with("d  ") && !listed.contains(&token), "{listed}");
    let begun = Instant::now();
    assert_eq!(token_command(data_dir, &["revoke", "d"]), "1 revoked\n");
    let reason = loop {
        assert!(begun.elapsed() < Duration::from_secs(30), "the device is still connected");
        if let Message::Close(frame) = socket.read().unwrap() {
            break frame.unwrap().reason.to_string();
        }
    };
    assert_eq!(reason, "its token was revoked");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(knock_with(address, &token).is_err());
    assert_eq!(get(address, "/healthz"), "ok\n", "the page asks nobody");
    eprintln!("a revoked device was out after {took:?}");

    hub.signal("INT");
    let (_, lines) = hub.end();
    let told = lines.iter().filter(|line| line.contains("A device was refused")).count();
    assert_eq!(told, 1, "{lines:#?}");
    for secret in [&token, &other, &token[1..].to_owned()] {
        assert!(!lines.iter().any(|line| line.contains(secret.as_str())), "a token was logged");
    }
}

#[test]
fn what_is_reachable_and_not_safe_is_refused_before_the_start() {
    let certificates = Certificates::new();
    let [certificate, key] = certificates.sign("hub", &["localhost"]);
    let [other, _] = certificates.sign("other", &["localhost"]);
    let [open, open_key] = certificates.sign("open", &["localhost"]);
    allow(Path::new(&open_key), 0o644);
    let data_dir = certificates.path("data");
    std::fs::create_dir(&data_dir).unwrap();
    std::fs::write(format!("{data_dir}/tokens"), "rubbish\n").unwrap();
    let ca = certificates.ca();
    let damaged = certificates.path("damaged.pem");
    std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
        .unwrap();
    let empty = certificates.path("empty.pem");
    std::fs::write(&empty, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    let all = ["--listen", "0.0.0.0:0"];
    for (arguments, text) in [
        (
            &["hub"][..],
            "--listen 0.0.0.0:0: other machines can reach it: add --certificate-file and --key-file, or --insecure",
        ),
        (&["demo"], "--listen 0.0.0.0:0: other machines can reach it: add --insecure"),
        (
            &["hub", "--certificate-file", &certificate, "--key-file", &key],
            "devices from other machines need tokens: add --data-dir",
        ),
        (&["hub", "--certificate-file", &certificate], "--key-file"),
        (
            &["hub", "--certificate-file", &other, "--key-file", &key],
            "hub.key is not that of the certificate in",
        ),
        (
            &["hub", "--certificate-file", &key, "--key-file", &key],
            "hub.key holds no certificate: must be PEM",
        ),
        (
            &["hub", "--certificate-file", &ca, "--key-file", &ca],
            "others may read or change it (mode 0644): `chmod 600` it",
        ),
        (
            &["hub", "--certificate-file", &open, "--key-file", &open_key],
            "open.key: others may read or change it (mode 0644): `chmod 600` it",
        ),
        (
            &["hub", "--certificate-file", "/nowhere", "--key-file", &key],
            "cannot use /nowhere: No such file",
        ),
        (&["hub", "--insecure", "--data-dir", &data_dir], "tokens:1: must be weir-tokens 1"),
        (&["hub", "token", "list"], "--data-dir"),
        (
            &["hub", "token", "new", "a/b", "--data-dir", &data_dir],
            "`a/b` cannot be a device's name",
        ),
    ] {
        let listens = !arguments.contains(&"token");
        let arguments = [arguments, if listens { &all } else { &[] }].concat();
        let (status, lines) = Running::start(weir(&arguments)).end();
        assert!(!status.success(), "{arguments:?}");
        assert!(lines.join("\n").contains(text), "{arguments:?}: {lines:#?}");
    }
    // Told to, it listens, and says what that means.
    let mut hub = Running::start(weir(&["hub", "--listen", "0.0.0.0:0", "--insecure"]));
    for text in ["Nobody is asked for a token", "Nothing is encrypted", "Dashboard: http://"] {
        hub.said(text);
    }

    // A device tells all that is wrong with its files at once.
    let token = certificates.path("token");
    std::fs::write(&token, "secret\n").unwrap();
    allow(Path::new(&token), 0o640);
    let (_folder, running) = device(
        "\"wss://localhost:9/uplink\"",
        &format!(
            "token_file = \"{token}\"\ncertificate_file = \"{open}\"\nkey_file = \"{open_key}\""
        ),
    );
    let (status, lines) = running.end();
    assert_eq!(status.code(), Some(1));
    let text = lines.join("\n");
    assert!(text.contains("token: others may read or change it (mode 0640)"), "{text}");
    assert!(text.contains("open.key: others may read or change it (mode 0644)"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let (_folder, mut running) = {
        allow(Path::new(&token), 0o400);
        device("\"ws://192.0.2.1:9/uplink\"", &format!("token_file = \"{token}\""))
    };
    running.line("The token travels unencrypted");
}

#[test]
fn addresses_are_tried_in_turn() {
    let (dead, later) = (held_address(), held_address());
    let (mut first, address) = hub(&["--listen", "127.0.0.1:0"]);
    let url = format!(
        "[\"ws://{dead}/uplink\", \"ws://localhost:{}/uplink\", \"ws://{later}/uplink\"]",
        address.port()
    );
    let (_folder, mut device) = device(&url, "");
    device.line(&format!("Cannot connect: {dead}: Connection refused"));
    let connected = device.line("Uplink connected.");
    assert!(connected.contains(&format!(":{}/", address.port())), "{connected}");
    first.line("A device connected.");
    drop(first);
    let mut second = Running::start(weir(&["hub", "--listen", &later.to_string()]));
    second.line("A device connected.");
    let connected = device.line("Uplink connected.");
    assert!(connected.contains(&format!(":{}/", later.port())), "{connected}");
}

#[test]
fn a_page_of_elsewhere_cannot_speak_for_a_device() {
    let (_hub, address) = hub(&["--listen", "127.0.0.1:0"]);
    let own = format!("http://{address}");
    for (origin, host, may) in [
        (own.as_str(), address.to_string(), true),
        ("http://evil.example", address.to_string(), false),
        // A name that leads here, which anybody can give this machine.
        ("http://evil.example", "evil.example".to_owned(), false),
        ("null", address.to_string(), false),
    ] {
        let knocked = knock(address, &[("origin", origin), ("host", &host)]);
        match knocked {
            Ok(_) => assert!(may, "{origin}"),
            Err(response) => assert!(!may && response.status() == 403, "{origin}: {response:?}"),
        }
    }
    // Nor read the hub under such a name: then it is of the same origin, and needs to say none.
    for (host, may) in [(address.to_string(), true), ("evil.example".to_owned(), false)] {
        for path in ["/", "/api/live", "/api/devices", "/metrics", "/uplink"] {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut head = String::new();
            BufReader::new(stream).read_line(&mut head).unwrap();
            assert_eq!(head.contains(" 403 "), !may, "{host} {path}: {head}");
        }
    }
}

/// A peer that nobody here wrote.
#[test]
fn openssl_agrees_on_what_tls_is() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: openssl is not here (Debian: apt-get install openssl)");
        return;
    }
    let certificates = Certificates::new();
    let [certificate, key] = certificates.sign("hub", &["localhost"]);
    let arguments =
        ["--listen", "127.0.0.1:0", "--certificate-file", &certificate, "--key-file", &key];
    let (_hub, address) = hub(&arguments);
    for (version, is_spoken) in
        [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false), ("-tls1", false)]
    {
        let told = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
            .args(["-CAfile", &certificates.ca(), "-verify_return_error", version])
            // Else this openssl itself would not speak the old ones.
            .args(["-cipher", "DEFAULT@SECLEVEL=0"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
        let is_good = told.contains("New, TLSv1.") && told.contains("Verify return code: 0 (ok)");
        // The hub itself says no.
        let is_refused = told.contains("New, (NONE)") && told.contains("SSL alert number");
        assert!(is_good == is_spoken && is_refused != is_spoken, "{version}: {told}");
    }
}

/// The commands of the README, as they stand there.
#[test]
fn an_authority_of_ones_own_is_made_as_the_readme_says() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: openssl is not here (Debian: apt-get install openssl)");
        return;
    }
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let commands: Vec<&str> =
        readme.lines().filter(|line| line.starts_with("openssl req ")).collect();
    assert_eq!(commands.len(), 2);
    let folder = TempDir::new().unwrap();
    let made = Command::new("sh")
        .args(["-ec", &commands.join("\n")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("hub.pem"), path("hub.key"));
    let arguments =
        ["--listen", "127.0.0.1:0", "--certificate-file", &certificate, "--key-file", &key];
    let (_hub, address) = hub(&arguments);
    assert!(https(address, path("ca.pem"), "/healthz").unwrap().ends_with("ok\n"));
}

#[test]
fn peers_that_never_shake_hands_hold_nobody_up_and_are_dropped() {
    let certificates = Certificates::new();
    let [certificate, key] = certificates.sign("hub", &["localhost"]);
    let arguments =
        ["--listen", "127.0.0.1:0", "--certificate-file", &certificate, "--key-file", &key];
    let (mut hub, address) = hub(&arguments);
    let silent: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(address).unwrap();
            // Half of them begin, with the head of a record that never comes.
            stream.write_all(if n % 2 == 0 { &[] } else { &[22, 3, 1, 2, 0] }).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    assert!(https(address, certificates.ca(), "/healthz").unwrap().ends_with("ok\n"));
    let took = begun.elapsed();
    // Before the hub gave any of them up.
    assert!(took < Duration::from_secs(9), "{took:?}");
    let count = silent.len();
    for mut stream in silent {
        let left = Duration::from_secs(30).saturating_sub(begun.elapsed());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        // A reset ends it as well.
        drop(stream.read_to_end(&mut Vec::new()));
        assert!(begun.elapsed() < Duration::from_secs(30), "a silent peer is still connected");
    }
    let dropped = begun.elapsed();
    hub.line("A TLS handshake failed: it was not done within 10s");
    eprintln!(
        "served in {took:?} beside {count} silent peers, which were dropped after {dropped:?}"
    );
}

#[test]
fn the_page_of_a_pipeline_is_encrypted_and_takes_its_own_device_alone() {
    let certificates = Certificates::new();
    let [certificate, key] = certificates.sign("hub", &["localhost"]);
    let text = "[device]\nname = \"d\"\n[[sensor]]\nname = \"s\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n[dashboard]\n";
    let (_folder, file) = pipeline(&format!(
        "{text}listen = \"0.0.0.0:0\"\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n"
    ));
    let mut run = Running::start(weir(&["run", &file]));
    let line = run.line("Dashboard: https://");
    let port = line.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until(|| {
        let devices = https(address, certificates.ca(), "/api/devices").unwrap();
        devices.contains("\"connected\":true")
    });

    // The same without encryption, on this machine: no other process can send in the device's name.
    let (_folder, file) = pipeline(&format!("{text}listen = \"127.0.0.1:0\"\n"));
    let mut run = Running::start(weir(&["run", &file]));
    let address = run.dashboard();
    until(|| get(address, "/api/devices").contains("\"connected\":true"));
    assert_eq!(knock(address, &[]).unwrap_err().status(), 401);
    assert_eq!(knock_with(address, &"0".repeat(64)).unwrap_err().status(), 401);
}

#[test]
fn two_commands_at_once_lose_no_token() {
    let folder = TempDir::new().unwrap();
    let data_dir: Arc<PathBuf> = Arc::new(folder.path().join("data"));
    let makers: Vec<_> = (0..16)
        .map(|n| {
            let data_dir = data_dir.clone();
            std::thread::spawn(move || new_token(data_dir.to_str().unwrap(), &format!("d{n}")))
        })
        .collect();
    let mut tokens: Vec<String> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 16);
    let listed = token_command(data_dir.to_str().unwrap(), &["list"]);
    assert_eq!(listed.lines().count(), 16, "{listed}");
}
