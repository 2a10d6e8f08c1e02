use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use haystack_client::{
    Answer, Effect, Error, Expect, GroupId, LogIndex, Operation, Refusal, Ticket, Version, Versioned, Wait,
    Write,
};
use haystack_wire::ids::{HistoryId, SessionId};
use haystack_wire::rng::Rng;
use serde_json::json;

use super::engine::{End, Engine, Pipe, Watcher};
use super::input::{self, Batch};
use super::report::{Report, Stop};
use crate::failure::{Exit, Failure};

/// What goes wrong in a [`Fake`], each in this part of the operations.
#[derive(Clone, Default)]
struct Faults {
    /// The answer to a write is lost.
    lost: f64,
    /// A session expires, or is found expired when it is asked about a write.
    expired: f64,
    /// From this write on, the cluster answers like this.
    end: Option<(u64, Refusal)>,
    /// Questions about lost writes have no answer.
    mute: bool,
    /// The socket fails at this operation.
    broken: Option<u64>,
}

/// A cluster in memory that answers in any order, and may lose answers.
struct Fake {
    rng: Rng,
    faults: Faults,
    store: BTreeMap<Bytes, Versioned>,
    /// Writes that changed something, in order.
    applied: Vec<(Bytes, Bytes)>,
    pending: Vec<(u64, Operation)>,
    /// What became of writes whose answer was lost, by number: none if not applied.
    lost: BTreeMap<u64, (Write, Option<Effect>)>,
    next: u64,
    most: usize,
}

const GROUP: GroupId = GroupId(1);

impl Fake {
    fn new(seed: u64, faults: Faults) -> Self {
        Self {
            rng: Rng::from_u64(seed),
            faults,
            store: BTreeMap::new(),
            applied: Vec::new(),
            pending: Vec::new(),
            lost: BTreeMap::new(),
            next: 0,
            most: 0,
        }
    }

    fn apply(&mut self, write: &Write) -> Effect {
        let (key, value) = match write {
            Write::Put { key, value } => (key, value),
            Write::Cas { key, expect, value } => {
                let actual = self.store.get(key).cloned();
                let fits = match expect {
                    Expect::Absent => actual.is_none(),
                    Expect::Value(expected) => actual.as_ref().is_some_and(|found| found.value == *expected),
                    Expect::Version(version) => {
                        actual.as_ref().is_some_and(|found| found.version == *version)
                    }
                };
                if !fits {
                    return Effect::Mismatch { actual };
                }
                (key, value)
            }
            Write::Delete { .. } => panic!("a load deletes nothing"),
        };
        self.applied.push((key.clone(), value.clone()));
        let version = Version { group: GROUP, index: LogIndex(self.applied.len() as u64) };
        self.store.insert(key.clone(), Versioned { value: value.clone(), version });
        Effect::Written
    }

    fn answer(&mut self, number: u64, operation: Operation) -> Result<Answer, Error> {
        let at = Version { group: GROUP, index: LogIndex(number) };
        match operation {
            Operation::Write(write) => self.answer_write(number, write),
            Operation::Resolve(_) if self.faults.mute => Err(Error::Timeout(Wait::Answer(GROUP))),
            Operation::Resolve(ticket) if self.rng.chance(self.faults.expired) => {
                self.lost.remove(&ticket.seq);
                Ok(Answer::Expired)
            }
            Operation::Resolve(ticket) => match self.lost.remove(&ticket.seq) {
                Some((_, Some(effect))) => Ok(Answer::Applied { at, effect }),
                // It arrives just before the fence does.
                Some((write, None)) if self.rng.chance(0.3) => {
                    let effect = self.apply(&write);
                    Ok(Answer::Applied { at, effect })
                }
                _ => Ok(Answer::NeverApplies),
            },
            Operation::Get { key, .. } => {
                Ok(Answer::Read { at: LogIndex(number), found: self.store.get(&key).cloned() })
            }
            Operation::Scan { .. } => panic!("a load scans nothing"),
        }
    }

