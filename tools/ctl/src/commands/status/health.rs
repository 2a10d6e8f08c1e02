//! What a view of the cluster comes to.

use haystack_client::{GroupId, GroupStatus, NodeStatus};
use haystack_wire::message::directory::Standing;

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
    let mut problems: Vec<(Health, String)> = founding(view).into_iter().collect();
    problems.extend(of_groups(view));
    problems.extend(of_nodes(view).map(|problem| (Health::Degraded, problem)));
    problems.extend(strangers(view).map(|problem| (Health::Degraded, problem)));
    problems.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    let health = problems.first().map_or(Health::Ok, |(health, _)| *health);
    Report { health, problems: problems.into_iter().map(|(_, problem)| problem).collect() }
}

/// What is missing until the cluster is ready: every group has a leader, and every founder is a member.
pub(crate) fn missing(view: &View) -> Vec<String> {
    if let Some((_, what)) = founding(view) {
        let why = if view.base.waits_for.is_empty() { "" } else { ": " };
        return vec![format!("{what}{why}{}", view.base.waits_for)];
    }
    let mut missing: Vec<String> = of_nodes(view).collect();
    let leaderless = names(view.groups.iter().filter(|group| group.leader.is_none()));
    missing.extend(leaderless.map(|names| format!("{names}: no leader")));
    missing
}

/// Whether there is a cluster at all.
fn founding(view: &View) -> Option<(Health, String)> {
    let what = match view.base.standing {
        Standing::Founding => "the cluster is not founded yet",
        Standing::Standby => "no member of the cluster answers",
        Standing::Member if view.groups.is_empty() => "the cluster has no partitions yet",
        Standing::Member => return None,
    };
    Some((Health::Unavailable, what.to_owned()))
}

fn of_groups(view: &View) -> Vec<(Health, String)> {
    let majority = |group: &GroupStatus| group.replicas.len() / 2 + 1;
    let live = |group: &GroupStatus| group.live as usize;
    let without = |group: &&GroupStatus| group.leader.is_none() || live(group) < majority(group);
    let leaderless = names(view.groups.iter().filter(without));
    let worn = |group: &&GroupStatus| !without(group) && live(group) < group.replicas.len();
    let last = |group: &&GroupStatus| worn(group) && live(group) == majority(group);
    let mut problems = Vec::new();
    problems.extend(leaderless.map(|names| {
        let text = format!("{names}: no leader, or no majority of replicas; not served");
        (Health::Unavailable, text)
    }));
    problems.extend(names(view.groups.iter().filter(last)).map(|names| {
        let text = format!("{names}: under-replicated; one more node lost and its data is lost");
        (Health::Degraded, text)
    }));
    let spare = view.groups.iter().filter(|group| worn(group) && !last(group));
    problems.extend(names(spare).map(|names| (Health::Degraded, format!("{names}: under-replicated"))));
    problems
}

/// What keeps nodes from serving.
fn of_nodes(view: &View) -> impl Iterator<Item = String> {
    view.nodes.iter().filter_map(|node| {
        let who = who(node);
        match (node.up, node.standing) {
            (false, _) if view.answered(node.node) => {
                Some(format!("{who} does not answer {}, though it answers here", view.base.name))
            }
            (false, _) => Some(format!("{who} does not answer")),
            (true, Some(Standing::Member)) => None,
            (true, Some(Standing::Standby)) => Some(format!("{who} is standby: it serves nothing")),
            (true, Some(Standing::Founding)) if view.base.standing == Standing::Founding => None,
            (true, Some(Standing::Founding)) => Some(format!("{who} waits for a founding")),
            (true, None) if view.base.standing == Standing::Founding => None,
            (true, None) => Some(format!("{who} has not said where it stands")),
        }
    })
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

fn who(node: &NodeStatus) -> String {
    if node.name.is_empty() { node.addr.to_string() } else { format!("{} ({})", node.name, node.addr) }
}

/// The groups by name, none if there are none: `the directory, partitions 1, 2 and 5`.
fn names<'a>(groups: impl Iterator<Item = &'a GroupStatus>) -> Option<String> {
    let mut parts = Vec::new();
    let mut numbers = Vec::new();
    for group in groups {
        if group.group == GroupId::DIRECTORY {
            parts.push("the directory".to_owned());
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
