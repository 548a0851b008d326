//! A link that cannot be relied on: it cuts, delays, goes silent and sends rubbish.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Stands between devices and a hub.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    /// From now on it is a link as any.
    is_good: AtomicBool,
    is_over: AtomicBool,
    fates: [AtomicU64; FATES.len()],
}

/// What becomes of a connection, some time after it began.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It is not taken.
    Refused,
    /// Both ends hear that it ended.
    Cut,
    /// Each piece comes later.
    Delayed,
    /// Nothing gets through any more, and nobody is told.
    Silent,
    /// The device is sent bytes that are no WebSocket.
    RubbishToDevice,
    /// The hub is sent bytes that are no WebSocket.
    RubbishToHub,
    /// What the device sends is cut in the middle of a frame.
    HalfAFrame,
}

const FATES: [Fate; 7] = [
    Fate::Refused,
    Fate::Cut,
    Fate::Delayed,
    Fate::Silent,
    Fate::RubbishToDevice,
    Fate::RubbishToHub,
    Fate::HalfAFrame,
];
/// A read gives up after this, to see whether something has changed.
const TURN: Duration = Duration::from_millis(20);
/// Longest that a silent connection is held open.
const SILENCE: Duration = Duration::from_secs(4);

impl Proxy {
    pub fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to,
            is_good: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            fates: Default::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for (number, device) in listener.incoming().map_while(Result::ok).enumerate() {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                thread::spawn(move || shared.carry(device, number));
            }
        });
        Proxy { address, shared }
    }

    /// Ends all connections that are doomed, and dooms no further ones.
    pub fn become_good(&self) {
        self.shared.is_good.store(true, Ordering::Relaxed);
    }

    /// What became of how many connections.
    pub fn report(&self) -> String {
        let counts = FATES.iter().zip(&self.shared.fates);
        let counts =
            counts.map(|(fate, count)| format!("{fate:?} {}", count.load(Ordering::Relaxed)));
        counts.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn carry(&self, device: TcpStream, number: usize) {
        let mut random = fastrand::Rng::with_seed(number as u64 * 7_919 + 1);
        let fate = (!self.is_good.load(Ordering::Relaxed)).then(|| {
            let choice = random.usize(..FATES.len());
            self.fates[choice].fetch_add(1, Ordering::Relaxed);
            FATES[choice]
        });
        if fate == Some(Fate::Refused) {
            return;
        }
        let Ok(hub) = TcpStream::connect(self.to) else { return };
        let doom = Instant::now() + Duration::from_millis(random.u64(5..1_200));
        // The ends of a connection that is cut report errors of their own.
        let _ended = self.forward(&device, &hub, fate, doom, &mut random);
        let _gone = (device.shutdown(Shutdown::Both), hub.shutdown(Shutdown::Both));
    }

    fn forward(
        &self,
        device: &TcpStream,
        hub: &TcpStream,
        fate: Option<Fate>,
        doom: Instant,
        random: &mut fastrand::Rng,
    ) -> io::Result<()> {
        device.set_read_timeout(Some(TURN))?;
        hub.set_read_timeout(Some(TURN))?;
        let mut buffer = [0; 16 << 10];
        loop {
            let is_good = self.is_good.load(Ordering::Relaxed);
            if let Some(fate) = fate {
                if is_good {
                    // What was doomed begins anew.
                    return Ok(());
                }
                if Instant::now() >= doom && fate != Fate::Delayed {
                    return self.end(device, hub, fate, random);
                }
                if fate == Fate::Delayed {
                    thread::sleep(Duration::from_millis(random.u64(..60)));
                }
            }
            for (mut from, mut to) in [(device, hub), (hub, device)] {
                match from.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => to.write_all(&buffer[..count])?,
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                        ) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn end(
        &self,
        mut device: &TcpStream,
        mut hub: &TcpStream,
        fate: Fate,
        random: &mut fastrand::Rng,
    ) -> io::Result<()> {
        let mut rubbish = [0; 512];
        random.fill(&mut rubbish);
        match fate {
            Fate::RubbishToDevice => device.write_all(&rubbish),
            Fate::RubbishToHub => hub.write_all(&rubbish),
            Fate::HalfAFrame => {
                let mut frame = [0; 4 << 10];
                let count = device.read(&mut frame)?;
                hub.write_all(&frame[..count / 2])
            }
            Fate::Silent => {
                let end = Instant::now() + SILENCE;
                while Instant::now() < end && !self.is_good.load(Ordering::Relaxed) {
                    thread::sleep(TURN);
                }
                Ok(())
            }
            Fate::Refused | Fate::Cut | Fate::Delayed => Ok(()),
        }
    }
}
