//! What deaths in a local cluster cost: that depends on where the replicas of every partition are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use haystack_wire::ids::NodeId;
use haystack_wire::message::directory::PartitionMap;

/// Who has replicas of what. As text: `DIRECTORY COUNT:REPLICAS ...`, replicas by name with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replicas {
    directory: Vec<String>,
    /// Sets of replicas, with how many partitions each has.
    partitions: BTreeMap<Vec<String>, usize>,
}

/// How many partitions stand how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    all: usize,
    /// No majority is left.
    lost: usize,
    /// Just a majority is left.
    last: usize,
}

/// Whether a majority is left, and whether one more loss leaves none.
fn stands(replicas: &[String], running: &BTreeSet<&str>) -> (bool, bool) {
    let live = replicas.iter().filter(|name| running.contains(name.as_str())).count();
    let lasts = |live: usize| live * 2 > replicas.len();
    (lasts(live), lasts(live) && !lasts(live - 1))
}

impl Replicas {
    /// Where a map has the replicas.
    pub(crate) fn of(map: &PartitionMap) -> Self {
        let names = |nodes: &[NodeId]| {
            let name = |node: &NodeId| map.record(*node).map(|record| record.info.name.clone());
            let mut names: Vec<String> = nodes.iter().filter_map(name).collect();
            names.sort_unstable();
            names
        };
        let mut partitions = BTreeMap::new();
        for partition in &map.partitions {
            *partitions.entry(names(&partition.replicas)).or_default() += 1;
        }
        Self { directory: names(&map.directory.replicas), partitions }
    }

    fn count(&self, running: &BTreeSet<&str>) -> Count {
        let mut count = Count { all: 0, lost: 0, last: 0 };
        for (replicas, partitions) in &self.partitions {
            let (served, last) = stands(replicas, running);
            count.all += partitions;
            count.lost += if served { 0 } else { *partitions };
            count.last += if last { *partitions } else { 0 };
        }
        count
    }

    /// What is left with these daemons running, for people.
    pub(super) fn outlook(&self, running: &BTreeSet<&str>) -> String {
        let Count { all, lost, last } = self.count(running);
        let (directory, _) = stands(&self.directory, running);
        let end = "Stop this cluster and start another";
        let risk = format!(
            "{last} of {all} partitions have just a majority, and one more death can lose their data"
        );
        if lost > 0 {
            let rest = if last > 0 { format!("; {risk}") } else { String::new() };
            format!(
                "DATA IS LOST: {lost} of {all} partitions have no majority of their replicas left, and are read and \
                 written no more{rest}. {end}"
            )
        } else if !directory {
            format!(
                "nothing is lost yet, but the directory has no majority left, so nothing is looked after. {end}"
            )
        } else if last > 0 {
            format!("nothing is lost and all goes on, but {risk}")
        } else {
            "nothing is lost and all goes on, and so it does after one more death".to_owned()
        }
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.directory.join(","))?;
        self.partitions.iter().try_for_each(|(names, count)| write!(f, " {count}:{}", names.join(",")))
    }
}

impl FromStr for Replicas {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let names = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut words = text.split(' ');
        let directory = names(words.next().ok_or(())?);
        let set = |word: &str| {
            let (count, list) = word.split_once(':')?;
            Some((names(list), count.parse().ok()?))
        };
        let partitions = words.map(set).collect::<Option<_>>().ok_or(())?;
        Ok(Self { directory, partitions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook(text: &str, running: &[&str]) -> String {
        text.parse::<Replicas>().unwrap().outlook(&running.iter().copied().collect())
    }

    #[test]
    fn replicas_read_back() {
        let text = "n1,n2,n3 5:n1,n2,n3 3:n2,n3,n4";
        assert_eq!(text.parse::<Replicas>().unwrap().to_string(), text);
        assert_eq!("n1 x:n2".parse::<Replicas>(), Err(()));
    }

    #[test]
    fn three_of_five_daemons_are_no_majority_of_every_partitions_replicas() {
        let five = "n1,n2,n3,n4,n5 2:n1,n2,n3 2:n2,n3,n4 4:n3,n4,n5";
        let one = outlook(five, &["n1", "n2", "n3", "n4"]);
        assert!(one.starts_with("nothing is lost") && one.contains("4 of 8 partitions have just"), "{one}");
        let two = outlook(five, &["n1", "n2", "n3"]);
        assert!(two.starts_with("DATA IS LOST: 4 of 8 partitions have no majority"), "{two}");
        assert!(two.contains("2 of 8 partitions have just a majority"), "{two}");
        let wide = "n1,n2,n3,n4,n5 8:n1,n2,n3,n4,n5";
        assert!(outlook(wide, &["n1", "n2", "n3", "n4"]).contains("after one more death"));
        let two = outlook(wide, &["n1", "n2", "n3"]);
        assert!(two.starts_with("nothing is lost") && two.contains("8 of 8 partitions have just"), "{two}");
        let directory = outlook("n1 1:n2,n3,n4", &["n2", "n3", "n4"]);
        assert!(directory.contains("the directory has no majority"), "{directory}");
    }
}
