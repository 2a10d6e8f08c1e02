//! Requests on their second hop. A daemon that does not reach the leader sends a request to a replica that may, and
//! that one sends it on: in a network where not everybody reaches everybody each daemon still serves.

use std::collections::BTreeMap;

use haystack_wire::link::LinkId;
use haystack_wire::message::ForwardToken;

/// Bit of a token that says: not forwarded again. Links count far below it.
const LAST_HOP: u64 = 1 << 63;
/// Requests on their second hop that are remembered; the oldest is forgotten first, and whoever asked asks again
/// (judgement: what a few hundred clients have under way).
const OPEN_MOST: usize = 4096;

/// Whether a request with this token may be forwarded once more.
pub(super) const fn may_go_on(token: ForwardToken) -> bool {
    token.0 & LAST_HOP == 0
}

/// Where the answers go.
#[derive(Debug, Default)]
pub(super) struct Relays {
    made: u64,
    open: BTreeMap<u64, (LinkId, ForwardToken)>,
}

impl Relays {
    /// The token of a second hop whose answer goes to `link` with the token of the first.
    pub(super) fn open(&mut self, link: LinkId, token: ForwardToken) -> ForwardToken {
        if self.open.len() == OPEN_MOST {
            self.open.pop_first();
        }
        self.made += 1;
        self.open.insert(self.made, (link, token));
        ForwardToken(self.made | LAST_HOP)
    }

    /// Where an answer goes, if it is one to a second hop that is remembered.
    pub(super) fn close(&mut self, token: ForwardToken) -> Option<(LinkId, ForwardToken)> {
        self.open.remove(&(token.0 & !LAST_HOP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_finds_its_way_once_and_the_oldest_is_forgotten() {
        let mut relays = Relays::default();
        let first = relays.open(LinkId(7), ForwardToken(70));
        assert!(may_go_on(ForwardToken(70)) && !may_go_on(first));
        let second = relays.open(LinkId(8), ForwardToken(70));
        assert_eq!(relays.close(second), Some((LinkId(8), ForwardToken(70))));
        assert_eq!(relays.close(second), None);
        for n in 0..OPEN_MOST as u64 {
            let _ = relays.open(LinkId(n), ForwardToken(n));
        }
        assert_eq!(relays.close(first), None);
        assert_eq!(relays.open.len(), OPEN_MOST);
    }
}
