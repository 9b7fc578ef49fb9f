//! Proof that a node said two things of which an honest node says one.
//!
//! A node signs one proposal for a round and rank, and one commitment to a proposal; both are durable before they leave
//! it, so that not even a crash makes it sign another. Two signed ones that differ in any signed field are a fault, and
//! nobody without the node's key can make them. The bodies of outgoing messages are no signed field: they hang on a
//! scheduler's commitment beside it, and evidence never carries them. Two signatures over the same content are no
//! fault either.
//!
//! What evidence does not tell is whether the node had a seat, whether the round is too old, and whether it was punished
//! before: that is the ledger's to judge.

use crate::types::{Commitment, Proposal, SignedCommitment, SignedProposal};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{ChainContext, NodeId, ParaTimeId, Round, encode};
use serde::{Deserialize, Serialize};

/// Two signed statements of one node that contradict each other, in canonical order: the one with the smaller encoding
/// first, so that a pair has one form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one a conviction; whoever keeps many boxes the whole")]
pub enum Evidence {
    /// Two commitments of one node to one proposal.
    Commitments(SignedCommitment, SignedCommitment),
    /// Two proposals by one scheduler for one round and rank.
    Proposals(SignedProposal, SignedProposal),
}

/// What evidence convicts a node of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Whom.
    pub node: NodeId,
    /// In which round. Commitments to one proposal that name different rounds count for the earlier one.
    pub round: Round,
    /// The seat that it misused.
    pub seat: Seat,
}

/// A seat in a committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// That of a worker: only workers schedule.
    Worker,
    /// That of a worker or a backup: both commit.
    Any,
}

/// Why two statements are no evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The statements are of two nodes.
    #[error("the statements are signed by {first} and {second}; evidence is about one node")]
    TwoNodes {
        /// Who signed the first.
        first: NodeId,
        /// Who signed the second.
        second: NodeId,
    },
    /// The commitments are to two proposals.
    #[error("the commitments are to two proposals; a node may commit to each")]
    TwoProposals,
    /// The proposals are for two turns.
    #[error("the proposals are for two rounds or ranks; a node may schedule in each")]
    TwoTurns,
    /// They say the same.
    #[error("the statements do not differ in anything that is signed")]
    Same,
    /// Not in canonical form.
    #[error("{0}")]
    NotCanonical(&'static str),
    /// A signature does not hold.
    #[error("a signature of {node} does not hold for this chain and ParaTime")]
    BadSignature {
        /// Whose.
        node: NodeId,
    },
}

impl Evidence {
    /// Evidence from two commitments, brought into canonical form; `None` if they do not contradict each other.
    /// Signatures are not checked.
    pub fn of_commitments(a: &SignedCommitment, b: &SignedCommitment) -> Option<Self> {
        let bare = |signed: &SignedCommitment| SignedCommitment { messages: Vec::new(), ..signed.clone() };
        let (a, b) = (bare(a), bare(b));
        let evidence = match encode(&a.commitment) < encode(&b.commitment) {
            true => Self::Commitments(a, b),
            false => Self::Commitments(b, a),
        };
        evidence.offence().is_ok().then_some(evidence)
    }

    /// Evidence from two proposals, brought into canonical order; `None` if they do not contradict each other.
    /// Signatures are not checked.
    pub fn of_proposals(a: &SignedProposal, b: &SignedProposal) -> Option<Self> {
        let (a, b) = (a.clone(), b.clone());
        let evidence = match encode(&a.proposal) < encode(&b.proposal) {
            true => Self::Proposals(a, b),
            false => Self::Proposals(b, a),
        };
        evidence.offence().is_ok().then_some(evidence)
    }

    /// What the statements contradict each other in, if their signatures hold.
    ///
    /// # Errors
    /// [`EvidenceError`] if they do not, or are not in canonical form.
    pub fn offence(&self) -> Result<Offence, EvidenceError> {
        match self {
            Self::Commitments(first, second) => {
                if !first.messages.is_empty() || !second.messages.is_empty() {
                    return Err(EvidenceError::NotCanonical("evidence carries no message bodies; leave them out"));
                }
                of_commitments(&first.commitment, &second.commitment)
            }
            Self::Proposals(first, second) => of_proposals(&first.proposal, &second.proposal),
        }
    }

