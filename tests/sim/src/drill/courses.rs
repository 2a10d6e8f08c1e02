//! What breaks in each drill.

use haystack_wire::ids::GroupId;

use super::stand::Stand;
use crate::check::Check;
use crate::scenario::{MILLIS, SECONDS};

/// The partition that drills over network faults look at.
const FIRST: GroupId = GroupId(1);

/// Everybody reaches one daemon only, and the leader is another: only that one has a majority (Omni-Paxos).
pub(super) fn quorum_loss(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    let hub = stand.other(leader);
    stand.cut_all_but(|a, b| a == hub || b == hub);
    stand.breaks("everybody reaches one daemon only, which does not lead")?;
    stand.serves_in_time()
}

/// The leader is alone, and everybody else reaches only a daemon that lacks the newest entries.
pub(super) fn constrained(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    let hub = stand.other(leader);
    stand.cut_all_but(|a, b| a != hub && b != hub);
    // Less than what makes the others suspect that it is gone.
    stand.pass(150 * MILLIS)?;
    stand.heal();
    stand.cut_all_but(|a, b| (a == hub || b == hub) && a != leader && b != leader);
    stand.breaks("everybody but the leader reaches one daemon only, which lacks entries")?;
    stand.serves_in_time()
}

/// The daemons stand in a row, the leader at its end.
pub(super) fn chained(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    let row = stand.row_from(leader);
    let place = |at: usize| row.iter().position(|host| *host == at).unwrap_or(0);
    stand.cut_all_but(|a, b| place(a).abs_diff(place(b)) == 1);
    stand.breaks("each reaches only its neighbours in a row, which the leader ends")?;
    stand.serves_in_time()
}

/// Nobody hears the leader.
pub(super) fn one_way_mute(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    stand.cut_ways(|from, _| from == leader);
    stand.breaks("no daemon hears the leader")?;
    stand.serves_in_time()
}

/// The leader hears nobody.
pub(super) fn one_way_deaf(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    stand.cut_ways(|_, to| to == leader);
    stand.breaks("the leader hears no daemon")?;
    stand.serves_in_time()
}

/// One follower does not hear the leader.
pub(super) fn one_way_to_one(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    let deaf = stand.other(leader);
    stand.cut_ways(|from, to| from == leader && to == deaf);
    stand.breaks("one follower does not hear the leader")?;
    stand.serves_in_time()
}

/// The leader keeps one link of four, and everything arrives twice.
pub(super) fn duplicated_heartbeats(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    let kept = stand.other(leader);
    stand.duplicate_all();
    stand.cut_all_but(|a, b| (a != leader && b != leader) || a == kept || b == kept);
    stand.breaks("the leader keeps one link of four, over which everything comes twice")?;
    stand.serves_in_time()
}

/// Two that do not reach each other, and one that reaches both; one of the two leads.
pub(super) fn bridge_of_three(stand: &mut Stand) -> Check {
    let leader = stand.leader(FIRST)?;
    let bridge = stand.other(leader);
    stand.cut_all_but(|a, b| a == bridge || b == bridge);
    stand.breaks("the leader reaches the bridge, and the third daemon reaches that only")?;
    stand.serves_through_each()
}

/// The same, and the bridge leads.
pub(super) fn bridge_leads(stand: &mut Stand) -> Check {
    let bridge = stand.leader(FIRST)?;
    stand.cut_all_but(|a, b| a == bridge || b == bridge);
    stand.breaks("the leader is the bridge between the other two")?;
    stand.serves_through_each()
}

/// The coordinator dies.
pub(super) fn coordinator_killed(stand: &mut Stand) -> Check {
    let coordinator = stand.leader(GroupId::DIRECTORY)?;
    stand.kill(coordinator);
    stand.breaks("the coordinator is killed")?;
    stand.serves_in_time()?;
    stand.coordinated()
}

/// The coordinator is cut off from the other daemons, and comes back.
pub(super) fn coordinator_cut_off(stand: &mut Stand) -> Check {
    let coordinator = stand.leader(GroupId::DIRECTORY)?;
    stand.cut_all_but(|a, b| a != coordinator && b != coordinator);
    stand.breaks("the coordinator is cut off")?;
    stand.serves_in_time()?;
    stand.coordinated()?;
    stand.pass(3 * SECONDS)?;
    stand.heal();
    stand.breaks("the old coordinator is back")?;
    stand.serves_in_time()?;
    stand.coordinated()
}

/// The coordinator stands still, and goes on.
pub(super) fn coordinator_paused(stand: &mut Stand) -> Check {
    let coordinator = stand.leader(GroupId::DIRECTORY)?;
    stand.pause(coordinator, true);
    stand.breaks("the coordinator stands still")?;
    stand.serves_in_time()?;
    stand.coordinated()?;
    stand.pass(2 * SECONDS)?;
    stand.pause(coordinator, false);
    stand.breaks("the old coordinator goes on")?;
    stand.serves_in_time()?;
    stand.coordinated()
}

/// Of nine daemons with three replicas of every partition three die at once, the coordinator among them.
pub(super) fn coordinator_and_two_killed(stand: &mut Stand) -> Check {
    let coordinator = stand.leader(GroupId::DIRECTORY)?;
    let row = stand.row_from(coordinator).into_iter().skip(1);
    let others: Vec<usize> = row.filter(|at| !stand.directs(*at)).take(2).collect();
    stand.kill(coordinator);
    others.into_iter().for_each(|at| stand.kill(at));
    stand.breaks("the coordinator and two more daemons are killed")?;
    stand.serves_in_time()?;
    stand.coordinated()
}
