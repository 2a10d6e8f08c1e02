//! Leaves: records packed into one buffer, found through slots in the order of keys.
//!
//! The buffer is `[head; room] [place; room] record*`: for each record, in the order of keys, four bytes of its key
//! and its place among the records, then the records themselves, in the order in which they came. Heads stand
//! side by side so that a search compares all of them at once, in two or three cache lines that load together.

use bytes::Bytes;
use haystack_wire::ids::{GroupId, LogIndex, Version};

use super::{Change, Contents, Context, Fences, Record, below, common, head};

/// Bytes of a head and a place.
const SLOT: usize = HEAD + PLACE;
const HEAD: usize = 4;
const PLACE: usize = 2;
/// Slots get room by so many.
const SLOT_GROWTH: usize = 8;
/// Set in a place if the record stands alone; the rest is its position among those.
const ALONE: u16 = 1 << 15;
/// Set in a packed version if a group follows. Log positions stay below 2^60, so the bit is free.
const FOREIGN: u64 = 1 << 63;
/// Version (8 B), length of the key (2 B), length of the value (2 B).
const HEADER: usize = 12;
/// The group of a foreign version.
const GROUP: usize = 4;
/// What a record that stands alone weighs in its leaf: about what the leaf keeps of it.
const ALONE_WEIGHT: usize = 64;
/// Buffers have few sizes, so that the allocator finds use for what another leaf gave back.
const STEP: usize = 256;
/// What the allocator adds to a buffer (glibc: a header of 8 bytes, and sizes in multiples of 16).
const ALLOCATOR: usize = 16;
/// More garbage than this part of the records is cleared away when room is needed or records go.
const GARBAGE: usize = 8;

/// A record that stands alone.
#[derive(Debug)]
struct Big {
    version: Version,
    key_len: u32,
    /// Key and value.
    whole: Bytes,
}

/// The records of a leaf that stand alone, in no order. Boxed in the leaf, for most have none.
#[derive(Debug, Default)]
struct Bigs(Vec<Big>);

/// A leaf.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    buffer: Vec<u8>,
    bigs: Option<Box<Bigs>>,
    /// How many records there are.
    count: u16,
    /// For how many slots there is room.
    room: u16,
    /// How many bytes all keys that may come here have in common.
    prefix: u16,
    /// How many bytes after the slots belong to no record.
    garbage: u16,
}

/// Bytes that a record takes if it is packed.
fn packed_len(key: &[u8], value: &[u8], version: Version, home: GroupId) -> usize {
    let group = if version.group == home { 0 } else { GROUP };
    HEADER + group + key.len() + value.len()
}

impl Leaf {
    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Where the records start in the buffer.
    fn start(&self) -> usize {
        usize::from(self.room) * SLOT
    }

    /// Bytes of the records, garbage included.
    fn extent(&self) -> usize {
        self.buffer.len() - self.start()
    }

    /// What splits and unions go by, in bytes.
    pub(super) fn weight(&self) -> usize {
        let alone = self.bigs.as_ref().map_or(0, |bigs| bigs.0.len());
        self.extent() - usize::from(self.garbage) + self.len() * SLOT + alone * ALONE_WEIGHT
    }

    /// Where the place of a slot is in the buffer.
    fn place_at(&self, index: usize) -> usize {
        usize::from(self.room) * HEAD + index * PLACE
    }

    fn place(&self, index: usize) -> u16 {
        assert!(index < self.len(), "a slot of this leaf");
        let at = self.place_at(index);
        u16::from_le_bytes([self.buffer[at], self.buffer[at + 1]])
    }

    fn set_place(&mut self, index: usize, place: u16) {
        let at = self.place_at(index);
        self.buffer[at..at + PLACE].copy_from_slice(&place.to_le_bytes());
    }

