//! Inner nodes: separators and children.

use super::{Change, Context, Fences, Node, Record, Split, below, common, head};

/// An inner node. Child `i` holds the keys from separator `i - 1`, inclusive, to separator `i`, exclusive.
#[derive(Debug)]
pub(super) struct Inner {
    /// How many bytes the separators have in common with each other and with every key that may come.
    prefix: usize,
    /// At the edges of the tree any key may come: the prefix that it has to be compared with first.
    guard: Option<Box<[u8]>>,
    /// Four bytes of each separator after the prefix.
    heads: Vec<u32>,
    separators: Vec<Box<[u8]>>,
    children: Vec<Node>,
}

impl Inner {
    fn with_capacity(fanout: usize) -> Self {
        Self {
            prefix: 0,
            guard: None,
            heads: Vec::with_capacity(fanout),
            separators: Vec::with_capacity(fanout),
            children: Vec::with_capacity(fanout + 1),
        }
    }

    /// A root over two nodes.
    pub(super) fn root(left: Node, separator: Box<[u8]>, right: Node, fanout: usize) -> Self {
        let mut root = Self::with_capacity(fanout);
        root.separators.push(separator);
        root.children.extend([left, right]);
        root.index((None, None));
        root
    }

    /// How many children there are.
    pub(super) fn len(&self) -> usize {
        self.children.len()
    }

    /// A child.
    pub(super) fn child(&self, index: usize) -> &Node {
        &self.children[index]
    }

    /// The only child, if there is only one.
    pub(super) fn take_only(&mut self) -> Option<Node> {
        if self.children.len() == 1 { self.children.pop() } else { None }
    }

    /// Computes prefix and heads anew, after any change of the separators or fences.
    fn index(&mut self, fences: Fences<'_>) {
        (self.prefix, self.guard) = match (fences, &*self.separators) {
            ((Some(low), Some(high)), _) => (common(low, high), None),
            (_, []) => (0, None),
            (_, [first, .., last]) => {
                let prefix = &first[..common(first, last)];
                (prefix.len(), Some(prefix.into()))
            }
            (_, [only]) => (only.len(), Some(only.clone())),
        };
        let prefix = self.prefix;
        self.heads.clear();
        self.heads.extend(self.separators.iter().map(|key| u32::from_be_bytes(head(key, prefix))));
    }

    /// The child that `key` belongs to: as many as there are separators up to the key.
    pub(super) fn find(&self, key: &[u8]) -> usize {
        if let Some(guard) = &self.guard {
            match key[..key.len().min(guard.len())].cmp(guard) {
                core::cmp::Ordering::Less => return 0,
                core::cmp::Ordering::Greater => return self.separators.len(),
                core::cmp::Ordering::Equal => {}
            }
        }
        let (low, high) = below(self.heads.iter().copied(), u32::from_be_bytes(head(key, self.prefix)));
        low + self.separators[low..high].partition_point(|separator| &**separator <= key)
    }

    /// Updates the record under `key` below here. Returns a new right neighbour if this node had to be cut.
    pub(super) fn update<'v, R>(
        &mut self,
        key: &[u8],
        fences: Fences<'_>,
        context: &mut Context,
        decide: impl FnOnce(Option<Record<'_>>) -> (Change<'v>, R),
    ) -> (R, Option<Split>) {
        let at = self.find(key);
        let below = Self::fences(&self.separators, at, at, fences);
        let (answer, split) = self.children[at].update(key, below, context, decide);
        if let Some((separator, right)) = split {
            self.separators.insert(at, separator);
            self.children.insert(at + 1, right);
            return (answer, self.split(fences, context.shape.fanout));
        }
        if context.shrunk && self.children[at].small(context.shape) {
            self.unite(at, fences, context);
        }
        (answer, None)
    }

    /// The fences of the children from `first` to `last` together.
    fn fences<'k>(separators: &'k [Box<[u8]>], first: usize, last: usize, fences: Fences<'k>) -> Fences<'k> {
        let low = first.checked_sub(1).map(|index| &*separators[index]);
        (low.or(fences.0), separators.get(last).map(|key| &**key).or(fences.1))
    }

    /// Computes the index after a child came, and cuts this node in two if it has too many.
    fn split(&mut self, fences: Fences<'_>, fanout: usize) -> Option<Split> {
        if self.children.len() <= fanout {
            self.index(fences);
            return None;
        }
        // As with leaves, a full node is left behind at the end of the tree.
        let cut = if fences.1.is_none() { self.children.len() - 1 } else { self.children.len() / 2 };
        let mut right = Self::with_capacity(fanout);
        right.children.extend(self.children.drain(cut..));
        right.separators.extend(self.separators.drain(cut..));
        let separator = self.separators.pop().expect("a cut node has two children or more");
        self.index((fences.0, Some(&separator)));
        right.index((Some(&separator), fences.1));
        Some((separator, Node::Inner(Box::new(right))))
    }

    /// Unites the child `at` with a neighbour, if they fit into one node with room to grow.
    fn unite(&mut self, at: usize, fences: Fences<'_>, context: &Context) {
        let shape = context.shape;
        let fits = |left: usize| match (self.children.get(left), self.children.get(left + 1)) {
            (Some(Node::Leaf(a)), Some(Node::Leaf(b))) => a.weight() + b.weight() <= shape.leaf / 4 * 3,
            (Some(Node::Inner(a)), Some(Node::Inner(b))) => a.len() + b.len() <= shape.fanout / 4 * 3,
            _ => false,
        };
        let Some(left) = [Some(at), at.checked_sub(1)].into_iter().flatten().find(|left| fits(*left)) else {
            return;
        };
        let right = self.children.remove(left + 1);
        let separator = self.separators.remove(left);
        match (&mut self.children[left], right) {
            (Node::Leaf(leaf), Node::Leaf(right)) => {
                leaf.absorb(right, Self::fences(&self.separators, left, left, fences), context.home);
            }
            (Node::Inner(inner), Node::Inner(mut right)) => {
                let seam = inner.len();
                inner.separators.push(separator);
                inner.separators.append(&mut right.separators);
                inner.children.append(&mut right.children);
                let below = Self::fences(&self.separators, left, left, fences);
                inner.index(below);
                // Small children that had no neighbour of their own kin have one now.
                for child in [seam, seam - 1] {
                    if inner.children[child].small(shape) {
                        inner.unite(child, below, context);
                    }
                }
            }
            _ => unreachable!("all children of a node are of one kind"),
        }
        self.index(fences);
    }
}