    /// Checks form and signatures. Costs two signature checks, after the cheap ones.
    ///
    /// # Errors
    /// [`EvidenceError`] with the reason.
    pub fn verify(&self, chain: ChainContext, paratime: ParaTimeId) -> Result<Offence, EvidenceError> {
        let offence = self.offence()?;
        let holds = match self {
            Self::Commitments(first, second) => first.verify(chain, paratime) && second.verify(chain, paratime),
            Self::Proposals(first, second) => first.verify(chain, paratime) && second.verify(chain, paratime),
        };
        if holds { Ok(offence) } else { Err(EvidenceError::BadSignature { node: offence.node }) }
    }

    /// A stable name of the kind, for events.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Commitments(..) => "commitments",
            Self::Proposals(..) => "proposals",
        }
    }
}

fn of_commitments(first: &Commitment, second: &Commitment) -> Result<Offence, EvidenceError> {
    one_node(first.node, second.node)?;
    if first.proposal != second.proposal {
        return Err(EvidenceError::TwoProposals);
    }
    in_order(&encode(first), &encode(second))?;
    Ok(Offence { node: first.node, round: first.round.min(second.round), seat: Seat::Any })
}

fn of_proposals(first: &Proposal, second: &Proposal) -> Result<Offence, EvidenceError> {
    one_node(first.scheduler, second.scheduler)?;
    if (first.round, first.rank) != (second.round, second.rank) {
        return Err(EvidenceError::TwoTurns);
    }
    in_order(&encode(first), &encode(second))?;
    Ok(Offence { node: first.scheduler, round: first.round, seat: Seat::Worker })
}

fn one_node(first: NodeId, second: NodeId) -> Result<(), EvidenceError> {
    if first == second { Ok(()) } else { Err(EvidenceError::TwoNodes { first, second }) }
}