    /// The record of a slot.
    pub(super) fn record(&self, index: usize, home: GroupId) -> Record<'_> {
        self.record_at(self.place(index), home)
    }

    fn record_at(&self, place: u16, home: GroupId) -> Record<'_> {
        if place & ALONE != 0 {
            let bigs = &self.bigs.as_ref().expect("a slot points to a record that stands alone").0;
            let big = &bigs[usize::from(place & !ALONE)];
            let (key, value) = big.whole.split_at(big.key_len as usize);
            return Record { key, value, version: big.version, whole: Some(&big.whole) };
        }
        let packed = &self.buffer[self.start() + usize::from(place)..];
        let (header, mut rest) = packed.split_first_chunk::<HEADER>().expect("a packed record has a header");
        let index = u64::from_le_bytes(*header.first_chunk().expect("a version is within the header"));
        let key_len = usize::from(u16::from_le_bytes([header[8], header[9]]));
        let value_len = usize::from(u16::from_le_bytes([header[10], header[11]]));
        let mut group = home;
        if index & FOREIGN != 0 {
            let (foreign, after) = rest.split_first_chunk::<GROUP>().expect("a foreign version has a group");
            (group, rest) = (GroupId(u32::from_le_bytes(*foreign)), after);
        }
        let (key, rest) = rest.split_at(key_len);
        let version = Version { group, index: LogIndex(index & !FOREIGN) };
        Record { key, value: &rest[..value_len], version, whole: None }
    }

    /// Bytes after the slots that belong to the record at a place: none if it stands alone.
    fn packed_len(&self, place: u16, home: GroupId) -> usize {
        if place & ALONE != 0 {
            return 0;
        }
        let record = self.record_at(place, home);
        packed_len(record.key, record.value, record.version, home)
    }

    /// The slot of `key`, or the one before which it belongs.
    pub(super) fn find(&self, key: &[u8], home: GroupId) -> Result<usize, usize> {
        let head = u32::from_be_bytes(head(key, usize::from(self.prefix)));
        let heads = self.buffer[..self.len() * HEAD].as_chunks::<HEAD>().0;
        let (mut low, mut high) = below(heads.iter().map(|bytes| u32::from_le_bytes(*bytes)), head);
        while low < high {
            let middle = low.midpoint(high);
            match self.record(middle, home).key.cmp(key) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
                core::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Shows the record under `key` to `decide` and does what it says.
    pub(super) fn update<'v, R>(
        &mut self,
        key: &[u8],
        context: &mut Context,
        decide: impl FnOnce(Option<Record<'_>>) -> (Change<'v>, R),
    ) -> R {
        let found = self.find(key, context.home);
        let old = found.ok().map(|index| self.record(index, context.home));
        let old_size = old.as_ref().map_or(0, Record::size) as u64;
        let (change, answer) = decide(old);
        match (change, found) {
            (Change::Keep, _) | (Change::Remove, Err(_)) => {}
            (Change::Remove, Ok(index)) => {
                let place = self.place(index);
                self.remove_slot(index);
                self.discard(place, context.home);
                context.len -= 1;
                context.bytes -= old_size;
                context.shrunk = true;
            }
            (Change::Put(version, contents), found) => {
                let new_size = contents.size(key) as u64;
                match found {
                    Ok(index) => self.replace(index, key, version, contents, context),
                    Err(index) => {
                        let place = self.store(key, version, contents, context);
                        self.insert_slot(index, key, place);
                        context.len += 1;
                    }
                }
                context.bytes = context.bytes - old_size + new_size;
                context.shrunk = new_size < old_size;
            }
        }
        if context.shrunk && usize::from(self.garbage) * GARBAGE > self.extent() {
            self.compact(context);
        }
        answer
    }

    fn insert_slot(&mut self, index: usize, key: &[u8], place: u16) {
        let len = self.len();
        if len == usize::from(self.room) {
            self.add_room(SLOT_GROWTH);
        }
        let head = u32::from_be_bytes(head(key, usize::from(self.prefix)));
        self.buffer.copy_within(index * HEAD..len * HEAD, (index + 1) * HEAD);
        self.buffer[index * HEAD..][..HEAD].copy_from_slice(&head.to_le_bytes());
        let (at, end) = (self.place_at(index), self.place_at(len));
        self.buffer.copy_within(at..end, at + PLACE);
        self.count += 1;
        self.set_place(index, place);
    }

    fn remove_slot(&mut self, index: usize) {
        let len = self.len();
        self.buffer.copy_within((index + 1) * HEAD..len * HEAD, index * HEAD);
        let (at, end) = (self.place_at(index), self.place_at(len));
        self.buffer.copy_within(at + PLACE..end, at);
        self.count -= 1;
    }

    /// Makes room for more slots: the records and the places move back.
    fn add_room(&mut self, slots: usize) {
        let (old_len, records) = (self.buffer.len(), self.start());
        let (places, places_end) = (self.place_at(0), self.place_at(self.len()));
        self.grow(slots * SLOT);
        self.buffer.resize(old_len + slots * SLOT, 0);
        self.buffer.copy_within(records..old_len, records + slots * SLOT);
        self.buffer.copy_within(places..places_end, places + slots * HEAD);
        self.room += slots as u16;
    }

    /// Puts a record in the place of another with the same key; where it lay, if it is not larger.
    fn replace(
        &mut self,
        index: usize,
        key: &[u8],
        version: Version,
        contents: Contents<'_>,
        context: &mut Context,
    ) {
        let place = self.place(index);
        if place & ALONE == 0
            && let Contents::Copy(value) = contents
        {
            let old_len = self.packed_len(place, context.home);
            let new_len = packed_len(key, value, version, context.home);
            if new_len <= old_len {
                let at = self.start() + usize::from(place);
                write(&mut self.buffer[at..], key, version, value, context.home);
                self.garbage += (old_len - new_len) as u16;
                return;
            }
        }
        // The slot is out of the way while the records may move.
        self.remove_slot(index);
        self.discard(place, context.home);
        let place = self.store(key, version, contents, context);
        self.insert_slot(index, key, place);
    }

    /// Places a record and says where.
    fn store(&mut self, key: &[u8], version: Version, contents: Contents<'_>, context: &mut Context) -> u16 {
        let whole = match contents {
            Contents::Whole(whole) => whole,
            Contents::Copy(value) => {
                let need = packed_len(key, value, version, context.home);
                if need <= context.shape.packed() {
                    if self.buffer.len() + need > self.buffer.capacity() {
                        self.reserve(need, context);
                    }
                    let at = self.buffer.len();
                    self.buffer.resize(at + need, 0);
                    write(&mut self.buffer[at..], key, version, value, context.home);
                    return place_of(at - self.start());
                }
                // Exactly sized, so that it becomes a `Bytes` without another copy.
                let mut whole = Vec::with_capacity(key.len() + value.len());
                whole.extend_from_slice(key);
                whole.extend_from_slice(value);
                Bytes::from(whole)
            }
        };
        let bigs = &mut self.bigs.get_or_insert_default().0;
        bigs.push(Big { version, key_len: key.len() as u32, whole });
        ALONE | place_of(bigs.len() - 1)
    }

    /// Gives up what lies at a place that no slot points to any more.
    fn discard(&mut self, place: u16, home: GroupId) {
        if place & ALONE == 0 {
            self.garbage += self.packed_len(place, home) as u16;
            return;
        }
        let bigs = &mut self.bigs.as_mut().expect("a slot pointed to a record that stands alone").0;
        bigs.swap_remove(usize::from(place & !ALONE));
        let moved = ALONE | place_of(bigs.len());
        if bigs.is_empty() {
            self.bigs = None;
        } else if let Some(index) = (0..self.len()).find(|index| self.place(*index) == moved) {
            self.set_place(index, place);
        }
    }

    /// Makes room for `need` more bytes of records.
    fn reserve(&mut self, need: usize, context: &mut Context) {
        if usize::from(self.garbage) * GARBAGE > self.extent() {
            self.compact(context);
        }
        self.grow(need);
    }

    /// Makes room for `need` more bytes.
    fn grow(&mut self, need: usize) {
        if self.buffer.len() + need > self.buffer.capacity() {
            self.buffer.reserve_exact(room_for(self.buffer.len() + need) - self.buffer.len());
        }
    }

    /// Moves the records together, in the order of keys, and gives memory back if much of it is of no use.
    fn compact(&mut self, context: &mut Context) {
        let mut scratch = core::mem::take(&mut context.scratch);
        scratch.clear();
        scratch.extend_from_slice(&self.buffer[..self.len() * HEAD]);
        scratch.resize(self.len() * SLOT, 0);
        for index in 0..self.len() {
            let mut place = self.place(index);
            if place & ALONE == 0 {
                let from = self.start() + usize::from(place);
                let len = self.packed_len(place, context.home);
                place = place_of(scratch.len() - self.len() * SLOT);
                scratch.extend_from_slice(&self.buffer[from..from + len]);
            }
            let at = self.len() * HEAD + index * PLACE;
            scratch[at..at + PLACE].copy_from_slice(&place.to_le_bytes());
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&scratch);
        self.room = self.count;
        self.garbage = 0;
        self.buffer.shrink_to(room_for(scratch.len()));
        context.scratch = scratch;
    }

    /// Cuts an overfull leaf in two and returns the right one with the least key that belongs there.
    pub(super) fn split(&mut self, fences: Fences<'_>, context: &Context) -> Option<(Box<[u8]>, Self)> {
        let (shape, home, len) = (context.shape, context.home, self.len());
        if self.weight() <= shape.leaf || len < 2 {
            return None;
        }
        // At the end of the tree keys mostly come in order: a full leaf is left behind there.
        let cut = if fences.1.is_none() { len - 1 } else { self.middle(home) };
        let mut old = core::mem::take(self);
        let (last, first) = (old.record(cut - 1, home), old.record(cut, home));
        // The shortest key that tells the two halves apart.
        let separator: Box<[u8]> = first.key[..=common(last.key, first.key)].into();
        let mut right = Self::default();
        self.fill(&mut old, 0..cut, (fences.0, Some(&separator)), home);
        right.fill(&mut old, cut..len, (Some(&separator), fences.1), home);
        Some((separator, right))
    }

    /// The slot at which the weight is about halved, neither the first nor beyond the last.
    fn middle(&self, home: GroupId) -> usize {
        let half = self.weight() / 2;
        let mut sum = 0;
        let cut = (0..self.len()).position(|index| {
            let place = self.place(index);
            sum += SLOT + if place & ALONE == 0 { self.packed_len(place, home) } else { ALONE_WEIGHT };
            sum > half
        });
        cut.unwrap_or_default().clamp(1, self.len() - 1)
    }

    /// Unites a leaf with its right neighbour; the fences are those of both together.
    pub(super) fn absorb(&mut self, mut right: Self, fences: Fences<'_>, home: GroupId) {
        let mut left = core::mem::take(self);
        let (left_len, right_len) = (left.len(), right.len());
        self.fill(&mut left, 0..left_len, fences, home);
        self.fill(&mut right, 0..right_len, fences, home);
    }

    /// Appends records of `other`, exactly sized. What is left of them there is of no use any more.
    fn fill(&mut self, other: &mut Self, range: core::ops::Range<usize>, fences: Fences<'_>, home: GroupId) {
        // Without a fence on each side nothing is known of the keys that may come.
        let prefix = match fences {
            (Some(low), Some(high)) => common(low, high) as u16,
            _ => 0,
        };
        assert!(self.count == 0 || self.prefix == prefix, "one leaf, one prefix");
        self.prefix = prefix;
        let records: usize = range.clone().map(|index| other.packed_len(other.place(index), home)).sum();
        self.grow(range.len() * SLOT + records);
        self.add_room(range.len());
        for index in range {
            let old = other.place(index);
            let place = if old & ALONE == 0 {
                let from = other.start() + usize::from(old);
                let place = place_of(self.extent());
                self.buffer.extend_from_slice(&other.buffer[from..from + other.packed_len(old, home)]);
                place
            } else {
                let theirs = &mut other.bigs.as_mut().expect("a slot points to it").0;
                let big = &mut theirs[usize::from(old & !ALONE)];
                let bigs = &mut self.bigs.get_or_insert_default().0;
                bigs.push(Big { whole: core::mem::take(&mut big.whole), ..*big });
                ALONE | place_of(bigs.len() - 1)
            };
            let at = self.count;
            let head = u32::from_be_bytes(head(self.record_at(place, home).key, usize::from(prefix)));
            self.count += 1;
            self.buffer[usize::from(at) * HEAD..][..HEAD].copy_from_slice(&head.to_le_bytes());
            self.set_place(usize::from(at), place);
        }
    }
}

