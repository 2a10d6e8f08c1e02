//! Clients of a node: requests, forwarding, answers, the map, administrators.

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::codec::decode_whole;
use haystack_wire::frame::Class;
use haystack_wire::ids::{GroupId, NodeId};
use haystack_wire::keys::Rights;
use haystack_wire::link::LinkId;
use haystack_wire::message::admin::{AdminReply, AdminRequest};
use haystack_wire::message::client::{Outcome, Refusal, Reply, Request, RequestBody, RouteHint};
use haystack_wire::message::{ClientMessage, ForwardToken, PeerMessage, ServerMessage};
use slog::warn;

use super::{Node, relay};
use crate::group::{Group, Handled, Origin};

impl Node {
    pub(super) fn on_client_message(&mut self, now: Instant, link: LinkId, rights: Rights, message: &Bytes) {
        match decode_whole(message, "client message") {
            Ok(ClientMessage::Request(request)) => {
                self.stats.requests += 1;
                self.on_request(now, Origin { link, token: None }, rights, &request);
            }
            Ok(ClientMessage::MapRequest { id, held }) => {
                let map = self.map.clone().filter(|map| map.epoch > held);
                self.send_server(now, link, &ServerMessage::Map { id, map });
            }
            Ok(ClientMessage::Admin { id, request: AdminRequest::Status }) => self.gather(now, link, id),
            Ok(ClientMessage::Admin { id, request }) => {
                let reply = self.on_admin(now, rights, &request);
                self.send_server(now, link, &ServerMessage::Admin { id, reply });
            }
            Err(_) if decode_whole::<PeerMessage>(message, "peer message").is_ok() => {
                self.stats.drop_not_a_peer += 1;
            }
            Err(_) => self.stats.drop_malformed += 1,
        }
    }

    /// A request, from a client of ours or forwarded. A forwarded one is forwarded once more at most, and only to a
    /// leader that this node hears.
    pub(super) fn on_request(&mut self, now: Instant, origin: Origin, rights: Rights, request: &Request) {
        let (id, group_id) = (request.id, request.group);
        let leader = match self.groups.get_mut(&group_id) {
            Some(group) => {
                self.dirty.insert(group_id);
                match group.on_request(now, origin, rights, request, &mut self.sink) {
                    Handled::Taken => {
                        self.drain_sink(now);
                        return;
                    }
                    Handled::NotLeader(leader) => leader,
                }
            }
            None => self.any_replica(now, group_id),
        };
        let hint = self.hint(group_id, leader);
        let reached = leader.filter(|leader| self.answers(now, *leader));
        let to = match origin.token {
            None => reached.or_else(|| self.other_replica(now, group_id)).or(leader),
            Some(token) => reached.filter(|_| relay::may_go_on(token)),
        };
        let refusal = match to {
            Some(to) if origin.token.is_some() || may(rights, request) => {
                match self.forward(now, origin, to, request) {
                    Ok(()) => return,
                    Err(refusal) => refusal,
                }
            }
            Some(_) => Refusal::Forbidden,
            None if leader.is_some() => Refusal::NotLeader,
            None => Refusal::NotReady,
        };
        self.send_reply(now, origin, Reply { id, hint: Some(hint), outcome: Outcome::Refused(refusal) });
    }

    fn hint(&self, group: GroupId, leader: Option<NodeId>) -> RouteHint {
        RouteHint { epoch: self.epoch(), group, leader }
    }

    /// A replica to ask where this node has none: the leader that an answer named last, else one that answers, the
    /// preferred leader first. A link alone says
    /// nothing, since it outlives its process.
    fn any_replica(&self, now: Instant, group: GroupId) -> Option<NodeId> {
        let replicas = self.map.as_ref()?.replicas_of(group)?;
        let named = self.routes.get(&group).copied().filter(|node| self.answers(now, *node));
        named.or_else(|| replicas.iter().copied().find(|node| self.answers(now, *node)))
    }

    /// Another replica that answers: perhaps it reaches a leader that this node does not.
    fn other_replica(&self, now: Instant, group: GroupId) -> Option<NodeId> {
        let replicas = self.map.as_ref()?.replicas_of(group)?;
        replicas.iter().copied().find(|node| *node != self.id() && self.answers(now, *node))
    }

