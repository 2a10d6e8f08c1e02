//! The schedules over groups: each comes, step by step, to the state in which one rule is all that keeps the promise.

use haystack_core::broadcast::Limits;
use haystack_core::mutation::Mutations;
use haystack_wire::message::PeerMessage;
use haystack_wire::message::broadcast::BroadcastMessage;
use haystack_wire::message::election::HeartbeatBody;

use super::stage::{Fate, Mail, Stage, What};
use crate::check::{Check, ensure};

/// One entry per message, and whatever is applied is compacted at once.
fn tiny() -> Limits {
    Limits { chunk: 1, tail_min: 1, tail_lagging: 1, ..Limits::default() }
}

/// One entry per message.
fn small() -> Limits {
    Limits { chunk: 1, ..Limits::default() }
}

fn broadcast(mail: &Mail) -> Option<&BroadcastMessage> {
    match &mail.what {
        What::Broadcast(PeerMessage::Broadcast { message, .. }) => Some(message),
        _ => None,
    }
}

fn is_sync(mail: &Mail) -> bool {
    matches!(broadcast(mail), Some(BroadcastMessage::Sync { .. }))
}

fn is_pull_reply(mail: &Mail) -> bool {
    matches!(broadcast(mail), Some(BroadcastMessage::PullReply { .. }))
}

fn is_accept(mail: &Mail) -> bool {
    matches!(broadcast(mail), Some(BroadcastMessage::Accept { .. }))
}

fn is_answer(mail: &Mail) -> bool {
    matches!(&mail.what, What::Heartbeat(heartbeat) if matches!(heartbeat.body, HeartbeatBody::Answer(_)))
}

fn lose_if(lost: bool) -> Fate {
    if lost { Fate::Lost } else { Fate::Arrive }
}

fn hold_if(held: bool) -> Fate {
    if held { Fate::Held } else { Fate::Arrive }
}

/// Rule 7: an old leader with a tail of its own hears that more is decided before the Sync that cuts the tail off.
pub(super) fn decided_before_the_sync(mutations: Mutations) -> Check {
    let mut stage = Stage::new(3, small(), mutations)?;
    stage.link_only(&[]);
    stage.write(0, 3)?;
    stage.link_only(&[1, 2]);
    stage.elect(1)?;
    stage.write(1, 3)?;
    stage.link_only(&[0, 1, 2]);
    stage.rule(|mail| hold_if(mail.to == 0 && is_sync(mail)));
    stage.run_until(|stage| stage.held() > 0)?;
    // Accepts follow the Sync at once, and overtake it.
    stage.write(1, 1)?;
    stage.release()?;
    stage.end()
}

/// Rule 2: what an isolated leader wrote is longer than what was decided since, and is nothing beside it.
pub(super) fn a_long_tail_of_an_old_leader(mutations: Mutations) -> Check {
    let mut stage = Stage::new(3, small(), mutations)?;
    stage.link_only(&[]);
    stage.write(0, 5)?;
    stage.link_only(&[1, 2]);
    stage.elect(1)?;
    stage.write(1, 1)?;
    ensure!(stage.is_answered(), Live, "a majority does not decide");
    // Only replica 1 knows that it is decided.
    stage.link_only(&[0, 2]);
    stage.elect(2)?;
    stage.write(2, 1)?;
    stage.end()
}

/// Rule 4: a follower that got the first piece of a Sync only is no better informed than before.
pub(super) fn a_sync_that_breaks_off(mutations: Mutations) -> Check {
    let mut stage = Stage::new(3, small(), mutations)?;
    stage.link_only(&[0, 1]);
    stage.write(0, 6)?;
    ensure!(stage.is_answered(), Live, "a majority does not decide");
    stage.depose(0)?;
    stage.link_only(&[0, 2]);
    let mut pieces = 0;
    stage.rule(move |mail| {
        let piece = is_sync(mail) || is_accept(mail);
        pieces += u32::from(piece);
        lose_if(piece && pieces > 1)
    });
    stage.elect(0)?;
    stage.no_rule();
    stage.link_only(&[1, 2]);
    stage.elect(2)?;
    stage.write(2, 2)?;
    stage.end()
}

/// Rule 2: a candidate whose source falls silent has the log that it had.
pub(super) fn an_adoption_that_breaks_off(mutations: Mutations) -> Check {
    let mut stage = Stage::new(3, small(), mutations)?;
    stage.link_only(&[0, 2]);
    stage.write(0, 4)?;
    ensure!(stage.is_answered(), Live, "a majority does not decide");
    // The same log is of a later round at replica 0 now, and replica 1 has promised without having got it.
    stage.depose(0)?;
    stage.link_only(&[0, 1]);
    stage.rule(|mail| lose_if(is_sync(mail)));
    stage.elect(0)?;
    stage.link_only(&[0, 2]);
    let mut pieces = 0;
    stage.rule(move |mail| {
        pieces += u32::from(is_pull_reply(mail));
        lose_if(is_pull_reply(mail) && pieces > 1)
    });
    stage.campaign(2)?;
    stage.depose(2)?;
    stage.no_rule();
    stage.link_only(&[1, 2]);
    stage.elect(1)?;
    stage.write(1, 6)?;
    stage.end()
}

