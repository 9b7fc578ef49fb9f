//! What key managers sign so that contracts believe a public decryption.

use crate::host::{DECRYPTION_DOMAIN, Verifier, decryption_structure, signers::typed_data_digest};
use revm::primitives::B256;

/// The digest that key managers sign for the plaintexts of these handles, ABI-encoded one after the other (EIP-712).
pub fn digest(verifier: &Verifier, handles: &[B256], plaintexts: &[u8], extra: &[u8]) -> B256 {
    let structure = decryption_structure(handles, plaintexts, extra);
    typed_data_digest(DECRYPTION_DOMAIN.as_bytes(), b"1", verifier.chain_id, verifier.contract, structure)
}

/// The proof that a contract takes: how many signatures, the signatures, and extra data.
pub fn proof(signatures: &[Vec<u8>], extra: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(signatures.len()).unwrap_or(u8::MAX)];
    signatures.iter().for_each(|signature| out.extend_from_slice(signature));
    out.extend_from_slice(extra);
    out
}
