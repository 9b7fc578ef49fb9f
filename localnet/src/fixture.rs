//! What a localnet is, as data.

use crate::error::LocalnetError;
use parallax_consensus_app::genesis::ConsensusParameters;
use parallax_consensus_app::tx::Role;
use parallax_consensus_app::{localnet_parameters, localnet_rounds};
use parallax_fhe::BackendKind;
use parallax_primitives::limits::{MAX_COMMITTEE, MAX_VALIDATORS};
use parallax_primitives::{Amount, Gas};
use parallax_rounds::{Resolution, RoundParameters};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// FHE gas of one programmable bootstrap.
const PBS: u64 = 1_000;
/// Stake of each node's entity.
pub const NODE_STAKE: Amount = Amount(1_000_000);
/// Tokens of each node, for fees.
pub const NODE_BALANCE: Amount = Amount(1_000_000_000_000);
/// Tokens of each well-known account, on the ledger and in each ParaTime.
pub const ACCOUNT_BALANCE: Amount = Amount(1_000_000_000_000_000);
/// Most well-known accounts.
pub const MAX_ACCOUNTS: u16 = 10_000;

/// Most programmable bootstraps in a batch of the EVM: see [`Fixture::evm_batch_pbs`].
const EVM_BATCH_PBS: u64 = 20_000;

/// A ParaTime that a localnet may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParaTimeKind {
    /// Encrypted scheduling.
    Scheduler,
    /// The confidential EVM.
    Evm,
}

impl ParaTimeKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Scheduler, Self::Evm];

    /// Its name: that of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduler => parallax_scheduler::KIND,
            Self::Evm => parallax_evm::KIND,
        }
    }

    /// The label of its key set in the cache.
    pub(crate) fn key_label(self) -> &'static str {
        match self {
            // As it was when there was no other.
            Self::Scheduler => "",
            Self::Evm => parallax_evm::KIND,
        }
    }
}

impl fmt::Display for ParaTimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ParaTimeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            format!("{text:?} is no ParaTime of a localnet; there are {}", Self::ALL.map(Self::name).join(" and "))
        })
    }
}

/// What a localnet is. Equal fixtures give equal networks, but for time, ports and first entropy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The chain's name.
    pub chain_id: String,
    /// The ParaTimes that run.
    pub paratimes: Vec<ParaTimeKind>,
    /// How many validators.
    pub validators: u16,
    /// How many compute nodes; at least workers and backups together.
    pub compute: u16,
    /// Workers of a committee: the first committee seats `compute-0` and on.
    pub workers: u16,
    /// Backups of a committee: the first committee seats those after the workers.
    pub backups: u16,
    /// How many key managers; this version runs one.
    pub key_managers: u16,
    /// Funded accounts `dev-0` and on, with keys that everyone knows.
    pub accounts: u16,
    /// Milliseconds from one block to the next.
    pub block_interval_ms: u64,
    /// Programmable bootstraps that a replica is expected to work off in one block: deadlines follow it.
    pub pbs_per_block: u64,
    /// Most programmable bootstraps in a batch of the scheduler.
    pub max_batch_pbs: u64,
    /// The same of the EVM, and of one of its transactions.
    pub evm_batch_pbs: u64,
    /// What backups execute after a discrepancy.
    #[serde(default)]
    pub resolution: Resolution,
    /// Most jobs that the scheduler decides in a round.
    pub jobs_per_round: u32,
    /// Blocks in an epoch; `None` takes the usual length, or a longer one if the deadlines need it.
    pub epoch_blocks: Option<u64>,
    /// The first port, or `None` for free ones. RPC servers come first, in the order of the nodes.
    pub base_port: Option<u16>,
    /// The port of `compute-0`'s Ethereum JSON-RPC server, the next one for `compute-1`'s, and so on; `None` chooses them
    /// like the others.
    pub ethereum_port: Option<u16>,
    /// Threads for FHE work in each compute node; `None` shares the processors among the workers.
    pub fhe_threads: Option<u16>,
    /// Workers that may be missing when a deadline passes.
    pub stragglers: u16,
    /// Blocks that each rank has to announce before the next one may.
    pub proposer_timeout: u64,
    /// Blocks that a round without FHE work may take.
    pub round_timeout: u64,
    /// Blocks from one round to the next without work, at most; `None` takes the usual number.
    pub max_round_interval: Option<u64>,
    /// Whether nodes can be cut off from each other: they are connected through relays of the supervisor.
    pub links: bool,
    /// How nodes compute bootstraps: part of the profile that the committee's descriptor asks for.
    pub backend: BackendKind,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            chain_id: "parallax-localnet".to_owned(),
            paratimes: vec![ParaTimeKind::Scheduler],
            validators: 4,
            compute: 5,
            workers: 2,
            backups: 3,
            key_managers: 1,
            accounts: 32,
            block_interval_ms: 500,
            pbs_per_block: 4,
            max_batch_pbs: 4_800,
            evm_batch_pbs: EVM_BATCH_PBS,
            resolution: Resolution::Full,
            jobs_per_round: 2,
            epoch_blocks: None,
            base_port: None,
            ethereum_port: None,
            fhe_threads: None,
            stragglers: localnet_rounds().allowed_stragglers,
            proposer_timeout: localnet_rounds().proposer_timeout,
            round_timeout: localnet_rounds().round_timeout,
            max_round_interval: None,
            links: false,
            backend: BackendKind::default(),
        }
    }
}

