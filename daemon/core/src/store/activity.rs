//! Which sessions are in use, as far as the leader saw.

use haystack_wire::ids::{LogIndex, SessionId};
use haystack_wire::time::{Duration, Instant};

#[cfg(doc)]
use haystack_wire::message::client::EXPIRE_LIMIT;

use super::Store;
use super::sessions::BySession;

/// When sessions were last used. Volatile and of the leader alone: every time that a node begins to lead it
/// must start with an empty one (notes of an earlier reign know nothing of what sessions did under others), and
/// so gives every session a whole idle time from when it first comes across it.
///
/// The leader notes the session of every command that it admits, and every session that a decided entry opened.
/// What it finds idle it may propose to expire; only that entry, when applied, ends a session.
#[derive(Debug)]
pub struct Activity {
    idle: Duration,
    last: BySession<Instant>,
    /// Sessions up to here were looked at in this round.
    swept: Option<SessionId>,
}

impl Activity {
    /// A leader's view in which a session is idle after a time without use.
    pub fn new(idle: Duration) -> Self {
        Self { idle, last: BySession::default(), swept: None }
    }

    /// Notes that a session was used. Must be a session of the store, or the note stays until the round ends.
    pub fn note(&mut self, now: Instant, session: SessionId) {
        self.last.insert(session, now);
    }

    /// Looks at up to `budget` sessions, going round, and returns those of them that are idle, which are forgotten
    /// here (at most [`EXPIRE_LIMIT`] fit into one command): if the proposal to expire them fails, they are found
    /// again an idle time later. Call it about once a second; with a budget of a hundredth of the sessions, an idle
    /// one is found within 100 s.
    ///
    /// Sessions that came from another group in a split have no place in the command that expires sessions, and stay.
    pub fn idle(&mut self, now: Instant, store: &Store, budget: usize) -> Vec<LogIndex> {
        let mut idle = Vec::new();
        let mut seen = 0;
        for id in store.session_ids(self.swept).take(budget) {
            seen += 1;
            self.swept = Some(id);
            let last = *self.last.entry(id).or_insert(now);
            if now.saturating_since(last) > self.idle && id.group == store.group {
                self.last.remove(&id);
                idle.push(id.index);
            }
        }
        if seen < budget {
            self.swept = None;
            // Sessions that others ended leave notes behind.
            if self.last.len() as u64 > 2 * store.sessions() + 1024 {
                self.last.retain(|id, _| store.sessions.get(*id).is_some());
            }
        }
        idle
    }

    #[cfg(test)]
    pub(super) fn noted(&self) -> usize {
        self.last.len()
    }
}
