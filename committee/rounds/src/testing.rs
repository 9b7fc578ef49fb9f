//! A committee with keys, and shorthands for what its members sign.

use crate::*;
use parallax_primitives::message::{InMessage, OutMessage};
use parallax_primitives::{
    ChainContext, Digest, Domain, Epoch, Gas, Height, NodeId, ParaTimeId, Round, SecretKey, merkle,
};

/// A network with a committee whose members are numbered: workers first, then backups that are not workers.
pub(crate) struct Fixture {
    pub(crate) chain: ChainContext,
    pub(crate) keys: Vec<SecretKey>,
    pub(crate) state: RoundState,
    pub(crate) height: Height,
}

pub(crate) fn parameters(workers: u16, backups: u16, stragglers: u16) -> RoundParameters {
    RoundParameters {
        workers,
        backups,
        allowed_stragglers: stragglers,
        proposer_timeout: 4,
        round_timeout: 6,
        gas_per_block: Gas(10),
        max_batch_gas: Gas(100),
        max_round_interval: 40.max(4 * u64::from(workers) + 1),
        slash_from: 1,
        resolution: Resolution::Full,
        liveness: LivenessParameters::OFF,
        max_evidence_age: 100,
    }
}

pub(crate) fn digest(n: u64) -> Digest {
    Digest::of_value(Domain::Simulation, &n)
}

pub(crate) fn key(n: usize) -> SecretKey {
    SecretKey::from_seed([u8::try_from(n + 1).unwrap(); 32])
}

/// The outcome of executing with result `value`; equal values are equal votes.
pub(crate) fn success(value: u64) -> Outcome {
    Outcome::Success {
        io_root: digest(value),
        state_root: digest(value),
        trace_root: digest(value),
        messages_hash: messages_hash::<OutMessage>(&[]),
        in_messages_hash: messages_hash::<InMessage>(&[]),
        in_messages_count: 0,
    }
}

pub(crate) const FAILURE: Outcome = Outcome::Failure { reason: FailureReason::Unavailable };

impl Fixture {
    pub(crate) fn new(workers: usize, backups: usize, stragglers: u16) -> Self {
        let committee = Committee {
            epoch: Epoch(0),
            workers: (0..workers).map(|n| key(n).public()).collect(),
            backups: (workers..workers + backups).map(|n| key(n).public()).collect(),
        };
        let parameters = parameters(u16::try_from(workers).unwrap(), u16::try_from(backups).unwrap(), stragglers);
        Self::with(parameters, committee, workers + backups)
    }

    pub(crate) fn with(parameters: RoundParameters, committee: Committee, nodes: usize) -> Self {
        let state = RoundState::new(
            ParaTimeId::named("test"),
            parameters,
            digest(1000),
            Some(committee),
            Epoch(0),
            Height(1_000),
        )
        .unwrap();
        Self { chain: ChainContext(digest(7)), keys: (0..nodes).map(key).collect(), state, height: Height(1) }
    }

    pub(crate) fn node(&self, n: usize) -> NodeId {
        self.keys[n].public()
    }

    /// The number of the worker that has this rank in the round under way.
    pub(crate) fn ranked(&self, rank: u16) -> usize {
        let node = self.state.committee().unwrap().worker_of_rank(self.state.round(), rank).unwrap();
        self.keys.iter().position(|k| k.public() == node).unwrap()
    }

    pub(crate) fn proposal(&self, n: usize, gas: u64) -> Proposal {
        let transactions = vec![digest(1), digest(2)];
        Proposal {
            scheduler: self.node(n),
            rank: self.state.committee().unwrap().rank_of(self.state.round(), &self.node(n)).unwrap_or(0),
            round: self.state.round(),
            previous_hash: self.state.last_hash(),
            batch_root: merkle::root(&transactions),
            transactions,
            gas: Gas(gas),
        }
    }

    pub(crate) fn announce_as(&mut self, n: usize, proposal: Proposal) -> Result<Vec<Effect>, RoundError> {
        let signed = SignedProposal::sign(proposal, self.chain, self.state.paratime(), &self.keys[n]);
        let verified = Verified::<SignedProposal>::check(&self.state, self.chain, signed)?;
        self.state.apply(self.height, RoundEvent::Announcement(verified))
    }

    pub(crate) fn announce(&mut self, n: usize) -> Result<Vec<Effect>, RoundError> {
        let proposal = self.proposal(n, 20);
        self.announce_as(n, proposal)
    }

    pub(crate) fn commitment(&self, n: usize, outcome: Outcome) -> Commitment {
        Commitment {
            node: self.node(n),
            proposal: self.state.live().map_or(Digest::ZERO, |live| live.digest),
            round: self.state.round(),
            previous_hash: self.state.last_hash(),
            outcome,
        }
    }

    pub(crate) fn commit_as(
        &mut self,
        n: usize,
        commitment: Commitment,
        messages: Vec<OutMessage>,
    ) -> Result<Vec<Effect>, RoundError> {
        let signed = SignedCommitment::sign(commitment, messages, self.chain, self.state.paratime(), &self.keys[n]);
        let verified = Verified::<SignedCommitment>::check(&self.state, self.chain, signed)?;
        self.state.apply(self.height, RoundEvent::Commitment(verified))
    }

    pub(crate) fn commit(&mut self, n: usize, outcome: Outcome) -> Result<Vec<Effect>, RoundError> {
        let commitment = self.commitment(n, outcome);
        self.commit_as(n, commitment, vec![])
    }

    /// Ends the block under way, and every further one up to and including `height`; collects the effects.
    pub(crate) fn until(&mut self, height: Height) -> Vec<Effect> {
        let mut out = Vec::new();
        while self.height <= height {
            out.extend(self.state.apply(self.height, RoundEvent::Height).unwrap());
            self.height = self.height.next();
        }
        out
    }

    /// Up to and including the height at which the phase is left.
    pub(crate) fn until_due(&mut self) -> Vec<Effect> {
        let due = self.state.due().unwrap();
        assert!(due >= self.height, "a phase is left when it is due");
        self.until(due)
    }

    pub(crate) fn end_epoch(&mut self, committee: Option<Committee>) -> Vec<Effect> {
        let epoch = self.state.epoch().next();
        let epoch_end = self.height.saturating_add(1_000);
        self.state.apply(self.height, RoundEvent::EpochEnded { committee, epoch, epoch_end }).unwrap()
    }
}

/// The nodes charged, with the reasons.
pub(crate) fn charges(effects: &[Effect]) -> Vec<(NodeId, ChargeReason)> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::ChargeLiveness { node, reason } => Some((*node, *reason)),
            _ => None,
        })
        .collect()
}

/// The nodes slashed.
pub(crate) fn slashed(effects: &[Effect]) -> Vec<NodeId> {
    effects
        .iter()
        .flat_map(|e| match e {
            Effect::SlashWrongResult { nodes, .. } => nodes.clone(),
            _ => vec![],
        })
        .collect()
}

pub(crate) fn finalized(effects: &[Effect]) -> Option<&Finalized> {
    effects.iter().find_map(|e| match e {
        Effect::Finalize(f) => Some(f),
        _ => None,
    })
}

pub(crate) fn failed(effects: &[Effect]) -> Option<FailReason> {
    effects.iter().find_map(|e| match e {
        Effect::Fail { reason, .. } => Some(*reason),
        _ => None,
    })
}

pub(crate) fn round_of(effects: &[Effect]) -> Option<Round> {
    effects.iter().find_map(Effect::block).map(|b| b.round)
}
