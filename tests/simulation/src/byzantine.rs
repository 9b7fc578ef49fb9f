//! What Byzantine nodes do otherwise. Each runs the honest worker; here its plans, outcomes and messages are changed on
//! their way, and a few attacks are made up from nothing.

use crate::network::Message;
use crate::node::{Done, Task};
use crate::scenario::{BLOCK_MS, Byzantine};
use crate::world::{Event, World};
use parallax_consensus_app::tx::Call;
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::{Digest, Domain, Gas, NodeId, Round, merkle};
use parallax_rounds::{Commitment, Outcome, Phase, Proposal, SignedCommitment, SignedProposal, messages_hash};
use parallax_runtime::Abort;
use parallax_runtime::paratime::tx_digest;
use parallax_worker::{PeerResponse, RoundView};

/// Blocks before an epoch's end from which a cheat may hope to escape its verdict.
const EPOCH_EDGE: u64 = 25;

fn wrong(root: Digest, salt: u64) -> Digest {
    Digest::of_value(Domain::Simulation, &("wrong-root", root, salt))
}

/// Another result than the given one.
fn other(outcome: &Outcome, salt: u64) -> Outcome {
    match outcome.clone() {
        Outcome::Success { io_root, state_root, trace_root, messages_hash, in_messages_hash, in_messages_count } => {
            let state_root = wrong(state_root, salt);
            Outcome::Success { io_root, state_root, trace_root, messages_hash, in_messages_hash, in_messages_count }
        }
        failure @ Outcome::Failure { .. } => failure,
    }
}

impl World {
    fn sign_proposal(&self, node: usize, proposal: Proposal) -> Option<SignedProposal> {
        let n = self.nodes.get(node)?;
        Some(SignedProposal::sign(proposal, self.parties.chain, self.parties.paratime, &n.key))
    }

    fn sign_commitment(&self, node: usize, commitment: Commitment) -> Option<SignedCommitment> {
        let n = self.nodes.get(node)?;
        let (chain, paratime) = (self.parties.chain, self.parties.paratime);
        Some(SignedCommitment::sign(commitment, Vec::new(), chain, paratime, &n.key))
    }

    fn id_of(&self, node: usize) -> NodeId {
        self.parties.computes.get(node).map(crate::parties::Operator::id).unwrap_or_default()
    }

    fn did(&mut self, node: usize, kind: Byzantine) {
        self.log.count(&format!("attack {kind}"));
        self.say(node, || format!("attacks: {kind}"));
    }

    /// Attacks that need no occasion but a block.
    pub(crate) fn attack_on_block(&mut self, node: usize, view: &RoundView) {
        match self.kind(node) {
            Some(Byzantine::Preemption) => self.preempt(node, view),
            Some(Byzantine::Replay) => self.replay(node),
            Some(Byzantine::Garbage) => self.litter(node),
            _ => {}
        }
    }

    /// Announces an empty batch of its own rank before its window opens.
    fn preempt(&mut self, node: usize, view: &RoundView) {
        let (state, me) = (&view.state, self.id_of(node));
        let round = state.round();
        let Some(rank) = state.committee().and_then(|c| c.rank_of(round, &me)) else { return };
        let early = state.window(rank).is_some_and(|opens| opens > view.height.next());
        if !early || rank == 0 || self.rng.chance(500) {
            return;
        }
        let proposal = Proposal {
            scheduler: me,
            rank,
            round,
            previous_hash: state.last_hash(),
            batch_root: merkle::root(&[]),
            transactions: Vec::new(),
            gas: Gas::ZERO,
        };
        let Some(signed) = self.sign_proposal(node, proposal) else { return };
        self.did(node, Byzantine::Preemption);
        self.checks.proposals.insert(signed.proposal.digest(), signed.clone());
        for to in 0..self.nodes.len() {
            if to != node {
                self.send(node, to, Message::Proposal(signed.clone()));
            }
        }
        let call = Call::Announce { paratime: self.parties.paratime, proposal: signed };
        drop(self.call(node, round, call));
    }

