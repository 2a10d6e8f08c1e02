use super::*;
use crate::frame::Class;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn run(first: u64) -> Run {
    Run::Whole { class: Class::Client, first, count: 1 }
}

/// `count` packets of 1000 bytes sent one millisecond apart, each with a run named after its number.
fn sent(count: u64) -> Sent {
    let mut sent = Sent::new(at(0));
    for number in 0..count {
        assert_eq!(sent.next(), number);
        let packet = Outgoing { bytes: 1000, eliciting: true, acknowledges: number };
        sent.push(at(number), packet, &[run(number)]);
    }
    sent
}

fn rtt(ms: u32) -> Rtt {
    let mut rtt = Rtt::default();
    rtt.sample(MS * ms, Duration::ZERO);
    rtt
}

fn ack(sent: &mut Sent, now: Instant, ranges: &[RangeInclusive<u64>]) -> (Acked, Vec<Run>) {
    let mut arrived = Vec::new();
    let largest = *ranges[0].end();
    let acked = sent.on_ack(now, largest, ranges.iter().cloned(), |run| arrived.push(*run)).unwrap();
    (acked, arrived)
}

fn lost(sent: &mut Sent, now: Instant, rtt: &Rtt) -> Vec<Run> {
    let mut missing = Vec::new();
    let lost = sent.detect_loss(now, rtt, |run| missing.push(*run));
    assert_eq!(lost.packets as usize, missing.len());
    missing
}

#[test]
fn what_is_acknowledged_is_told_once() {
    let mut sent = sent(10);
    assert_eq!(sent.in_flight(), 10_000);
    let (acked, arrived) = ack(&mut sent, at(20), &[5..=6, 1..=2]);
    assert_eq!(arrived, [run(5), run(6), run(1), run(2)]);
    assert_eq!((acked.bytes, acked.rtt), (4000, Some((14 * MS, true))));
    assert_eq!(acked.acknowledged_below, 6);
    let (acked, arrived) = ack(&mut sent, at(21), &[5..=7, 0..=2]);
    assert_eq!((arrived, acked.bytes), (vec![run(7), run(0)], 2000));
    let (acked, arrived) = ack(&mut sent, at(22), &[5..=7]);
    assert_eq!((arrived.len(), acked.bytes, acked.rtt), (0, 0, None));
    assert_eq!(sent.in_flight(), 4000);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut sent = sent(3);
    assert_eq!(sent.on_ack(at(9), 3, [3..=3].into_iter(), |_| ()).err(), Some(NeverSent));
    assert_eq!(sent.in_flight(), 3000);
}

#[test]
fn section_6_1_of_rfc_9002_packets_are_lost_by_number_or_time() {
    let (mut sent, rtt) = (sent(10), rtt(40));
    ack(&mut sent, at(45), &[4..=4]);
    assert_eq!(lost(&mut sent, at(45), &rtt), [run(0), run(1)], "three or more behind, or 45 ms old");
    assert_eq!(sent.loss_at(), Some(at(2 + 45)));
    assert_eq!(lost(&mut sent, at(46), &rtt), []);
    assert_eq!(lost(&mut sent, at(47), &rtt), [run(2)]);
    assert_eq!(lost(&mut sent, at(60), &rtt), [run(3)]);
    assert_eq!(sent.loss_at(), None, "what is newer than all that arrived is not judged");
    assert_eq!(sent.in_flight(), 5000);
}

#[test]
fn a_loss_that_was_none_is_noticed_and_not_repeated() {
    let (mut sent, rtt) = (sent(40), rtt(100));
    ack(&mut sent, at(50), &[8..=8]);
    assert_eq!(lost(&mut sent, at(50), &rtt).len(), 6);
    sent.begin_recovery(6);
    let (acked, arrived) = ack(&mut sent, at(52), &[0..=8]);
    assert_eq!((acked.spurious, arrived.len()), (6, 8), "all arrived, those not taken for lost as well");
    assert!(sent.all_spurious(acked.spurious));
    assert!(!sent.all_spurious(acked.spurious), "once");
    ack(&mut sent, at(54), &[15..=15]);
    assert_eq!(lost(&mut sent, at(54), &rtt), [], "six behind is nothing new");
}

#[test]
fn probes_repeat_the_oldest_and_at_the_third_in_a_row_all() {
    let (mut sent, rtt) = (sent(10), rtt(10));
    let first = sent.probe_at(&rtt).unwrap();
    assert_eq!(first, at(9) + 10 * MS + 20 * MS + 5 * MS, "srtt + 4 rttvar + delay after the last");
    for (round, expected) in [vec![0, 1], vec![2, 3], (4..10).collect()].into_iter().enumerate() {
        let mut missing = Vec::new();
        sent.on_probe_timeout(|run| missing.push(*run));
        assert_eq!(missing, expected.into_iter().map(run).collect::<Vec<_>>(), "round {round}");
    }
    assert!(sent.is_blackout() && !sent.awaits());
    assert_eq!((sent.in_flight(), sent.probe_at(&rtt)), (0, None));
    for _ in 0..100 {
        sent.on_probe_timeout(|_| ());
        assert!(sent.backed_off(&rtt) <= Duration::from_secs(1));
    }
    let (acked, _) = ack(&mut sent, at(5000), &[3..=3]);
    assert_eq!(acked.spurious, 1);
    assert!(!sent.is_blackout());
    assert_eq!(sent.threshold, THRESHOLD_INITIAL, "silence is not reordering");
}

#[test]
fn passive_packets_are_not_waited_for_and_do_not_pile_up() {
    let mut sent = Sent::new(at(0));
    for number in 0..100_000 {
        let packet = Outgoing { bytes: 50, eliciting: false, acknowledges: 0 };
        sent.push(at(number * 100), packet, &[]);
    }
    assert!(!sent.awaits() && sent.in_flight() == 0);
    assert!(sent.packets.len() <= 2 * SETTLED_OLD_MAX, "{}", sent.packets.len());
}

#[test]
fn delivery_is_measured_from_the_first_packet_on() {
    let mut sent = sent(1);
    sent.set_app_limited();
    let packet = Outgoing { bytes: 1000, eliciting: true, acknowledges: 0 };
    sent.push(at(1), packet, &[]);
    let (acked, _) = ack(&mut sent, at(10), &[0..=0]);
    assert!(!acked.newest.unwrap().app_limited);
    let (acked, _) = ack(&mut sent, at(11), &[1..=1]);
    let newest = acked.newest.unwrap();
    assert!(newest.app_limited);
    assert_eq!(newest.delivery_rate, Some(2000 * 1000 / 11));
}
