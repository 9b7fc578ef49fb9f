//! Where the access control list keeps what it has granted: for those who prove a slot instead of calling the contract.
//!
//! A slot of its mappings is the Keccak-256 hash of the key and the slot of the mapping, as Solidity has it.

use super::acl::{DELEGATION_FIELD, field};
use revm::primitives::{Address, B256, U256, keccak256};

fn entry(mapping: U256, key: B256) -> U256 {
    keccak256([key.0, mapping.to_be_bytes()].concat()).into()
}

/// Not zero if the account may use the handle for good (`persistAllowed`).
pub fn allowed(handle: &B256, account: &Address) -> U256 {
    entry(entry(field(0), *handle), account.into_word())
}

/// Not zero if everyone may know the value of the handle (`isAllowedForDecryption`).
pub fn allowed_for_decryption(handle: &B256) -> U256 {
    entry(field(1), *handle)
}

/// What `delegator` lets `delegate` do for values of `contract`; see [`expiry`].
pub fn delegation(delegator: &Address, delegate: &Address, contract: &Address) -> U256 {
    entry(entry(entry(field(2), delegator.into_word()), delegate.into_word()), contract.into_word())
}

/// Whether a slot that holds a flag has it set.
pub fn is_set(word: &U256) -> bool {
    word.byte(0) != 0
}

/// Until when a delegation holds, in seconds since the Unix epoch; 0 if there is none or it was revoked.
pub fn expiry(word: &U256) -> u64 {
    u64::try_from(*word & DELEGATION_FIELD).unwrap_or(0)
}
