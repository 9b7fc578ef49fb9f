//! Compact lists with their proof of knowledge: encryption, and the check by whoever receives one.

use crate::encoding::{MAX_PROOF_BYTES, Words, decode_list, encode_list};
use crate::evaluate::compact_list;
use crate::keys::{ClientKeys, PublicMaterial};
use crate::parameters::{BLOCK_VALUES, MAX_LIST_BLOCKS};
use parallax_primitives::{Digest, KeyId};
use parallax_runtime::{ClientCipher, FheError, InputError};
use std::sync::Arc;
use tfhe::core_crypto::prelude::verify_lwe_compact_ciphertext_list;
use tfhe::safe_serialization::DeserializationConfig;
use tfhe::zk::{
    CompactPkeProof, CompactPkeProofConformanceParams, CompactPkeZkScheme, ZkComputeLoad, ZkPkeV2SupportedHashConfig,
};

/// What a sender's list turned out to be.
pub(crate) type Verdict = Result<(), InputError>;

/// Decodes and verifies the proof of a list. Everything about the list but its words is fixed by the parameters, the
/// proof is size-capped and conformance-checked before use, and it must be the canonical encoding of itself.
pub(crate) fn verify(keys: &PublicMaterial, list: Words, proof: &[u8], metadata: &Digest) -> Verdict {
    let not_conformant = |reason: &str| InputError::NotConformant(reason.to_owned());
    let list = compact_list(list).ok_or_else(|| not_conformant("the list has no blocks"))?;
    // A sender could otherwise choose the load that is cheap for it and expensive for every verifier. Hash
    // configurations of older versions of the proof have no place on a chain that is younger than they are.
    let conformance = CompactPkeProofConformanceParams::new(CompactPkeZkScheme::V2)
        .forbid_compute_load(ZkComputeLoad::Verify)
        .forbid_hash_config(ZkPkeV2SupportedHashConfig::V0_4_0)
        .forbid_hash_config(ZkPkeV2SupportedHashConfig::V0_7_0);
    let decoded: CompactPkeProof = DeserializationConfig::new(MAX_PROOF_BYTES as u64)
        .deserialize_from(proof, &conformance)
        .map_err(|e| InputError::NotConformant(format!("its proof cannot be decoded: {e}")))?;
    match crate::keys::serialize(&decoded) {
        Ok(canonical) if canonical == proof => {}
        _ => return Err(not_conformant("its proof is not in the canonical encoding")),
    }
    let verdict = verify_lwe_compact_ciphertext_list(&list.ct_list, &keys.raw, &decoded, &keys.crs, &metadata.0);
    if verdict.is_valid() { Ok(()) } else { Err(InputError::BadProof) }
}

/// Encrypts digits of four bits as one list. The words, and the proof's bytes.
pub(crate) fn encrypt(keys: &PublicMaterial, digits: &[u8], metadata: &Digest) -> Result<(Words, Vec<u8>), FheError> {
    if digits.is_empty() || digits.len() > usize::from(MAX_LIST_BLOCKS) {
        let reason = format!("a list has 1 to {MAX_LIST_BLOCKS} numbers, not {}", digits.len());
        return Err(InputError::NotConformant(reason).into());
    }
    if let Some(at) = digits.iter().position(|d| *d >= BLOCK_VALUES) {
        // The number itself stays out of the message: it is a plaintext.
        return Err(InputError::NotConformant(format!("number {at} of the list is over {}", BLOCK_VALUES - 1)).into());
    }
    let messages = zeroize::Zeroizing::new(digits.iter().map(|d| u64::from(*d)).collect::<Vec<_>>());
    let library = |e: tfhe::Error| FheError::Library(e.to_string());
    let values = u64::from(BLOCK_VALUES);
    let proven = keys
        .key
        .encrypt_and_prove_slice(&messages, &keys.crs, &metadata.0, ZkComputeLoad::Proof, values)
        .map_err(library)?;
    let Ok([(list, proof)]) = <[_; 1]>::try_from(proven.into_raw_parts()) else {
        return Err(FheError::Library("a list was split although it fits one proof".to_owned()));
    };
    let proof = crate::keys::serialize(&proof).map_err(|e| FheError::Library(e.to_string()))?;
    if proof.len() > MAX_PROOF_BYTES {
        return Err(FheError::Library(format!("a proof of {} bytes is over {MAX_PROOF_BYTES}", proof.len())));
    }
    Ok((list.ct_list.into_container(), proof))
}

/// Encrypts on the client: tfhe's compact public-key encryption with its proof of knowledge, computed for a cheap
/// check (1.6 core-seconds to make, 0.12 to verify, both whatever its length). It uses the rayon pool it is called in.
pub struct TfheClientCipher {
    keys: Arc<ClientKeys>,
}

impl TfheClientCipher {
    /// A client of this key set.
    pub fn new(keys: Arc<ClientKeys>) -> Self {
        Self { keys }
    }
}

impl ClientCipher for TfheClientCipher {
    fn key_id(&self) -> KeyId {
        self.keys.key_id
    }

    fn encrypt(&self, digits: &[u8], metadata: &Digest) -> Result<Vec<u8>, FheError> {
        let (words, proof) = encrypt(&self.keys.public, digits, metadata)?;
        Ok(encode_list(self.keys.key_id, digits.len() as u16, &words, &proof))
    }
}

impl ClientKeys {
    /// Checks a client's list as a compute node does, for those who do not evaluate. Takes 0.12 core-seconds.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn verify(&self, list: &[u8], blocks: u16, metadata: &Digest) -> Result<(), InputError> {
        let raw = decode_list(list, &[self.key_id], blocks)?;
        verify(&self.public, raw.words, raw.proof, metadata)
    }
}
