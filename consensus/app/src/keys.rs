//! Every key of the ledger's state, in one place. A key is a readable prefix and fixed-width fields, so that no key is
//! a prefix of another kind's and a scan over a prefix is in the order of its fields (numbers are big-endian).
//!
//! Every value is [`crate::stored::Stored`] of the type named beside its key.

use parallax_primitives::{Address, Epoch, Height, NodeId, ParaTimeId, Round};

/// Prefix of all accounts.
pub const ACCOUNTS: &[u8] = b"account/";
/// Prefix of all stakes.
pub const STAKES: &[u8] = b"stake/";
/// Prefix of all nodes.
pub const NODES: &[u8] = b"node/";
/// Prefix of the standings of nodes that failed.
pub const STANDINGS: &[u8] = b"standing/";
/// Prefix of the epochs in which nodes registered.
pub const NODES_SINCE: &[u8] = b"node_since/";
/// Prefix of all ParaTime descriptors.
pub const PARATIMES: &[u8] = b"paratime/";
/// Prefix of all committees in office.
pub const COMMITTEES: &[u8] = b"committee/";
/// Prefix of the committees that were in office.
pub const OFFICES: &[u8] = b"office/";
/// Prefix of all convictions for equivocation.
pub const EVIDENCE: &[u8] = b"evidence/";
/// Prefix of all results of outgoing messages.
pub const MESSAGE_RESULTS: &[u8] = b"message_results/";
/// Prefix of all round machines.
pub const ROUNDS: &[u8] = b"rounds/";
/// Prefix of all kept ParaTime blocks.
pub const BLOCKS: &[u8] = b"block/";
/// Prefix of all beacon contributions.
pub const BEACON: &[u8] = b"beacon/";
/// Prefix of the validator sets by height.
pub const VALIDATORS: &[u8] = b"validators/";

fn join(prefix: &[u8], fields: &[&[u8]]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    for field in fields {
        key.extend_from_slice(field);
    }
    key
}

/// [`crate::staking::Account`]: balance and nonce.
pub fn account(address: &Address) -> Vec<u8> {
    join(ACCOUNTS, &[&address.0])
}

/// [`crate::staking::Stake`] of an entity: active and debonding.
pub fn stake(entity: &Address) -> Vec<u8> {
    join(STAKES, &[&entity.0])
}

/// [`parallax_primitives::Amount`]: all tokens that exist. Constant.
pub fn supply() -> Vec<u8> {
    b"supply".to_vec()
}

/// [`parallax_primitives::Amount`]: fees that no proposer could take.
pub fn common_pool() -> Vec<u8> {
    b"pool".to_vec()
}

/// [`crate::tx::NodeDescriptor`] of a registered node.
pub fn node(node: &NodeId) -> Vec<u8> {
    join(NODES, &[&node.0])
}

/// [`Epoch`] in which a node registered as it now is: with its roles and ParaTimes. Absent for a node of genesis that
/// never changed them.
pub fn node_since(node: &NodeId) -> Vec<u8> {
    join(NODES_SINCE, &[&node.0])
}

/// [`crate::standing::Standing`] of a node; absent for one that never failed.
pub fn standing(node: &NodeId) -> Vec<u8> {
    join(STANDINGS, &[&node.0])
}

/// Set while a seat is to be filled anew within the epoch.
pub fn elect_again() -> Vec<u8> {
    b"elect_again".to_vec()
}

/// [`crate::genesis::ParaTimeDescriptor`].
pub fn paratime(id: &ParaTimeId) -> Vec<u8> {
    join(PARATIMES, &[&id.0])
}

/// [`parallax_rounds::Committee`] in office; absent while a ParaTime has none.
pub fn committee(id: &ParaTimeId) -> Vec<u8> {
    join(COMMITTEES, &[&id.0])
}

/// `Option` of the [`parallax_rounds::Committee`] in office from a round on, kept while evidence about it is taken.
pub fn office(id: &ParaTimeId, from: Round) -> Vec<u8> {
    join(OFFICES, &[&id.0, &from.0.to_be_bytes()])
}

