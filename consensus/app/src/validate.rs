//! Whether a genesis can be the beginning of a chain, and the parameters of a localnet.

use crate::genesis::{ConsensusGenesis, ConsensusParameters, ParaTimeDescriptor};
use parallax_primitives::{Amount, ChainContext, Domain, Gas, NodeId, limits};
use parallax_rounds::{Committee, LivenessParameters, Resolution, RoundParameters};
use std::collections::{BTreeMap, BTreeSet};

/// A genesis document that cannot be run. The text names the field and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the genesis document: {0}")]
pub struct GenesisError(pub String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, GenesisError> {
    Err(GenesisError(reason.into()))
}

impl ConsensusParameters {
    /// Whether the parameters make sense by themselves.
    ///
    /// # Errors
    /// Names the parameter.
    pub fn validate(&self) -> Result<(), GenesisError> {
        for (name, value) in [
            ("block_interval_ms", self.block_interval_ms),
            ("epoch_blocks", self.epoch_blocks),
            ("debonding_epochs", self.debonding_epochs),
            ("kept_rounds", self.kept_rounds),
        ] {
            if value == 0 {
                return refuse(format!("{name} is 0; it must be at least 1"));
            }
        }
        for (name, value) in [
            ("beacon_threshold_permille", self.beacon_threshold_permille),
            ("slash_wrong_result_permille", self.slash_wrong_result_permille),
            ("slash_treasury_permille", self.slash_treasury_permille),
            ("slash_equivocation_permille", self.slash_equivocation_permille),
            ("reward_reporter_permille", self.reward_reporter_permille),
        ] {
            if value > 1000 {
                return refuse(format!("{name} is {value}; thousandths are at most 1000"));
            }
        }
        let most = limits::MAX_VALIDATORS as u64;
        if self.max_validators == 0 || u64::from(self.max_validators) > most {
            return refuse(format!("max_validators is {}; it must be 1 to {most}", self.max_validators));
        }
        Ok(())
    }
}

impl ParaTimeDescriptor {
    /// Whether the ParaTime can run on a chain with these parameters. A largest batch that could not meet its own
    /// deadline within a tenth of an epoch is refused.
    ///
    /// # Errors
    /// Names the ParaTime and the parameter.
    pub fn validate(&self, parameters: &ConsensusParameters) -> Result<(), GenesisError> {
        let named = |error: parallax_rounds::RoundError| GenesisError(format!("ParaTime {}: {error}", self.id));
        if self.kind.is_empty() || self.kind.len() > 64 {
            return refuse(format!("ParaTime {}: kind has {} bytes; it must have 1 to 64", self.id, self.kind.len()));
        }
        self.rounds.validate().map_err(named)?;
        self.rounds.validate_epoch(parameters.epoch_blocks).map_err(named)
    }
}

impl ConsensusGenesis {
    /// Whether this is a chain that can start: parameters, unique accounts, nodes and ParaTimes, signatures of the
    /// nodes under [`Domain::Genesis`] for `chain`, committees of registered nodes, and at least one validator.
    ///
    /// # Errors
    /// Names the first fault.
    pub fn validate(&self, chain: ChainContext) -> Result<(), GenesisError> {
        if self.chain_id.is_empty() || self.chain_id.len() > 64 {
            return refuse(format!("chain_id has {} bytes; it must have 1 to 64", self.chain_id.len()));
        }
        self.parameters.validate()?;
        self.validate_accounts()?;
        let ids: BTreeSet<_> = self.paratimes.iter().map(|p| p.id).collect();
        if ids.len() != self.paratimes.len() {
            return refuse("a ParaTime is listed twice");
        }
        for paratime in &self.paratimes {
            paratime.validate(&self.parameters)?;
        }
        self.validate_nodes(chain)?;
        self.validate_committees()
    }

    fn validate_accounts(&self) -> Result<(), GenesisError> {
        let mut seen = BTreeSet::new();
        let mut supply = Amount::ZERO;
        for entry in &self.accounts {
            if !seen.insert(entry.address) {
                return refuse(format!("the account {} is listed twice", entry.address));
            }
            let added = supply.checked_add(entry.balance.0).and_then(|sum| sum.checked_add(entry.stake.0));
            supply =
                added.ok_or_else(|| GenesisError("the accounts hold more than 2^128 - 1 base units".to_owned()))?;
        }
        Ok(())
    }

    fn validate_nodes(&self, chain: ChainContext) -> Result<(), GenesisError> {
        let mut seen = BTreeSet::new();
        for signed in &self.nodes {
            let (node, descriptor) = (signed.descriptor.node, &signed.descriptor);
            if !seen.insert(node) {
                return refuse(format!("the node {node} is listed twice"));
            }
            if let Some(fault) = descriptor.fault() {
                return refuse(format!("the node {node}: {fault}"));
            }
            if let Some((id, _)) = descriptor.paratimes.iter().find(|(id, _)| !self.has_paratime(id)) {
                return refuse(format!("the node {node} registers for ParaTime {id}, which is not listed"));
            }
            if !signed.verify(Domain::Genesis, chain) {
                return refuse(format!(
                    "the node {node} did not sign its descriptor for this document; sign it after the last change"
                ));
            }
        }
        Ok(())
    }

    fn has_paratime(&self, id: &parallax_primitives::ParaTimeId) -> bool {
        self.paratimes.iter().any(|paratime| paratime.id == *id)
    }

    fn validate_committees(&self) -> Result<(), GenesisError> {
        let nodes: BTreeMap<NodeId, _> = self.nodes.iter().map(|n| (n.descriptor.node, &n.descriptor)).collect();
        let mut seen = BTreeSet::new();
        for (id, committee) in &self.committees {
            let Some(paratime) = self.paratimes.iter().find(|p| p.id == *id) else {
                return refuse(format!("a committee is seated for ParaTime {id}, which is not listed"));
            };
            if !seen.insert(*id) {
                return refuse(format!("ParaTime {id} has two committees"));
            }
            check_size(paratime, committee)?;
            for node in committee.workers.iter().chain(&committee.backups) {
                let Some(descriptor) = nodes.get(node) else {
                    return refuse(format!("the committee of ParaTime {id} seats {node}, which is not listed"));
                };
                if descriptor.profile(id) != Some(paratime.profile) {
                    return refuse(format!(
                        "the committee of ParaTime {id} seats {node}, which is not registered for it with profile {}",
                        paratime.profile
                    ));
                }
            }
        }
        Ok(())
    }
}

fn check_size(paratime: &ParaTimeDescriptor, committee: &Committee) -> Result<(), GenesisError> {
    let id = paratime.id;
    for (role, nodes, wanted) in [
        ("workers", &committee.workers, paratime.rounds.workers),
        ("backups", &committee.backups, paratime.rounds.backups),
    ] {
        let distinct: BTreeSet<_> = nodes.iter().collect();
        if nodes.len() != usize::from(wanted) || distinct.len() != nodes.len() {
            return refuse(format!("the committee of ParaTime {id} needs {wanted} different {role}"));
        }
    }
    if committee.epoch.0 != 0 {
        return refuse(format!("the committee of ParaTime {id} is for epoch {}; it must be 0", committee.epoch));
    }
    Ok(())
}

/// Parameters of a localnet: a block every 500 ms, epochs of 12,500 blocks (an hour and three quarters), and a tenth
/// of the stake for the first wrong result.
pub fn localnet_parameters() -> ConsensusParameters {
    ConsensusParameters {
        block_interval_ms: 500,
        max_clock_drift_ms: 5_000,
        epoch_blocks: 12_500,
        beacon_threshold_permille: 667,
        debonding_epochs: 2,
        min_node_stake: Amount(100_000),
        gas_per_byte: Gas(1),
        gas_per_signature: Gas(100),
        min_gas_price: Amount(1),
        slash_wrong_result_permille: 100,
        slash_treasury_permille: 500,
        slash_equivocation_permille: 100,
        reward_reporter_permille: 100,
        freeze_equivocation_epochs: 2,
        freeze_liveness_epochs: 1,
        min_in_message_fee: Amount(1_000),
        max_validators: 120,
        kept_rounds: 1_200,
        localnet: true,
    }
}

/// Rounds of a localnet ParaTime: 2 workers, 3 backups, no straggler, the first wrong result slashed.
///
/// Gas is thousandths of a programmable bootstrap (PBS). A replica works off 4 PBS a block, that is 8 a second, which
/// one slow core does. The largest batch of 4,800 PBS holds two jobs of 32 candidates at about 40 PBS each (2,560) and
/// leaves 140 PBS for each of 16 reports; its deadline is 1,220 blocks, and ten of those fit into an epoch of
/// [`localnet_parameters`].
pub fn localnet_rounds() -> RoundParameters {
    RoundParameters {
        workers: 2,
        backups: 3,
        allowed_stragglers: 0,
        proposer_timeout: 10,
        round_timeout: 20,
        gas_per_block: Gas(4_000),
        max_batch_gas: Gas(4_800_000),
        max_round_interval: 1_200,
        slash_from: 1,
        resolution: Resolution::Full,
        liveness: LivenessParameters {
            min_live_rounds_percent: 75,
            max_missed_proposals_percent: 50,
            min_live_rounds_for_evaluation: 10,
            max_liveness_faults: 6,
        },
        max_evidence_age: 100,
    }
}