    fn forward(
        &mut self,
        now: Instant,
        origin: Origin,
        to: NodeId,
        request: &Request,
    ) -> Result<(), Refusal> {
        let Some(link) = self.endpoint.link_to(to) else { return Err(Refusal::NotLeader) };
        let token = match origin.token {
            None => ForwardToken(origin.link.0),
            Some(token) => self.relays.open(origin.link, token),
        };
        let bytes = self.outbox.encode(&PeerMessage::Forward { token, request: request.clone() });
        // A full link took nothing: the refusal is definite.
        self.endpoint.send(now, link, Class::Client, bytes).map_err(|_| Refusal::Overloaded)?;
        self.stats.forwarded += 1;
        Ok(())
    }

    pub(super) fn send_reply(&mut self, now: Instant, origin: Origin, reply: Reply) {
        match origin.token {
            None => self.send_server(now, origin.link, &ServerMessage::Reply(reply)),
            Some(token) => {
                let bytes = self.outbox.encode(&PeerMessage::Forwarded { token, reply });
                if self.endpoint.send(now, origin.link, Class::Client, bytes).is_err() {
                    self.stats.drop_reply += 1;
                }
            }
        }
    }

    /// The answer to a request that this node forwarded goes to whoever sent that, if it is still there.
    pub(super) fn on_forwarded(&mut self, now: Instant, token: ForwardToken, reply: Reply) {
        if let Some(RouteHint { group, leader: Some(leader), .. }) = reply.hint
            && self
                .map
                .as_ref()
                .is_some_and(|map| map.partitions.iter().any(|partition| partition.group == group))
        {
            self.routes.insert(group, leader);
        }
        if !relay::may_go_on(token) {
            if let Some((link, token)) = self.relays.close(token) {
                self.send_reply(now, Origin { link, token: Some(token) }, reply);
            }
            return;
        }
        self.send_server(now, LinkId(token.0), &ServerMessage::Reply(reply));
    }

    pub(super) fn send_server(&mut self, now: Instant, link: LinkId, message: &ServerMessage) {
        let bytes = self.outbox.encode(message);
        if self.endpoint.send(now, link, Class::Client, bytes).is_err() {
            self.stats.drop_reply += 1;
        }
    }

    pub(super) fn on_admin(&mut self, now: Instant, rights: Rights, request: &AdminRequest) -> AdminReply {
        match request {
            AdminRequest::Status => AdminReply::Status(Box::new(self.status(now))),
            AdminRequest::Events { from } => AdminReply::Events(self.feed.from(now, *from)),
            AdminRequest::AbandonOldData if !rights.admin => {
                AdminReply::Refused("this key has no right to administer the cluster".to_owned())
            }
            AdminRequest::AbandonOldData if let Some(why) = self.holds_what_is_left() => {
                AdminReply::Refused(why)
            }
            AdminRequest::AbandonOldData => {
                let old = self.founding.has_old_data();
                match self.founding.abandon(now) {
                    Ok(done) => {
                        if old {
                            warn!(self.log, "old data is abandoned by an administrator");
                        }
                        self.settle(now);
                        AdminReply::Done(done)
                    }
                    Err(why) => AdminReply::Refused(why),
                }
            }
        }
    }
}

impl Node {
    /// Groups here of which no majority answers are as good as lost, but only an administrator can know whether for
    /// good, and this process must end before it can be part of anything new.
    fn holds_what_is_left(&self) -> Option<String> {
        let silent = |group: &&Group| group.live() < group.replicas().len() / 2 + 1;
        let all = self.groups.len();
        let lost = self.groups.values().filter(silent).count();
        (lost > 0).then(|| {
            format!(
                "this daemon holds its part of the cluster's data, and of {lost} of its {all} partitions no majority of \
                 replicas answers. If the other daemons are only cut off, nothing is lost: let them reach each other. If \
                 they are gone for good, so is the data of these partitions, and nothing brings it back: then first stop \
                 or restart this daemon and all others of the cluster that still run, and ask again"
            )
        })
    }
}

/// Rights end where the client's link ends: the leader trusts the forwarder's judgement.
const fn may(rights: Rights, request: &Request) -> bool {
    match request.body {
        RequestBody::Command(_) => rights.write,
        RequestBody::Get { .. } | RequestBody::Scan { .. } => rights.read,
    }
}