    fn answer_write(&mut self, number: u64, write: Write) -> Result<Answer, Error> {
        let (Write::Put { key, .. } | Write::Cas { key, .. } | Write::Delete { key }) = &write;
        if key == "too large" {
            return Err(Error::Refused(Refusal::TooLarge { limit: 3 }));
        }
        if let Some((from, refusal)) = &self.faults.end
            && number >= *from
        {
            return Err(Error::Refused(refusal.clone()));
        }
        let session = SessionId { group: GROUP, index: LogIndex(1) };
        let ticket = Ticket { session, seq: number, key: key.clone() };
        if self.rng.chance(self.faults.lost) {
            let effect = self.rng.chance(0.5).then(|| self.apply(&write));
            self.lost.insert(number, (write, effect));
            return Err(Error::Unknown(ticket));
        }
        if self.rng.chance(self.faults.expired) {
            let maybe_applied = self.rng.chance(0.7);
            if maybe_applied && self.rng.chance(0.5) {
                self.apply(&write);
            }
            return Err(Error::SessionExpired { ticket, maybe_applied });
        }
        let effect = self.apply(&write);
        Ok(Answer::Applied { at: Version { group: GROUP, index: LogIndex(number) }, effect })
    }
}

impl Pipe for Fake {
    type Id = u64;

    fn submit(&mut self, operation: Operation) -> Result<u64, Error> {
        self.next += 1;
        self.pending.push((self.next, operation));
        self.most = self.most.max(self.pending.len());
        Ok(self.next)
    }

    fn completion(&mut self, _: Duration) -> Result<Option<End<u64>>, Error> {
        if self.faults.broken.is_some_and(|at| self.next >= at) {
            return Err(Error::Io {
                doing: "receiving",
                kind: io::ErrorKind::Other,
                reason: "broken".into(),
            });
        }
        // Sometimes nothing comes.
        if self.pending.is_empty() || self.rng.chance(0.2) {
            return Ok(None);
        }
        let place = self.rng.below(self.pending.len() as u64) as usize;
        let (number, operation) = self.pending.swap_remove(place);
        let outcome = self.answer(number, operation);
        Ok(Some((number, outcome, 1 + self.rng.below(2) as u32)))
    }
}

#[derive(Default)]
struct Told(Vec<u64>);

impl Watcher for Told {
    fn bad(&mut self, number: u64, _: &str) {
        self.0.push(number);
    }
    fn progress(&mut self, _: &Report, _: Duration) {}
}

fn load(text: impl Into<Vec<u8>>, seed: u64, faults: Faults) -> (Report, Fake, Vec<u64>) {
    let mut fake = Fake::new(seed, faults);
    let mut told = Told::default();
    // All of it is read before the load begins, so that nothing depends on the speed of the thread that reads.
    let batches: Vec<Batch> = input::start(io::Cursor::new(text.into())).iter().collect();
    let (sender, input) = channel();
    batches.into_iter().for_each(|batch| sender.send(batch).unwrap());
    drop(sender);
    let report = Engine::new(&mut fake, input, &mut told).run();
    (report, fake, told.0)
}

/// Lines with values of their own; every seventh key comes again and again.
fn file(lines: u64) -> (String, BTreeMap<String, String>) {
    let mut text = String::new();
    let mut last = BTreeMap::new();
    for number in 1..=lines {
        let key = if number % 7 == 0 { "again".to_owned() } else { format!("key-{number}") };
        text.push_str(&format!("{key}\t{number}\n"));
        last.insert(key, number.to_string());
    }
    (text, last)
}

fn stored(fake: &Fake) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    fake.store.iter().map(|(key, found)| (text(key), text(&found.value))).collect()
}

