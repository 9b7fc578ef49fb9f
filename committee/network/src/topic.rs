//! What is gossiped, and under which name.

use crate::limits;
use libp2p::gossipsub::IdentTopic;
use parallax_primitives::{ChainContext, ParaTimeId};
use std::fmt;

/// A gossip topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Consensus transactions, for every validator.
    ConsensusTx,
    /// Transactions of a ParaTime, for its committee.
    ParaTimeTx(ParaTimeId),
    /// Signed proposals of a ParaTime's schedulers, for its committee.
    Proposal(ParaTimeId),
}

impl Topic {
    /// Its name on the wire; holds the chain context, so chains never mix.
    pub fn name(&self, chain: &ChainContext) -> String {
        match self {
            Self::ConsensusTx => format!("/parallax/{chain}/consensus-tx/1"),
            Self::ParaTimeTx(id) => format!("/parallax/{chain}/paratime-tx/{id}/1"),
            Self::Proposal(id) => format!("/parallax/{chain}/proposal/{id}/1"),
        }
    }

    /// The largest message that it carries, in bytes.
    pub fn max_bytes(&self) -> usize {
        match self {
            Self::ConsensusTx => limits::MAX_CONSENSUS_TX_MESSAGE,
            Self::ParaTimeTx(_) => limits::MAX_PARATIME_TX_MESSAGE,
            Self::Proposal(_) => limits::MAX_PROPOSAL_MESSAGE,
        }
    }

    pub(crate) fn ident(&self, chain: &ChainContext) -> IdentTopic {
        IdentTopic::new(self.name(chain))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsensusTx => f.write_str("consensus-tx"),
            Self::ParaTimeTx(id) => write!(f, "paratime-tx {}", id.short()),
            Self::Proposal(id) => write!(f, "proposal {}", id.short()),
        }
    }
}
