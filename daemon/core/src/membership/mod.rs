//! Who is there: gossip for everybody (SWIM), and below it a fast detector between nodes that share a group.

pub mod detector;
pub mod swim;
