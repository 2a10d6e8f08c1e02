//! Walking over records in the order of keys.

use haystack_wire::ids::GroupId;

use super::inner::Inner;
use super::leaf::Leaf;
use super::{Node, Record};

/// The records after some key, in the order of keys.
#[derive(Debug)]
pub(in crate::store) struct Iter<'a> {
    home: GroupId,
    /// Inner nodes on the way down, each with the child to go to next.
    path: Vec<(&'a Inner, usize)>,
    leaf: &'a Leaf,
    next: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(root: &'a Node, after: Option<&[u8]>, home: GroupId) -> Self {
        let mut path = Vec::new();
        let mut node = root;
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Inner(inner) => {
                    let at = after.map_or(0, |key| inner.find(key));
                    path.push((&**inner, at + 1));
                    node = inner.child(at);
                }
            }
        };
        let next = after.map_or(0, |key| match leaf.find(key, home) {
            Ok(found) => found + 1,
            Err(next) => next,
        });
        Self { home, path, leaf, next }
    }

    /// Goes to the next leaf, if there is one.
    fn advance(&mut self) -> Option<()> {
        let (inner, at) = loop {
            let (inner, at) = self.path.pop()?;
            if at < inner.len() {
                break (inner, at);
            }
        };
        self.path.push((inner, at + 1));
        let mut node = inner.child(at);
        loop {
            match node {
                Node::Leaf(leaf) => {
                    (self.leaf, self.next) = (leaf, 0);
                    return Some(());
                }
                Node::Inner(inner) => {
                    self.path.push((&**inner, 1));
                    node = inner.child(0);
                }
            }
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        // A leaf may be empty where its neighbours have no room for a union.
        while self.next >= self.leaf.len() {
            self.advance()?;
        }
        self.next += 1;
        Some(self.leaf.record(self.next - 1, self.home))
    }
}
