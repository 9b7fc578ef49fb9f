//! Several values of one state under one header: what has to hold together is proven together.

use super::{HeaderVerifier, LightError, MAX_BUNDLE_BYTES, ProofBundle, ProofBundleV1, Verified};
use crate::block::CommitCertificate;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{decode, encode};
use parallax_state::{StateProof, Value};
use std::collections::BTreeMap;

/// Most keys of a set.
pub const MAX_SET_KEYS: usize = 1_024;
/// Largest set, in bytes: what fits a message between peers with room to spare.
pub const MAX_SET_BYTES: usize = 8 * 1024 * 1024 + MAX_BUNDLE_BYTES;

/// The first format of a [`ProofSet`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ProofSetV1 {
    /// The first value, with header and certificate.
    pub bundle: ProofBundle,
    /// The other ones: in the state in which the bundle shows its value.
    pub more: Vec<StateProof>,
}

/// Values of one state, or their absence, with all that a verifier needs besides its root of trust.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ProofSet {
    /// The first format.
    V1(ProofSetV1),
}

/// What a set has been found to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSet {
    /// The first value, and where all of them are.
    pub first: Verified,
    /// Every key with its value; `None` if it is proven absent. A key that is not here is not proven at all.
    pub values: BTreeMap<Vec<u8>, Option<Value>>,
}

impl ProofSet {
    /// From canonical bytes; not verified yet.
    ///
    /// # Errors
    /// [`LightError::Decode`]: oversize, malformed, trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, LightError> {
        Ok(decode("proof set", bytes, MAX_SET_BYTES)?)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The bundle with the first value.
    pub fn bundle(&self) -> &ProofBundle {
        let Self::V1(set) = self;
        &set.bundle
    }

    /// Checks everything: that the header is final, and that every value is in the one state that it leads to.
    ///
    /// # Errors
    /// [`LightError`]: first what concerns the header, then what concerns the state.
    pub fn verify(
        &self,
        trust: &impl HeaderVerifier<Certificate = CommitCertificate>,
    ) -> Result<VerifiedSet, LightError> {
        let Self::V1(set) = self;
        let first = set.bundle.verify(trust)?;
        let ProofBundle::V1(ProofBundleV1 { header, paratime, .. }) = &set.bundle;
        let root = paratime.as_ref().map_or(header.app_hash, |inner| inner.block.state_root);
        let mut values = BTreeMap::from([(first.key.clone(), first.value.clone())]);
        for proof in &set.more {
            proof.verify(&root).map_err(|reason| match first.paratime {
                None => LightError::ConsensusProof { height: header.height, reason: Box::new(reason) },
                Some((paratime, round)) => LightError::ParaTimeProof { paratime, round, reason: Box::new(reason) },
            })?;
            values.insert(proof.key().to_vec(), proof.value().cloned());
        }
        Ok(VerifiedSet { first, values })
    }
}