#[test]
fn every_line_is_written_exactly_once_whatever_happens_to_the_answers() {
    let (text, expected) = file(2000);
    for seed in 0..30 {
        let faults = Faults { lost: 0.2, expired: 0.1, ..Faults::default() };
        let (report, fake, _) = load(text.clone(), seed, faults);
        assert_eq!(report.exit(None), Exit::Done, "seed {seed}: {report:?}");
        assert_eq!((report.lines, fake.applied.len()), (2000, 2000), "seed {seed}");
        assert_eq!(stored(&fake), expected, "seed {seed}: the last line with a key wins");
        assert!(report.retries > 0 && report.settled > 0);
        let again: Vec<u64> = fake
            .applied
            .iter()
            .filter(|(key, _)| key == "again")
            .map(|(_, value)| str::from_utf8(value).unwrap().parse().unwrap())
            .collect();
        assert!(again.is_sorted(), "seed {seed}: lines with one key are written in their order");
    }
}

#[test]
fn many_lines_are_under_way_and_not_too_many() {
    let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let (report, fake, _) = load(text, 1, Faults::default());
    assert_eq!((report.lines, report.bytes, report.input_bytes), (20_000, 88_890, 108_890));
    assert!((1000..=4096).contains(&fake.most), "{}", fake.most);
}

#[test]
fn large_values_are_bounded_by_their_bytes() {
    let value = "v".repeat(1024 * 1024);
    let text: String = (0..100).map(|number| format!("{number}\t{value}\n")).collect();
    let (report, fake, _) = load(text, 1, Faults::default());
    assert_eq!(report.lines, 100);
    assert!((16..=33).contains(&fake.most), "{}", fake.most);
}

#[test]
fn bad_lines_are_told_with_their_number_and_the_others_loaded() {
    let text = "a\t1\n{\"key\":\n\nb\t2\r\ntoo large\tx\n{\"key\":\"c\",\"value\":\"3\"}";
    let (report, fake, mut told) = load(text, 1, Faults::default());
    told.sort_unstable();
    assert_eq!(told, [2, 4, 5]);
    assert_eq!(
        stored(&fake).into_iter().collect::<Vec<_>>(),
        [("a".into(), "1".into()), ("c".into(), "3".into())]
    );
    assert_eq!((report.lines, report.blank, report.malformed, report.refused), (2, 1, 2, 1));
    assert_eq!(report.input_bytes, text.len() as u64);
    assert_eq!(report.exit(None), Exit::Refused);
    let (report, ..) = load("{\n", 1, Faults::default());
    assert_eq!(report.exit(None), Exit::Usage);
    assert!(report.text(None, "f").contains("1 bad line NOT loaded"));
}

#[test]
fn a_cluster_that_takes_no_more_stops_the_load_and_what_is_before_the_named_line_is_loaded() {
    let text: String = (1..=10_000).map(|number| format!("{number}\n")).collect();
    for (seed, refusal) in [(1, Refusal::NotLeader), (2, Refusal::Full)] {
        let faults = Faults { end: Some((3000, refusal.clone())), ..Faults::default() };
        let (report, fake, _) = load(text.clone(), seed, faults);
        let first = report.first_missing.unwrap();
        assert!((2990..=3010).contains(&first), "{first}");
        assert!((1..first).all(|number| fake.store.contains_key(number.to_string().as_bytes())));
        assert_eq!(fake.applied.len() as u64, report.lines);
        assert!(report.missing > 0 && report.unknown.is_empty());
        assert_eq!(report.stop.as_ref().unwrap().error, Error::Refused(refusal));
        let failure = Failure::new(Exit::Unreachable, "why");
        assert_eq!(report.exit(Some(&failure)), Exit::Unreachable);
        let said = report.text(Some(&failure), "words.txt");
        assert!(said.contains(&format!("tail -n +{first} words.txt")) && said.contains("why"), "{said}");
    }
}