    /// Sends again what others signed in earlier rounds.
    fn replay(&mut self, node: usize) {
        let round = self.chain.view(self.height()).map_or(Round::ZERO, |v| v.rounds.round());
        let old: Vec<SignedCommitment> = self.checks.commitments.clone();
        if let Some(vote) = self.rng.pick(&old).cloned() {
            self.did(node, Byzantine::Replay);
            let call = Call::Commit { paratime: self.parties.paratime, commitments: vec![vote] };
            drop(self.call(node, round, call));
        }
        let proposals: Vec<SignedProposal> = self.checks.proposals.values().cloned().collect();
        if self.rng.chance(300)
            && let Some(signed) = self.rng.pick(&proposals).cloned()
        {
            for to in 0..self.nodes.len() {
                if to != node {
                    self.send(node, to, Message::Proposal(signed.clone()));
                }
            }
            let call = Call::Announce { paratime: self.parties.paratime, proposal: signed };
            drop(self.call(node, round, call));
        }
    }

    /// Garbage for the chain and for every peer.
    fn litter(&mut self, node: usize) {
        if !self.rng.chance(300) {
            return;
        }
        self.did(node, Byzantine::Garbage);
        let bytes = self.noise();
        self.send_to_chain(node, &bytes);
        for to in 0..self.nodes.len() {
            if to != node {
                let bytes = self.noise();
                self.send(node, to, Message::Transaction(bytes));
            }
        }
        // A proposal in somebody else's name.
        let proposals: Vec<SignedProposal> = self.checks.proposals.values().cloned().collect();
        if let Some(mut signed) = self.rng.pick(&proposals).cloned() {
            signed.proposal.gas = Gas(self.rng.draw());
            let to = self.rng.index(self.nodes.len());
            self.send(node, to, Message::Proposal(signed.clone()));
            let round = self.chain.view(self.height()).map_or(Round::ZERO, |v| v.rounds.round());
            let call = Call::Announce { paratime: self.parties.paratime, proposal: signed };
            drop(self.call(node, round, call));
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.rng.index(200);
        (0..length).map(|_| u8::try_from(self.rng.below(256)).unwrap_or(0)).collect()
    }

    /// Why a node refuses to execute, if it does.
    pub(crate) fn refuses(&mut self, node: usize, signed: &SignedProposal) -> Option<Abort> {
        if self.kind(node) == Some(Byzantine::Failure) && signed.proposal.scheduler != self.id_of(node) {
            self.did(node, Byzantine::Failure);
            return Some(Abort::InvalidBatch("a Byzantine node says so".to_owned()));
        }
        None
    }

    /// The batch that a scheduler pretends to have planned.
    pub(crate) fn twist_plan(
        &mut self,
        node: usize,
        planned: Option<(Vec<Digest>, Gas)>,
    ) -> Option<(Vec<Digest>, Gas)> {
        let (transactions, gas) = planned?;
        match self.kind(node) {
            Some(Byzantine::BogusTransactions) => {
                self.did(node, Byzantine::BogusTransactions);
                let bogus = (0..self.rng.range(1, 3)).map(|_| wrong(Digest::ZERO, self.rng.draw())).collect();
                Some((bogus, gas))
            }
            Some(Byzantine::InvalidBatch) => {
                self.did(node, Byzantine::InvalidBatch);
                if self.rng.chance(500) {
                    return Some((transactions, gas.saturating_add(1)));
                }
                let garbage = vec![self.noise()];
                let round = self.chain.view(self.height()).map_or(Round::ZERO, |v| v.rounds.round());
                let digests = garbage.iter().map(|tx| tx_digest(tx)).collect();
                let run = self.nodes.get(node).and_then(|n| n.running.as_ref());
                if let Some(run) = run {
                    drop(run.results.put_batch(round, &garbage));
                }
                Some((digests, gas))
            }
            _ => Some((transactions, gas)),
        }
    }

    /// A scheduler that commits to what it cannot execute.
    pub(crate) fn pretends(&mut self, node: usize, signed: &SignedProposal) -> Option<Outcome> {
        let mine = signed.proposal.scheduler == self.id_of(node);
        if self.kind(node) != Some(Byzantine::InvalidBatch) || !mine || self.rng.chance(300) {
            return None;
        }
        let made_up = wrong(signed.proposal.digest(), 0);
        Some(Outcome::Success {
            io_root: made_up,
            state_root: made_up,
            trace_root: made_up,
            messages_hash: messages_hash::<OutMessage>(&[]),
            in_messages_hash: messages_hash::<InMessage>(&[]),
            in_messages_count: 0,
        })
    }

    /// Whom a proposal is sent to, and which one.
    pub(crate) fn twist_publication(&mut self, node: usize, signed: SignedProposal) -> Vec<(usize, SignedProposal)> {
        let peers: Vec<usize> = (0..self.nodes.len()).filter(|to| *to != node).collect();
        let shown = match self.kind(node) {
            Some(Byzantine::Silent) => return Vec::new(),
            Some(Byzantine::InvalidBatchRoot) => self.with_bad_root(node, &signed),
            Some(Byzantine::EquivocatingProposals) => {
                let second = self.second_proposal(node, &signed);
                let side = self.rng.draw();
                let shown = |to: &usize| if side & (1 << to) == 0 { signed.clone() } else { second.clone() };
                return peers.iter().map(|to| (*to, shown(to))).collect();
            }
            _ => signed,
        };
        peers.into_iter().map(|to| (to, shown.clone())).collect()
    }

    fn with_bad_root(&mut self, node: usize, signed: &SignedProposal) -> SignedProposal {
        let mut proposal = signed.proposal.clone();
        proposal.batch_root = wrong(proposal.batch_root, 1);
        self.sign_proposal(node, proposal).unwrap_or_else(|| signed.clone())
    }

    /// Another batch for the same round and rank, which the node serves as well.
    fn second_proposal(&mut self, node: usize, signed: &SignedProposal) -> SignedProposal {
        self.did(node, Byzantine::EquivocatingProposals);
        let mut proposal = signed.proposal.clone();
        let run = self.nodes.get(node).and_then(|n| n.running.as_ref());
        let held = run.and_then(|run| run.results.batch(proposal.round, &proposal.batch_root).ok().flatten());
        match held {
            Some(mut batch) if !batch.is_empty() => {
                batch.pop();
                proposal.transactions = batch.iter().map(|tx| tx_digest(tx)).collect();
                proposal.batch_root = merkle::root(&proposal.transactions);
                if let Some(run) = run {
                    drop(run.results.put_batch(proposal.round, &batch));
                }
            }
            _ => proposal.gas = proposal.gas.saturating_add(1),
        }
        let second = self.sign_proposal(node, proposal).unwrap_or_else(|| signed.clone());
        self.checks.proposals.insert(second.proposal.digest(), second.clone());
        second
    }

    /// What goes on chain instead of an announcement.
    pub(crate) fn twist_announcement(&mut self, node: usize, signed: SignedProposal) -> Option<SignedProposal> {
        match self.kind(node) {
            Some(Byzantine::Silent) => {
                self.did(node, Byzantine::Silent);
                None
            }
            Some(Byzantine::InvalidBatchRoot) => {
                self.did(node, Byzantine::InvalidBatchRoot);
                Some(self.with_bad_root(node, &signed))
            }
            Some(Byzantine::EquivocatingProposals) if self.rng.chance(500) => Some(self.second_proposal(node, &signed)),
            _ => Some(signed),
        }
    }

    /// What goes on chain instead of a commitment.
    pub(crate) fn twist_commitment(&mut self, node: usize, vote: SignedCommitment) -> Vec<SignedCommitment> {
        let proposal = self.checks.proposals.get(&vote.commitment.proposal);
        let mine = proposal.is_some_and(|p| p.proposal.scheduler == self.id_of(node));
        match self.kind(node) {
            Some(kind @ Byzantine::Silent) => {
                self.did(node, kind);
                Vec::new()
            }
            Some(kind @ Byzantine::Runaway) if mine => {
                self.did(node, kind);
                Vec::new()
            }
            Some(kind @ Byzantine::EquivocatingVotes) => {
                self.did(node, kind);
                let mut second = vote.commitment.clone();
                second.outcome = other(&second.outcome, self.rng.below(2));
                let second = self.sign_commitment(node, second);
                let mut both: Vec<SignedCommitment> = [Some(vote), second].into_iter().flatten().collect();
                if self.rng.chance(500) {
                    both.reverse();
                }
                both
            }
            Some(kind @ Byzantine::Late) => {
                self.did(node, kind);
                let height = self.height();
                let deadline = self.chain.view(height).and_then(|view| match view.rounds.phase() {
                    Phase::Announced { deadline, .. }
                    | Phase::Detect { deadline, .. }
                    | Phase::Resolve { deadline, .. } => Some(*deadline),
                    Phase::Idle { .. } | Phase::Suspended => None,
                });
                let left = deadline.map_or(0, |d| d.0.saturating_sub(height.0)).saturating_mul(BLOCK_MS);
                let delay = left.saturating_sub(BLOCK_MS).saturating_add(self.rng.below(3 * BLOCK_MS));
                self.schedule(node, delay, Task::CommitLate(vote));
                Vec::new()
            }
            _ => vec![vote],
        }
    }

    /// What a peer is told instead of an answer.
    pub(crate) fn twist_answer(&mut self, node: usize, answer: PeerResponse) -> Option<PeerResponse> {
        let kind = self.kind(node);
        let corrupt = kind == Some(Byzantine::Garbage) && self.rng.chance(600);
        match answer {
            // It is asked first, as the scheduler, and never has what it announced: silence, or something else.
            PeerResponse::Batch(_) if kind == Some(Byzantine::BogusTransactions) => {
                self.rng.chance(300).then(|| PeerResponse::Batch(Some(vec![vec![1]])))
            }
            // Also one that it does not hold.
            PeerResponse::Batch(held) if corrupt => {
                self.did(node, Byzantine::Garbage);
                let mut batch = held.unwrap_or_default();
                match batch.first_mut().and_then(|tx| tx.first_mut()) {
                    Some(byte) => *byte ^= 1,
                    None => batch.push(vec![1]),
                }
                Some(PeerResponse::Batch(Some(batch)))
            }
            PeerResponse::Blob(Some(mut bytes)) if corrupt => {
                self.did(node, Byzantine::Garbage);
                let middle = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 1;
                }
                Some(PeerResponse::Blob(Some(bytes)))
            }
            PeerResponse::Result(Some(mut result)) if corrupt => {
                self.did(node, Byzantine::Garbage);
                result.writes.pop_first();
                Some(PeerResponse::Result(Some(result)))
            }
            PeerResponse::State(Some(mut part)) if corrupt => {
                self.did(node, Byzantine::Garbage);
                part.values.pop();
                Some(PeerResponse::State(Some(part)))
            }
            PeerResponse::TraceDigests(Some(mut part)) if corrupt => {
                self.did(node, Byzantine::Garbage);
                part.items.pop();
                Some(PeerResponse::TraceDigests(Some(part)))
            }
            PeerResponse::TraceLeaves(Some(mut part)) if corrupt => {
                self.did(node, Byzantine::Garbage);
                part.items.reverse();
                Some(PeerResponse::TraceLeaves(Some(part)))
            }
            answer => Some(answer),
        }
    }