/// The size of a buffer for so many bytes.
const fn room_for(bytes: usize) -> usize {
    (bytes + ALLOCATOR).next_multiple_of(STEP) - ALLOCATOR
}

/// A place as a slot keeps it.
fn place_of(at: usize) -> u16 {
    u16::try_from(at).ok().filter(|place| place & ALONE == 0).expect("a leaf is far smaller than 32 KiB")
}

/// Writes a record over the start of `place`.
fn write(place: &mut [u8], key: &[u8], version: Version, value: &[u8], home: GroupId) {
    let Version { group, index: LogIndex(index) } = version;
    assert!(index & FOREIGN == 0, "log positions stay below 2^60");
    let (header, mut rest) = place.split_first_chunk_mut::<HEADER>().expect("room was made");
    let foreign = group != home;
    header[..8].copy_from_slice(&(index | if foreign { FOREIGN } else { 0 }).to_le_bytes());
    // Packed records are far shorter than 64 KiB.
    header[8..10].copy_from_slice(&(key.len() as u16).to_le_bytes());
    header[10..].copy_from_slice(&(value.len() as u16).to_le_bytes());
    if foreign {
        let (place, after) = rest.split_first_chunk_mut::<GROUP>().expect("room was made");
        *place = group.0.to_le_bytes();
        rest = after;
    }
    let (place, rest) = rest.split_at_mut(key.len());
    place.copy_from_slice(key);
    rest[..value.len()].copy_from_slice(value);
}

#[cfg(test)]
impl Leaf {
    /// Bytes that the leaf has asked of the allocator.
    pub(super) fn footprint(&self) -> usize {
        let bigs = self.bigs.iter().flat_map(|bigs| &bigs.0);
        self.buffer.capacity() + bigs.map(|big| size_of::<Big>() + big.whole.len()).sum::<usize>()
    }
}
