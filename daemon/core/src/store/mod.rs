//! store
#![allow(dead_code)]
mod tree;
