//! The images that a cluster runs: a list of digests, known on chain by a Merkle root that a Solidity contract can check.
//!
//! The tree is OpenZeppelin's `StandardMerkleTree` with the leaf type `["bytes32"]` (npm package
//! `@openzeppelin/merkle-tree`): a leaf is `keccak256(keccak256(abi.encode(digest)))`, and the encoding of one `bytes32`
//! is its 32 bytes; the double hash keeps a leaf from passing for a node. Leaves are sorted and stand at the end of one
//! array, last first; the parent of the entries `2 i + 1` and `2 i + 2` is the entry `i`, the Keccak-256 of the two, the
//! smaller one first. The root is the entry 0. `MerkleProof.verify` of OpenZeppelin's contracts accepts these proofs
//! with that leaf.
//!
//! Start with [`ImageTree`]; [`ImageClaim::leads_to`] is what a replica checks.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{ImageDigest, Keccak256};
use serde::{Deserialize, Serialize};
use sha3::Digest as _;

/// Most images of a list.
pub const MAX_IMAGES: usize = 65_536;
/// Most nodes of a proof: the depth of the largest tree.
pub const MAX_PROOF_NODES: usize = 17;
/// What the JavaScript library calls the form of the tree.
const FORMAT: &str = "standard-v1";
/// Its name of our leaves' only field.
const LEAF_TYPE: &str = "bytes32";

/// An image that a job names, and the proof that it is on the list: the siblings from its leaf up. Without a list in
/// force the proof is empty.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageClaim {
    /// The image.
    pub image: ImageDigest,
    /// The proof.
    pub proof: Vec<Keccak256>,
}

/// A list that makes no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// None, or too many.
    #[error("the list names {0} images, 1..={MAX_IMAGES} are accepted")]
    Size(usize),
    /// One twice.
    #[error("the list names image {0} twice; remove one of the lines")]
    Duplicate(ImageDigest),
    /// A line that is no image.
    #[error("line {line}: {reason}; write one `sha256:` digest a line")]
    BadLine {
        /// Which, counted from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

fn keccak(parts: &[&[u8]]) -> Keccak256 {
    let mut hasher = sha3::Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    Keccak256(hasher.finalize().into())
}

/// The leaf of an image.
pub fn leaf(image: &ImageDigest) -> Keccak256 {
    keccak(&[&keccak(&[&image.0]).0])
}

fn parent(a: &Keccak256, b: &Keccak256) -> Keccak256 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    keccak(&[&low.0, &high.0])
}

impl ImageClaim {
    /// Whether the proof leads from the image to this root.
    #[must_use]
    pub fn leads_to(&self, root: &Keccak256) -> bool {
        self.proof.len() <= MAX_PROOF_NODES
            && self.proof.iter().fold(leaf(&self.image), |node, sibling| parent(&node, sibling)) == *root
    }
}

/// The tree over a list of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTree {
    /// The images in the order in which they were given, with the place of each one's leaf.
    images: Vec<(ImageDigest, usize)>,
    nodes: Vec<Keccak256>,
}

impl ImageTree {
    /// The tree of these images; their order does not matter.
    ///
    /// # Errors
    /// [`ImageError`] if there are none, too many, or one twice.
    pub fn new(images: &[ImageDigest]) -> Result<Self, ImageError> {
        if images.is_empty() || images.len() > MAX_IMAGES {
            return Err(ImageError::Size(images.len()));
        }
        let mut leaves: Vec<(Keccak256, usize)> = images.iter().map(leaf).zip(0..).collect();
        leaves.sort_unstable();
        let equal = leaves.windows(2).find(|pair| pair.first().map(|l| l.0) == pair.last().map(|l| l.0));
        if let Some(image) = equal.and_then(|pair| images.get(pair.first()?.1)) {
            return Err(ImageError::Duplicate(*image));
        }
        // The inner nodes first, in which a parent comes before its children; then the leaves, the largest first.
        let inner = images.len().saturating_sub(1);
        let mut nodes = vec![Keccak256::default(); inner];
        nodes.extend(leaves.iter().rev().map(|(hash, _)| *hash));
        for at in (0..inner).rev() {
            if let (Some(a), Some(b)) = (nodes.get(2 * at + 1).copied(), nodes.get(2 * at + 2).copied())
                && let Some(node) = nodes.get_mut(at)
            {
                *node = parent(&a, &b);
            }
        }
        let mut placed: Vec<(ImageDigest, usize)> = images.iter().map(|image| (*image, 0)).collect();
        for (rank, (_, original)) in leaves.iter().rev().enumerate() {
            if let Some(entry) = placed.get_mut(*original) {
                entry.1 = inner.saturating_add(rank);
            }
        }
        Ok(Self { images: placed, nodes })
    }

