//! Finds equivocation among statements from anywhere: gossip, pools and blocks.
//!
//! The detector is fed every proposal and commitment that a node comes across and keeps the first of each kind. It
//! remembers the round under way, the one before it and the one after it (a node a block behind hears of it early), of
//! members of their committees only, so that its memory has a bound whoever sends.

use crate::evidence::Evidence;
use crate::state::RoundState;
use crate::types::{Committee, SignedCommitment, SignedProposal};
use parallax_primitives::{ChainContext, Digest, NodeId, ParaTimeId, Round};
use std::collections::{BTreeMap, BTreeSet};

/// Most proposals whose commitments are remembered of a node in a round. An honest node commits to as many as were
/// announced, at most one a rank; more than these few are noise, and the live one is never the one left out.
const MAX_PROPOSALS_OF_A_NODE: usize = 8;

/// Something that a member signed, wherever it was come across. Nothing about it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A batch for a round.
    Proposal(SignedProposal),
    /// A verdict on one.
    Commitment(SignedCommitment),
}

/// What a detector makes of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one a message; boxing would only cloud the matches")]
pub enum Sighting {
    /// Of no round that is remembered, of no member, or not signed by whom it names.
    Ignored,
    /// Said before in the same words.
    Known,
    /// New, and its signature holds.
    First,
    /// Its signature holds, and the node said otherwise before. Once a round and node the evidence is given out.
    Equivocation(Option<Evidence>),
}

/// What was said in one round.
#[derive(Clone, Debug, Default)]
struct Seen {
    committee: Option<Committee>,
    live: Option<Digest>,
    proposals: BTreeMap<u16, SignedProposal>,
    commitments: BTreeMap<NodeId, BTreeMap<Digest, SignedCommitment>>,
    reported: BTreeSet<NodeId>,
}

/// Remembers what the members of a ParaTime's committee signed, and tells when one contradicts itself.
#[derive(Clone, Debug)]
pub struct EquivocationDetector {
    chain: ChainContext,
    paratime: ParaTimeId,
    rounds: BTreeMap<Round, Seen>,
}

impl EquivocationDetector {
    /// A detector that has seen nothing yet and ignores everything until the first [`EquivocationDetector::follow`].
    pub fn new(chain: ChainContext, paratime: ParaTimeId) -> Self {
        Self { chain, paratime, rounds: BTreeMap::new() }
    }

    /// Moves on to the round under way in a finalised state, and reads what stands there. Returns evidence from it.
    pub fn follow(&mut self, state: &RoundState) -> Vec<Evidence> {
        let round = state.round();
        self.rounds.retain(|seen, _| seen.next() >= round && *seen <= round.next());
        for near in [round, round.next()] {
            self.rounds.entry(near).or_default().committee = state.committee().cloned();
        }
        let Some(live) = state.live() else { return Vec::new() };
        if let Some(seen) = self.rounds.get_mut(&round) {
            seen.live = Some(live.digest);
        }
        let mut sightings = vec![self.proposal(&live.signed)];
        sightings.extend(live.votes.values().map(|vote| self.commitment(&vote.commitment)));
        sightings.into_iter().filter_map(Sighting::evidence).collect()
    }

    /// Takes a statement of either kind.
    pub fn hear(&mut self, statement: &Statement) -> Sighting {
        match statement {
            Statement::Proposal(signed) => self.proposal(signed),
            Statement::Commitment(signed) => self.commitment(signed),
        }
    }

    /// Takes a proposal of which nothing has been checked. It costs a signature check unless it is known.
    pub fn proposal(&mut self, signed: &SignedProposal) -> Sighting {
        let proposal = &signed.proposal;
        let Some(seen) = self.rounds.get_mut(&proposal.round) else { return Sighting::Ignored };
        let rank = seen.committee.as_ref().and_then(|c| c.rank_of(proposal.round, &proposal.scheduler));
        if rank != Some(proposal.rank) {
            return Sighting::Ignored;
        }
        let earlier = seen.proposals.get(&proposal.rank);
        if earlier.is_some_and(|earlier| earlier.proposal == *proposal) {
            return Sighting::Known;
        }
        if !signed.verify(self.chain, self.paratime) {
            return Sighting::Ignored;
        }
        let Some(earlier) = earlier else {
            seen.proposals.insert(proposal.rank, signed.clone());
            return Sighting::First;
        };
        let evidence = Evidence::of_proposals(earlier, signed);
        Sighting::Equivocation(evidence.filter(|_| seen.reported.insert(proposal.scheduler)))
    }

    /// Takes a commitment of which nothing has been checked. It costs a signature check unless it is known.
    pub fn commitment(&mut self, signed: &SignedCommitment) -> Sighting {
        let commitment = &signed.commitment;
        // Two commitments to one proposal may name two rounds; the honest one is found under the round of the proposal.
        let Some(seen) = self.rounds.get_mut(&commitment.round) else { return Sighting::Ignored };
        let seated = |c: &Committee| c.is_worker(&commitment.node) || c.is_backup(&commitment.node);
        if !seen.committee.as_ref().is_some_and(seated) {
            return Sighting::Ignored;
        }
        let said = seen.commitments.entry(commitment.node).or_default();
        let earlier = said.get(&commitment.proposal);
        if earlier.is_some_and(|earlier| earlier.commitment == *commitment) {
            return Sighting::Known;
        }
        if !signed.verify(self.chain, self.paratime) {
            return Sighting::Ignored;
        }
        if let Some(earlier) = earlier {
            let evidence = Evidence::of_commitments(earlier, signed);
            return Sighting::Equivocation(evidence.filter(|_| seen.reported.insert(commitment.node)));
        }
        if said.len() >= MAX_PROPOSALS_OF_A_NODE {
            let live = seen.live;
            let noise = said.keys().find(|proposal| Some(**proposal) != live).copied();
            noise.and_then(|proposal| said.remove(&proposal));
        }
        // Only what is signed is remembered.
        said.insert(commitment.proposal, SignedCommitment { messages: Vec::new(), ..signed.clone() });
        Sighting::First
    }
}