/// Prefix of a ParaTime's committees, by the round from which each was in office.
pub fn offices(id: &ParaTimeId) -> Vec<u8> {
    join(OFFICES, &[&id.0])
}

/// [`Height`] of the block that convicted a node of equivocation in a round.
pub fn evidence(id: &ParaTimeId, round: Round, node: &NodeId) -> Vec<u8> {
    join(EVIDENCE, &[&id.0, &round.0.to_be_bytes(), &node.0])
}

/// Prefix of the convictions for a round.
pub fn evidence_of_round(id: &ParaTimeId, round: Round) -> Vec<u8> {
    join(EVIDENCE, &[&id.0, &round.0.to_be_bytes()])
}

/// List of [`parallax_primitives::message::MessageResult`]: of the last accepted round.
pub fn message_results(id: &ParaTimeId) -> Vec<u8> {
    join(MESSAGE_RESULTS, &[&id.0])
}

/// The ParaTime's round machine.
pub fn round_state(id: &ParaTimeId) -> Vec<u8> {
    join(ROUNDS, &[&id.0])
}

/// [`parallax_rounds::ParaTimeBlock`]: the last one.
pub fn paratime_latest(id: &ParaTimeId) -> Vec<u8> {
    join(b"latest/", &[&id.0])
}

/// [`parallax_rounds::ParaTimeBlock`] of a round, kept for `kept_rounds` rounds.
pub fn paratime_block(id: &ParaTimeId, round: Round) -> Vec<u8> {
    join(BLOCKS, &[&id.0, &round.0.to_be_bytes()])
}

/// [`crate::epoch::EpochInfo`].
pub fn epoch() -> Vec<u8> {
    b"epoch".to_vec()
}

/// [`parallax_primitives::Digest`]: the value of a validator's VRF for an epoch.
pub fn beacon_proof(epoch: Epoch, node: &NodeId) -> Vec<u8> {
    join(BEACON, &[&epoch.0.to_be_bytes(), &node.0])
}

/// Prefix of the contributions to an epoch.
pub fn beacon_proofs(epoch: Epoch) -> Vec<u8> {
    join(BEACON, &[&epoch.0.to_be_bytes()])
}

/// [`crate::block::ValidatorSet`] of a height. After block `h` the state holds those of `h`, `h + 1` and `h + 2`.
pub fn validators(height: Height) -> Vec<u8> {
    join(VALIDATORS, &[&height.0.to_be_bytes()])
}

/// [`crate::genesis::ConsensusParameters`].
pub fn parameters() -> Vec<u8> {
    b"parameters".to_vec()
}

/// [`crate::block::Header`] of the last block; absent before height 1.
pub fn last_header() -> Vec<u8> {
    b"last_header".to_vec()
}

/// [`crate::ledger::ChainInfo`]: which chain this is, its first time.
pub fn chain() -> Vec<u8> {
    b"chain".to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_the_prefix_of_another_kind() {
        let (a, n, id) = (Address::default(), NodeId::default(), ParaTimeId::default());
        let keys = [
            account(&a),
            stake(&a),
            supply(),
            common_pool(),
            node(&n),
            node_since(&n),
            standing(&n),
            elect_again(),
            office(&id, Round::ZERO),
            evidence(&id, Round::ZERO, &n),
            message_results(&id),
            paratime(&id),
            committee(&id),
            round_state(&id),
            paratime_latest(&id),
            paratime_block(&id, Round::ZERO),
            epoch(),
            beacon_proof(Epoch::ZERO, &n),
            validators(Height::ZERO),
            parameters(),
            last_header(),
            chain(),
        ];
        for (i, x) in keys.iter().enumerate() {
            for (j, y) in keys.iter().enumerate() {
                assert!(i == j || !y.starts_with(x), "{i} is a prefix of {j}");
            }
        }
    }
}
