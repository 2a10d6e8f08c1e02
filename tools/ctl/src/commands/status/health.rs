//! What a view of the cluster comes to.

use std::net::SocketAddr;

use haystack_client::{DEFAULT_PORT, GroupId, GroupStatus, NodeStatus};
use haystack_wire::message::directory::{NodeState, Standing};
use haystack_wire::message::membership::MemberState;

use super::view::View;

/// How well the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// All nodes serve, and every group is complete.
    Ok,
    /// All data is served, and less may fail than should.
    Degraded,
    /// Some or all data is not served.
    Unavailable,
}

impl Health {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The health with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The health: that of the worst problem.
    pub(crate) health: Health,
    /// What is wrong, the worst first.
    pub(crate) problems: Vec<String>,
}

/// Judges a view.
pub(crate) fn judge(view: &View) -> Report {
    let unfounded = no_cluster(view).map(|why| (Health::Unavailable, why.to_owned()));
    let mut problems: Vec<(Health, String)> = unfounded.into_iter().collect();
    if is_hasty(view) {
        let text = format!("{} had no time to ask how the replicas stand: ask again", view.base.name);
        problems.push((Health::Unavailable, text));
    } else {
        problems.extend(of_groups(view));
    }
    problems.extend(of_nodes(view).map(|problem| (Health::Degraded, problem)));
    problems.extend(strangers(view).map(|problem| (Health::Degraded, problem)));
    problems.extend(to_settle(view).map(|problem| (Health::Degraded, problem)));
    problems.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    let health = problems.first().map_or(Health::Ok, |(health, _)| *health);
    Report { health, problems: problems.into_iter().map(|(_, problem)| problem).collect() }
}

/// What is missing until the cluster is ready: every group has a leader, and every founder is a member that answers.
pub(crate) fn missing(view: &View) -> Vec<String> {
    if let Some(why) = founding(view) {
        return vec![why];
    }
    let mut missing = founders(view);
    let leaderless = names(view.groups.iter().filter(|group| group.leader.is_none()));
    missing.extend(leaderless.map(|names| format!("{names}: no leader")));
    missing
}

/// Why there is no cluster with partitions, if there is none, and what is waited for.
pub(super) fn founding(view: &View) -> Option<String> {
    let why = no_cluster(view)?;
    let waits_for = &view.base.waits_for;
    Some(if waits_for.is_empty() { why.to_owned() } else { format!("{why}: {waits_for}") })
}

fn no_cluster(view: &View) -> Option<&'static str> {
    match view.base.standing {
        Standing::Founding if view.base.founders.is_empty() => {
            Some("this daemon has not joined a cluster yet")
        }
        Standing::Founding => Some("the cluster is not founded yet"),
        Standing::Standby => Some("no member of the cluster answers"),
        Standing::Member if view.partitions().next().is_none() => Some("the cluster has no partitions yet"),
        Standing::Member => None,
    }
}

/// The founders that are not members, or do not answer. A founder that is told by an address is the node there; of those
/// that are told by names so many must be there as there are, whichever they are.
fn founders(view: &View) -> Vec<String> {
    let is_part = |node: &&NodeStatus| node.up && node.standing == Some(Standing::Member);
    let part = || view.nodes.iter().filter(is_part);
    let mut missing = Vec::new();
    let mut by_name = 0;
    for founder in &view.base.founders {
        let Some(address) = address(founder) else {
            by_name += 1;
            continue;
        };
        if part().all(|node| node.addr != address) {
            let at_address = view.nodes.iter().filter(|node| node.addr == address);
            let why = at_address.filter_map(|node| of_node(view, node)).next_back();
            missing.push(why.unwrap_or_else(|| format!("{founder} is not a member")));
        }
    }
    if part().count() < by_name {
        let rest: Vec<String> = of_nodes(view).filter(|problem| !missing.contains(problem)).collect();
        let left = format!("{} of {} founders are members", part().count(), view.base.founders.len());
        missing.extend(if rest.is_empty() { vec![left] } else { rest });
    }
    missing
}

/// The address that a founder is configured by, if it is one and no name.
fn address(founder: &str) -> Option<SocketAddr> {
    let bare = || founder.trim_matches(['[', ']']).parse().ok().map(|ip| SocketAddr::new(ip, DEFAULT_PORT));
    founder.parse().ok().or_else(bare)
}

/// Whether the answer holds no reports at all, not even of the answerer: more have asked at once than it can serve.
fn is_hasty(view: &View) -> bool {
    let reports = view.groups.iter().flat_map(|group| &group.replicas);
    !view.groups.is_empty()
        && view.row(view.base.node).is_some_and(|row| !row.reported)
        && reports.into_iter().all(|replica| replica.report.is_none())
}

