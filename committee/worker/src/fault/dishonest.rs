//! Around an honest worker: what it sends is changed on its way out.

use super::{Fault, FaultKind, wrong};
use crate::event::{Anchor, WorkerConfig};
use crate::seams::{Journal, Ledger, LedgerError, LedgerState, PeerRequest, PeerResponse, Transport};
use parallax_primitives::{ChainContext, Digest, Domain, Gas, Height, NodeId, ParaTimeId, Round, SecretKey, merkle};
use parallax_rounds::{
    Commitment, Evidence, FailureReason, Outcome, ParaTimeBlock, Phase, Proposal, RoundState, SignedCommitment,
    SignedProposal,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a straggler looks whether the deadline has passed.
const POLL: Duration = Duration::from_millis(50);
/// Blocks before the last possible announcement of an epoch from which `epoch-cheat` lies. Honest schedulers stop some
/// blocks before that one, so that an announcement that is late still fits; a few rounds before that are among the last.
const LAST_BLOCKS: u64 = 24;

/// What has been signed dishonestly: sent again, it is the same.
#[derive(Default)]
struct Memory {
    /// By round and the digest of the honest proposal; for `preempt`, zero.
    proposals: BTreeMap<(Round, Digest), Option<SignedProposal>>,
    /// By round and proposal; `None`: honest, and decided to stay so.
    votes: BTreeMap<(Round, Digest), Option<SignedCommitment>>,
}

/// The dishonest half of a node. Its key is the node's own, so what it makes up is signed.
pub struct Dishonest {
    fault: Fault,
    chain: ChainContext,
    paratime: ParaTimeId,
    key: SecretKey,
    me: NodeId,
    journal: Arc<dyn Journal>,
    memory: Mutex<Memory>,
}

/// What a node is in the round under way.
struct Part {
    scheduler: bool,
    worker: bool,
    backup: bool,
    resolving: bool,
}

fn part(me: &NodeId, rounds: &RoundState, proposal: &Digest) -> Part {
    let committee = rounds.committee();
    let live = rounds.live().filter(|live| live.digest == *proposal);
    Part {
        scheduler: live.is_some_and(|live| live.signed.proposal.scheduler == *me),
        worker: committee.is_some_and(|c| c.is_worker(me)),
        backup: committee.is_some_and(|c| c.is_backup(me)),
        resolving: matches!(rounds.phase(), Phase::Resolve { .. }),
    }
}

impl Dishonest {
    /// Of the worker with this configuration. `journal` remembers what is done once.
    pub fn new(fault: Fault, config: &WorkerConfig, journal: Arc<dyn Journal>) -> Arc<Self> {
        Arc::new(Self {
            fault,
            chain: config.chain,
            paratime: config.paratime,
            key: config.key.clone(),
            me: config.key.public(),
            journal,
            memory: Mutex::default(),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the fault acts in a round. One that is done once has been done after this.
    fn acts(&self, round: Round) -> bool {
        let acts = match self.fault.rounds {
            Some(rounds) => rounds.contains(round),
            None if self.fault.kind.is_once() => self.journal.once(&self.fault.to_string()).unwrap_or_else(|error| {
                tracing::error!(%error, "worker.fault_not_remembered");
                false
            }),
            None => true,
        };
        if acts {
            tracing::warn!(fault = %self.fault, round = round.0, "worker.fault_acts");
        }
        acts
    }

    fn sign(&self, proposal: Proposal) -> SignedProposal {
        SignedProposal::sign(proposal, self.chain, self.paratime, &self.key)
    }

    fn vote(&self, commitment: Commitment) -> SignedCommitment {
        SignedCommitment::sign(commitment, vec![], self.chain, self.paratime, &self.key)
    }

    /// The dishonest proposal in the place of an honest one, if the fault has one for this round.
    fn other_proposal(&self, honest: &Proposal) -> Option<SignedProposal> {
        let bogus = || Digest::of_value(Domain::Simulation, &("bogus", honest.round, honest.rank));
        let (key, other) = match self.fault.kind {
            FaultKind::BogusTransactions => {
                let transactions = vec![bogus()];
                (honest.digest(), Proposal { batch_root: merkle::root(&transactions), transactions, ..honest.clone() })
            }
            FaultKind::InvalidBatchRoot => (honest.digest(), Proposal { batch_root: bogus(), ..honest.clone() }),
            // The other batch is empty, so that there is one whoever has what transactions.
            FaultKind::EquivocateProposal | FaultKind::EquivocateBatches if !honest.transactions.is_empty() => {
                (honest.digest(), empty(honest))
            }
            FaultKind::Preempt if honest.rank > 0 => (Digest::ZERO, empty(honest)),
            _ => return None,
        };
        let key = (honest.round, key);
        if let Some(decided) = self.memory().proposals.get(&key) {
            return decided.clone();
        }
        let other = self.acts(honest.round).then(|| self.sign(other));
        self.memory().proposals.insert(key, other.clone());
        other
    }

    /// What is announced instead of an honest proposal.
    fn announced(&self, honest: SignedProposal) -> Vec<SignedProposal> {
        match (self.fault.kind, self.other_proposal(&honest.proposal)) {
            (_, None) | (FaultKind::EquivocateBatches, _) => vec![honest],
            (FaultKind::EquivocateProposal, Some(other)) => vec![honest, other],
            (_, Some(other)) => vec![other],
        }
    }

    /// What is gossiped instead of an honest proposal.
    fn gossiped(&self, honest: SignedProposal) -> Vec<SignedProposal> {
        match (self.fault.kind, self.other_proposal(&honest.proposal)) {
            (_, None) => vec![honest],
            (FaultKind::EquivocateProposal, Some(other)) => vec![honest, other],
            (_, Some(other)) => vec![other],
        }
    }

    /// The other vote for a proposal, if the fault has one.
    fn other_vote(&self, honest: &SignedCommitment, state: &LedgerState) -> Option<SignedCommitment> {
        let commitment = &honest.commitment;
        let part = part(&self.me, &state.rounds, &commitment.proposal);
        let worker = part.worker && !part.resolving;
        let wanted = match self.fault.kind {
            FaultKind::WrongRoot => worker && !part.scheduler,
            FaultKind::WrongRootScheduler => part.scheduler,
            FaultKind::EpochCheat => worker && !part.scheduler && is_last(state),
            FaultKind::EquivocateVote => worker,
            FaultKind::Failure => true,
            // The made-up vote of `wrong-root-backup` went out before, see `seen`, and is found below.
            _ => false,
        };
        let key = (commitment.round, commitment.proposal);
        if let Some(decided) = self.memory().votes.get(&key) {
            return decided.clone();
        }
        if !wanted {
            return None;
        }
        let other = self.acts(commitment.round).then(|| {
            let outcome = match (self.fault.kind, &commitment.outcome) {
                (FaultKind::Failure, _) | (_, Outcome::Failure { .. }) => {
                    Outcome::Failure { reason: FailureReason::InvalidBatch }
                }
                (
                    _,
                    Outcome::Success {
                        io_root,
                        state_root,
                        trace_root,
                        messages_hash,
                        in_messages_hash,
                        in_messages_count,
                    },
                ) => Outcome::Success {
                    io_root: *io_root,
                    state_root: wrong(*state_root, &self.me),
                    trace_root: *trace_root,
                    messages_hash: *messages_hash,
                    in_messages_hash: *in_messages_hash,
                    in_messages_count: *in_messages_count,
                },
            };
            let messages = match outcome {
                Outcome::Success { .. } => honest.messages.clone(),
                Outcome::Failure { .. } => vec![],
            };
            let vote = self.vote(Commitment { outcome, ..commitment.clone() });
            SignedCommitment { messages, ..vote }
        });
        self.memory().votes.insert(key, other.clone());
        other
    }

    /// What it does by itself when it sees a block: a proposal before its turn, or a backup's vote before it is asked.
    fn seen(&self, state: &LedgerState) -> Option<Unasked> {
        let (rounds, round) = (&state.rounds, state.rounds.round());
        self.memory().proposals.retain(|(r, _), _| *r >= round);
        self.memory().votes.retain(|(r, _), _| *r >= round);
        match (self.fault.kind, rounds.phase()) {
            (FaultKind::Preempt, Phase::Idle { .. }) => {
                let rank = rounds.committee()?.rank_of(round, &self.me).filter(|rank| *rank > 0)?;
                if self.memory().proposals.contains_key(&(round, Digest::ZERO)) {
                    return None;
                }
                let proposal = Proposal {
                    scheduler: self.me,
                    rank,
                    round,
                    previous_hash: rounds.last_hash(),
                    batch_root: merkle::root(&[]),
                    transactions: vec![],
                    gas: Gas::ZERO,
                };
                self.other_proposal(&proposal).map(Unasked::Announce)
            }
            (FaultKind::WrongRootBackup, Phase::Announced { live, .. } | Phase::Detect { live, .. }) => {
                let part = part(&self.me, rounds, &live.digest);
                let key = (round, live.digest);
                if !part.backup || part.worker || self.memory().votes.contains_key(&key) {
                    return None;
                }
                let made_up = |what: &str| wrong(Digest::of_value(Domain::Simulation, &(what, live.digest)), &self.me);
                let vote = self.acts(round).then(|| {
                    self.vote(Commitment {
                        node: self.me,
                        proposal: live.digest,
                        round,
                        previous_hash: rounds.last_hash(),
                        outcome: Outcome::Success {
                            io_root: made_up("io"),
                            state_root: made_up("state"),
                            trace_root: made_up("trace"),
                            messages_hash: made_up("messages"),
                            in_messages_hash: made_up("in-messages"),
                            in_messages_count: 0,
                        },
                    })
                });
                self.memory().votes.insert(key, vote.clone());
                vote.map(Unasked::Commit)
            }
            _ => None,
        }
    }
}

/// What a dishonest node sends without being asked.
enum Unasked {
    Announce(SignedProposal),
    Commit(SignedCommitment),
}

/// The same proposal with an empty batch.
fn empty(honest: &Proposal) -> Proposal {
    Proposal { batch_root: merkle::root(&[]), transactions: vec![], gas: Gas::ZERO, ..honest.clone() }
}

/// Whether the round under way is one of the last of its epoch.
fn is_last(state: &LedgerState) -> bool {
    state.rounds.gas_room(state.height.saturating_add(LAST_BLOCKS)).is_none()
}

/// The chain as a dishonest worker sees it; without a fault, as it is.
pub struct FaultyLedger<L> {
    inner: Arc<L>,
    dishonest: Option<Arc<Dishonest>>,
}

impl<L> FaultyLedger<L> {
    /// Around an honest ledger.
    pub fn new(inner: L, dishonest: Option<Arc<Dishonest>>) -> Self {
        Self { inner: Arc::new(inner), dishonest }
    }
}

impl<L: Ledger> FaultyLedger<L> {
    /// Waits until the deadline of what is under way now has passed.
    async fn straggle(&self, paratime: ParaTimeId, proposal: Digest) {
        let mut until = None;
        loop {
            let Ok(state) = self.inner.state(paratime) else { return };
            let live = state.rounds.live().is_some_and(|live| live.digest == proposal);
            let due = *until.get_or_insert_with(|| state.rounds.due());
            if !live || due.is_none_or(|due| state.height >= due) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl<L: Ledger> Ledger for FaultyLedger<L> {
    fn state(&self, paratime: ParaTimeId) -> Result<LedgerState, LedgerError> {
        let state = self.inner.state(paratime)?;
        if let Some(unasked) = self.dishonest.as_ref().and_then(|d| d.seen(&state)) {
            let inner = Arc::clone(&self.inner);
            // It ends with the runtime; nobody waits for it.
            drop(tokio::spawn(async move {
                match unasked {
                    Unasked::Announce(proposal) => inner.announce(paratime, proposal).await,
                    Unasked::Commit(vote) => inner.commit(paratime, vec![vote]).await,
                }
            }));
        }
        Ok(state)
    }

    fn header(&self, height: Height) -> Result<Option<Anchor>, LedgerError> {
        self.inner.header(height)
    }

    fn block(&self, paratime: ParaTimeId, round: Round) -> Result<Option<ParaTimeBlock>, LedgerError> {
        self.inner.block(paratime, round)
    }

    fn peers(&self, paratime: ParaTimeId) -> Result<Vec<NodeId>, LedgerError> {
        self.inner.peers(paratime)
    }

    async fn announce(&self, paratime: ParaTimeId, proposal: SignedProposal) {
        let Some(dishonest) = &self.dishonest else { return self.inner.announce(paratime, proposal).await };
        for proposal in dishonest.announced(proposal) {
            self.inner.announce(paratime, proposal).await;
        }
    }

    async fn commit(&self, paratime: ParaTimeId, commitments: Vec<SignedCommitment>) {
        let Some(dishonest) = &self.dishonest else { return self.inner.commit(paratime, commitments).await };
        let Ok(state) = self.inner.state(paratime) else { return };
        let mut out = Vec::new();
        for honest in commitments {
            let (round, proposal) = (honest.commitment.round, honest.commitment.proposal);
            let part = part(&dishonest.me, &state.rounds, &proposal);
            match dishonest.fault.kind {
                FaultKind::Silent if dishonest.acts(round) => continue,
                FaultKind::Runaway if part.scheduler && dishonest.acts(round) => continue,
                FaultKind::Straggler if dishonest.acts(round) => self.straggle(paratime, proposal).await,
                _ => {}
            }
            match (dishonest.fault.kind, dishonest.other_vote(&honest, &state)) {
                (_, None) => out.push(honest),
                (FaultKind::EquivocateVote, Some(other)) => out.extend([honest, other]),
                (_, Some(other)) => out.push(other),
            }
        }
        if !out.is_empty() {
            self.inner.commit(paratime, out).await;
        }
    }

    /// Others it reports as an honest node does.
    async fn report(&self, paratime: ParaTimeId, evidence: Evidence) {
        self.inner.report(paratime, evidence).await;
    }
}

/// The network as a dishonest worker uses it; without a fault, as it is.
pub struct FaultyTransport<T> {
    inner: T,
    dishonest: Option<Arc<Dishonest>>,
}

impl<T> FaultyTransport<T> {
    /// Around an honest transport.
    pub fn new(inner: T, dishonest: Option<Arc<Dishonest>>) -> Self {
        Self { inner, dishonest }
    }
}

impl<T: Transport> Transport for FaultyTransport<T> {
    async fn publish(&self, paratime: ParaTimeId, proposal: SignedProposal) {
        let Some(dishonest) = &self.dishonest else { return self.inner.publish(paratime, proposal).await };
        for proposal in dishonest.gossiped(proposal) {
            self.inner.publish(paratime, proposal).await;
        }
    }

    async fn request(&self, paratime: ParaTimeId, peer: NodeId, request: PeerRequest) -> Option<PeerResponse> {
        self.inner.request(paratime, peer, request).await
    }

    async fn blame(&self, peer: NodeId) {
        self.inner.blame(peer).await;
    }
}
