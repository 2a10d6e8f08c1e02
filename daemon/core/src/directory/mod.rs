//! The directory: how a cluster comes to be, and who serves what in it.

pub mod coordinator;
#[cfg(test)]
mod fixture;
pub mod founding;
pub mod life;
pub mod machine;
pub mod placement;
