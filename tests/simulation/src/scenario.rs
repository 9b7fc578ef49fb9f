//! What a seed stands for: the committee, the rounds' parameters, the network, who misbehaves and what breaks.

use crate::rng::Rng;
use parallax_memory_store::Fault;
use parallax_primitives::Gas;
use parallax_rounds::{Resolution, RoundParameters};
use parallax_worker::{CrashStep, Where};
use std::fmt;

/// Virtual milliseconds from one block to the next.
pub const BLOCK_MS: u64 = 500;

/// How a node departs from the protocol. It runs the honest code; what leaves it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Byzantine {
    /// Commits to a wrong state root, as worker, scheduler or backup. Liars of this kind agree with each other.
    WrongRoot,
    /// The same with a root of its own.
    OwnWrongRoot,
    /// A wrong root only when it is the round's scheduler.
    WrongRootScheduler,
    /// A wrong root only when it votes as a backup.
    DishonestBackup,
    /// A wrong root only when the epoch is nearly over.
    EpochCheat,
    /// One flipped ciphertext bit in one operation of each program.
    FlipBit,
    /// A vote on a wrong trace and a right state.
    WrongTrace,
    /// Submits two different votes for one proposal.
    EquivocatingVotes,
    /// As scheduler signs two batches for one round and sends them to different nodes.
    EquivocatingProposals,
    /// Announces and never commits.
    Runaway,
    /// Announces transactions that nobody has and that it never serves.
    BogusTransactions,
    /// Gossips and announces a batch root that is not that of its transactions.
    InvalidBatchRoot,
    /// Announces a batch that breaks the rules: garbage transactions, or another gas than the rules give.
    InvalidBatch,
    /// Votes failure for every batch of others.
    Failure,
    /// Neither announces nor commits.
    Silent,
    /// Announces at once, whatever its rank.
    Preemption,
    /// Sends again what others signed in earlier rounds.
    Replay,
    /// Sends garbage to the chain and to its peers, and serves flipped bytes.
    Garbage,
    /// Commits in the last blocks before the deadline, or after it.
    Late,
}

impl Byzantine {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::WrongRoot,
        Self::OwnWrongRoot,
        Self::WrongRootScheduler,
        Self::DishonestBackup,
        Self::EpochCheat,
        Self::FlipBit,
        Self::WrongTrace,
        Self::EquivocatingVotes,
        Self::EquivocatingProposals,
        Self::Runaway,
        Self::BogusTransactions,
        Self::InvalidBatchRoot,
        Self::InvalidBatch,
        Self::Failure,
        Self::Silent,
        Self::Preemption,
        Self::Replay,
        Self::Garbage,
        Self::Late,
    ];

    /// Its name in tables and transcripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongRoot => "wrong-root",
            Self::OwnWrongRoot => "own-wrong-root",
            Self::WrongRootScheduler => "wrong-root-scheduler",
            Self::DishonestBackup => "dishonest-backup",
            Self::EpochCheat => "epoch-cheat",
            Self::FlipBit => "flip-bit",
            Self::WrongTrace => "wrong-trace",
            Self::EquivocatingVotes => "equivocating-votes",
            Self::EquivocatingProposals => "equivocating-proposals",
            Self::Runaway => "runaway",
            Self::BogusTransactions => "bogus-transactions",
            Self::InvalidBatchRoot => "invalid-batch-root",
            Self::InvalidBatch => "invalid-batch",
            Self::Failure => "failure",
            Self::Silent => "silent",
            Self::Preemption => "preemption",
            Self::Replay => "replay",
            Self::Garbage => "garbage",
            Self::Late => "late",
        }
    }
}

impl fmt::Display for Byzantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A crash at a step of the worker's shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPlan {
    /// Which node.
    pub node: usize,
    /// On which side of the step.
    pub place: Where,
    /// The step.
    pub step: CrashStep,
    /// At the how-manieth time, counted from 1 over the node's life.
    pub at: u64,
}

/// A fault of a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskPlan {
    /// Which node.
    pub node: usize,
    /// Virtual time from which on the next write fails.
    pub from_ms: u64,
    /// How.
    pub fault: Fault,
}

/// A time in which one group of nodes cannot reach the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From when, virtual milliseconds.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// The group, one bit a node.
    pub group: u64,
    /// Whether the group is cut off from the chain too.
    pub from_chain: bool,
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Least delay, virtual milliseconds.
    pub least_ms: u64,
    /// Most delay.
    pub most_ms: u64,
    /// Messages lost, of a thousand.
    pub lost_permille: u64,
    /// Messages that come twice, of a thousand.
    pub doubled_permille: u64,
}

/// One node's hardware and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How late it sees a block at least.
    pub lag_ms: u64,
    /// Thousandths by which its timers run: 1000 is right.
    pub clock_permille: u64,
    /// Virtual milliseconds for 1000 FHE gas (a bootstrap).
    pub ms_per_pbs: u64,
}

