//! What a run showed.

/// Spans of time, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<u64>);

impl Samples {
    pub(super) fn add(&mut self, span: u64) {
        self.0.push(span);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least span that so many percent do not exceed, in seconds; `None` of none.
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(at).map(|span| *span as f64 / 1e9)
    }
}

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Simulated seconds that were measured.
    pub seconds: f64,
    /// Nodes.
    pub nodes: usize,
    /// Crashes.
    pub crashes: u64,
    /// From each crash to each suspicion of it.
    pub suspected: Samples,
    /// From each crash to its first suspicion anywhere.
    pub first: Samples,
    /// From each crash to each node's belief that it is dead.
    pub dead: Samples,
    /// Crashed processes that some node did not suspect (failure detector) or did not believe to be dead (gossip)
    /// before the host returned.
    pub missed: u64,
    /// Suspicions of processes that lived, each at each node that came to it.
    pub false_suspicions: u64,
    /// Those of them in the last quarter of the run: after mistakes have taught what they can.
    pub late_suspicions: u64,
    /// Beliefs of death of processes that lived, each at each node that came to it.
    pub false_deaths: u64,
    /// The first few of them: when, in seconds, by which host, and about which.
    pub deaths: Vec<(f64, usize, usize)>,
    /// Cuts that the end that is not heard was told of, and the time until then.
    pub one_way: Samples,
    /// Words of a one-way cut where there was none: of a burst, say.
    pub false_one_way: u64,
    /// Conflicts of names or identities reported; there are none.
    pub conflicts: u64,
    /// Messages sent, by all nodes.
    pub messages: u64,
    /// Bytes sent, by all nodes, IP and UDP headers included.
    pub bytes: u64,
    /// Messages sent by the busiest node.
    pub busiest: u64,
    /// Seconds from the first start until all nodes knew all (gossip).
    pub converged: f64,
}

impl Outcome {
    /// Node-hours that were measured.
    pub fn node_hours(&self) -> f64 {
        self.nodes as f64 * self.seconds / 3_600.0
    }

    /// So many, per node-hour.
    pub fn per_node_hour(&self, count: u64) -> f64 {
        count as f64 / self.node_hours()
    }

    /// So many, per node and second.
    pub fn per_node_second(&self, count: u64) -> f64 {
        count as f64 / self.nodes as f64 / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile(50), None);
        (1..=20).rev().for_each(|second| samples.add(second * 1_000_000_000));
        assert_eq!(samples.percentile(50), Some(10.0));
        assert_eq!(samples.percentile(95), Some(19.0));
        assert_eq!((samples.percentile(100), samples.percentile(0)), (Some(20.0), Some(1.0)));
    }
}