    /// The tree of a text with one digest a line, `sha256:` or `0x` before it; empty lines and what follows a `#` do
    /// not count.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let mut images = Vec::new();
        for (line, content) in text.lines().enumerate() {
            let content = content.split('#').next().unwrap_or_default().trim();
            if !content.is_empty() {
                let line = line.saturating_add(1);
                images.push(parse_image(content).map_err(|reason| ImageError::BadLine { line, reason })?);
            }
        }
        Self::new(&images)
    }

    /// The root.
    pub fn root(&self) -> Keccak256 {
        self.nodes.first().copied().unwrap_or_default()
    }

    /// The proof of an image; `None` if it is not on the list.
    pub fn claim(&self, image: &ImageDigest) -> Option<ImageClaim> {
        let mut at = self.images.iter().find(|(other, _)| other == image)?.1;
        let mut proof = Vec::new();
        while at > 0 {
            let sibling = if at % 2 == 1 { at.saturating_add(1) } else { at.saturating_sub(1) };
            proof.push(*self.nodes.get(sibling)?);
            at = at.saturating_sub(1) / 2;
        }
        Some(ImageClaim { image: *image, proof })
    }

    /// The tree as `StandardMerkleTree.load` of the JavaScript library reads it.
    pub fn dump(&self) -> serde_json::Value {
        let values: Vec<serde_json::Value> = self
            .images
            .iter()
            .map(|(image, place)| serde_json::json!({ "value": [image], "treeIndex": place }))
            .collect();
        serde_json::json!({ "format": FORMAT, "leafEncoding": [LEAF_TYPE], "tree": self.nodes, "values": values })
    }
}

/// An image's digest from `sha256:` and hexadecimal digits, or `0x` and the same.
///
/// # Errors
/// A text that says what is wrong.
pub fn parse_image(text: &str) -> Result<ImageDigest, String> {
    text.strip_prefix("sha256:").unwrap_or(text).parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    struct Vectors {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        images: Vec<ImageDigest>,
        root: Keccak256,
        tree: Vec<Keccak256>,
        indices: Vec<usize>,
        proofs: BTreeMap<String, Vec<Keccak256>>,
        format: String,
        leaf_encoding: Vec<String>,
    }

    fn vectors() -> Vec<Case> {
        let text = include_str!("../tests/openzeppelin.json");
        serde_json::from_str::<Vectors>(text).expect("the vectors are committed").cases
    }

    #[test]
    fn trees_and_proofs_are_those_of_the_javascript_library() {
        let cases = vectors();
        assert!(cases.len() >= 8);
        for case in cases {
            let tree = ImageTree::new(&case.images).expect("a list without repetition");
            assert_eq!((tree.root(), &tree.nodes), (case.root, &case.tree));
            assert_eq!(tree.images.iter().map(|(_, at)| *at).collect::<Vec<_>>(), case.indices);
            assert_eq!((FORMAT, vec![LEAF_TYPE.to_owned()]), (case.format.as_str(), case.leaf_encoding));
            assert!(!case.proofs.is_empty());
            for (image, proof) in case.proofs {
                let image = image.parse().expect("an image");
                let claim = tree.claim(&image).expect("it is on the list");
                assert_eq!(claim.proof, proof);
                assert!(claim.leads_to(&case.root));
            }
            let dump = tree.dump();
            assert_eq!(dump["tree"][0], serde_json::json!(case.root));
            assert_eq!(dump["values"][0]["value"][0], serde_json::json!(case.images[0]));
        }
    }

    #[test]
    fn nothing_but_a_listed_image_leads_to_the_root() {
        for case in vectors() {
            let tree = ImageTree::new(&case.images).expect("a list");
            let stranger = ImageDigest([0xee; 32]);
            assert_eq!(tree.claim(&stranger), None);
            let claim = tree.claim(&case.images[0]).expect("it is listed");
            assert!(!ImageClaim { image: stranger, ..claim.clone() }.leads_to(&case.root));
            // A node does not pass for a leaf, a longer or shorter path not for the path.
            if let Some(node) = case.tree.get(1).filter(|_| case.images.len() > 2) {
                let inner = ImageClaim { image: ImageDigest(node.0), proof: vec![case.tree[2]] };
                assert!(!inner.leads_to(&case.root));
            }
            let mut longer = claim.clone();
            longer.proof.push(Keccak256([1; 32]));
            assert!(!longer.leads_to(&case.root));
            let mut shorter = claim.clone();
            if shorter.proof.pop().is_some() {
                assert!(!shorter.leads_to(&case.root));
            }
            let endless = ImageClaim { proof: vec![Keccak256::default(); MAX_PROOF_NODES + 1], ..claim };
            assert!(!endless.leads_to(&case.root));
        }
    }

    #[test]
    fn a_list_says_which_line_is_wrong() {
        let hex = "11".repeat(32);
        let text = format!("# our images\nsha256:{hex}  # web\n\n0x{}\n", "22".repeat(32));
        let tree = ImageTree::parse(&text).expect("two images");
        assert_eq!(tree.images.len(), 2);
        assert!(tree.claim(&ImageDigest([0x22; 32])).is_some());
        let error = ImageTree::parse(&format!("sha256:{hex}\nlatest\n")).expect_err("a tag is no digest");
        assert!(error.to_string().contains("line 2"), "{error}");
        let twice = ImageTree::parse(&format!("sha256:{hex}\n0x{hex}\n"));
        assert_eq!(twice, Err(ImageError::Duplicate(ImageDigest([0x11; 32]))));
        assert_eq!(ImageTree::parse("# nothing\n"), Err(ImageError::Size(0)));
    }
}
