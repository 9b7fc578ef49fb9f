//! What validators sign, and how it is framed.
//!
//! A precommit signs [`PrecommitMessage`], so that a certificate verifies without this engine. Everything else is
//! signed in a [`SigningContext`] of its own domain. The library asks that a vote extension be bound to its scope and
//! that no two kinds share a preimage; the domains see to both. It suggests to leave the chain out of peer proofs; we
//! bind them too, because a proof is exchanged only among peers of one chain.

use super::context::{Consensus, Proposal, Vote};
use super::parts::InitV1;
use malachite_core::{NilOrVal, SignedMessage, ValidatorProof, VoteExtensionScope, VoteType};
use malachite_signing::{Error, Signer, VerificationResult, Verifier};
use parallax_consensus_app::PrecommitMessage;
use parallax_primitives::{ChainContext, Domain, Height, PublicKey, SecretKey, Signature, SigningContext};

/// Verifies on one chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verify {
    pub(crate) chain: ChainContext,
}

/// Signs on one chain with one validator's key.
#[derive(Clone, Debug)]
pub(crate) struct Sign {
    pub(crate) chain: ChainContext,
    pub(crate) key: SecretKey,
}

fn context(chain: ChainContext, domain: Domain) -> SigningContext {
    SigningContext::new(domain, chain)
}

/// The 32 bytes of a vote. The extension is signed apart.
fn vote_bytes(chain: ChainContext, vote: &Vote) -> [u8; 32] {
    let value = match vote.value {
        NilOrVal::Nil => None,
        NilOrVal::Val(value) => Some(value),
    };
    let (height, round, validator) = (Height(vote.height.0), vote.round.as_i64(), vote.validator.0);
    match vote.kind {
        VoteType::Precommit => PrecommitMessage { chain, height, round, value, validator }.signing_bytes().0,
        VoteType::Prevote => {
            context(chain, Domain::ConsensusVote).digest(&("prevote", height, round, value, validator)).0
        }
    }
}

fn proposal_bytes(chain: ChainContext, proposal: &Proposal) -> [u8; 32] {
    context(chain, Domain::ConsensusProposal).digest(&("proposal", proposal)).0
}

/// The bytes that the proposer of a round signs over a block's announcement; see [`InitV1`].
pub(crate) fn init_bytes(chain: ChainContext, init: &InitV1) -> [u8; 32] {
    context(chain, Domain::BlockProposal).digest(init).0
}

fn extension_bytes(chain: ChainContext, scope: &VoteExtensionScope<Consensus>, extension: &[u8]) -> [u8; 32] {
    let scope = (scope.height, scope.round, scope.value_id, scope.validator_address);
    context(chain, Domain::ConsensusVoteExtension).digest(&(scope, extension)).0
}

fn proof_bytes(chain: ChainContext, key: &[u8], peer: &[u8]) -> [u8; 32] {
    context(chain, Domain::ConsensusPeerProof).digest(&(key, peer)).0
}

fn verdict(key: &PublicKey, bytes: &[u8], signature: &Signature) -> VerificationResult {
    VerificationResult::from_bool(key.verify_raw(bytes, signature))
}

#[async_trait::async_trait]
impl Verifier<Consensus> for Verify {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(verdict(key, &vote_bytes(self.chain, vote), signature))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(verdict(key, &proposal_bytes(self.chain, proposal), signature))
    }

    async fn verify_signed_vote_extension(
        &self,
        scope: &VoteExtensionScope<Consensus>,
        extension: &Vec<u8>,
        signature: &Signature,
        key: &PublicKey,
    ) -> Result<VerificationResult, Error> {
        Ok(verdict(key, &extension_bytes(self.chain, scope, extension), signature))
    }

    async fn verify_validator_proof(&self, proof: &ValidatorProof<Consensus>) -> Result<VerificationResult, Error> {
        let Ok(key) = proof.decoded_public_key() else { return Ok(VerificationResult::Invalid) };
        Ok(verdict(&key, &proof_bytes(self.chain, &proof.public_key, &proof.peer_id), &proof.signature))
    }
}

#[async_trait::async_trait]
impl Signer<Consensus> for Sign {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedMessage<Consensus, Vote>, Error> {
        let signature = self.key.sign_raw(&vote_bytes(self.chain, &vote));
        Ok(SignedMessage::new(vote, signature))
    }

    async fn sign_proposal(&self, proposal: Proposal) -> Result<SignedMessage<Consensus, Proposal>, Error> {
        let signature = self.key.sign_raw(&proposal_bytes(self.chain, &proposal));
        Ok(SignedMessage::new(proposal, signature))
    }

    async fn sign_vote_extension(
        &self,
        scope: VoteExtensionScope<Consensus>,
        extension: Vec<u8>,
    ) -> Result<SignedMessage<Consensus, Vec<u8>>, Error> {
        let signature = self.key.sign_raw(&extension_bytes(self.chain, &scope, &extension));
        Ok(SignedMessage::new(extension, signature))
    }

    async fn sign_validator_proof(&self, key: Vec<u8>, peer: Vec<u8>) -> Result<ValidatorProof<Consensus>, Error> {
        let signature = self.key.sign_raw(&proof_bytes(self.chain, &key, &peer));
        Ok(ValidatorProof::new(key, peer, signature))
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::{Address, Height as EngineHeight, Value};
    use super::*;
    use malachite_core::{Context as _, Round};
    use parallax_primitives::Digest;

    const CHAIN: ChainContext = ChainContext(Digest([1; 32]));

    #[test]
    fn every_kind_of_message_height_round_value_signer_and_chain_signs_other_bytes() {
        let address = |seed| Address(SecretKey::from_seed([seed; 32]).public());
        let value = |n| NilOrVal::Val(Digest([n; 32]));
        let (h, r, a) = (EngineHeight(5), Round::new(0), address(1));
        let votes = [
            Consensus.new_precommit(h, r, value(1), a),
            Consensus.new_prevote(h, r, value(1), a),
            Consensus.new_precommit(h, r, NilOrVal::Nil, a),
            Consensus.new_precommit(h, r, value(2), a),
            Consensus.new_precommit(h, Round::new(1), value(1), a),
            Consensus.new_precommit(EngineHeight(6), r, value(1), a),
            Consensus.new_precommit(h, r, value(1), address(2)),
        ];
        let mut all: Vec<[u8; 32]> = votes.iter().map(|vote| vote_bytes(CHAIN, vote)).collect();
        all.push(vote_bytes(ChainContext(Digest([2; 32])), &votes[0]));
        all.push(vote_bytes(ChainContext(Digest([2; 32])), &votes[1]));
        all.push(proposal_bytes(CHAIN, &Consensus.new_proposal(h, r, Value(Digest([1; 32])), Round::Nil, a)));
        all.push(proof_bytes(CHAIN, &a.0.0, b"peer"));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_precommit_signs_what_the_light_client_verifies() {
        let key = SecretKey::from_seed([1; 32]);
        let vote = Consensus.new_precommit(
            EngineHeight(5),
            Round::new(3),
            NilOrVal::Val(Digest([7; 32])),
            Address(key.public()),
        );
        let message = PrecommitMessage {
            chain: CHAIN,
            height: Height(5),
            round: 3,
            value: Some(Digest([7; 32])),
            validator: key.public(),
        };
        assert_eq!(vote_bytes(CHAIN, &vote), message.signing_bytes().0);
    }
}