fn in_order(first: &[u8], second: &[u8]) -> Result<(), EvidenceError> {
    match first.cmp(second) {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => Err(EvidenceError::Same),
        std::cmp::Ordering::Greater => {
            Err(EvidenceError::NotCanonical("the statement with the smaller encoding has to come first"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{digest, key, success};
    use crate::types::{FailureReason, Outcome};
    use parallax_primitives::message::OutMessage;
    use parallax_primitives::{Address, Amount, Digest, Domain, Gas, SecretKey, merkle};

    fn chain() -> ChainContext {
        ChainContext(digest(1))
    }

    fn paratime() -> ParaTimeId {
        ParaTimeId::named("test")
    }

    fn commitment() -> Commitment {
        Commitment {
            node: key(0).public(),
            proposal: digest(2),
            round: Round(7),
            previous_hash: digest(3),
            outcome: success(4),
        }
    }

    fn committed(by: &SecretKey, commitment: Commitment) -> SignedCommitment {
        SignedCommitment::sign(commitment, vec![], chain(), paratime(), by)
    }

    fn proposal() -> Proposal {
        let transactions = vec![digest(5)];
        Proposal {
            scheduler: key(0).public(),
            rank: 1,
            round: Round(7),
            previous_hash: digest(3),
            batch_root: merkle::root(&transactions),
            transactions,
            gas: Gas(9),
        }
    }

    fn proposed(by: &SecretKey, proposal: Proposal) -> SignedProposal {
        SignedProposal::sign(proposal, chain(), paratime(), by)
    }

    #[test]
    fn commitments_that_differ_in_any_signed_field_but_the_proposal_convict() {
        let key = key(0);
        let first = committed(&key, commitment());
        let failure = Outcome::Failure { reason: FailureReason::InvalidBatch };
        let Outcome::Success { io_root, state_root, trace_root, messages_hash, in_messages_hash, .. } = success(4)
        else {
            panic!("a success")
        };
        let outcome = |change: &dyn Fn(&mut [Digest; 5]), in_messages_count: u32| {
            let mut roots = [io_root, state_root, trace_root, messages_hash, in_messages_hash];
            change(&mut roots);
            let [io_root, state_root, trace_root, messages_hash, in_messages_hash] = roots;
            Outcome::Success { io_root, state_root, trace_root, messages_hash, in_messages_hash, in_messages_count }
        };
        let mut others = vec![
            Commitment { round: Round(8), ..commitment() },
            Commitment { previous_hash: digest(99), ..commitment() },
            Commitment { outcome: failure, ..commitment() },
            Commitment { outcome: outcome(&|_| {}, 1), ..commitment() },
        ];
        others.extend((0..5).map(|i| Commitment { outcome: outcome(&|r| r[i] = digest(99), 0), ..commitment() }));
        for other in others {
            let second = committed(&key, other.clone());
            let evidence = Evidence::of_commitments(&first, &second).unwrap();
            assert_eq!(Evidence::of_commitments(&second, &first).as_ref(), Some(&evidence), "one form");
            let wanted = Offence { node: key.public(), round: Round(7), seat: Seat::Any };
            assert_eq!(evidence.verify(chain(), paratime()), Ok(wanted), "{other:?}");
        }
        let elsewhere = committed(&key, Commitment { proposal: digest(98), ..commitment() });
        assert_eq!(Evidence::of_commitments(&first, &elsewhere), None, "a vote on another proposal is no fault");
    }

    #[test]
    fn two_kinds_of_failure_convict_too() {
        let failed = |reason| committed(&key(0), Commitment { outcome: Outcome::Failure { reason }, ..commitment() });
        let (a, b) = (failed(FailureReason::InvalidBatch), failed(FailureReason::Unavailable));
        assert!(Evidence::of_commitments(&a, &b).unwrap().verify(chain(), paratime()).is_ok());
    }

    #[test]
    fn proposals_that_differ_in_any_signed_field_of_one_turn_convict() {
        let key = key(0);
        let first = proposed(&key, proposal());
        for other in [
            Proposal { previous_hash: digest(99), ..proposal() },
            Proposal { batch_root: digest(99), ..proposal() },
            Proposal { transactions: vec![digest(99)], ..proposal() },
            Proposal { gas: Gas(10), ..proposal() },
        ] {
            let evidence = Evidence::of_proposals(&proposed(&key, other.clone()), &first).unwrap();
            let wanted = Offence { node: key.public(), round: Round(7), seat: Seat::Worker };
            assert_eq!(evidence.verify(chain(), paratime()), Ok(wanted), "{other:?}");
        }
        for other in [Proposal { rank: 0, ..proposal() }, Proposal { round: Round(8), ..proposal() }] {
            assert_eq!(Evidence::of_proposals(&first, &proposed(&key, other)), None, "another turn");
        }
    }

    #[test]
    fn what_is_not_signed_frames_nobody() {
        let key = key(0);
        let first = committed(&key, commitment());
        let body = OutMessage::Transfer { to: Address([1; 20]), amount: Amount(1) };
        let with_body = SignedCommitment { messages: vec![body], ..first.clone() };
        assert_eq!(Evidence::of_commitments(&first, &with_body), None, "a relay can attach bodies");
        let other_signature = SignedCommitment { signature: proposed(&key, proposal()).signature, ..first.clone() };
        assert_eq!(Evidence::of_commitments(&first, &other_signature), None);
        let second = committed(&key, Commitment { outcome: success(5), ..commitment() });
        let Some(Evidence::Commitments(a, b)) = Evidence::of_commitments(&first, &second) else { panic!("evidence") };
        let padded = Evidence::Commitments(SignedCommitment { messages: with_body.messages, ..a }, b);
        assert!(matches!(padded.verify(chain(), paratime()), Err(EvidenceError::NotCanonical(_))));
    }

    #[test]
    fn a_pair_has_one_form_and_needs_both_signatures_of_one_node_for_this_paratime() {
        let (mine, theirs) = (key(0), key(1));
        let first = committed(&mine, commitment());
        let second = committed(&mine, Commitment { outcome: success(5), ..commitment() });
        let Some(Evidence::Commitments(a, b)) = Evidence::of_commitments(&first, &second) else { panic!("evidence") };
        let verify = |evidence: Evidence| evidence.verify(chain(), paratime()).unwrap_err();
        let swapped = Evidence::Commitments(b.clone(), a.clone());
        assert!(matches!(verify(swapped), EvidenceError::NotCanonical(_)));
        assert_eq!(verify(Evidence::Commitments(a.clone(), a.clone())), EvidenceError::Same);
        let forged = SignedCommitment { signature: a.signature, ..b.clone() };
        assert_eq!(
            verify(Evidence::Commitments(a.clone(), forged)),
            EvidenceError::BadSignature { node: mine.public() }
        );
        let other = committed(&theirs, Commitment { node: theirs.public(), ..commitment() });
        assert_eq!(Evidence::of_commitments(&first, &other), None);
        assert!(matches!(verify(Evidence::Commitments(a.clone(), other)), EvidenceError::TwoNodes { .. }));
        let evidence = Evidence::Commitments(a, b);
        let elsewhere = evidence.verify(chain(), ParaTimeId::named("other"));
        assert_eq!(elsewhere, Err(EvidenceError::BadSignature { node: mine.public() }), "the ParaTime is signed for");
        let chain = ChainContext(Digest::of_value(Domain::Simulation, "another chain"));
        assert!(evidence.verify(chain, paratime()).is_err());
    }
}
