//! Merkle trees as in RFC 6962 section 2.1: used for plans (leaves are targets) and for the ledger (leaves are
//! entries), so that one subset can be approved or proven without the rest.

use crate::canonical::{Digest, Hasher};

/// The hash of a leaf with this content.
pub fn leaf_hash(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[0]);
    hasher.update(content);
    hasher.finish()
}

/// The hash of the node above these two.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[1]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    hasher.finish()
}

/// The root over these leaf hashes, in their order; of none, the hash of nothing. O(n).
pub fn root(leaves: &[Digest]) -> Digest {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// The right edge of a growing tree: all that is needed to append and to give the root. O(log n) memory, amortised
/// O(1) append.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees, largest first: one for each bit set in `size`.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves with these perfect subtrees, largest first; `None` if their number does not fit.
    pub fn from_peaks(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (usize::try_from(size.count_ones()).ok()? == peaks.len()).then_some(Self { size, peaks })
    }

    /// The number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The perfect subtrees, largest first.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root of the tree as it stands.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Hasher::new().finish() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The audit path for leaf `index` in the tree over `leaves` (RFC 6962 section 2.1.1); `None` if there is no such leaf.
pub fn inclusion_proof(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut part, mut at) = (leaves, index);
    while part.len() > 1 {
        let (left, right) = part.split_at(split(part.len()));
        if at < left.len() {
            path.push(root(right));
            part = left;
        } else {
            path.push(root(left));
            at -= left.len();
            part = right;
        }
    }
    path.reverse();
    Some(path)
}

/// Whether `path` proves that `leaf` stands at `index` in the tree of `size` leaves with this root
/// (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest], expected: &Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut at, mut last) = (*leaf, index, size - 1);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            node = node_hash(sibling, &node);
            if at & 1 == 0 {
                while at & 1 == 0 && at != 0 {
                    at >>= 1;
                    last >>= 1;
                }
            }
        } else {
            node = node_hash(&node, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && node == *expected
}

/// The largest power of two below `n`, for `n` of at least 2.
const fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(n: usize) -> Vec<Digest> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn roots_agree_with_the_published_vectors() {
        // RFC 6962 test vectors as used by certificate-transparency: leaves "", 00, 10.
        assert_eq!(root(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let three = [leaf_hash(b""), leaf_hash(&[0]), leaf_hash(&[0x10])];
        assert_eq!(three[0].to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(root(&three[..2]).to_string(), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(root(&three).to_string(), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
    }

    proptest! {
        #[test]
        fn every_leaf_is_proven_and_no_other(n in 1usize..70, pick: proptest::sample::Index, other: u64) {
            let all = leaves(n);
            let index = pick.index(n);
            let path = inclusion_proof(&all, index).unwrap();
            let top = root(&all);
            prop_assert!(verify_inclusion(&all[index], index as u64, n as u64, &path, &top));
            prop_assert!(!verify_inclusion(&leaf_hash(&other.to_le_bytes()), index as u64, n as u64, &path, &top));
            for wrong in 0..n as u64 + 2 {
                prop_assert_eq!(verify_inclusion(&all[index], wrong, n as u64, &path, &top), wrong == index as u64);
            }
        }

        #[test]
        fn the_frontier_survives_being_stored(n in 0usize..70) {
            let mut frontier = Frontier::new();
            for leaf in leaves(n) { frontier.push(leaf); }
            let back = Frontier::from_peaks(frontier.size(), frontier.peaks().to_vec()).unwrap();
            prop_assert_eq!(back.root(), root(&leaves(n)));
        }
    }
}
