//! The table of links: where each is found by what.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::LinkId;
use super::session::Link;
use crate::ids::LinkEnd;

/// Link ids are a count and, in this many of the lowest bits, the place in the table.
const PLACE_BITS: u32 = 24;

/// Links at most, whatever the limits say.
pub(super) const LINKS_MAX: usize = 1 << PLACE_BITS;

/// Connection ids are drawn at random by this process itself: they need no further hashing. The map is never
/// iterated.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        // The lowest bit is always 0.
        self.0 = number.rotate_right(1);
    }
}

/// All links of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: Vec<Option<Box<Link>>>,
    free: Vec<usize>,
    made: u64,
    /// By the connection id of the association it is on.
    pub(super) by_id: HashMap<u64, LinkId, BuildHasherDefault<IdHasher>>,
    /// By the process at the other end.
    pub(super) by_end: BTreeMap<LinkEnd, LinkId>,
    /// By the address of the association it is on.
    pub(super) by_addr: BTreeMap<SocketAddr, LinkId>,
}

fn place(link: LinkId) -> usize {
    (link.0 & ((1 << PLACE_BITS) - 1)) as usize
}

impl Table {
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(place(id))?.as_deref().filter(|found| found.id == id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(place(id))?.as_deref_mut().filter(|found| found.id == id)
    }

    pub(super) fn len(&self) -> usize {
        self.by_end.len()
    }

    /// Puts the link that `make` makes of its id in, and returns the id.
    pub(super) fn insert(&mut self, make: impl FnOnce(LinkId) -> Link) -> LinkId {
        let place = self.free.pop().unwrap_or(self.links.len());
        let id = LinkId(self.made << PLACE_BITS | place as u64);
        self.made += 1;
        let link = Box::new(make(id));
        self.by_end.insert(link.remote, id);
        if place == self.links.len() {
            self.links.push(Some(link));
        } else {
            self.links[place] = Some(link);
        }
        id
    }

    /// Takes a link out that is on no association.
    pub(super) fn remove(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(place(id)).and_then(Option::take) else { return };
        assert_eq!(link.id, id, "an id that was used before");
        self.by_end.remove(&link.remote);
        self.free.push(place(id));
    }
}
