//! The partition map as every process holds it: one per epoch, and never an older one again.

use haystack_core::node::Node;
use haystack_wire::ids::Epoch;

use super::canon::Canons;
use super::{Check, ensure};

/// What was seen of one process.
#[derive(Debug, Default)]
pub(crate) struct MapWatch {
    epoch: Epoch,
}

impl MapWatch {
    /// Looks at a process after one of its turns.
    pub(crate) fn look(&mut self, who: &str, node: &Node, canons: &Canons) -> Check {
        let Some(map) = node.map().filter(|map| map.epoch != self.epoch) else { return Ok(()) };
        ensure!(
            map.epoch > self.epoch,
            Configuration,
            "{who} held the map of epoch {} and holds that of {} now",
            self.epoch,
            map.epoch
        );
        self.epoch = map.epoch;
        ensure!(
            canons.map_of(map.epoch) == Some(map),
            Configuration,
            "{who} holds another map of epoch {} than the directory's log made",
            map.epoch
        );
        Ok(())
    }
}
