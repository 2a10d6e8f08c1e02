//! What may only go forward, watched per process and group.

use haystack_core::broadcast::Role;
use haystack_core::group::Group;
use haystack_core::node::Node;
use haystack_wire::ids::{Ballot, ClusterId, GroupId, LogIndex};
use haystack_wire::message::directory::Standing;

use super::canon::Canons;
use super::{Check, Violation, ensure};

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    promised: Ballot,
    accepted_round: Ballot,
    decided: LogIndex,
    applied: LogIndex,
    /// The ballot led last, and whether it is still led.
    led: Ballot,
    leads: bool,
}

/// What was seen of one process.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// In the order in which the process tells of them.
    groups: Vec<(GroupId, Seen)>,
}

impl Watch {
    /// Looks at a process after one of its turns; true if it has begun to lead a group.
    pub(crate) fn look<'a>(
        &mut self,
        who: &str,
        groups: impl Iterator<Item = &'a Group>,
        canons: &Canons,
    ) -> Result<bool, Violation> {
        let mut begun = false;
        for (at, group) in groups.enumerate() {
            let (id, broadcast) = (group.id(), group.broadcast());
            if self.groups.get(at).is_none_or(|(seen, _)| *seen != id) {
                self.groups.insert(at, (id, Seen::default()));
            }
            let seen = &mut self.groups[at].1;
            let (promised, accepted) = (broadcast.promised(), broadcast.accepted_round());
            ensure!(
                promised >= seen.promised && accepted >= seen.accepted_round,
                Ballot,
                "{who} of group {id} went back from {:?}/{:?} to {promised:?}/{accepted:?}",
                seen.promised,
                seen.accepted_round
            );
            ensure!(
                broadcast.decided() >= seen.decided,
                Log,
                "{who} of group {id} decided {} and now only {}",
                seen.decided,
                broadcast.decided()
            );
            let leading = match broadcast.role() {
                Role::Leader { ballot, .. } => Some(ballot),
                Role::Follower { .. } => None,
            };
            if let Some(ballot) = leading {
                let again = ballot < seen.led || (ballot == seen.led && !seen.leads);
                ensure!(!again, Ballot, "{who} of group {id} leads with {ballot:?} after {:?}", seen.led);
                begun |= ballot != seen.led;
                seen.led = ballot;
            }
            seen.leads = leading.is_some();
            (seen.promised, seen.accepted_round, seen.decided) = (promised, accepted, broadcast.decided());
            let applied = broadcast.applied();
            if applied != seen.applied {
                ensure!(
                    applied > seen.applied,
                    Apply,
                    "{who} of group {id} applied {} and now only {applied}",
                    seen.applied
                );
                seen.applied = applied;
                if let Some(canon) = canons.get(id) {
                    canon.has_state(who, applied, group.machine().digest())?;
                }
            }
        }
        Ok(begun)
    }
}

/// The one cluster that may exist.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    founded: Option<ClusterId>,
}

impl Clusters {
    /// Looks at where a process stands.
    pub(crate) fn look(&mut self, who: &str, node: &Node) -> Check {
        let cluster = match node.map() {
            Some(map) => Some(map.cluster),
            None if node.standing() != Standing::Founding => node.cluster(),
            None => None,
        };
        cluster.map_or(Ok(()), |cluster| self.note(who, cluster))
    }

    /// A process belongs to a cluster, or writes to disk that it does.
    pub(crate) fn note(&mut self, who: &str, cluster: ClusterId) -> Check {
        let first = *self.founded.get_or_insert(cluster);
        ensure!(first == cluster, Founding, "{who} belongs to {cluster}, where {first} was founded before");
        Ok(())
    }
}
