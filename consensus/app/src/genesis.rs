//! The consensus part of the genesis document, and the parameters that the ledger runs by.

use crate::tx::SignedNodeDescriptor;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Amount, Digest, Gas, ParaTimeId};
use parallax_rounds::{Committee, RoundParameters};
use serde::{Deserialize, Serialize};

/// Parameters of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ConsensusParameters {
    /// Milliseconds from one block to the next.
    pub block_interval_ms: u64,
    /// Most seconds that a block's time may be ahead of a validator's clock; checked outside the ledger.
    pub max_clock_drift_ms: u64,
    /// Blocks in an epoch; at least 10 times the largest round deadline.
    pub epoch_blocks: u64,
    /// Beacon proofs needed for the next epoch to have committees, in thousandths of the validators.
    pub beacon_threshold_permille: u32,
    /// Epochs from a reclaim until its tokens are free.
    pub debonding_epochs: u64,
    /// Least stake of an entity whose nodes may be elected.
    pub min_node_stake: Amount,
    /// Gas for each byte of a transaction.
    pub gas_per_byte: Gas,
    /// Gas for each signature checked: one a transaction, one more a commitment or proposal.
    pub gas_per_signature: Gas,
    /// Base units of fee for each unit of gas, at least.
    pub min_gas_price: Amount,
    /// Stake taken for a wrong result, in thousandths of the entity's stake.
    pub slash_wrong_result_permille: u32,
    /// Of what is slashed, the part for the ParaTime's treasury, in thousandths; the rest goes to the nodes that agreed.
    pub slash_treasury_permille: u32,
    /// Stake taken for equivocation, in thousandths of the entity's stake.
    pub slash_equivocation_permille: u32,
    /// Of what is slashed for equivocation, the part for who reported it, in thousandths; the rest goes to the
    /// ParaTime's treasury.
    pub reward_reporter_permille: u32,
    /// Epochs for which an equivocating node cannot be elected; then its entity may unfreeze it.
    pub freeze_equivocation_epochs: u64,
    /// Epochs for which a node with too many liveness faults cannot be elected; then its entity may unfreeze it.
    pub freeze_liveness_epochs: u64,
    /// Least fee for a message to a ParaTime, in base units; it goes to the ParaTime's account.
    pub min_in_message_fee: Amount,
    /// Most validators.
    pub max_validators: u32,
    /// Rounds of a ParaTime whose blocks stay in the state.
    pub kept_rounds: u64,
    /// Whether the chain is a localnet: faults may be injected, and nothing on it has value.
    pub localnet: bool,
}

/// An account at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct GenesisAccount {
    /// Whose.
    pub address: Address,
    /// Free tokens.
    pub balance: Amount,
    /// Tokens in the escrow of the entity with the same address.
    pub stake: Amount,
}

/// A ParaTime at genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ParaTimeDescriptor {
    /// Its id.
    pub id: ParaTimeId,
    /// Which program runs it, for example `scheduler`.
    pub kind: String,
    /// How its rounds run.
    pub rounds: RoundParameters,
    /// Digest of the evaluation profile that its committee needs.
    pub profile: Digest,
    /// Digest of its key set manifest: the key id.
    pub key_set: Digest,
    /// State root of its round 0.
    pub genesis_root: Digest,
}

/// The consensus part of the genesis document.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ConsensusGenesis {
    /// The chain's name.
    pub chain_id: String,
    /// Its first time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Parameters.
    pub parameters: ConsensusParameters,
    /// Accounts and stakes.
    pub accounts: Vec<GenesisAccount>,
    /// Nodes, signed under `Domain::Genesis`.
    pub nodes: Vec<SignedNodeDescriptor>,
    /// ParaTimes.
    pub paratimes: Vec<ParaTimeDescriptor>,
    /// The committees of epoch 0, so that a fresh network works at height 1.
    pub committees: Vec<(ParaTimeId, Committee)>,
    /// The entropy of epoch 0.
    pub beacon: Digest,
}
