//! Ballot leader election and read rounds: nonced heartbeats of a group.

use bytes::BufMut;

use super::format::{Fixed, Format, Plain, record};
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::ids::{Ballot, GroupId, LogIndex, ViewId};

/// Most bytes of one group's heartbeat: an answer with three unlike ballots and the largest numbers. The usual one
/// has one ballot and takes about 45.
pub const HEARTBEAT_MOST: usize = 8 + 8 + 1 + 8 + 3 * (8 + 8 + 16) + 8 + 8;
/// Fewest bytes of one group's heartbeat.
pub(super) const HEARTBEAT_LEAST: usize = 1 + 1 + 1 + 18;

/// One group's part of a heartbeat message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeartbeat {
    /// The group.
    pub group: GroupId,
    /// The view.
    pub view: ViewId,
    /// The body.
    pub body: HeartbeatBody,
}

/// A round's question, its answer, or the hint of a leader that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatBody {
    /// A round's question.
    Ask(Heartbeat),
    /// A round's answer.
    Answer(HeartbeatAck),
    /// The leader of `ballot` stops on purpose and asks the receiver to take over at once.
    HandOver {
        /// The ballot in which the sender leads.
        ballot: Ballot,
    },
}

/// A round's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// New for every round, so that a late answer can never count for a later one. Its lowest bit asks for the
    /// answer as a reliable message.
    pub nonce: u64,
    /// The highest leader's ballot that the asker knows; before anybody led, the highest claim to lead, with
    /// n = 0.
    pub ballot: Ballot,
    /// The asker's log length; repairs a lost tail, never acknowledges.
    pub len: LogIndex,
    /// The asker's decided index.
    pub decided: LogIndex,
}

/// A round's answer, true at the moment it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The round's nonce.
    pub nonce: u64,
    /// What the answerer has promised.
    pub promised: Ballot,
    /// The ballot in which the answerer last accepted.
    pub accepted_round: Ballot,
    /// The answerer's log length; never an acknowledgement.
    pub len: LogIndex,
    /// The answerer's decided index.
    pub decided: LogIndex,
    /// The highest leader's ballot that the answerer knows.
    pub leader: Ballot,
    /// Whether a majority answered the answerer's own last round.
    pub quorum_connected: bool,
    /// Whether the answerer leads well or follows a leader that does.
    pub happy: bool,
}

record!(GroupHeartbeat { group: Plain, view: Plain, body: Plain });

/// The byte before a body: its kind in the low two bits, and flags that only an answer has.
mod lead {
    pub(super) const KIND: u8 = 0b0000_0011;
    pub(super) const ASK: u8 = 1;
    pub(super) const ANSWER: u8 = 2;
    pub(super) const HAND_OVER: u8 = 3;
    /// A majority answered the answerer.
    pub(super) const QUORUM_CONNECTED: u8 = 0b0000_0100;
    pub(super) const HAPPY: u8 = 0b0000_1000;
    /// `accepted_round` is as `promised`, and not sent.
    pub(super) const SAME_ROUND: u8 = 0b0001_0000;
    /// `leader` is as `promised`, and not sent.
    pub(super) const SAME_LEADER: u8 = 0b0010_0000;
    pub(super) const FLAGS: u8 = QUORUM_CONNECTED | HAPPY | SAME_ROUND | SAME_LEADER;
}

impl HeartbeatAck {
    fn lead(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        lead::ANSWER
            | flag(self.quorum_connected, lead::QUORUM_CONNECTED)
            | flag(self.happy, lead::HAPPY)
            | flag(self.accepted_round == self.promised, lead::SAME_ROUND)
            | flag(self.leader == self.promised, lead::SAME_LEADER)
    }

    fn decode_after(lead: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let nonce = Fixed.get(reader, "HeartbeatAck.nonce")?;
        let promised = Ballot::decode(reader)?;
        let mut ballot = |same: u8| if lead & same == 0 { Ballot::decode(reader) } else { Ok(promised) };
        let accepted_round = ballot(lead::SAME_ROUND)?;
        let leader = ballot(lead::SAME_LEADER)?;
        Ok(Self {
            nonce,
            promised,
            accepted_round,
            len: LogIndex::decode(reader)?,
            decided: LogIndex::decode(reader)?,
            leader,
            quorum_connected: lead & lead::QUORUM_CONNECTED != 0,
            happy: lead & lead::HAPPY != 0,
        })
    }
}

record!(Heartbeat { nonce: Fixed, ballot: Plain, len: Plain, decided: Plain });

impl Encode for HeartbeatBody {
    fn encode<B: BufMut>(&self, out: &mut B) {
        match self {
            Self::Ask(ask) => {
                out.put_u8(lead::ASK);
                ask.encode(out);
            }
            Self::Answer(ack) => {
                out.put_u8(ack.lead());
                out.put_u64(ack.nonce);
                ack.promised.encode(out);
                if ack.accepted_round != ack.promised {
                    ack.accepted_round.encode(out);
                }
                if ack.leader != ack.promised {
                    ack.leader.encode(out);
                }
                ack.len.encode(out);
                ack.decided.encode(out);
            }
            Self::HandOver { ballot } => {
                out.put_u8(lead::HAND_OVER);
                ballot.encode(out);
            }
        }
    }

    fn encoded_len(&self) -> usize {
        1 + match self {
            Self::Ask(ask) => ask.encoded_len(),
            Self::Answer(ack) => {
                let other = |ballot: &Ballot| if *ballot == ack.promised { 0 } else { ballot.encoded_len() };
                let ballots = ack.promised.encoded_len() + other(&ack.accepted_round) + other(&ack.leader);
                8 + ballots + ack.len.encoded_len() + ack.decided.encoded_len()
            }
            Self::HandOver { ballot } => ballot.encoded_len(),
        }
    }
}

impl Decode for HeartbeatBody {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let lead = reader.u8("HeartbeatBody")?;
        match (lead & lead::KIND, lead & !lead::KIND) {
            (lead::ASK, 0) => Heartbeat::decode(reader).map(Self::Ask),
            (lead::ANSWER, flags) if flags & !lead::FLAGS == 0 => {
                HeartbeatAck::decode_after(lead, reader).map(Self::Answer)
            }
            (lead::HAND_OVER, 0) => Ok(Self::HandOver { ballot: Ballot::decode(reader)? }),
            _ => Err(DecodeError::Invalid("HeartbeatBody")),
        }
    }
}