/// A fault for one node: `NODE=KIND`. The node knows the kinds and refuses others, but for `isolate@A..B`, which the
/// supervisor does: from height A on and until height B the node is cut off from all that are not isolated too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// The node's name.
    pub node: String,
    /// The kind, for example `wrong-root`.
    pub kind: String,
}

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((node, kind)) if !node.is_empty() && !kind.is_empty() => {
                Ok(Self { node: node.to_owned(), kind: kind.to_owned() })
            }
            _ => Err(format!("{text:?} is not NODE=KIND, for example compute-1=wrong-root")),
        }
    }
}

impl FaultSpec {
    /// The heights from which on and until which the node is cut off; `None` if the fault is one of the node's own.
    ///
    /// # Errors
    /// If it is to be cut off and the heights cannot be read.
    pub fn isolation(&self) -> Result<Option<(u64, u64)>, LocalnetError> {
        let Some(heights) = self.kind.strip_prefix("isolate") else { return Ok(None) };
        let read = || {
            let (from, until) = heights.strip_prefix('@')?.split_once("..")?;
            let (from, until) = (from.parse().ok()?, until.parse().ok()?);
            (from < until).then_some((from, until))
        };
        let reason = format!("{:?} is no isolate@A..B: cut off from height A on and until height B", self.kind);
        read().map(Some).ok_or(LocalnetError::BadFixture { field: "--fault", reason })
    }
}

