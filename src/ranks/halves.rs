//! How a batch is halved: into the shares of the ranks, and on into the leaves of the tree that sums over its images.
//!
//! The tree depends on the number of images alone. Each rank has all that is below one of its nodes, so that the sums, which
//! are taken from the leaves up, are the same whatever the number of ranks: only where they are taken differs.

use std::ops::Range;

/// Images of a leaf at most, in a batch that has more than as many for each of the least leaves: a sum over fewer would be stored
/// too often.
const LEAF_IMAGES: usize = 8;

/// Halvings at least, so that eight ranks can share a batch of any size, and threads a small one.
const LEAST_DEPTH: u32 = 3;

/// A node of the tree, for whoever goes through those of its depth in order, with a stack of sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Not none.
    pub images: Range<usize>,
    /// How often, when its sum lies on top of the stack, the upper two are added.
    pub merges: usize,
}

/// The images of a rank, and how often they are halved on to the leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub images: Range<usize>,
    pub depth: u32,
}

/// How often a batch is halved to its leaves.
fn depth(images: usize) -> u32 {
    images.div_ceil(LEAF_IMAGES).next_power_of_two().ilog2().max(LEAST_DEPTH)
}

/// The first half has one more, where they cannot be equal.
pub fn halved(Range { start, end }: Range<usize>) -> [Range<usize>; 2] {
    let middle = start + (end - start).div_ceil(2);
    [start..middle, middle..end]
}

impl Share {
    /// The share of `rank` of `ranks`, a power of two. Of more ranks than leaves only some have images.
    pub fn of(batch: usize, rank: usize, ranks: usize) -> Self {
        debug_assert!(ranks.is_power_of_two() && rank < ranks, "rank {rank} of {ranks}");
        let (mut images, mut depth) = (0..batch, depth(batch));
        for level in (0..ranks.ilog2()).rev() {
            let is_second = rank >> level & 1 == 1;
            images = match depth {
                0 if is_second => images.end..images.end,
                0 => images,
                _ => {
                    depth -= 1;
                    let [first, second] = halved(images);
                    if is_second { second } else { first }
                }
            };
        }
        Self { images, depth }
    }

    /// Of a batch that one process has for itself.
    pub fn whole(batch: usize) -> Self {
        Self::of(batch, 0, 1)
    }
}

/// The nodes that have images, `depth` below the one of `images`.
pub fn nodes(images: Range<usize>, depth: u32) -> Vec<Node> {
    fn add(nodes: &mut Vec<Node>, images: Range<usize>, depth: u32) {
        if images.is_empty() {
            return;
        }
        if depth == 0 {
            nodes.push(Node { images, merges: 0 });
            return;
        }
        let [first, second] = halved(images);
        let merges = usize::from(!second.is_empty());
        add(nodes, first, depth - 1);
        add(nodes, second, depth - 1);
        if let Some(last) = nodes.last_mut() {
            last.merges += merges;
        }
    }
    let mut found = vec![];
    add(&mut found, images, depth);
    found
}

/// The most sums that lie on the stack of whoever goes through nodes with so many merges.
pub fn stack_height(merges: impl Iterator<Item = usize>) -> usize {
    let mut height = 0;
    let heights = merges.map(|merges| {
        height += 1;
        let before = height;
        height -= merges;
        before
    });
    heights.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sum as a formula, from the leaves of some nodes.
    fn formula(leaves: impl Iterator<Item = (String, usize)>) -> Vec<String> {
        let mut stack = vec![];
        for (leaf, merges) in leaves {
            stack.push(leaf);
            for _ in 0..merges {
                let (second, first) = (stack.pop().unwrap(), stack.pop().unwrap());
                stack.push(format!("({first}+{second})"));
            }
        }
        stack
    }

    fn of_nodes(images: Range<usize>, depth: u32) -> Option<String> {
        let nodes = nodes(images, depth).into_iter();
        let mut stack = formula(nodes.map(|node| (format!("{:?}", node.images), node.merges)));
        assert!(stack.len() <= 1, "{stack:?}");
        stack.pop()
    }

    #[test]
    fn the_tree_of_the_studys_batch() {
        assert_eq!(Share::whole(64), Share { images: 0..64, depth: 3 });
        assert_eq!(Share::whole(512).depth, 6);
        assert_eq!(Share::of(64, 1, 2), Share { images: 32..64, depth: 2 });
        assert_eq!(Share::of(50, 3, 4), Share { images: 38..50, depth: 1 });
        assert_eq!(of_nodes(0..4, 2).as_deref(), Some("((0..1+1..2)+(2..3+3..4))"));
        assert_eq!(of_nodes(0..3, 3).as_deref(), Some("((0..1+1..2)+2..3)"));
        assert_eq!(stack_height(nodes(0..64, 3).iter().map(|node| node.merges)), 4);
        // More ranks than leaves.
        let shares: Vec<usize> = (0..16).map(|rank| Share::of(64, rank, 16).images.len()).collect();
        assert_eq!(shares, [8, 0].repeat(8));
    }

    proptest! {
        #[test]
        fn the_sum_is_the_same_whatever_the_number_of_ranks(batch in 1..700usize, ranks in 0..6u32) {
            let ranks = 1 << ranks;
            let whole = Share::whole(batch);
            let mut sums: Vec<Option<String>> = vec![];
            let mut next = 0;
            for rank in 0..ranks {
                let share = Share::of(batch, rank, ranks);
                prop_assert!(share.images.is_empty() || share.images.start == next);
                next = next.max(share.images.end);
                sums.push(of_nodes(share.images, share.depth));
            }
            prop_assert_eq!(next, batch);
            // As the ranks add, neighbours first.
            while sums.len() > 1 {
                sums = sums.chunks(2).map(|pair| match (&pair[0], &pair[1]) {
                    (Some(first), Some(second)) => Some(format!("({first}+{second})")),
                    (first, second) => first.clone().or(second.clone()),
                }).collect();
            }
            prop_assert_eq!(&sums[0], &of_nodes(whole.images, whole.depth));
        }

        #[test]
        fn nodes_of_any_depth_lead_to_the_same_leaves(batch in 1..300usize, first in 0..4u32) {
            let Share { images, depth } = Share::whole(batch);
            let first = first.min(depth);
            let inner = nodes(images.clone(), first).into_iter();
            let sums = inner.map(|node| (of_nodes(node.images, depth - first).unwrap(), node.merges));
            prop_assert_eq!(formula(sums).pop(), of_nodes(images, depth));
        }
    }
}