impl Sighting {
    /// The evidence, if there is some to be given out.
    pub fn evidence(self) -> Option<Evidence> {
        match self {
            Self::Equivocation(evidence) => evidence,
            Self::Ignored | Self::Known | Self::First => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, digest, success};
    use crate::types::{Commitment, Proposal};
    use parallax_primitives::Gas;

    fn detector(f: &Fixture) -> EquivocationDetector {
        let mut detector = EquivocationDetector::new(f.chain, f.state.paratime());
        assert_eq!(detector.follow(&f.state), vec![]);
        detector
    }

    fn signed(f: &Fixture, n: usize, proposal: Proposal) -> SignedProposal {
        SignedProposal::sign(proposal, f.chain, f.state.paratime(), &f.keys[n])
    }

    /// The first choice's proposal for the round under way.
    fn proposal(f: &Fixture, gas: u64) -> SignedProposal {
        let n = f.ranked(0);
        signed(f, n, f.proposal(n, gas))
    }

    fn vote(f: &Fixture, node: usize, on: Digest, value: u64) -> SignedCommitment {
        let commitment = Commitment {
            node: f.node(node),
            proposal: on,
            round: f.state.round(),
            previous_hash: f.state.last_hash(),
            outcome: success(value),
        };
        SignedCommitment::sign(commitment, vec![], f.chain, f.state.paratime(), &f.keys[node])
    }

    #[test]
    fn the_second_proposal_of_a_turn_is_evidence_once() {
        let f = Fixture::new(3, 3, 0);
        let mut detector = detector(&f);
        let (a, b, c) = (proposal(&f, 1), proposal(&f, 2), proposal(&f, 3));
        assert_eq!(detector.proposal(&a), Sighting::First);
        assert_eq!(detector.proposal(&a), Sighting::Known);
        let found = detector.proposal(&b).evidence().unwrap();
        assert_eq!(found.verify(f.chain, f.state.paratime()).unwrap().node, a.proposal.scheduler);
        assert_eq!(detector.proposal(&c), Sighting::Equivocation(None), "one report a round and node");
    }

    #[test]
    fn the_second_vote_of_a_worker_or_backup_for_a_proposal_is_evidence() {
        let f = Fixture::new(3, 3, 0);
        let mut detector = detector(&f);
        for node in [0, 3] {
            assert_eq!(detector.commitment(&vote(&f, node, digest(1), 1)), Sighting::First);
            assert_eq!(detector.commitment(&vote(&f, node, digest(2), 2)), Sighting::First, "another proposal");
            let found = detector.commitment(&vote(&f, node, digest(1), 2)).evidence().unwrap();
            assert_eq!(found.verify(f.chain, f.state.paratime()).unwrap().node, f.node(node));
        }
    }

    #[test]
    fn what_a_finalised_state_holds_counts_as_said() {
        let mut f = Fixture::new(3, 3, 0);
        let mut detector = detector(&f);
        f.announce(f.ranked(0)).unwrap();
        let other = proposal(&f, 2);
        assert_eq!(detector.follow(&f.state), vec![]);
        assert!(detector.proposal(&other).evidence().is_some());
    }

    #[test]
    fn strangers_forgeries_and_other_rounds_leave_no_trace() {
        let mut f = Fixture::new(3, 3, 0);
        let mut detector = detector(&f);
        let genuine = proposal(&f, 1);
        let forged =
            SignedProposal { proposal: Proposal { gas: Gas(2), ..genuine.proposal.clone() }, ..genuine.clone() };
        assert_eq!(detector.proposal(&forged), Sighting::Ignored);
        assert_eq!(detector.proposal(&genuine), Sighting::First, "the forgery was not remembered");
        assert_eq!(detector.proposal(&forged), Sighting::Ignored);
        let backup = Proposal { scheduler: f.node(4), ..genuine.proposal.clone() };
        assert_eq!(detector.proposal(&signed(&f, 4, backup)), Sighting::Ignored);
        let later = Proposal { round: f.state.round().saturating_add(2), ..genuine.proposal.clone() };
        assert_eq!(detector.proposal(&signed(&f, f.ranked(0), later)), Sighting::Ignored);
        // Two rounds on, the first one is forgotten; one round on, it is not.
        let second = proposal(&f, 3);
        let mut once = detector.clone();
        f.until_due();
        once.follow(&f.state);
        assert!(once.clone().proposal(&second).evidence().is_some());
        f.until_due();
        once.follow(&f.state);
        assert_eq!(once.proposal(&second), Sighting::Ignored);
    }

    #[test]
    fn noise_does_not_push_the_vote_on_the_live_proposal_out() {
        let mut f = Fixture::new(3, 3, 0);
        f.announce(f.ranked(0)).unwrap();
        let live = f.state.live().unwrap().digest;
        let mut detector = detector(&f);
        assert_eq!(detector.commitment(&vote(&f, 1, live, 1)), Sighting::First);
        for noise in 0..100 {
            assert_eq!(detector.commitment(&vote(&f, 1, digest(noise), 1)), Sighting::First);
        }
        assert_eq!(detector.rounds[&f.state.round()].commitments[&f.node(1)].len(), MAX_PROPOSALS_OF_A_NODE);
        assert!(detector.commitment(&vote(&f, 1, live, 2)).evidence().is_some());
    }
}