impl Fixture {
    /// Whether such a network can run.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn check(&self) -> Result<(), LocalnetError> {
        let bad = |field, reason: String| Err(LocalnetError::BadFixture { field, reason });
        if self.paratimes.is_empty() {
            return bad("--paratimes", "is empty; name at least one".to_owned());
        }
        if self.paratimes.iter().enumerate().any(|(i, kind)| self.paratimes.iter().take(i).any(|other| other == kind)) {
            return bad("--paratimes", "names one twice; name each once".to_owned());
        }
        if self.ethereum_port.is_some() && !self.runs(ParaTimeKind::Evm) {
            return bad("--ethereum-port", "only the EVM has such a server; add evm to --paratimes".to_owned());
        }
        if self.validators == 0 || usize::from(self.validators) > MAX_VALIDATORS {
            return bad("--validators", format!("{} is not in 1..={MAX_VALIDATORS}", self.validators));
        }
        for (field, size) in [("--workers", self.workers), ("--backups", self.backups)] {
            if usize::from(size) > MAX_COMMITTEE {
                return bad(field, format!("{size} is more than {MAX_COMMITTEE}"));
            }
        }
        if self.workers < 2 {
            return bad(
                "--workers",
                format!("{} is too few: with one worker nothing is compared; use 2", self.workers),
            );
        }
        let seats = u32::from(self.workers) + u32::from(self.backups);
        if u32::from(self.compute) < seats {
            return bad("--compute", format!("{} nodes cannot fill {seats} seats; use at least {seats}", self.compute));
        }
        if self.key_managers != 1 {
            return bad(
                "--key-managers",
                format!("{} is not possible: this version decrypts with 1", self.key_managers),
            );
        }
        if self.accounts > MAX_ACCOUNTS {
            return bad("--accounts", format!("{} is more than {MAX_ACCOUNTS}", self.accounts));
        }
        let numbers = [
            self.block_interval_ms,
            self.pbs_per_block,
            self.max_batch_pbs,
            self.evm_batch_pbs,
            self.jobs_per_round.into(),
        ];
        if numbers.contains(&0) {
            return bad("--block-interval-ms", "intervals, PBS and jobs must be at least 1".to_owned());
        }
        for kind in &self.paratimes {
            if let Err(e) = self.rounds(*kind).validate() {
                return bad("--stragglers, --proposer-timeout, --round-timeout or --max-round-interval", e.to_string());
            }
        }
        let nodes = self.nodes().len();
        if self.links && nodes > crate::links::MAX_NODES {
            return bad(
                "links",
                format!("{nodes} nodes are more than the {} that can have them", crate::links::MAX_NODES),
            );
        }
        for kind in &self.paratimes {
            if let Some(epoch) = self.epoch_blocks
                && let Err(e) = self.rounds(*kind).validate_epoch(epoch)
            {
                return bad("--epoch-blocks", e.to_string());
            }
        }
        Ok(())
    }

    /// Whether a ParaTime runs.
    pub fn runs(&self, kind: ParaTimeKind) -> bool {
        self.paratimes.contains(&kind)
    }

    /// How the rounds of a ParaTime run.
    pub fn rounds(&self, kind: ParaTimeKind) -> RoundParameters {
        let batch_pbs = match kind {
            ParaTimeKind::Scheduler => self.max_batch_pbs,
            ParaTimeKind::Evm => self.evm_batch_pbs,
        };
        let usual = localnet_rounds();
        let windows = self.proposer_timeout.saturating_mul(u64::from(self.workers));
        RoundParameters {
            workers: self.workers,
            backups: self.backups,
            allowed_stragglers: self.stragglers,
            proposer_timeout: self.proposer_timeout,
            round_timeout: self.round_timeout,
            gas_per_block: Gas(self.pbs_per_block.saturating_mul(PBS)),
            max_batch_gas: Gas(batch_pbs.saturating_mul(PBS)),
            resolution: self.resolution,
            max_round_interval: self
                .max_round_interval
                .unwrap_or(usual.max_round_interval.max(windows.saturating_mul(2))),
            ..usual
        }
    }

    /// How the ledger runs.
    pub fn parameters(&self) -> ConsensusParameters {
        let usual = localnet_parameters();
        let rounds = self.paratimes.iter().map(|kind| self.rounds(*kind));
        let longest = rounds.map(|rounds| rounds.deadline(rounds.max_batch_gas)).max().unwrap_or_default();
        let shortest = longest.saturating_mul(10);
        ConsensusParameters {
            block_interval_ms: self.block_interval_ms,
            epoch_blocks: self.epoch_blocks.unwrap_or(shortest.max(usual.epoch_blocks)),
            ..usual
        }
    }

    /// The nodes' names and roles, in order.
    pub fn nodes(&self) -> Vec<(String, Role)> {
        let of = |prefix: &str, count: u16, role: Role| {
            (0..count).map(|i| (format!("{prefix}-{i}"), role)).collect::<Vec<_>>()
        };
        let mut all = of("validator", self.validators, Role::Validator);
        all.extend(of("compute", self.compute, Role::Compute));
        all.extend(of("kms", self.key_managers, Role::KeyManager));
        all
    }

    /// Threads for FHE work in each compute node of this machine.
    pub fn threads(&self) -> u16 {
        self.fhe_threads.unwrap_or_else(|| {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            u16::try_from(processors / usize::from(self.workers.max(1))).unwrap_or(u16::MAX).max(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_is_read_from_its_heights_and_other_faults_are_left_to_the_node() {
        let spec = |text: &str| text.parse::<FaultSpec>().unwrap().isolation();
        assert_eq!(spec("compute-0=isolate@5..9").unwrap(), Some((5, 9)));
        assert_eq!(spec("compute-0=silent@5..9").unwrap(), None);
        for bad in ["isolate", "isolate@", "isolate@5", "isolate@5..", "isolate@9..5", "isolate@5..5", "isolate@a..b"] {
            let error = spec(&format!("compute-0={bad}")).unwrap_err().to_string();
            assert!(error.contains("no isolate@A..B"), "{error}");
        }
    }

    #[test]
    fn paratimes_are_named_once_and_known() {
        assert_eq!("evm".parse(), Ok(ParaTimeKind::Evm));
        let unknown = "solana".parse::<ParaTimeKind>().unwrap_err();
        assert!(unknown.contains("scheduler and evm"), "{unknown}");
        let refusal = |paratimes: Vec<ParaTimeKind>| Fixture { paratimes, ..Fixture::default() }.check().unwrap_err();
        assert!(refusal(vec![]).to_string().starts_with("--paratimes: "));
        assert!(refusal(vec![ParaTimeKind::Evm, ParaTimeKind::Evm]).to_string().starts_with("--paratimes: "));
        let port = Fixture { ethereum_port: Some(8_545), ..Fixture::default() };
        assert!(port.check().unwrap_err().to_string().starts_with("--ethereum-port: "));
        Fixture { paratimes: ParaTimeKind::ALL.to_vec(), ethereum_port: Some(8_545), ..Fixture::default() }
            .check()
            .unwrap();
    }

    #[test]
    fn an_epoch_is_long_enough_for_the_longest_round_of_every_paratime() {
        let both = Fixture { paratimes: ParaTimeKind::ALL.to_vec(), ..Fixture::default() };
        let epoch = both.parameters().epoch_blocks;
        for kind in ParaTimeKind::ALL {
            both.rounds(kind).validate_epoch(epoch).unwrap();
        }
        assert!(epoch > Fixture::default().parameters().epoch_blocks);
    }

    #[test]
    fn round_parameters_that_cannot_work_are_refused_by_their_flags() {
        let lone = Fixture { stragglers: 1, ..Fixture::default() };
        let error = lone.check().unwrap_err().to_string();
        assert!(error.contains("--stragglers") && error.contains("at least 2"), "{error}");
        Fixture { stragglers: 1, workers: 3, compute: 6, ..Fixture::default() }.check().unwrap();
    }
}