/// Rule 4: a fetched snapshot, older than what its receiver has accepted, waits for the Sync that it belongs to.
pub(super) fn a_snapshot_before_its_sync(mutations: Mutations) -> Check {
    let mut stage = Stage::new(5, tiny(), mutations)?;
    // Replica 2 accepts five entries and hears of nothing decided; 1 hears that the first three are, and accepts
    // the others only then.
    let first = stage.group(0).broadcast().len();
    stage.link_only(&[0, 1, 2]);
    stage.only_awake(&[0]);
    let mut to_two = 0;
    stage.rule(move |mail| {
        to_two += u32::from(mail.to == 2 && is_accept(mail));
        let late = matches!(broadcast(mail),
            Some(BroadcastMessage::Accept { first: at, .. }) if *at >= first + 3 && mail.to == 1);
        if late { Fate::Held } else { lose_if(mail.to == 2 && to_two > 5) }
    });
    stage.write(0, 5)?;
    stage.run(30)?;
    stage.release()?;
    ensure!(stage.is_answered(), Live, "a majority does not decide");
    let decided = |stage: &Stage, replica: usize| stage.group(replica).broadcast().decided() - first;
    ensure!(decided(&stage, 1) == 3 && decided(&stage, 2) == 0, Live, "more is known than should be");
    // Replica 1 leads twice, so that its log is of another round than that of 2, which it must sync from the start.
    for majority in [[1, 3, 4], [1, 2, 3]] {
        stage.link_only(&majority);
        stage.rule(move |mail| lose_if(is_sync(mail) && (mail.to != 2 || goes_on(mail))));
        stage.elect(1)?;
        stage.run(300)?;
        if majority[1] == 3 {
            stage.depose(1)?;
        }
    }
    stage.no_rule();
    stage.link_only(&[2, 3, 4]);
    stage.elect(3)?;
    stage.write(3, 3)?;
    stage.end()
}

/// A piece of a Sync behind the first one.
fn goes_on(mail: &Mail) -> bool {
    matches!(broadcast(mail), Some(BroadcastMessage::Sync { from, first, .. }) if first > from)
}

/// Rule 2: a promiser that falls silent while its log is pulled takes its promise with it.
pub(super) fn a_source_that_falls_silent(mutations: Mutations) -> Check {
    let mut stage = Stage::new(5, small(), mutations)?;
    stage.link_only(&[0, 2, 3]);
    stage.write(0, 3)?;
    ensure!(stage.is_answered(), Live, "a majority does not decide");
    stage.link_only(&[1, 2, 4]);
    stage.rule(|mail| lose_if(is_pull_reply(mail)));
    stage.campaign(1)?;
    stage.run(600)?;
    stage.no_rule();
    stage.link_only(&[1, 3, 4]);
    stage.run(1_000)?;
    if stage.group(1).leads() {
        stage.write(1, 4)?;
    }
    stage.end()
}

/// Reads: one that arrives while a round is under way may not be served by answers that were given before.
pub(super) fn a_read_behind_an_old_answer(mutations: Mutations) -> Check {
    let mut stage = Stage::new(3, small(), mutations)?;
    stage.write(0, 1)?;
    stage.rule(|mail| hold_if(mail.to == 0 && is_answer(mail)));
    stage.read(0)?;
    ensure!(stage.held() >= 2, Live, "no read round has begun");
    stage.no_rule();
    stage.link_only(&[1, 2]);
    stage.elect(1)?;
    stage.write(1, 1)?;
    ensure!(stage.is_answered(), Live, "a majority does not decide");
    stage.read(0)?;
    stage.release()?;
    stage.end()
}

/// Rule 4: a Sync that comes again, late, leaves alone what was accepted since.
pub(super) fn a_sync_that_comes_again(mutations: Mutations) -> Check {
    let mut stage = Stage::new(3, small(), mutations)?;
    stage.depose(0)?;
    stage.link_only(&[0, 2]);
    stage.rule(|mail| if mail.to == 2 && is_sync(mail) { Fate::Repeated } else { Fate::Arrive });
    stage.elect(0)?;
    stage.no_rule();
    stage.write(0, 3)?;
    ensure!(stage.is_answered() && stage.held() > 0, Live, "a majority does not decide");
    stage.release()?;
    stage.link_only(&[1, 2]);
    stage.elect(2)?;
    stage.write(2, 4)?;
    stage.end()
}

/// Rule 6: who leads, loses, and leads again must not count what was acknowledged the first time.
pub(super) fn an_acknowledgement_of_an_earlier_term(mutations: Mutations) -> Check {
    let mut stage = Stage::new(5, small(), mutations)?;
    stage.link_only(&[0, 2]);
    stage.rule(|mail| hold_if(matches!(broadcast(mail), Some(BroadcastMessage::Accepted { .. }))));
    stage.write(0, 3)?;
    ensure!(stage.held() > 0, Live, "nothing is acknowledged");
    stage.no_rule();
    // What was acknowledged is replaced.
    stage.link_only(&[1, 3, 4]);
    stage.elect(1)?;
    stage.write(1, 1)?;
    stage.link_only(&[1, 2, 3]);
    stage.run_until(|stage| {
        let round = |replica: usize| stage.group(replica).broadcast().accepted_round();
        round(2) == round(1)
    })?;
    // The first leader leads again, and gets other entries to one follower only.
    stage.depose(0)?;
    stage.link_only(&[0, 3, 4]);
    stage.rule(|mail| lose_if(mail.to == 4 && (is_sync(mail) || is_accept(mail))));
    stage.elect(0)?;
    stage.write(0, 2)?;
    stage.release()?;
    stage.link_only(&[1, 2, 4]);
    stage.elect(4)?;
    stage.write(4, 3)?;
    stage.end()
}