/// Everything that a seed decides before the run begins.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Rounds.
    pub rounds: RoundParameters,
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// Blocks in which things break; a quiet time follows.
    pub fault_blocks: u64,
    /// The compute nodes.
    pub machines: Vec<Machine>,
    /// Who misbehaves.
    pub byzantine: Vec<(usize, Byzantine)>,
    /// Whether more may misbehave than the protocol assumes.
    pub beyond: bool,
    /// Whether the checkers know who is Byzantine. Without it they hold everyone for honest, and must find out: so tests
    /// show that they can.
    pub listed: bool,
    /// Whether Byzantine nodes behave once faults stop.
    pub repent: bool,
    /// A node whose journal is lost in every crash, as it must never be.
    pub forgetful: Option<usize>,
    /// Whether nothing but Byzantine nodes disturbs the run: then no honest node may be charged.
    pub calm: bool,
    /// The network.
    pub links: Links,
    /// Partitions.
    pub partitions: Vec<Partition>,
    /// Crashes at steps.
    pub crashes: Vec<CrashPlan>,
    /// Kills at any time: node and virtual milliseconds.
    pub kills: Vec<(usize, u64)>,
    /// Faults of disks.
    pub disks: Vec<DiskPlan>,
    /// Epochs before which too few validators contribute to the beacon.
    pub dark_epochs: Vec<u64>,
    /// Rounds for which nodes keep results.
    pub retention_rounds: u64,
    /// Mean virtual milliseconds between transactions of clients.
    pub client_ms: u64,
    /// Clients of the ParaTime.
    pub clients: usize,
}

impl Scenario {
    /// What a seed stands for.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x7061_7261_6c6c_6178);
        let rounds = round_parameters(&mut rng);
        let deadline = rounds.deadline(rounds.max_batch_gas);
        let epoch_blocks = deadline.saturating_mul(10).saturating_add(rng.range(0, 10));
        let fault_blocks = rng.range(50, 50 + epoch_blocks);
        let calm = rng.chance(300);
        let seats = usize::from(rounds.workers.max(rounds.backups));
        let count = seats.saturating_add(rng.index(3)).max(3);
        let machines = (0..count).map(|_| machine(&mut rng, calm)).collect();
        let beyond = rng.chance(80);
        let byzantine = misbehaving(&mut rng, seed, &rounds, count, beyond);
        let links = links(&mut rng, calm);
        let end_ms = fault_blocks.saturating_mul(BLOCK_MS);
        let mut scenario = Self {
            seed,
            rounds,
            epoch_blocks,
            fault_blocks,
            machines,
            byzantine,
            beyond,
            listed: true,
            repent: true,
            forgetful: None,
            calm,
            links,
            partitions: Vec::new(),
            crashes: Vec::new(),
            kills: Vec::new(),
            disks: Vec::new(),
            dark_epochs: Vec::new(),
            retention_rounds: 10,
            client_ms: rng.range(500, 4_000),
            clients: 4,
        };
        if rng.chance(60) {
            scenario.dark_epochs.push(rng.range(1, 2));
        }
        if !calm {
            scenario.disturb(&mut rng, end_ms);
        }
        scenario
    }

    /// Crashes, kills, partitions and faults of disks.
    fn disturb(&mut self, rng: &mut Rng, end_ms: u64) {
        let count = self.machines.len();
        for _ in 0..rng.below(3) {
            let from_ms = rng.below(end_ms);
            let until_ms = from_ms.saturating_add(rng.range(2, 40).saturating_mul(BLOCK_MS));
            let group = rng.range(1, (1 << count) - 2);
            self.partitions.push(Partition { from_ms, until_ms, group, from_chain: rng.chance(500) });
        }
        for number in 0..rng.below(6) {
            // The first one in turn, so that a few hundred seeds in a row have every step; some steps are rare, so it
            // is planned for all nodes, soon.
            let (first, turn) = (number == 0, usize::try_from(self.seed / 2).unwrap_or(0));
            let at = if first { turn % CrashStep::ALL.len() } else { rng.index(CrashStep::ALL.len()) };
            let step = CrashStep::ALL.get(at).copied().unwrap_or(CrashStep::Persist);
            let after = if first { self.seed.is_multiple_of(2) } else { rng.chance(500) };
            let place = if after { Where::After } else { Where::Before };
            let (node, at) = (rng.index(count), rng.range(1, 8));
            match first {
                true => self.crashes.extend((0..count).map(|node| CrashPlan { node, place, step, at: at.div_ceil(3) })),
                false => self.crashes.push(CrashPlan { node, place, step, at }),
            }
        }
        let first = self.crashes.first().map(|c| c.step);
        if first == Some(CrashStep::Prune) {
            self.partitions.clear();
        }
        self.retention_rounds = if self.partitions.is_empty() { 10 } else { 24 };
        for _ in 0..rng.below(3) {
            self.kills.push((rng.index(count), rng.below(end_ms)));
        }
        for _ in 0..rng.below(3) {
            let faults = [Fault::FailBefore, Fault::FailAfter, Fault::CrashBefore, Fault::CrashAfter];
            let fault = *rng.pick(&faults).unwrap_or(&Fault::CrashBefore);
            self.disks.push(DiskPlan { node: rng.index(count), from_ms: rng.below(end_ms), fault });
        }
        // Who is further behind than results are kept has to take a whole state.
        if first == Some(CrashStep::FetchState) || rng.chance(250) {
            self.retention_rounds = rng.range(1, 4);
        }
    }

    /// How a node misbehaves.
    pub fn kind(&self, node: usize) -> Option<Byzantine> {
        self.byzantine.iter().find(|(n, _)| *n == node).map(|(_, kind)| *kind)
    }

    /// When the time of faults ends, virtual milliseconds.
    pub fn quiet_from_ms(&self) -> u64 {
        self.fault_blocks.saturating_mul(BLOCK_MS)
    }
}

