//! An ordered map of byte keys to versioned values that costs little more memory than what it holds.
//!
//! A B+tree whose leaves are packed: the records of a leaf lie one after another in a single buffer that is
//! only as large as they need, so a small record has no allocation, no pointer and no allocator header of its
//! own. Beside the buffer stands one slot per record, in the order of keys, with four bytes of its key (after the
//! prefix that all keys between the leaf's fences share), so that a search touches one or two records only.
//! Records too large to be packed stand alone in a [`Bytes`], which readers share instead of copying.
//!
//! What the tree holds depends on the changes made; its shape may depend on their order, and never shows.

mod inner;
mod iter;
mod leaf;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use haystack_wire::ids::{GroupId, Version};

use inner::Inner;
use leaf::Leaf;

pub(super) use iter::Iter;

/// A record as it lies in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// The key.
    pub(super) key: &'a [u8],
    /// The value.
    pub(super) value: &'a [u8],
    /// Where it was written.
    pub(super) version: Version,
    /// Key and value in one, if the record stands alone.
    whole: Option<&'a Bytes>,
}

impl Record<'_> {
    /// The value as a value of its own: shared if the record stands alone, else copied.
    pub(super) fn share(&self) -> Bytes {
        match self.whole {
            Some(whole) => whole.slice(self.key.len()..),
            None => Bytes::copy_from_slice(self.value),
        }
    }

    /// The key as a value of its own, as [`Self::share`] gives the value.
    pub(super) fn share_key(&self) -> Bytes {
        match self.whole {
            Some(whole) => whole.slice(..self.key.len()),
            None => Bytes::copy_from_slice(self.key),
        }
    }

    /// Bytes of key and value if they are packed with others, 0 if the record stands alone.
    pub(super) const fn packed_size(&self) -> usize {
        if self.whole.is_some() { 0 } else { self.size() }
    }

    /// Bytes of key and value.
    pub(super) const fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// What to do with the record under a key.
pub(super) enum Change<'v> {
    /// Leave it, or its absence.
    Keep,
    /// Set it.
    Put(Version, Contents<'v>),
    /// Remove it, if it is there.
    Remove,
}

/// A value on its way into the tree.
pub(super) enum Contents<'v> {
    /// The value, to be copied.
    Copy(&'v [u8]),
    /// Key and value in one, of a record that stood alone in another tree, to be shared.
    Whole(Bytes),
}

impl<'v> Contents<'v> {
    /// Bytes of `key` and value together.
    fn size(&self, key: &[u8]) -> usize {
        match self {
            Self::Copy(value) => key.len() + value.len(),
            Self::Whole(whole) => whole.len(),
        }
    }

    /// The contents of a record of another tree.
    pub(super) fn of(record: &Record<'v>) -> Self {
        match record.whole {
            Some(whole) => Self::Whole(whole.clone()),
            None => Self::Copy(record.value),
        }
    }
}

/// Sizes of nodes. Tests make them tiny, to reach every branch with few keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// A leaf is split when its records take more than so many bytes; a record over a quarter stands alone.
    pub(super) leaf: usize,
    /// An inner node is split when it has more children than this.
    pub(super) fanout: usize,
}

impl Shape {
    /// Measured with 1M records of 16 B keys and 100 B values that came in random order (`examples/store_figures.rs`):
    /// leaves of 4 KiB take 5 % more memory, and no less time.
    pub(super) const DEFAULT: Self = Self { leaf: 8192, fanout: 64 };

    /// Largest record (with its header) that is packed into a leaf.
    const fn packed(&self) -> usize {
        self.leaf / 4
    }
}

/// The map.
#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
    context: Context,
}

/// What all nodes need to know and keep in common.
#[derive(Debug)]
struct Context {
    /// Versions of this group need no group in the record.
    home: GroupId,
    shape: Shape,
    len: u64,
    bytes: u64,
    /// Whether the change under way made a leaf smaller.
    shrunk: bool,
    /// Buffer for compaction, reused.
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Inner(Box<Inner>),
}

/// A node's new right neighbour, and the least key that belongs there.
type Split = (Box<[u8]>, Node);

