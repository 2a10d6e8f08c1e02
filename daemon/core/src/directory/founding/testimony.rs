//! Lists that are not settled: what processes testify about them, and how they end.

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;
use haystack_wire::message::directory::{DirectoryMessage, FoundingList, ListId, Testimony};

use super::super::life::{Grant, list_id};
use super::{Founding, Phase};

/// Most foundings that one process grants and gives up (judgement: each takes an administrator).
const GIVEN_UP_MOST: usize = 64;

impl Founding {
    pub(super) fn on_query(&mut self, from: NodeId, id: ListId, subject: NodeId, proposer: NodeId) {
        if !self.life.knows(subject) {
            return;
        }
        let mut founded = None;
        let testimony = match &self.life.grant {
            Grant::Founded { list } if list_id(list) == id => {
                founded = Some(list.clone());
                Testimony::Founded
            }
            Grant::Granted { list, by } if list_id(list) == id => {
                if subject == proposer {
                    // The predecessor's lists were given up at the start of this life: this one is our own.
                    Testimony::Counting
                } else if *by == subject {
                    Testimony::Granted
                } else {
                    Testimony::Unknown
                }
            }
            _ if subject == self.me.node && self.may_still_grant(id, proposer) => Testimony::Unknown,
            _ => {
                // Never granted here, or given up: from now on for ever.
                if !self.life.refused.contains(&id) {
                    self.life.refuse(id);
                    self.save();
                }
                Testimony::Dead
            }
        };
        self.send(from, DirectoryMessage::Testify { list: id, subject, testimony, founded });
    }

    /// Whether this very process may yet grant the list: then it would be rash to kill it.
    fn may_still_grant(&self, list: ListId, proposer: NodeId) -> bool {
        self.phase == Phase::Seeking
            && !self.life.refused.contains(&list)
            && self.seen.get(&proposer).is_some_and(|seen| seen.up)
    }

    pub(super) fn on_testify(
        &mut self,
        now: Instant,
        id: ListId,
        subject: NodeId,
        testimony: Testimony,
        founded: Option<FoundingList>,
    ) {
        if testimony == Testimony::Dead && self.proposal.as_ref().is_some_and(|list| list_id(list) == id) {
            self.proposal = None;
        }
        let Phase::Granted { list } = &self.phase else { return };
        if list_id(list) != id || !list.founders.iter().any(|founder| founder.node == subject) {
            return;
        }
        match (testimony, founded) {
            (Testimony::Founded, Some(founded)) if founded == *list => self.on_founded(founded),
            (Testimony::Dead, _) => {
                self.drop_grant(id);
                self.reconsider(now);
            }
            _ => {}
        }
    }

    /// The proposer gives its list up: persisted first, told afterwards.
    pub(super) fn give_up(&mut self, list: FoundingList) {
        let id = list_id(&list);
        self.drop_grant(id);
        let dead = DirectoryMessage::Testify {
            list: id,
            subject: self.me.node,
            testimony: Testimony::Dead,
            founded: None,
        };
        self.tell_all(&list, &dead);
    }

    pub(super) fn drop_grant(&mut self, list: ListId) {
        self.life.grant = Grant::None;
        self.life.refuse(list);
        self.save();
        self.enter(Phase::Seeking);
    }

    /// An administrator gives up the cluster of the life file and its data.
    ///
    /// # Errors
    /// If a member of the cluster answers; the error says what to do.
    pub fn abandon(&mut self, now: Instant) -> Result<String, String> {
        match &self.phase {
            Phase::Member { .. } => {
                Err("this daemon is a member of a living cluster: nothing to abandon".to_owned())
            }
            Phase::Standby { cluster } if self.members_in_sight(*cluster) > 0 => Err(format!(
                "cluster {} lives: {} of its members answer. Stop them first if its data is really to be given up",
                cluster.short(),
                self.members_in_sight(*cluster)
            )),
            Phase::Seeking | Phase::Counting { .. } => {
                Ok("there is no old data here; the daemon founds as soon as all founders are ready"
                    .to_owned())
            }
            Phase::Standby { .. } | Phase::Granted { .. } if self.given_up.len() >= GIVEN_UP_MOST => {
                Err("this process gave up too many foundings: restart this daemon".to_owned())
            }
            Phase::Standby { .. } | Phase::Granted { .. } => {
                if let Grant::Founded { list } | Grant::Granted { list, .. } = &self.life.grant {
                    let ours = list.founders.iter().any(|founder| founder.node == self.me.node);
                    if ours {
                        self.given_up.push(list.cluster);
                    }
                    let list = list_id(list);
                    self.life.refuse(list);
                }
                self.life.grant = Grant::None;
                self.save();
                self.enter(Phase::Seeking);
                self.reconsider(now);
                Ok("the old cluster is given up here; it founds anew once every founder gave it up"
                    .to_owned())
            }
        }
    }
}
