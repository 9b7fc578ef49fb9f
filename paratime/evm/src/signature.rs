//! Ethereum signatures: whose key made them. They are made by [`parallax_primitives::EthereumKey`].

use parallax_primitives::EthereumSignature;
use revm::precompile::crypto;
use revm::primitives::{Address, B256, U256, uint};

/// Half of the order of secp256k1: signatures with an s above it could be altered by anyone.
pub(crate) const HALF_ORDER: U256 = uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);

/// The address whose key signed the digest; `None` if the signature is not one.
pub fn recover(digest: &B256, r: &B256, s: &B256, odd: bool) -> Option<Address> {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r.as_slice());
    signature[32..].copy_from_slice(s.as_slice());
    let word = crypto().secp256k1_ecrecover(&signature, u8::from(odd), &digest.0).ok()?;
    let address = Address::from_word(B256::from(word));
    (!address.is_zero()).then_some(address)
}

/// The address whose key made a signature of 65 bytes. `None` if v is neither 27 nor 28, if s is in the upper half of
/// the group's order, or if it is the signature of no key: as OpenZeppelin's `ECDSA` has it.
pub fn signer(digest: &B256, signature: &EthereumSignature) -> Option<Address> {
    let (r, rest) = signature.0.split_first_chunk::<32>()?;
    let (s, v) = rest.split_first_chunk::<32>()?;
    let odd = v.first()?.checked_sub(27).filter(|parity| *parity < 2)? == 1;
    if U256::from_be_bytes(*s) > HALF_ORDER {
        return None;
    }
    recover(digest, &B256::from(*r), &B256::from(*s), odd)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

    use super::*;
    use parallax_primitives::EthereumKey;

    #[test]
    fn the_signer_of_a_signature_is_found_and_an_altered_one_has_another_or_none() {
        let (key, digest) = (EthereumKey::from_bytes(&[7; 32]).unwrap(), B256::repeat_byte(9));
        let good = key.sign(&digest.0).unwrap();
        let expected = Address::from(key.address().0);
        assert_eq!(signer(&digest, &good), Some(expected));
        assert_ne!(signer(&B256::repeat_byte(8), &good), Some(expected));
        for at in 0..65 {
            let mut bad = good;
            bad.0[at] ^= 1;
            assert_ne!(signer(&digest, &bad), Some(expected), "byte {at}");
        }
        let mut bad = good;
        bad.0[64] -= 27;
        assert_eq!(signer(&digest, &bad), None, "v is 27 or 28");
    }

    #[test]
    fn the_mirrored_signature_which_anyone_can_make_is_refused() {
        let order = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
        let (key, digest) = (EthereumKey::from_bytes(&[7; 32]).unwrap(), B256::repeat_byte(9));
        let good = key.sign(&digest.0).unwrap();
        let s = order - U256::from_be_slice(&good.0[32..64]);
        let (r, s, odd) = (B256::from_slice(&good.0[..32]), B256::from(s), good.0[64] == 27);
        assert_eq!(recover(&digest, &r, &s, odd), Some(Address::from(key.address().0)), "it holds");
        let mut mirrored = good;
        mirrored.0[32..64].copy_from_slice(s.as_slice());
        mirrored.0[64] = 55 - good.0[64];
        assert_eq!(signer(&digest, &mirrored), None);
    }
}
