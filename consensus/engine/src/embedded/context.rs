//! The types over which the agreement library is generic, and who proposes when.

use super::parts::Part;
use borsh::{BorshDeserialize, BorshSerialize};
use malachite_core::{
    Context, LinearTimeouts, NilOrVal, Round, SignedExtension, SigningScheme, Validator, ValidatorSet, VoteType,
};
use parallax_primitives::{Digest, NodeId, PublicKey, SecretKey, Signature};
use std::fmt;

/// A height. The library's trait is foreign to our type, hence the wrapper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Height(pub(crate) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite_core::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A validator's address is its consensus key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) struct Address(pub(crate) NodeId);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite_core::Address for Address {}

/// What is agreed on: a header's hash. The block's bytes travel in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) struct Value(pub(crate) Digest);

impl malachite_core::Value for Value {
    type Id = Digest;

    fn id(&self) -> Digest {
        self.0
    }
}

/// A prevote or precommit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Vote {
    pub(crate) kind: VoteType,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<Digest>,
    pub(crate) validator: Address,
    /// Disabled by every height's parameters; the library wants the field.
    pub(crate) extension: Option<SignedExtension<Consensus>>,
}

impl malachite_core::Vote<Consensus> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Digest> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Digest> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.validator
    }

    fn extension(&self) -> Option<&SignedExtension<Consensus>> {
        self.extension.as_ref()
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Consensus>> {
        self.extension.take()
    }

    fn extend(self, extension: SignedExtension<Consensus>) -> Self {
        Self { extension: Some(extension), ..self }
    }
}

/// A proposal of a value for a height and round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Proposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: Value,
    pub(crate) pol_round: Round,
    pub(crate) proposer: Address,
}

impl malachite_core::Proposal<Consensus> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    address: Address,
    power: u64,
}

impl Validator<Consensus> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.address.0
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// The validators of a height, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(Vec<Member>);

impl From<&parallax_consensus_app::ValidatorSet> for Members {
    fn from(set: &parallax_consensus_app::ValidatorSet) -> Self {
        Self(set.validators.iter().map(|v| Member { address: Address(v.node), power: v.power }).collect())
    }
}

impl ValidatorSet<Consensus> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.iter().fold(0, |sum, member| sum.saturating_add(member.power))
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        self.0.iter().find(|member| member.address == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

/// Ed25519 with our own key types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

impl SigningScheme for Ed25519 {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = SecretKey;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, Self::DecodingError> {
        bytes.try_into().map(Signature).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, Self::DecodingError> {
        bytes.try_into().map(PublicKey).map_err(|_| "a public key has 32 bytes")
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.0.to_vec()
    }
}

/// The turn of a height and round: one validator after the other, in the order of their keys. Power decides how much
/// a vote weighs, not how often a validator proposes; no state is needed to know the turn.
pub(crate) fn turn(count: usize, height: u64, round: Round) -> usize {
    let round = u64::from(round.as_u32().unwrap_or(0));
    let count = u64::try_from(count.max(1)).unwrap_or(1);
    // The sum of two remainders below 2^63 each cannot overflow: a set has at most a few hundred members.
    let turn = ((height.saturating_sub(1) % count) + (round % count)) % count;
    usize::try_from(turn).unwrap_or(0)
}

/// The parameters of the library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consensus;

impl Context for Consensus {
    type Address = Address;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = Vec<u8>;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, set: &'a Members, height: Height, round: Round) -> &'a Member {
        // The library only asks with a set that it got from us, and `HeightParams` are never built from an empty one.
        &set.0[turn(set.0.len(), height.0, round)]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        pol_round: Round,
        proposer: Address,
    ) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<Digest>, validator: Address) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, value, validator, extension: None }
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<Digest>, validator: Address) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, value, validator, extension: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_validator_has_its_turn_and_a_silent_one_passes_it_on() {
        let turns: Vec<usize> = (1..=5).map(|height| turn(4, height, Round::new(0))).collect();
        assert_eq!(turns, vec![0, 1, 2, 3, 0]);
        let rounds: Vec<usize> = (0..5).map(|round| turn(4, 3, Round::new(round))).collect();
        assert_eq!(rounds, vec![2, 3, 0, 1, 2]);
        assert!(turn(3, u64::MAX, Round::new(u32::MAX)) < 3);
        assert_eq!(turn(1, 0, Round::Nil), 0);
    }
}
