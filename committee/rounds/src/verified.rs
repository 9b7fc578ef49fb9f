//! Messages whose signature and committee seat have been checked.

use crate::error::RoundError;
use crate::state::RoundState;
use crate::types::{SignedCommitment, SignedProposal};
use parallax_primitives::ChainContext;

/// A message with a valid signature from a node with the right seat. There is no other way to make one than the two
/// `check` functions, so the machine cannot be fed an unchecked message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The message.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The message itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Verified<SignedProposal> {
    /// Checks that the scheduler it names signed it for this chain and ParaTime, is a worker of the committee in
    /// office, and has the rank that it claims. Costs one signature check, after the cheap ones.
    ///
    /// # Errors
    /// [`RoundError`] with the reason.
    pub fn check(state: &RoundState, chain: ChainContext, signed: SignedProposal) -> Result<Self, RoundError> {
        let proposal = &signed.proposal;
        state.current(proposal.round, proposal.previous_hash)?;
        let committee = state.committee().ok_or(RoundError::Suspended)?;
        if !committee.is_worker(&proposal.scheduler) {
            return Err(RoundError::NotInCommittee { node: proposal.scheduler, round: proposal.round });
        }
        if committee.rank_of(proposal.round, &proposal.scheduler) != Some(proposal.rank) {
            return Err(RoundError::WrongRank { node: proposal.scheduler, rank: proposal.rank, round: proposal.round });
        }
        if !signed.verify(chain, state.paratime()) {
            return Err(RoundError::BadSignature { node: proposal.scheduler });
        }
        Ok(Self(signed))
    }
}

impl Verified<SignedCommitment> {
    /// Checks that the node it names signed it for this chain and ParaTime and is a worker or backup of the committee
    /// in office. Costs one signature check, after the cheap ones.
    ///
    /// # Errors
    /// [`RoundError`] with the reason.
    pub fn check(state: &RoundState, chain: ChainContext, signed: SignedCommitment) -> Result<Self, RoundError> {
        let commitment = &signed.commitment;
        state.current(commitment.round, commitment.previous_hash)?;
        let committee = state.committee().ok_or(RoundError::Suspended)?;
        if !committee.is_worker(&commitment.node) && !committee.is_backup(&commitment.node) {
            return Err(RoundError::NotInCommittee { node: commitment.node, round: commitment.round });
        }
        if !signed.verify(chain, state.paratime()) {
            return Err(RoundError::BadSignature { node: commitment.node });
        }
        Ok(Self(signed))
    }
}