/// Keys between which a node's keys lie: from the first, inclusive, to the second, exclusive.
type Fences<'k> = (Option<&'k [u8]>, Option<&'k [u8]>);

impl Tree {
    /// An empty map for a group whose own versions are the common ones.
    pub(super) fn new(home: GroupId, shape: Shape) -> Self {
        let context = Context { home, shape, len: 0, bytes: 0, shrunk: false, scratch: Vec::new() };
        Self { root: Node::Leaf(Leaf::default()), context }
    }

    /// How many records there are.
    pub(super) const fn len(&self) -> u64 {
        self.context.len
    }

    /// Bytes of all keys and values.
    pub(super) const fn bytes(&self) -> u64 {
        self.context.bytes
    }

    /// The record under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<Record<'_>> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(inner) => node = inner.child(inner.find(key)),
                Node::Leaf(leaf) => {
                    let index = leaf.find(key, self.context.home).ok()?;
                    return Some(leaf.record(index, self.context.home));
                }
            }
        }
    }

    /// Shows the record under `key` to `decide` and does what it says, in one descent.
    pub(super) fn update<'v, R>(
        &mut self,
        key: &[u8],
        decide: impl FnOnce(Option<Record<'_>>) -> (Change<'v>, R),
    ) -> R {
        let context = &mut self.context;
        context.shrunk = false;
        let (answer, split) = self.root.update(key, (None, None), context, decide);
        if let Some((separator, right)) = split {
            let left = core::mem::replace(&mut self.root, Node::Leaf(Leaf::default()));
            self.root = Node::Inner(Box::new(Inner::root(left, separator, right, context.shape.fanout)));
        } else if context.shrunk {
            self.root.collapse();
        }
        answer
    }

    /// Sets the record under `key`.
    pub(super) fn put(&mut self, key: &[u8], version: Version, contents: Contents<'_>) {
        self.update(key, |_| (Change::Put(version, contents), ()));
    }

    /// The records after `after`, or all of them, in the order of keys.
    pub(super) fn iter(&self, after: Option<&[u8]>) -> Iter<'_> {
        Iter::new(&self.root, after, self.context.home)
    }
}

impl Node {
    fn update<'v, R>(
        &mut self,
        key: &[u8],
        fences: Fences<'_>,
        context: &mut Context,
        decide: impl FnOnce(Option<Record<'_>>) -> (Change<'v>, R),
    ) -> (R, Option<Split>) {
        match self {
            Self::Leaf(leaf) => {
                let answer = leaf.update(key, context, decide);
                (answer, leaf.split(fences, context).map(|(key, right)| (key, Self::Leaf(right))))
            }
            Self::Inner(inner) => inner.update(key, fences, context, decide),
        }
    }

    /// Replaces an inner root that has a single child by that child.
    fn collapse(&mut self) {
        while let Self::Inner(inner) = self
            && let Some(only) = inner.take_only()
        {
            *self = only;
        }
    }

    /// Whether the node is so small that it should be united with a neighbour.
    fn small(&self, shape: Shape) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.weight() < shape.leaf / 4,
            Self::Inner(inner) => inner.len() <= shape.fanout / 4,
        }
    }
}

/// Up to `N` bytes of `key` after `skip` bytes, zeros where it is shorter: of two keys that agree in the first
/// `skip` bytes, the smaller never has the larger head.
fn head<const N: usize>(key: &[u8], skip: usize) -> [u8; N] {
    let rest = key.get(skip..).unwrap_or_default();
    match rest.first_chunk() {
        Some(head) => *head,
        None => {
            let mut head = [0; N];
            head[..rest.len()].copy_from_slice(rest);
            head
        }
    }
}

/// Where a key with this head may be among sorted heads: those before are below it, those from the second on above.
/// All heads are looked at, without a branch, which is faster than a search for as few as a node has.
fn below(heads: impl Iterator<Item = u32>, head: u32) -> (usize, usize) {
    let (low, high) = heads.fold((0u32, 0u32), |(low, high), other| {
        (low + u32::from(other < head), high + u32::from(other <= head))
    });
    (low as usize, high as usize)
}

/// Length of the longest common prefix.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
