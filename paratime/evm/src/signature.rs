//! Ethereum signatures: whose key made them.

use revm::precompile::crypto;
use revm::primitives::{Address, B256};

/// The address whose key signed the digest; `None` if the signature is not one.
pub fn recover(digest: &B256, r: &B256, s: &B256, odd: bool) -> Option<Address> {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r.as_slice());
    signature[32..].copy_from_slice(s.as_slice());
    let word = crypto().secp256k1_ecrecover(&signature, u8::from(odd), &digest.0).ok()?;
    let address = Address::from_word(B256::from(word));
    (!address.is_zero()).then_some(address)
}
