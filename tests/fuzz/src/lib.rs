//! What the fuzz targets do with their input. No libFuzzer here: the workspace's tests include these modules and
//! run the seeds through them.

pub mod core;
pub mod link;
pub mod node;
pub mod wire;
