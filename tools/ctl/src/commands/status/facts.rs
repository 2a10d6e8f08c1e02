//! What the reports of a group's replicas come to.

use haystack_client::{GroupId, GroupStatus, LogIndex};
use haystack_wire::message::admin::{ReplicaReport, ReplicaStatus};

/// What the reports of a group's replicas come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Replicas in its view.
    pub(crate) replicas: usize,
    /// Replicas that report.
    pub(crate) reporting: usize,
    /// Replicas that should: the degree of replication; the directory has a size of its own.
    pub(crate) wanted: usize,
    /// Replicas that answer the leader, itself included; without a leader, those that report.
    pub(crate) live: usize,
    /// So many are a majority.
    pub(crate) majority: usize,
    /// The most that a replica is behind, see [`lag`].
    pub(crate) lag: u64,
    /// What the replica says that is nearest to the truth: the leader, else the one with the longest log.
    pub(crate) best: Option<ReplicaReport>,
}

impl Facts {
    /// Of a group of a cluster with this degree of replication.
    pub(crate) fn of(group: &GroupStatus, degree: u32) -> Self {
        let reports = || group.replicas.iter().filter_map(|replica| replica.report);
        let leads = |replica: &&ReplicaStatus| group.leader.is_some_and(|leader| leader.node == replica.node);
        let leader = group.replicas.iter().find(leads).and_then(|replica| replica.report);
        let reporting = reports().count();
        let longest = || reports().max_by_key(|report| (report.view, report.decided, report.applied));
        Self {
            replicas: group.replicas.len(),
            reporting,
            wanted: if group.group == GroupId::DIRECTORY { group.replicas.len() } else { degree as usize },
            live: leader.map_or(reporting, |report| report.live as usize),
            majority: group.replicas.len() / 2 + 1,
            lag: group.replicas.iter().filter_map(|replica| lag(group, replica)).max().unwrap_or(0),
            best: leader.or_else(longest),
        }
    }

    /// Replicas that are missing.
    pub(crate) const fn missing(&self) -> usize {
        self.wanted.saturating_sub(self.reporting)
    }

    /// Whether enough replicas are there to decide anything.
    pub(crate) const fn has_majority(&self) -> bool {
        self.live >= self.majority
    }

    /// Whether a replica is missing, or does not answer the leader.
    pub(crate) fn is_worn(&self) -> bool {
        self.missing() > 0 || self.there() < self.replicas
    }

    /// Whether the loss of one more replica ends the group.
    pub(crate) fn is_last_majority(&self) -> bool {
        self.there() <= self.majority
    }

    /// Replicas that answer both the leader and the daemon that was asked.
    fn there(&self) -> usize {
        self.reporting.min(self.live)
    }
}

/// How many entries a replica has yet to apply of those that are known to be decided. Reports are not taken at the same
/// moment, so that under load all but the last to report have some.
pub(crate) fn lag(group: &GroupStatus, replica: &ReplicaStatus) -> Option<u64> {
    let decided = group.replicas.iter().filter_map(|other| other.report).map(|report| report.decided).max();
    let report = replica.report?;
    Some(decided.unwrap_or(LogIndex::ZERO).saturating_since(report.applied))
}

/// What the cluster lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deficit {
    /// Replicas of partitions.
    pub(crate) replicas: usize,
    /// The partitions that lack them.
    pub(crate) partitions: usize,
    /// Replicas of the directory.
    pub(crate) directory: usize,
    /// Groups without a leader.
    pub(crate) leaderless: Vec<GroupId>,
    /// Groups without a majority of replicas.
    pub(crate) without_majority: Vec<GroupId>,
}

impl Deficit {
    /// Of these groups.
    pub(crate) fn of(groups: &[GroupStatus], degree: u32) -> Self {
        let mut deficit = Self::default();
        for group in groups {
            let facts = Facts::of(group, degree);
            if group.group == GroupId::DIRECTORY {
                deficit.directory = facts.missing();
            } else {
                deficit.replicas += facts.missing();
                deficit.partitions += usize::from(facts.missing() > 0);
            }
            if group.leader.is_none() {
                deficit.leaderless.push(group.group);
            }
            if !facts.has_majority() {
                deficit.without_majority.push(group.group);
            }
        }
        deficit
    }
}