#[test]
fn an_outcome_that_stays_unknown_is_told_with_session_and_number() {
    let faults = Faults { lost: 0.01, mute: true, ..Faults::default() };
    let (report, ..) = load(file(5000).0, 3, faults);
    let first = report.unknown.iter().min_by_key(|line| line.number).unwrap();
    let failure = Failure::new(Exit::Unreachable, "no answer");
    assert_eq!(report.exit(Some(&failure)), Exit::Unknown);
    let number = first.ticket.as_ref().unwrap().seq;
    let said = report.text(Some(&failure), "f");
    assert!(said.contains(&format!("line {} (session 1.1, number {number})", first.number)), "{said}");
    assert!(report.first_missing.unwrap() <= first.number);
    let json = report.to_json(Some(&failure), Exit::Unknown);
    assert_eq!(json["unknown_lines"].as_array().unwrap().len(), report.unknown.len());
    assert_eq!(json["unknown_lines"][0]["session"], "1.1");
}

#[test]
fn a_socket_that_fails_leaves_the_lines_under_way_unknown() {
    let faults = Faults { broken: Some(200), ..Faults::default() };
    let (report, fake, _) = load(file(1000).0, 4, faults);
    assert_eq!(report.unknown.len(), fake.pending.len());
    assert!(report.unknown.is_sorted_by_key(|line| line.number));
    assert_eq!(report.exit(None), Exit::Unknown);
    assert!(matches!(report.stop.unwrap().error, Error::Io { .. }));
}

#[test]
fn after_a_recovery_with_data_loss_the_whole_file_is_to_be_loaded_again() {
    let error = Error::HistoryForked { history: HistoryId(1), ticket: None, maybe_applied: false };
    let report =
        Report { first_missing: Some(9), stop: Some(Stop { number: 9, error }), ..Report::default() };
    let said = report.text(Some(&Failure::new(Exit::Refused, "forked")), "f");
    assert!(said.contains("load the whole file again") && !said.contains("tail"), "{said}");
}

#[test]
fn an_input_that_breaks_off_is_told_and_what_was_read_is_loaded() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("bad sector"));
            }
            buf[..8].copy_from_slice(b"a\t1\nb\t2\n");
            Ok(8)
        }
    }
    let mut fake = Fake::new(1, Faults::default());
    let report = Engine::new(&mut fake, input::start(Broken(false)), &mut Told::default()).run();
    assert_eq!((report.lines, report.unreadable.as_deref()), (2, Some("bad sector")));
    assert_eq!(report.exit(None), Exit::Usage);
    assert!(report.text(None, "f").contains("f cannot be read to its end: bad sector"));
}

#[test]
fn lines_of_a_slow_pipe_are_handed_over_before_the_next_one_comes() {
    struct Slow(Receiver<&'static [u8]>);
    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Ok(bytes) = self.0.recv() else { return Ok(0) };
            buf[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }
    let (sender, receiver) = channel();
    let lines = input::start(Slow(receiver));
    for number in 1..=3 {
        sender.send(b"k\tv\n").unwrap();
        let batch = lines.recv().unwrap().unwrap();
        assert_eq!(batch.iter().map(|line| (line.number, line.span)).collect::<Vec<_>>(), [(number, 4)]);
    }
}

#[test]
fn a_load_has_the_documented_shape() {
    let (mut report, ..) = load("a\t1\n{\nb\t2\n", 1, Faults::default());
    report.retries = 3;
    (report.elapsed, report.longest_silence) = (Duration::from_millis(1500), Duration::from_millis(412));
    let json = report.to_json(None, Exit::Usage);
    let problem = json["problems"][0]["message"].clone();
    assert_eq!(
        json,
        json!({
            "result": "usage", "lines": 2, "bytes": 4, "seconds": 1.5, "retries": 3, "settled": 0,
            "longest_silence_ms": 412, "blank_lines": 0, "bad_lines": 1,
            "problems": [{ "line": 2, "message": problem }], "missing_lines": 0, "unknown_lines": [],
            "first_missing": null, "stopped": null, "unreadable": null
        })
    );
    let said = report.text(None, "f");
    assert!(said.starts_with("loaded 2 lines (4 bytes of keys and values) in 1.50 s"), "{said}");
    assert!(said.contains("3 retries") && said.contains("longest time without a success: 412 ms"), "{said}");
}