fn round_parameters(rng: &mut Rng) -> RoundParameters {
    let workers = u16::try_from(rng.range(2, 4)).unwrap_or(2);
    let backups = u16::try_from(*rng.pick(&[0, 1, 2, 3, 3, 3, 3, 4, 4]).unwrap_or(&3)).unwrap_or(3);
    let stragglers = u16::try_from(rng.below(u64::from(workers) - 1)).unwrap_or(0);
    let proposer_timeout = rng.range(3, 5);
    let max_batch_gas = Gas(rng.range(1, 3).saturating_mul(200_000));
    RoundParameters {
        workers,
        backups,
        allowed_stragglers: stragglers,
        proposer_timeout,
        round_timeout: rng.range(4, 6),
        gas_per_block: Gas(200_000),
        max_batch_gas,
        max_round_interval: proposer_timeout.saturating_mul(u64::from(workers)).saturating_add(rng.range(4, 20)),
        slash_from: if rng.chance(800) { 1 } else { 2 },
        resolution: if rng.chance(400) { Resolution::Resume } else { Resolution::Full },
        ..parallax_consensus_app::localnet_rounds()
    }
}

fn machine(rng: &mut Rng, calm: bool) -> Machine {
    if calm {
        let ms_per_pbs = rng.range(0, 2);
        return Machine { lag_ms: rng.range(5, 60), clock_permille: rng.range(950, 1_050), ms_per_pbs };
    }
    let lag_ms = if rng.chance(200) { rng.range(200, 1_500) } else { rng.range(5, 120) };
    let ms_per_pbs = if rng.chance(150) { rng.range(5, 30) } else { rng.range(0, 3) };
    Machine { lag_ms, clock_permille: rng.range(500, 2_000), ms_per_pbs }
}

fn links(rng: &mut Rng, calm: bool) -> Links {
    if calm {
        return Links { least_ms: 2, most_ms: rng.range(10, 60), lost_permille: 0, doubled_permille: rng.below(50) };
    }
    Links {
        least_ms: 2,
        most_ms: *rng.pick(&[40, 150, 400, 1_500]).unwrap_or(&150),
        lost_permille: *rng.pick(&[0, 10, 50, 150]).unwrap_or(&10),
        doubled_permille: rng.below(100),
    }
}

/// Draws who misbehaves: within what the protocol assumes of the first committee, or beyond it. Later committees are
/// elected by lot; the checkers judge the assumption for each.
fn misbehaving(
    rng: &mut Rng,
    seed: u64,
    rounds: &RoundParameters,
    count: usize,
    beyond: bool,
) -> Vec<(usize, Byzantine)> {
    let honest_workers = usize::from(rounds.workers.saturating_sub(rounds.allowed_stragglers));
    let backups = usize::from(rounds.backups);
    let by_workers = honest_workers.saturating_sub(1);
    let by_backups = if backups == 0 { usize::MAX } else { backups.div_ceil(2).saturating_sub(1) };
    let bound = by_workers.min(by_backups);
    let number = match beyond {
        true => rng.index(count).saturating_add(1),
        false => rng.index(bound.saturating_add(1).min(count)).max(usize::from(bound > 0 && rng.chance(800))),
    };
    let in_turn = usize::try_from(seed).unwrap_or(0) % Byzantine::ALL.len();
    let mut nodes: Vec<usize> = (0..count).collect();
    let mut chosen = Vec::new();
    for _ in 0..number.min(count) {
        let node = nodes.remove(rng.index(nodes.len()));
        let drawn = rng.index(Byzantine::ALL.len());
        // In turn for the first of them, so that a few hundred seeds in a row have every kind.
        let at = if chosen.is_empty() { in_turn } else { drawn };
        let kind = Byzantine::ALL.get(at).copied().unwrap_or(Byzantine::WrongRoot);
        chosen.push((node, kind));
    }
    if bound > 0 && !beyond && chosen.first().is_some_and(|(_, kind)| *kind == Byzantine::DishonestBackup) {
        // It can lie only in a resolution: a lying worker of the first committee brings one about.
        chosen = vec![(count.saturating_sub(1), Byzantine::DishonestBackup)];
        if count > backups.max(1) {
            chosen.push((0, Byzantine::WrongRoot));
        }
    }
    chosen
}
