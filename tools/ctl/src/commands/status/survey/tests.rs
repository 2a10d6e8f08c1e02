use haystack_client::Wait;

use super::super::tests::{founding, node, standby, status_of, view_of, without};
use super::*;

/// Daemons by address, of which the first answers first.
struct Fake {
    answers: Vec<(SocketAddr, Option<Status>)>,
    connected: Vec<SocketAddr>,
    given: Vec<SocketAddr>,
    asked: Vec<SocketAddr>,
}

impl Fake {
    fn new(answers: impl IntoIterator<Item = (u8, Option<Status>)>) -> Self {
        let answers = answers.into_iter().map(|(number, status)| (address(number), status)).collect();
        Self { answers, connected: Vec::new(), given: Vec::new(), asked: Vec::new() }
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 7400))
}

impl Daemons for Fake {
    fn any(&mut self, _: Duration) -> Result<Status, Error> {
        self.answers
            .first()
            .and_then(|(_, status)| status.clone())
            .ok_or(Error::Unreachable(Wait::Connection))
    }

    fn at(&mut self, address: SocketAddr, _: Duration) -> Result<Status, Error> {
        self.asked.push(address);
        let found = self.answers.iter().find(|(at, _)| *at == address);
        found.and_then(|(_, status)| status.clone()).ok_or(Error::Timeout(Wait::Daemon))
    }

    fn connected(&self) -> Vec<(NodeId, SocketAddr)> {
        self.connected.iter().map(|at| (node(at.to_string().as_bytes()[8] - b'0'), *at)).collect()
    }

    fn given(&self) -> Vec<SocketAddr> {
        self.given.clone()
    }
}

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn one_answer_by_which_data_is_served_or_that_has_the_word_of_most_is_enough() {
    let headless = without(status_of(2), 1);
    assert_eq!(judge(&view_of([headless.clone()])).health, Health::Unavailable);
    for status in [status_of(1), without(status_of(1), 3), Status { node: node(1), ..headless }] {
        let mut fake = Fake::new([(1, Some(status)), (2, Some(status_of(2)))]);
        fake.connected = vec![address(1), address(2)];
        let found = survey(&mut fake, LIMIT);
        assert_eq!((found.answers.len(), fake.asked.len()), (1, 0));
        assert_eq!(found.answers[0].0, "127.0.0.1:7400");
    }
}

#[test]
fn a_daemon_that_sees_nothing_served_leads_to_others_until_one_knows_better() {
    let mut fake = Fake::new([(3, Some(standby(3))), (2, None), (1, Some(status_of(1)))]);
    (fake.connected, fake.given) = (vec![address(3)], vec![address(2), address(3)]);
    let found = survey(&mut fake, LIMIT);
    assert_eq!(fake.asked, [address(2), address(1)], "who was given, then who is named");
    assert_eq!(found.answers.len(), 2);
    assert_eq!(found.silent.iter().map(|(at, _)| &**at).collect::<Vec<_>>(), ["127.0.0.2:7400"]);
    assert_eq!(judge(&View::of(found).unwrap()).health, Health::Degraded);
}

#[test]
fn a_daemon_that_is_cut_off_leads_to_others() {
    let cut = without(without(status_of(1), 2), 3);
    let mut fake = Fake::new([(1, Some(cut)), (2, Some(without(status_of(2), 1)))]);
    (fake.connected, fake.given) = (vec![address(1), address(2)], vec![address(1)]);
    let found = survey(&mut fake, LIMIT);
    assert_eq!((found.answers.len(), fake.asked), (2, vec![address(2)]));
}

#[test]
fn nobody_is_asked_twice_and_no_answer_is_an_error() {
    let mut fake = Fake::new([(1, Some(founding())), (2, Some(founding()))]);
    (fake.connected, fake.given) = (vec![address(1), address(2)], vec![address(2), address(2), address(3)]);
    let found = survey(&mut fake, LIMIT);
    assert_eq!(fake.asked, [address(2), address(3)]);
    assert_eq!(found.answers.len(), 1, "the same daemon at two addresses");
    let nobody = survey(&mut Fake::new([]), LIMIT);
    assert_eq!(View::of(nobody).err(), Some(Error::Unreachable(Wait::Connection)));
}
