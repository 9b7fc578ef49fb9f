//! The members of a model, and everything that they can say, signed and checked once.

use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Domain, Epoch, Gas, Height, NodeId, ParaTimeId, Round, SecretKey, merkle,
};
use parallax_rounds::{
    Commitment, Committee, FailureReason, LivenessParameters, Outcome, Proposal, Resolution, RoundEvent,
    RoundParameters, RoundState, SignedCommitment, SignedProposal, Verified, messages_hash,
};

/// What a member says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// The right result.
    Honest,
    /// A wrong one.
    WrongA,
    /// Another wrong one.
    WrongB,
    /// The right result with incoming messages that nobody queued.
    Phantom,
    /// That it could not execute the batch.
    Failure,
}

impl Value {
    /// Whether a node that says so is faulty in its result.
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::WrongA | Self::WrongB | Self::Phantom)
    }
}

/// Which committee, and what may happen to it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Workers.
    pub workers: usize,
    /// Backups.
    pub backups: usize,
    /// How many of the last workers are the first backups too.
    pub dual: usize,
    /// `allowed_stragglers`.
    pub stragglers: usize,
    /// How many ranks may announce; the others let their windows pass.
    pub ranks: u16,
    /// Blocks of each rank's window.
    pub window: u64,
    /// Wrong results before a slash.
    pub slash_from: u32,
    /// What members may say.
    pub values: Vec<Value>,
    /// Whether a message waits that the round may consume.
    pub inbox: bool,
    /// Whether epochs may end and the ParaTime be suspended at any time.
    pub disturbed: bool,
    /// Whether states with the same canonical form are explored once.
    pub reduced: bool,
}

impl Setup {
    /// A committee under which everything may happen.
    pub fn of(workers: usize, backups: usize, stragglers: usize) -> Self {
        Self {
            workers,
            backups,
            dual: 0,
            stragglers,
            ranks: 2,
            window: 1,
            slash_from: 1,
            values: vec![Value::Honest, Value::WrongA, Value::WrongB, Value::Failure],
            inbox: false,
            disturbed: true,
            reduced: true,
        }
    }

    /// Committees that show every rule, the smallest first, with names.
    pub fn suite() -> Vec<(&'static str, Self)> {
        let values = vec![Value::Honest, Value::WrongA, Value::Phantom];
        vec![
            ("3 workers, no backup, every rank", Self { ranks: 3, ..Self::of(3, 0, 1) }),
            ("2 workers, 1 backup, windows of 3 blocks", Self { window: 3, ..Self::of(2, 1, 0) }),
            ("2 workers, 2 backups", Self::of(2, 2, 0)),
            ("3 workers, 3 backups, a message waits", Self { inbox: true, values, slash_from: 2, ..Self::of(3, 3, 1) }),
            ("3 workers, 3 backups, one in both", Self { dual: 1, ..Self::of(3, 3, 1) }),
            ("3 workers, 3 backups, one straggler", Self::of(3, 3, 1)),
            ("3 workers, 3 backups, no straggler", Self::of(3, 3, 0)),
        ]
    }

    fn parameters(&self) -> RoundParameters {
        RoundParameters {
            workers: u16::try_from(self.workers).unwrap(),
            backups: u16::try_from(self.backups).unwrap(),
            allowed_stragglers: u16::try_from(self.stragglers).unwrap(),
            proposer_timeout: self.window,
            round_timeout: 1,
            gas_per_block: Gas(10),
            max_batch_gas: Gas(10),
            max_round_interval: self.window * self.workers as u64 + 1,
            slash_from: self.slash_from,
            resolution: Resolution::Full,
            liveness: LivenessParameters::OFF,
            max_evidence_age: 1,
        }
    }
}

/// A proposal that can be announced, and what can be said of it.
#[derive(Debug)]
pub struct Batch {
    /// Its announcement.
    pub announced: Verified<SignedProposal>,
    /// The same rank's announcement of another batch.
    pub other: Verified<SignedProposal>,
    /// An announcement whose root is not that of its list.
    pub false_root: Verified<SignedProposal>,
    /// An announcement of more gas than a batch may have.
    pub oversize: Verified<SignedProposal>,
    /// By node and value.
    pub votes: Vec<Vec<Verified<SignedCommitment>>>,
    /// By node: the right result, with a message attached that it does not name.
    pub with_message: Vec<Verified<SignedCommitment>>,
    /// By node: the right result on another parent.
    pub on_other_parent: Vec<Verified<SignedCommitment>>,
    /// By node: the right result in another round.
    pub in_other_round: Vec<Verified<SignedCommitment>>,
}

