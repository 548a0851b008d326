//! A message as a row of the store: what is needed to find it, and its text.

use uuid::Uuid;

use crate::hub::clocks::Place;
use crate::hub::known::Taken;
use crate::hub::receive::Received;
use crate::reading::Timestamp;

/// Bytes before the text: stream, number, when it came, its place, its sensor, its time and whether that is marked.
const HEAD: usize = 16 + 8 + 8 + 4 + 8 + 4 + 8 + 1;
/// What the two tables and their trees add to a row, about.
const AROUND: u64 = 96;

/// A message that was taken.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::hub) struct Row {
    /// The device's number in the store.
    pub(super) device: u32,
    /// How many messages of all devices came before it.
    pub(super) arrived: u64,
    pub(super) stream: Option<Uuid>,
    pub(super) seq: Option<u64>,
    pub(super) received: Timestamp,
    pub(super) place: Place,
    pub(super) indexed: Option<Indexed>,
    pub(super) text: Box<str>,
}

/// What a reading or a fault is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) sensor: u32,
    /// As it was told.
    pub(super) time: Timestamp,
    pub(super) is_marked: bool,
}

impl Row {
    pub(in crate::hub) fn new(
        device: u32,
        arrived: u64,
        stream: Option<Uuid>,
        message: &Received,
        (place, taken): (Place, Option<&Taken>),
    ) -> Row {
        let indexed = taken.and_then(|taken| {
            let (sensor, when) = taken.entry?;
            let sensor = u32::try_from(sensor).ok()?;
            Some(Indexed { sensor, time: when.told, is_marked: when.is_marked })
        });
        Row {
            device,
            arrived,
            stream,
            seq: message.seq,
            received: Timestamp::now(),
            place,
            indexed,
            text: message.to_stored(),
        }
    }

    pub(super) fn key(&self) -> [u8; 12] {
        message_key(self.device, self.arrived)
    }

    pub(super) fn index_key(&self) -> Option<[u8; 28]> {
        let Indexed { sensor, time, is_marked } = self.indexed?;
        let group = if is_marked { self.place.stream.saturating_add(1) } else { 0 };
        Some(index_key(self.device, sensor, group, time.nanos, self.arrived))
    }

    /// About what it takes on disk.
    pub(super) fn cost(&self) -> u64 {
        (HEAD + self.text.len()) as u64 + AROUND
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.text.len());
        bytes.extend(self.stream.unwrap_or_default().as_bytes());
        bytes.extend(self.seq.unwrap_or(0).to_be_bytes());
        bytes.extend(self.received.nanos.to_be_bytes());
        bytes.extend(self.place.stream.to_be_bytes());
        bytes.extend(self.place.at.to_be_bytes());
        let (sensor, time, is_marked) = match self.indexed {
            Some(Indexed { sensor, time, is_marked }) => (sensor, time.nanos, is_marked),
            None => (u32::MAX, 0, false),
        };
        bytes.extend(sensor.to_be_bytes());
        bytes.extend(time.to_be_bytes());
        bytes.push(is_marked.into());
        bytes.extend(self.text.as_bytes());
        bytes
    }

    /// `None` when these are not the bytes of a row.
    pub(super) fn from_bytes(key: &[u8; 12], bytes: &[u8]) -> Option<Row> {
        let mut rest = bytes;
        let (device, arrived) = key.split_first_chunk::<4>()?;
        let stream = Uuid::from_bytes(take::<16>(&mut rest)?);
        let seq = u64::from_be_bytes(take(&mut rest)?);
        let received = Timestamp { nanos: u64::from_be_bytes(take(&mut rest)?) };
        let stream_number = u32::from_be_bytes(take(&mut rest)?);
        let at = u64::from_be_bytes(take(&mut rest)?);
        let sensor = u32::from_be_bytes(take(&mut rest)?);
        let time = Timestamp { nanos: u64::from_be_bytes(take(&mut rest)?) };
        let [is_marked] = take(&mut rest)?;
        Some(Row {
            device: u32::from_be_bytes(*device),
            arrived: u64::from_be_bytes(arrived.try_into().ok()?),
            stream: (!stream.is_nil()).then_some(stream),
            seq: (seq > 0).then_some(seq),
            received,
            place: Place { stream: stream_number, at },
            indexed: (sensor != u32::MAX).then_some(Indexed {
                sensor,
                time,
                is_marked: is_marked != 0,
            }),
            text: std::str::from_utf8(rest).ok()?.into(),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*first)
}

/// Numbers with their highest byte first, so that keys are in order of them.
pub(super) fn message_key(device: u32, arrived: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (first, rest) = key.split_at_mut(4);
    first.copy_from_slice(&device.to_be_bytes());
    rest.copy_from_slice(&arrived.to_be_bytes());
    key
}

/// How many messages came before the one with this key.
pub(super) fn arrived_of(key: &[u8; 12]) -> u64 {
    let [_, _, _, _, rest @ ..] = *key;
    u64::from_be_bytes(rest)
}

/// `group` is 0 for times that are right; those that are marked stand by streams, as they were told.
pub(super) fn index_key(device: u32, sensor: u32, group: u32, time: u64, arrived: u64) -> [u8; 28] {
    let mut key = [0; 28];
    let numbers = [device, sensor, group].map(u32::to_be_bytes);
    let (first, rest) = key.split_at_mut(12);
    first.copy_from_slice(numbers.as_flattened());
    rest.copy_from_slice([time, arrived].map(u64::to_be_bytes).as_flattened());
    key
}

/// The group, the time and the number of arrival in a key of the index.
pub(super) fn of_index_key(key: &[u8; 28]) -> Option<(u32, u64, u64)> {
    let mut rest = key.get(8..)?;
    let group = u32::from_be_bytes(take(&mut rest)?);
    let time = u64::from_be_bytes(take(&mut rest)?);
    Some((group, time, u64::from_be_bytes(take(&mut rest)?)))
}
