//! Messages as one value of the store: packed, sealed with a checksum, and read back with all distrust; pure.

use super::Stored;

/// A chunk is filled up to so many bytes: with its key, and what the store says of it, just under one page of 4 KiB, so that
/// a commit writes as few pages as can be.
pub(super) const CHUNK_BYTES: usize = 3_840;
/// Checksum, stamp, last number.
const HEAD: usize = 4 + 8 + 8;

/// Some messages that follow each other. Its key is the first one's number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chunk {
    /// When its last message came, in seconds of the spool's life.
    pub(super) stamp: u64,
    /// The messages; there is at least one.
    pub(super) messages: Vec<Stored>,
}

impl Chunk {
    /// The number of the first message.
    pub(super) fn first(&self) -> u64 {
        self.messages.first().map_or(0, |stored| stored.seq)
    }

    /// The number of the last one.
    pub(super) fn last(&self) -> u64 {
        self.messages.last().map_or(0, |stored| stored.seq)
    }

    /// Most bytes that a message takes.
    pub(super) fn room_for(stored: &Stored) -> usize {
        stored.json.len() + 2 * 5
    }

    /// As it is stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        let mut before = self.first();
        for stored in &self.messages {
            put_number(&mut bytes, stored.seq.saturating_sub(before));
            put_number(&mut bytes, stored.json.len() as u64);
            bytes.extend_from_slice(stored.json.as_bytes());
            before = stored.seq;
        }
        let head = [self.stamp.to_le_bytes(), self.last().to_le_bytes()].concat();
        if let Some(space) = bytes.get_mut(4..HEAD) {
            space.copy_from_slice(&head);
        }
        let checksum = crc32fast::hash(bytes.get(4..).unwrap_or_default()).to_le_bytes();
        if let Some(space) = bytes.get_mut(..4) {
            space.copy_from_slice(&checksum);
        }
        bytes
    }

    /// What is stored under a key; nothing when it is damaged.
    pub(super) fn decode(key: u64, bytes: &[u8]) -> Option<Chunk> {
        let (checksum, rest) = bytes.split_first_chunk::<4>()?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (stamp, rest) = rest.split_first_chunk::<8>()?;
        let (last, mut rest) = rest.split_first_chunk::<8>()?;
        let mut messages: Vec<Stored> = Vec::new();
        let mut seq = key;
        while !rest.is_empty() {
            let step = take_number(&mut rest)?;
            // The first is the key's, each further one is higher.
            if (step == 0) != messages.is_empty() {
                return None;
            }
            seq = seq.checked_add(step)?;
            let length = usize::try_from(take_number(&mut rest)?).ok()?;
            let (json, after) = rest.split_at_checked(length)?;
            messages.push(Stored { seq, json: std::str::from_utf8(json).ok()?.into() });
            rest = after;
        }
        let is_whole = messages.last()?.seq == u64::from_le_bytes(*last);
        is_whole.then(|| Chunk { stamp: u64::from_le_bytes(*stamp), messages })
    }

    /// Messages packed into as few chunks as their order allows, after one that still has room.
    pub(super) fn pack(last: Option<Chunk>, messages: &[Stored], stamp: u64) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = last.into_iter().collect();
        let mut bytes = HEAD;
        if let Some(chunk) = chunks.first() {
            bytes += chunk.messages.iter().map(Chunk::room_for).sum::<usize>();
        }
        for stored in messages {
            let more = Chunk::room_for(stored);
            match chunks.last_mut() {
                Some(chunk) if bytes + more <= CHUNK_BYTES => {
                    chunk.messages.push(stored.clone());
                    chunk.stamp = stamp;
                    bytes += more;
                }
                _ => {
                    chunks.push(Chunk { stamp, messages: vec![stored.clone()] });
                    bytes = HEAD + more;
                }
            }
        }
        chunks
    }
}

/// Seven bits a byte, low ones first.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Bytes behind their checksum, for what is no chunk.
pub(super) fn seal(bytes: &[u8]) -> Vec<u8> {
    [&crc32fast::hash(bytes).to_le_bytes(), bytes].concat()
}

/// What was sealed; nothing when it is damaged.
pub(super) fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, rest) = bytes.split_first_chunk::<4>()?;
    (crc32fast::hash(rest) == u32::from_le_bytes(*checksum)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(lengths: &[(u64, usize)]) -> Vec<Stored> {
        let mut seq = 6;
        let made = lengths.iter().map(|&(step, length)| {
            seq += step;
            Stored { seq, json: "é".repeat(length).into() }
        });
        made.collect()
    }

    proptest! {
        #[test]
        fn chunks_give_back_what_was_packed(lengths in prop::collection::vec((1_u64..400, 0_usize..3_000), 1..40)) {
            let messages = messages(&lengths);
            let (begun, more) = messages.split_at(messages.len() / 2);
            let mut chunks = Chunk::pack(None, begun, 7);
            let last = chunks.pop();
            chunks.extend(Chunk::pack(last, more, 9));
            let mut read = Vec::new();
            for chunk in chunks {
                let bytes = chunk.encode();
                prop_assert!(bytes.len() <= CHUNK_BYTES || chunk.messages.len() == 1);
                let back = Chunk::decode(chunk.first(), &bytes);
                prop_assert_eq!(back.as_ref(), Some(&chunk));
                read.extend(chunk.messages);
            }
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn no_bytes_are_taken_for_a_chunk_that_they_are_not(flipped in 0_usize..100_000, bit in 0_u8..8, cut in 0_usize..200) {
            let bytes = Chunk { stamp: 1, messages: messages(&[(1, 40), (3, 5)]) }.encode();
            let mut damaged = bytes.clone();
            damaged[flipped % bytes.len()] ^= 1 << bit;
            prop_assert_eq!(Chunk::decode(7, &damaged), None);
            prop_assert_eq!(Chunk::decode(7, &bytes[..cut.min(bytes.len() - 1)]), None);
            // With a checksum that fits.
            let resealed = seal(&damaged[4..]);
            let _read = Chunk::decode(7, &resealed);
        }
    }
}
