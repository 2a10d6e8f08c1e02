//! Who is there, and who can be reached: the failure detector among nodes that share a group.

pub mod detector;
