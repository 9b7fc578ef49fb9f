//! The parameters that genesis fixes, and the state of round 0.

use crate::audit::AuditRules;
use crate::circuit::MAX_CANDIDATES;
use crate::keys;
use crate::model::Policy;
use crate::records::{Account, put, put_account};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Amount, Gas};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::gas;
use parallax_state::{Changes, Empty, Overlay};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most accounts in a genesis document.
pub const MAX_GENESIS_ACCOUNTS: usize = 100_000;
/// Most attempts that a ParaTime may give a job.
pub const MAX_ATTEMPTS: u32 = 16;
/// Most decisions that a ParaTime may make in a round.
pub const MAX_JOBS_PER_ROUND: u32 = 256;
/// Most hosts that a ParaTime may register: each decision reads their records.
pub const MAX_HOSTS: u32 = 10_000;
/// Most jobs that may wait.
pub const MAX_PENDING_JOBS: u32 = 100_000;

/// The rules of one scheduling ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The policies that jobs may ask for. A report carries one score for each that has scores, in this order.
    pub policies: Vec<Policy>,
    /// Most candidates of a decision, at most 60.
    pub candidates_per_decision: u16,
    /// Most decisions in a round.
    pub max_jobs_per_round: u32,
    /// Most FHE gas of the decisions of one round, each counted at its largest. What a round has beyond it is left to
    /// transactions.
    pub max_decision_gas: Gas,
    /// How often a job is tried before it counts as unplaced.
    pub max_attempts: u32,
    /// For how many rounds after its report a host is a candidate.
    pub freshness_rounds: u64,
    /// How many tiers there are; tier 0 goes first.
    pub tiers: u8,
    /// What a host locks when it registers.
    pub host_stake: Amount,
    /// The least price of one unit of FHE gas.
    pub min_gas_price: Amount,
    /// Most hosts.
    pub max_hosts: u32,
    /// Most jobs that wait for a decision.
    pub max_pending_jobs: u32,
    /// Who decrypts.
    pub key_managers: KeyManagers,
    /// Who may change the policy; nobody if it is left out.
    #[serde(default)]
    pub governance: Option<Address>,
    /// How reports are audited; not at all if it is left out.
    #[serde(default)]
    pub audits: Option<AuditRules>,
}

/// One account of the genesis document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Whose.
    pub address: Address,
    /// How much.
    pub balance: Amount,
}

/// What the genesis document says for this ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The rules.
    pub params: Params,
    /// The accounts with a balance.
    pub accounts: Vec<GenesisAccount>,
}

impl Params {
    /// The scores of a report.
    pub fn scores(&self) -> u16 {
        u16::try_from(self.policies.iter().filter(|p| p.is_scored()).count()).unwrap_or(u16::MAX)
    }

    /// The values for a localnet: every policy, at most two decisions a round, no price floor to speak of.
    pub fn localnet(key_managers: KeyManagers) -> Self {
        Self {
            policies: vec![Policy::Pack, Policy::Spread, Policy::Cost, Policy::PriorityRoundRobin],
            candidates_per_decision: MAX_CANDIDATES,
            max_jobs_per_round: 2,
            max_decision_gas: Gas(3_400 * gas::PBS),
            max_attempts: 3,
            freshness_rounds: 10_000,
            tiers: 3,
            host_stake: Amount(1_000),
            min_gas_price: Amount(1),
            max_hosts: 4_096,
            max_pending_jobs: 10_000,
            key_managers,
            governance: None,
            audits: None,
        }
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// A text that names the parameter at fault.
    pub fn check(&self) -> Result<(), String> {
        fn within<T: PartialOrd + std::fmt::Display>(name: &str, value: T, low: T, high: T) -> Result<(), String> {
            if value < low || value > high {
                return Err(format!("scheduler parameter {name} is {value}, it must be in {low}..={high}"));
            }
            Ok(())
        }
        within("policies (their number)", self.policies.len(), 1, 4)?;
        if self.policies.iter().collect::<BTreeSet<_>>().len() != self.policies.len() {
            return Err("scheduler parameter policies names one twice".to_owned());
        }
        within("candidates_per_decision", self.candidates_per_decision, 1, MAX_CANDIDATES)?;
        within("max_jobs_per_round", self.max_jobs_per_round, 1, MAX_JOBS_PER_ROUND)?;
        within("max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)?;
        within("freshness_rounds", self.freshness_rounds, 1, u64::MAX)?;
        within("tiers", self.tiers, 1, u8::MAX)?;
        within("max_hosts", self.max_hosts, 1, MAX_HOSTS)?;
        within("max_pending_jobs", self.max_pending_jobs, 1, MAX_PENDING_JOBS)?;
        if let Some(audits) = &self.audits {
            audits.check()?;
        }
        let managers = self.key_managers.parties.len();
        within("key_managers.parties (their number)", managers, 1, usize::from(u16::MAX))?;
        within("key_managers.threshold", usize::from(self.key_managers.threshold), 0, managers.saturating_sub(1))
    }
}

/// Reads and checks what the genesis document says.
pub(crate) fn parse(parameters: &serde_json::Value) -> Result<Genesis, String> {
    let genesis: Genesis = Genesis::deserialize(parameters).map_err(|e| format!("scheduler parameters: {e}"))?;
    genesis.params.check()?;
    Ok(genesis)
}

/// The state of round 0.
pub(crate) fn init(genesis: &Genesis) -> Result<Changes, String> {
    if genesis.accounts.len() > MAX_GENESIS_ACCOUNTS {
        return Err(format!(
            "scheduler accounts: {} are over the limit {MAX_GENESIS_ACCOUNTS}",
            genesis.accounts.len()
        ));
    }
    let (mut seen, mut total) = (BTreeSet::new(), Amount::ZERO);
    let mut state = Overlay::new(&Empty);
    put(&mut state, keys::params(), &genesis.params);
    for entry in &genesis.accounts {
        if !seen.insert(entry.address) {
            return Err(format!("scheduler accounts: {} is listed twice", entry.address));
        }
        total = total.checked_add(entry.balance.0).ok_or("scheduler accounts: the sum of balances overflows")?;
        put_account(&mut state, &entry.address, &Account { balance: entry.balance, ..Account::default() });
    }
    Ok(state.into_changes())
}