/// A committee with its keys and messages.
#[derive(Debug)]
pub struct World {
    /// From what it was made.
    pub setup: Setup,
    /// Its nodes: workers first, then the backups that are not workers.
    pub nodes: Vec<NodeId>,
    /// The committee in office.
    pub committee: Committee,
    /// The one of the next epoch.
    pub next: Committee,
    /// How rounds run.
    pub parameters: RoundParameters,
    /// By rank, all workers.
    pub batches: Vec<Batch>,
    /// The states from which a round begins, and whether work waits.
    pub beginnings: Vec<RoundState>,
}

const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
/// An epoch that no round reaches the end of.
const LONG: Height = Height(1_000);

fn digest(n: u64) -> Digest {
    Digest::of_value(Domain::Simulation, &n)
}

fn paratime() -> ParaTimeId {
    ParaTimeId::named("model")
}

/// All values, in their order: the index of [`Batch::votes`].
pub const VALUES: [Value; 5] = [Value::Honest, Value::WrongA, Value::WrongB, Value::Phantom, Value::Failure];

impl World {
    /// Builds keys, committees, beginnings and messages.
    pub fn new(setup: Setup) -> Self {
        let count = setup.workers + setup.backups - setup.dual;
        let keys: Vec<SecretKey> =
            (0..count).map(|n| SecretKey::from_seed([u8::try_from(n + 1).unwrap(); 32])).collect();
        let nodes: Vec<NodeId> = keys.iter().map(SecretKey::public).collect();
        let committee = Committee {
            epoch: Epoch(0),
            workers: nodes[..setup.workers].to_vec(),
            backups: nodes[count - setup.backups..].to_vec(),
        };
        let mut next = Committee { epoch: Epoch(1), ..committee.clone() };
        next.workers.reverse();
        let parameters = setup.parameters();
        let begin = |root: u64, seated: bool, epoch_end| {
            let seated = seated.then(|| committee.clone());
            let state =
                RoundState::new(paratime(), parameters.clone(), digest(root), seated, Epoch(0), epoch_end).unwrap();
            if setup.inbox { with_message(state, &committee, epoch_end) } else { state }
        };
        let base = begin(0, true, LONG);
        let signer = Signer { base: &base, other_parent: begin(1, true, LONG), keys: &keys, setup: &setup };
        let batches = (0..setup.workers).map(|rank| signer.batch(u16::try_from(rank).unwrap(), &committee)).collect();
        // An epoch in which the second rank has room and the first one soon has not: deadline and resolution of the
        // first rank's batch take 2 + 3 blocks, of the second one's 1 + 2.
        let mut beginnings = vec![base.clone(), begin(0, true, Height(8)), begin(0, false, LONG)];
        if !setup.inbox {
            for at in 0..2 {
                let mut worked = beginnings[at].clone();
                worked.apply(Height(0), RoundEvent::WorkQueued).unwrap();
                beginnings.push(worked);
            }
        }
        Self { setup, nodes, committee, next, parameters, batches, beginnings }
    }

    /// Whether a node is a worker.
    pub fn is_worker(&self, node: usize) -> bool {
        node < self.setup.workers
    }

    /// Whether a node is a backup.
    pub fn is_backup(&self, node: usize) -> bool {
        node >= self.nodes.len() - self.setup.backups
    }

    /// Workers that must agree at a deadline.
    pub fn quorum(&self) -> usize {
        self.setup.workers - self.setup.stragglers
    }

    /// The worker of a rank in the round that is explored.
    pub fn ranked(&self, rank: u16) -> usize {
        let round = self.beginnings[0].round();
        let node = self.committee.worker_of_rank(round, rank).unwrap();
        self.nodes.iter().position(|n| *n == node).unwrap()
    }

    /// What a member says of the batch of a rank.
    pub fn vote(&self, rank: u16, node: usize, value: Value) -> &Verified<SignedCommitment> {
        let at = VALUES.iter().position(|v| *v == value).unwrap();
        &self.batches[usize::from(rank)].votes[node][at]
    }

    /// Blocks of detection and of resolution for the batch of a rank.
    pub fn timeouts(&self, rank: u16) -> (u64, u64) {
        let gas = self.batches[usize::from(rank)].announced.get().proposal.gas;
        let detect = 1 + gas.0.div_ceil(10);
        (detect, detect + detect.div_ceil(2))
    }
}