    /// What a node says that it computed.
    pub(crate) fn twist_outcome(&mut self, node: usize, signed: &SignedProposal, mut done: Done) -> Done {
        let Some(kind) = self.kind(node) else { return done };
        let mine = signed.proposal.scheduler == self.id_of(node);
        let view = self.chain.view(self.height());
        let resolving = view.is_some_and(|v| matches!(v.rounds.phase(), Phase::Resolve { .. }));
        let left = view.map_or(0, |v| v.epoch_end.0.saturating_sub(self.height().0));
        let salt = match kind {
            Byzantine::WrongRoot => 0,
            Byzantine::OwnWrongRoot => node as u64 + 1,
            Byzantine::WrongRootScheduler if mine => 0,
            Byzantine::DishonestBackup if resolving => 0,
            Byzantine::EpochCheat if left < EPOCH_EDGE => 0,
            Byzantine::FlipBit => {
                self.did(node, kind);
                return done;
            }
            Byzantine::WrongTrace => {
                if let Outcome::Success { trace_root, .. } = &mut done.outcome {
                    *trace_root = wrong(*trace_root, 0);
                }
                self.did(node, kind);
                return done;
            }
            _ => return done,
        };
        self.did(node, kind);
        done.outcome = other(&done.outcome, salt);
        done
    }

    /// A client's transaction on its way to a node.
    pub(crate) fn submit_to_node(&mut self, bytes: Vec<u8>) {
        let to = self.rng.index(self.nodes.len());
        let delay = self.rng.range(1, 80);
        self.after(delay, Event::Submission { to, bytes });
    }
}
