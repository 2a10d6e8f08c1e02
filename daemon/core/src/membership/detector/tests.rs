//! Detectors over a matrix of links, in virtual time.

mod accuracy;
mod completeness;
mod rules;
mod world;
