//! The last word of a clean stop: what it leaves of the data.

use haystack_core::node::Outlook;
use haystack_wire::ids::GroupId;

/// Most partitions that are named one by one.
const NAMED: usize = 8;

/// What to warn of, if a stop is not as good as none. `alone`: the cluster had no other daemon.
pub(crate) fn sentence(alone: bool, groups: &[(GroupId, Outlook)]) -> Option<String> {
    if alone {
        return Some(
            "stopped. This was the only daemon of the cluster: what it stored is gone with it".to_owned(),
        );
    }
    let those = |wanted: Outlook| {
        groups.iter().filter(move |(_, outlook)| *outlook == wanted).map(|(id, _)| *id).collect::<Vec<_>>()
    };
    let (lost, last) = (those(Outlook::Lost), those(Outlook::LastMajority));
    let all = groups.len();
    if lost.is_empty() && last.is_empty() {
        return None;
    }
    let mut said = "stopped.".to_owned();
    if !lost.is_empty() {
        said += &format!(
            " DATA IS LOST WITH THIS STOP: no majority is left of {}, as far as this daemon sees, so that nothing \
             stored there can be read or written any more. To go on without it, stop the daemons that are left, \
             start all again and give the old data up: `haystackctl found --abandon-old-data`.",
            which(&lost, all)
        );
    }
    if !last.is_empty() {
        said += &format!(
            " ONE MORE STOP WOULD LOSE DATA: just a majority is left of {}. Keep the other daemons running: this \
             version cannot give the place of this one to a new process yet.",
            which(&last, all)
        );
    }
    said.pop();
    Some(said)
}

/// Groups in words: group 0 is the directory, the others are partitions.
fn which(groups: &[GroupId], all: usize) -> String {
    let name = |group: &GroupId| match *group {
        GroupId::DIRECTORY => "the directory".to_owned(),
        partition => format!("partition {partition}"),
    };
    if groups.len() == all && all > 1 {
        return "all partitions that it had a part in".to_owned();
    }
    if groups.len() <= NAMED {
        return groups.iter().map(name).collect::<Vec<_>>().join(", ");
    }
    format!("{} of {all} partitions that it had a part in", groups.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(outlooks: &[Outlook]) -> String {
        let groups: Vec<_> = (0..).map(GroupId).zip(outlooks.iter().copied()).collect();
        sentence(false, &groups).unwrap_or_default()
    }

    #[test]
    fn a_stop_that_costs_nothing_is_not_warned_of() {
        assert_eq!(said(&[Outlook::Fine, Outlook::Fine]), "");
        assert!(sentence(true, &[]).unwrap().contains("the only daemon"));
    }

    #[test]
    fn the_loss_is_told_when_it_happens_and_before_it_would() {
        let last = said(&[Outlook::Fine, Outlook::LastMajority]);
        assert!(
            last.contains("ONE MORE STOP WOULD LOSE DATA: just a majority is left of partition 1."),
            "{last}"
        );
        assert!(!last.contains("DATA IS LOST"), "{last}");
        let lost = said(&[Outlook::Lost, Outlook::Lost]);
        assert!(
            lost.contains("DATA IS LOST WITH THIS STOP: no majority is left of all partitions"),
            "{lost}"
        );
        assert!(lost.contains("--abandon-old-data`") && !lost.contains("ONE MORE STOP"), "{lost}");
        let both = said(&[Outlook::Lost, Outlook::LastMajority, Outlook::Fine]);
        assert!(both.contains("of the directory, as") && both.contains("left of partition 1."), "{both}");
        let many = said(&[[Outlook::Lost; 9].as_slice(), &[Outlook::Fine]].concat());
        assert!(many.contains("no majority is left of 9 of 10 partitions"), "{many}");
    }
}
