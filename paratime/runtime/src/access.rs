//! Who may have what decrypted. A ParaTime writes grants into its state; key managers act on nothing else, and only
//! on a grant that a state proof shows under a final root.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Digest, Round, encode};
use parallax_state::{CipherRef, Overlay};

/// State key prefix of ciphertexts that wait for public decryption.
pub const PUBLIC_PREFIX: &[u8] = b"acl/public/";
/// State key prefix of ciphertexts that one account may have decrypted for itself.
pub const USER_PREFIX: &[u8] = b"acl/user/";

/// The value under a grant's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Grant {
    /// Which ciphertext.
    pub cipher: CipherRef,
    /// The round that granted it.
    pub round: Round,
    /// What the ciphertext belongs to, in the ParaTime's own terms (for the scheduler the job); key managers sign it.
    pub subject: Digest,
}

/// The key of a public grant.
pub fn public_key(cipher: &Digest) -> Vec<u8> {
    [PUBLIC_PREFIX, &cipher.0].concat()
}

/// The key of a user's grant.
pub fn user_key(cipher: &Digest, user: &Address) -> Vec<u8> {
    [USER_PREFIX, &cipher.0, b"/", &user.0].concat()
}

/// Makes a ciphertext publicly decryptable; for `subject` see [`Grant::subject`].
pub fn allow_public(state: &mut Overlay<'_>, cipher: CipherRef, round: Round, subject: Digest) {
    state.put(public_key(&cipher.digest), encode(&Grant { cipher, round, subject }));
}

/// Lets one account have a ciphertext decrypted for itself; for `subject` see [`Grant::subject`].
pub fn allow_user(state: &mut Overlay<'_>, cipher: CipherRef, user: &Address, round: Round, subject: Digest) {
    state.put(user_key(&cipher.digest, user), encode(&Grant { cipher, round, subject }));
}

/// Takes a public grant back, once it has been answered.
pub fn clear_public(state: &mut Overlay<'_>, cipher: &Digest) {
    state.delete(public_key(cipher));
}