fn of_groups(view: &View) -> Vec<(Health, String)> {
    let mut problems = Vec::new();
    let mut tell = |health, text: &str, is_such: &dyn Fn(&GroupStatus) -> bool| {
        let names = names(view.groups.iter().filter(|group| is_such(group)));
        problems.extend(names.map(|names| (health, format!("{names}: {text}"))));
    };
    let has_majority = |group: &GroupStatus| view.facts(group).has_majority();
    let is_served = |group: &GroupStatus| has_majority(group) && group.leader.is_some();
    let is_worn = |group: &GroupStatus| is_served(group) && view.facts(group).is_worn();
    let is_last = |group: &GroupStatus| view.facts(group).is_last_majority();
    tell(Health::Unavailable, "no majority of replicas; not served", &|group| !has_majority(group));
    tell(Health::Unavailable, "no leader; not served", &|group| {
        has_majority(group) && group.leader.is_none()
    });
    let last = "under-replicated; one more node lost and its data is lost";
    tell(Health::Degraded, last, &|group| is_worn(group) && is_last(group));
    tell(Health::Degraded, "under-replicated", &|group| is_worn(group) && !is_last(group));
    problems
}

/// What keeps nodes from serving.
fn of_nodes(view: &View) -> impl Iterator<Item = String> {
    view.nodes.iter().filter_map(|node| of_node(view, node))
}

fn of_node(view: &View, node: &NodeStatus) -> Option<String> {
    let who = who(node);
    let is_founded = view.base.standing != Standing::Founding;
    if !node.up {
        let said = match node.state {
            Some(NodeState::Gone) => {
                format!("{who} has ended for good: a daemon that is started there joins as a spare")
            }
            _ if node.node.is_none() => format!("no daemon was seen at {who}"),
            // What never was in the node table, or is not any more, is missed by nobody.
            None if view.base.standing == Standing::Member && is_forgotten(node) => return None,
            _ if view.answered(node.node) => {
                format!("{who} does not answer {}, though it answers here", view.base.name)
            }
            _ => format!("{who} does not answer"),
        };
        return Some(said);
    }
    match (node.state, node.standing) {
        (Some(NodeState::Suspect | NodeState::Down), _) => {
            Some(format!("{who} answers {}, and the coordinator does not hear it", view.base.name))
        }
        (Some(NodeState::Gone), _) => Some(format!("{who} answers, and the coordinator has given it up")),
        (_, Some(Standing::Member)) => None,
        (_, Some(Standing::Standby)) => Some(format!("{who} is standby: it serves nothing")),
        (_, Some(Standing::Founding)) if is_founded => Some(format!("{who} waits for a founding")),
        (_, None) if is_founded => Some(format!("{who} has not said where it stands")),
        (_, Some(Standing::Founding) | None) => None,
    }
}

const fn is_forgotten(node: &NodeStatus) -> bool {
    matches!(node.member, Some(MemberState::Dead | MemberState::Left))
}

/// Daemons that answered and belong to another cluster than most that is seen.
fn strangers(view: &View) -> impl Iterator<Item = String> {
    let ours = view.base.cluster;
    let others =
        view.answers.iter().filter(move |(_, status)| status.cluster.is_some_and(|_| ours.is_some()));
    others.filter(move |(_, status)| status.cluster != ours).map(|(address, status)| {
        let cluster = status.cluster.map_or_else(String::new, |cluster| cluster.short());
        format!("{} at {address} belongs to another cluster ({cluster})", status.name)
    })
}

/// What a member says although it waits for nobody: its administrator has something to settle.
fn to_settle(view: &View) -> impl Iterator<Item = String> {
    let members = view.answers.iter().map(|(_, status)| status);
    let said = members.filter(|status| status.standing == Standing::Member && !status.waits_for.is_empty());
    said.map(|status| format!("{} says: {}", status.name, status.waits_for))
}

/// A node by name and address.
pub(crate) fn who(node: &NodeStatus) -> String {
    if node.name.is_empty() { node.addr.to_string() } else { format!("{} ({})", node.name, node.addr) }
}

/// A group by name.
pub(crate) fn group_name(group: GroupId) -> String {
    if group == GroupId::DIRECTORY { "the directory".to_owned() } else { format!("partition {group}") }
}

/// The groups by name, none if there are none: `the directory, partitions 1, 2 and 5`.
fn names<'a>(groups: impl Iterator<Item = &'a GroupStatus>) -> Option<String> {
    let mut parts = Vec::new();
    let mut numbers = Vec::new();
    for group in groups {
        if group.group == GroupId::DIRECTORY {
            parts.push(group_name(group.group));
        } else {
            numbers.push(group.group.0);
        }
    }
    if !numbers.is_empty() {
        let word = if numbers.len() == 1 { "partition" } else { "partitions" };
        parts.push(format!("{word} {}", ranges(&numbers)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Ascending numbers, runs of three or more as `1-8`.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let text = |(first, last): (u32, u32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}
