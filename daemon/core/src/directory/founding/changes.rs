//! What changes around a founding: addresses, and what this process may still speak for.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use haystack_wire::Instant;
use haystack_wire::ids::{ClusterId, NodeId};

use super::{Founding, Output, Phase, founders_hash, told};

impl Founding {
    /// Whether there is anything here that [`abandon`](Self::abandon) gives up.
    pub const fn has_old_data(&self) -> bool {
        matches!(self.phase, Phase::Granted { .. } | Phase::Standby { .. })
    }

    /// Whether this process granted the founding of `cluster` and took that back: it may have said for ever that the list
    /// is dead, so it must have no vote, whatever the map says. Only a new process can take part.
    pub fn gave_up(&self, cluster: ClusterId) -> bool {
        self.given_up.contains(&cluster)
    }

    /// This process is reached at another address from now on.
    pub fn set_addr(&mut self, addr: SocketAddr) {
        self.me.addr = addr;
        let (standing, cluster) = told(&self.phase);
        self.push(Output::Announce(standing, cluster));
    }

    /// The founders have these addresses from now on. Takes them up only while nothing is granted or proposed; tells
    /// whether it did.
    pub fn set_founders(&mut self, now: Instant, founders: &[SocketAddr]) -> bool {
        let distinct: BTreeSet<_> = founders.iter().collect();
        let sound = distinct.len() == self.config.founders.len() && distinct.contains(&self.me.addr);
        if self.phase != Phase::Seeking || self.proposal.is_some() || !sound {
            return false;
        }
        if self.config.founders != founders {
            self.config.founders = founders.to_vec();
            self.founders_hash = founders_hash(founders);
            let (standing, cluster) = told(&self.phase);
            self.push(Output::Announce(standing, cluster));
            self.reconsider(now);
        }
        true
    }

    /// `old` lives: this process began in a copy of its state directory, and speaks for it no more.
    pub fn disown(&mut self, old: NodeId) {
        if old == self.me.node || !self.life.knows(old) {
            return;
        }
        self.life.nodes.retain(|node| *node != old);
        self.save();
        let (standing, cluster) = told(&self.phase);
        self.push(Output::Announce(standing, cluster));
    }
}
