//! A group of one replica, whose parts are put together here and nowhere else.

use haystack_wire::ids::SessionId;
use haystack_wire::keys::Rights;
use haystack_wire::link::LinkId;
use haystack_wire::message::client::{Outcome, Refusal, Request};
use haystack_wire::slot::slot_of;

use super::*;

const ORIGIN: Origin = Origin { link: LinkId(7), token: None };

struct Alone {
    group: Group,
    now: Instant,
    sink: Sink,
}

impl Alone {
    /// The leader of a group that serves the slots from `first` to `last`.
    fn new(first: u16, last: u16) -> Self {
        let me = NodeId([1; 16]);
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 7400));
        let config = Config::new("n1", addr, vec![addr]);
        let founded = Founded { id: GroupId(1), replicas: vec![me], epoch: Epoch(5), history: HistoryId(0) };
        let now = Instant::ZERO;
        let slots = (Slot(first), Slot(last));
        let group = Group::data(&config, me, founded, slots, Limits::default(), now, Rng::from_u64(1));
        let mut alone = Self { group, now, sink: Sink::new() };
        alone.pass(Duration::from_secs(2));
        assert!(alone.group.leads());
        alone
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            self.group.handle_timeout(self.now, &mut self.sink);
            self.group.flush(self.now, &mut self.sink);
        }
    }

    fn ask(&mut self, body: RequestBody) -> Outcome {
        self.sink.clear();
        let request = Request { id: 9, group: GroupId(1), history: HistoryId(0), body };
        let handled = self.group.on_request(self.now, ORIGIN, Rights::ALL, &request, &mut self.sink);
        assert_eq!(handled, Handled::Taken);
        self.group.flush(self.now, &mut self.sink);
        let answer = self.sink.iter().find_map(|out| match out {
            Out::Reply { origin: ORIGIN, reply } => Some(reply.outcome.clone()),
            _ => None,
        });
        answer.expect("an answer")
    }

    fn open(&mut self) -> SessionId {
        match self.ask(RequestBody::Command(RequestBody::command(&Command::OpenSession))) {
            Outcome::Opened { session } => session,
            other => panic!("{other:?}"),
        }
    }

    fn sessions(&self) -> u64 {
        match &self.group.machine {
            Machine::Data(store) => store.sessions(),
            Machine::Directory { .. } => 0,
        }
    }
}

#[test]
fn a_key_of_another_group_is_never_called_absent() {
    let key = Bytes::from_static(b"foo");
    let slot = slot_of(&key);
    assert!(slot.0 > 8191);
    let mut other = Alone::new(0, 8191);
    for stale in [false, true] {
        let outcome = other.ask(RequestBody::Get { key: key.clone(), stale });
        assert_eq!(outcome, Outcome::Refused(Refusal::WrongGroup { slot, epoch: Epoch(5) }));
    }
    let mut owner = Alone::new(8192, 16_383);
    assert!(matches!(owner.ask(RequestBody::Get { key, stale: false }), Outcome::Read { found: None, .. }));
}

#[test]
fn a_leader_that_comes_back_gives_sessions_a_whole_idle_time() {
    let mut alone = Alone::new(0, 16_383);
    alone.open();
    alone.pass(Duration::from_secs(10 * 60));
    assert_eq!(alone.sessions(), 1);
    // Others lead for a while, and may well serve the session: this replica does not see it.
    alone.group.broadcast.step_down(alone.now);
    let (now, ballot) = (alone.now, alone.group.broadcast.promised());
    alone.group.pump(now, &mut alone.sink);
    alone.now += Duration::from_secs(10 * 60);
    let ballot = Ballot { n: ballot.n + 1, ..ballot };
    alone.group.broadcast.lead(alone.now, ballot);
    alone.group.pump(alone.now, &mut alone.sink);
    assert!(alone.group.leads());
    alone.pass(Duration::from_secs(5));
    assert_eq!(alone.sessions(), 1, "it was idle for a part of its time only, as far as anybody knows");
    alone.pass(Duration::from_secs(16 * 60));
    assert_eq!(alone.sessions(), 0);
}
