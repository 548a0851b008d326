//! A process of a test, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A process whose lines are read as they come. Killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What was read so far.
    pub seen: Vec<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (sender, lines) = mpsc::channel();
        let readers: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for reader in readers {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Running { child, lines, seen: Vec::new() }
    }

    /// Waits for a line that holds a text, and gives it.
    pub fn line(&mut self, text: &str) -> String {
        self.line_within(PATIENCE, text)
    }

    /// The same, for what may take longer.
    pub fn line_within(&mut self, patience: Duration, text: &str) -> String {
        let end = Instant::now() + patience;
        loop {
            let wait = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(wait).unwrap_or_else(|e| {
                panic!("no line with {text:?} ({e}); seen:\n{}", self.seen.join("\n"))
            });
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// A line that holds a text, be it read already or not: which of the two outputs is read first is chance.
    pub fn said(&mut self, text: &str) -> String {
        match self.seen.iter().find(|line| line.contains(text)) {
            Some(line) => line.clone(),
            None => self.line(text),
        }
    }

    /// The address in the line `Dashboard: http://…/`.
    pub fn dashboard(&mut self) -> SocketAddr {
        let line = self.line("Dashboard: http://");
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
        address.parse().unwrap()
    }

    /// The most memory that the process ever had, in KiB.
    pub fn most_memory_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that the process has now, in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end and reads what is left.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end; seen:\n{}", self.seen.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        };
        let rest: Vec<String> = self.lines.iter().collect();
        self.seen.extend(rest);
        (status, std::mem::take(&mut self.seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        // What it said last may say why the test failed.
        if std::thread::panicking() {
            self.seen.extend(self.lines.try_iter());
            let last = &self.seen[self.seen.len().saturating_sub(20)..];
            eprintln!("process {} said last:\n{}", self.child.id(), last.join("\n"));
        }
    }
}
