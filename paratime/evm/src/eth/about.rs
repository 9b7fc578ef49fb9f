//! What a chain says of itself to tools that were made for Hardhat and Anvil.

use super::{Answer, CLIENT, Question, quantity};
use crate::state;
use revm::primitives::B256;
use serde_json::{Value as Json, json};

impl Question<'_> {
    /// What Hardhat's helpers ask to see whether they talk to a node that is made for development. The instance is the
    /// genesis block.
    pub(super) fn metadata(&self) -> Answer {
        let head = state::head(self.newest)?;
        let genesis = state::block(self.newest, 0)?.map(|block| B256::from(block.hash).to_string());
        Ok(json!({
            "clientVersion": CLIENT,
            "chainId": self.params.chain_id,
            "instanceId": genesis,
            "latestBlockNumber": head.header.number,
            "latestBlockHash": B256::from(head.hash).to_string(),
        }))
    }

    /// The same in Anvil's form. The chain is no fork of another.
    pub(super) fn node_info(&self) -> Answer {
        let head = state::head(self.newest)?;
        let base_fee = quantity(self.params.base_fee);
        Ok(json!({
            "currentBlockNumber": quantity(head.header.number),
            "currentBlockTimestamp": head.header.timestamp,
            "currentBlockHash": B256::from(head.hash).to_string(),
            "hardFork": "Cancun",
            "transactionOrder": "fees",
            "environment": {
                "baseFee": base_fee,
                "chainId": self.params.chain_id,
                "gasLimit": quantity(self.params.block_gas_limit),
                "gasPrice": base_fee,
            },
            "forkConfig": { "forkUrl": Json::Null, "forkBlockNumber": Json::Null, "forkRetryBackoff": Json::Null },
        }))
    }
}