/// Begins a round to which one message is offered.
fn with_message(mut state: RoundState, committee: &Committee, epoch_end: Height) -> RoundState {
    state.apply(Height(0), RoundEvent::InMessageQueued(waiting())).unwrap();
    let (committee, epoch) = (state.committee().map(|_| committee.clone()), Epoch(0));
    state.apply(Height(0), RoundEvent::EpochEnded { committee, epoch, epoch_end }).unwrap();
    state
}

fn waiting() -> InMessage {
    InMessage { id: 0, caller: Address([2; 20]), tokens: Amount(3), data: vec![1, 2, 3] }
}

struct Signer<'a> {
    base: &'a RoundState,
    other_parent: RoundState,
    keys: &'a [SecretKey],
    setup: &'a Setup,
}

impl Signer<'_> {
    fn batch(&self, rank: u16, committee: &Committee) -> Batch {
        let scheduler = committee.worker_of_rank(self.base.round(), rank).unwrap();
        let key = self.keys.iter().find(|k| k.public() == scheduler).unwrap();
        let propose = |transactions: Vec<Digest>, gas: u64, root: Digest| {
            let proposal = Proposal {
                scheduler,
                rank,
                round: self.base.round(),
                previous_hash: self.base.last_hash(),
                batch_root: root,
                transactions,
                gas: Gas(gas),
            };
            let signed = SignedProposal::sign(proposal, CHAIN, paratime(), key);
            Verified::<SignedProposal>::check(self.base, CHAIN, signed).unwrap()
        };
        // The first rank's batch has work of one block, so deadlines differ between ranks.
        let gas = if rank == 0 { 10 } else { 0 };
        let list = vec![digest(100 + u64::from(rank))];
        let announced = propose(list.clone(), gas, merkle::root(&list));
        let other = vec![digest(200)];
        let digest_of = announced.get().proposal.digest();
        let all = 0..self.keys.len();
        let right = |n, state: &RoundState, messages| {
            let outcome = self.outcome(Value::Honest);
            self.commit(n, state, digest_of, outcome, messages)
        };
        let mut later = self.base.clone();
        let suspended = RoundEvent::EpochEnded { committee: Some(committee.clone()), epoch: Epoch(1), epoch_end: LONG };
        later.apply(Height(0), suspended).unwrap();
        Batch {
            other: propose(other.clone(), 0, merkle::root(&other)),
            false_root: propose(list.clone(), gas, digest(0)),
            oversize: propose(list.clone(), 11, merkle::root(&list)),
            announced,
            votes: all
                .clone()
                .map(|n| VALUES.map(|v| self.commit(n, self.base, digest_of, self.outcome(v), vec![])).to_vec())
                .collect(),
            with_message: all
                .clone()
                .map(|n| right(n, self.base, vec![OutMessage::Transfer { to: Address([1; 20]), amount: Amount(1) }]))
                .collect(),
            on_other_parent: all.clone().map(|n| right(n, &self.other_parent, vec![])).collect(),
            in_other_round: all.map(|n| right(n, &later, vec![])).collect(),
        }
    }

    fn commit(
        &self,
        node: usize,
        state: &RoundState,
        proposal: Digest,
        outcome: Outcome,
        messages: Vec<OutMessage>,
    ) -> Verified<SignedCommitment> {
        let key = &self.keys[node];
        let (round, previous_hash): (Round, Digest) = (state.round(), state.last_hash());
        let commitment = Commitment { node: key.public(), proposal, round, previous_hash, outcome };
        let signed = SignedCommitment::sign(commitment, messages, CHAIN, paratime(), key);
        Verified::<SignedCommitment>::check(state, CHAIN, signed).unwrap()
    }

    fn outcome(&self, value: Value) -> Outcome {
        let consumed: Vec<InMessage> = match value {
            Value::Phantom => vec![InMessage { id: 77, ..waiting() }],
            _ if self.setup.inbox => vec![waiting()],
            _ => vec![],
        };
        let root = match value {
            Value::Failure => return Outcome::Failure { reason: FailureReason::Unavailable },
            Value::Honest | Value::Phantom => 10,
            Value::WrongA => 11,
            Value::WrongB => 12,
        };
        Outcome::Success {
            io_root: digest(root),
            state_root: digest(root),
            trace_root: digest(root),
            messages_hash: messages_hash::<OutMessage>(&[]),
            in_messages_hash: messages_hash(&consumed),
            in_messages_count: u32::try_from(consumed.len()).unwrap(),
        }
    }
}
