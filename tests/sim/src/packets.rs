//! Datagrams under way, in buffers that are used again, and some that are kept to come again later.

use crate::dice::Dice;
use crate::net::Damage;

/// Old datagrams that are kept.
const KEPT_MOST: usize = 256;

/// A datagram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packet {
    pub(crate) from: u16,
    pub(crate) bytes: Vec<u8>,
}

/// A datagram of the past.
#[derive(Clone, Debug)]
pub(crate) struct Old {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) bytes: Vec<u8>,
}

/// All datagrams under way.
#[derive(Debug)]
pub(crate) struct Packets {
    slots: Vec<Packet>,
    free: Vec<u32>,
    pub(crate) kept: Vec<Old>,
    seen: u64,
    dice: Dice,
    /// Whether any are kept.
    keeps: bool,
}

impl Packets {
    pub(crate) const fn new(dice: Dice, keeps: bool) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), kept: Vec::new(), seen: 0, dice, keeps }
    }

    /// Puts a copy of a datagram on its way.
    pub(crate) fn put(&mut self, from: usize, bytes: &[u8], damage: Damage) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Packet::default());
            self.slots.len() as u32 - 1
        });
        let packet = &mut self.slots[number as usize];
        packet.from = from as u16;
        packet.bytes.clear();
        packet.bytes.extend_from_slice(bytes);
        match damage {
            Damage::None => {}
            Damage::Flipped => {
                for _ in 0..self.dice.range(1, 3) {
                    let bit = self.dice.index((packet.bytes.len() * 8).max(1));
                    if let Some(byte) = packet.bytes.get_mut(bit / 8) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
            }
            Damage::Truncated => packet.bytes.truncate(self.dice.index(bytes.len().max(1))),
        }
        number
    }

    /// Keeps some of what is sent, every datagram of the past with the same chance (reservoir sampling).
    pub(crate) fn keep(&mut self, from: usize, to: usize, bytes: &[u8]) {
        if !self.keeps {
            return;
        }
        self.seen += 1;
        let (from, to) = (from as u16, to as u16);
        if self.kept.len() < KEPT_MOST {
            self.kept.push(Old { from, to, bytes: bytes.to_vec() });
            return;
        }
        let at = self.dice.below(self.seen) as usize;
        if let Some(old) = self.kept.get_mut(at) {
            (old.from, old.to) = (from, to);
            old.bytes.clear();
            old.bytes.extend_from_slice(bytes);
        }
    }

    /// How long it is.
    pub(crate) fn len(&self, number: u32) -> u64 {
        self.slots[number as usize].bytes.len() as u64
    }

    /// The datagram.
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Packet {
        &mut self.slots[number as usize]
    }

    /// The datagram is no longer under way.
    pub(crate) fn drop(&mut self, number: u32) {
        self.free.push(number);
    }
}
