//! What nodes are called on a command line: their name in the localnet, their id, or how that begins.

use eyre::{Result, bail};
use parallax_localnet::Plan;
use parallax_localnet::localnet::DEFAULT_DIR;
use parallax_primitives::{ChainContext, NodeId};
use std::collections::BTreeMap;
use std::path::Path;

/// The fewest digits of an id that stand for a node.
const LEAST_DIGITS: usize = 4;

/// Names of nodes, where a localnet has them.
pub(super) struct Names(BTreeMap<NodeId, String>);

impl Names {
    /// Those of the localnet in the default directory, if this is its chain.
    pub(super) fn of(chain: ChainContext) -> Self {
        let plan = Plan::load(Path::new(DEFAULT_DIR)).ok().flatten().filter(|plan| plan.chain == chain);
        Self(plan.map(|p| p.nodes.into_iter().map(|n| (n.node, n.name)).collect()).unwrap_or_default())
    }

    /// Names that a test gives.
    #[cfg(test)]
    pub(super) fn given(names: BTreeMap<NodeId, String>) -> Self {
        Self(names)
    }

    /// A node's name, or its id.
    pub(super) fn name(&self, node: &NodeId) -> String {
        self.0.get(node).cloned().unwrap_or_else(|| node.to_string())
    }

    /// The names of several, for people.
    pub(super) fn list(&self, nodes: &[NodeId]) -> String {
        nodes.iter().map(|n| self.name(n)).collect::<Vec<_>>().join(", ")
    }

    /// A text in which nodes have their names.
    pub(super) fn named(&self, text: &str) -> String {
        let name = self.0.iter().find(|(node, _)| node.to_string() == text);
        name.map_or_else(|| text.to_owned(), |(_, name)| name.clone())
    }

    /// The node among these that a text means. `which` says what they have in common, for the error.
    ///
    /// # Errors
    /// If it means none or may mean several of them.
    pub(super) fn find(&self, text: &str, nodes: &[NodeId], which: &str) -> Result<NodeId> {
        let means = |node: &&NodeId| {
            let (id, wanted) = (node.to_string(), text.trim_start_matches("0x"));
            self.name(node) == text || (wanted.len() >= LEAST_DIGITS && id.trim_start_matches("0x").starts_with(wanted))
        };
        let found: Vec<NodeId> = nodes.iter().filter(means).copied().collect();
        match found[..] {
            [one] => Ok(one),
            [] => bail!("no node {text} {which}; there are {}", self.list(nodes)),
            _ => bail!("{text} may be {}; give more digits", self.list(&found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::PublicKey;

    fn node(first: u8, second: u8) -> NodeId {
        let mut key = [0; 32];
        (key[0], key[1], key[2]) = (0xab, first, second);
        PublicKey(key)
    }

    #[test]
    fn a_node_is_meant_by_its_name_its_id_or_four_digits_of_it() {
        let nodes = [node(1, 0), node(2, 1), node(2, 2)];
        let names = Names(BTreeMap::from([(nodes[0], "compute-0".to_owned())]));
        let find = |text: &str| names.find(text, &nodes, "is registered").map_err(|e| e.to_string());
        assert_eq!(find("compute-0"), Ok(nodes[0]));
        assert_eq!(find(&nodes[1].to_string()), Ok(nodes[1]));
        assert_eq!((find("ab01"), find("0xab0201")), (Ok(nodes[0]), Ok(nodes[1])));
        let several = find("0xab02").unwrap_err();
        assert!(several.contains(&names.list(&nodes[1..])) && several.contains("more digits"), "{several}");
        assert!(!several.contains("compute-0"), "what it cannot mean is not offered: {several}");
        for none in ["compute-1", "ab0", "", "0xabff"] {
            let error = find(none).unwrap_err();
            assert!(
                error.starts_with(&format!("no node {none} is registered; there are compute-0, 0xab02")),
                "{error}"
            );
        }
    }
}
