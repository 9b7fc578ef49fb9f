//! The stored form, the client's list, and what makes and opens them.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::MAX_BLOB_BYTES;
use parallax_primitives::{Digest, Domain, KeyId, decode, encode};
use parallax_runtime::{ClientCipher, Decryptor, FheError, InputError};
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Marks the stored form.
const STORED_TAG: [u8; 4] = *b"CLR1";
/// Marks a client's list.
const LIST_TAG: [u8; 4] = *b"CLL1";
/// Largest list: far more than the blocks of any program input.
pub(crate) const MAX_LIST_BYTES: usize = 64 * 1024;
/// Most numbers in a list.
const MAX_LIST_DIGITS: usize = 1_024;

/// One block: the number, and what stands in for the ciphertext's random part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Block {
    pub(crate) value: u8,
    pub(crate) mask: Digest,
}

/// A ciphertext in the stored form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Stored {
    tag: [u8; 4],
    key: KeyId,
    blocks: Vec<Block>,
}

/// A compact list with its stand-in for a proof of knowledge.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct List {
    tag: [u8; 4],
    pub(crate) key: KeyId,
    pub(crate) digits: Vec<u8>,
    pub(crate) salt: Digest,
    proof: Digest,
}

/// What binds a list to its metadata, as the proof of knowledge does.
fn proof(key: KeyId, digits: &[u8], salt: Digest, metadata: &Digest) -> Digest {
    Digest::of_value(Domain::Simulation, &("proof", key, digits, salt, metadata))
}

pub(crate) fn encode_stored(key: KeyId, blocks: Vec<Block>) -> Vec<u8> {
    encode(&Stored { tag: STORED_TAG, key, blocks })
}

/// The blocks of a stored ciphertext under this key.
pub(crate) fn decode_stored(key: KeyId, bytes: &[u8], blocks: u16) -> Result<Vec<Block>, InputError> {
    let stored: Stored =
        decode("a clear ciphertext", bytes, MAX_BLOB_BYTES).map_err(|e| InputError::NotConformant(e.to_string()))?;
    if stored.tag != STORED_TAG {
        return Err(InputError::NotConformant("it is not a stored clear ciphertext".to_owned()));
    }
    if stored.key != key {
        return Err(InputError::UnknownKey { given: stored.key, accepted: key });
    }
    if stored.blocks.len() != usize::from(blocks) || stored.blocks.iter().any(|b| b.value > 15) {
        let got = stored.blocks.len();
        return Err(InputError::NotConformant(format!("{got} blocks of four bits where {blocks} are expected")));
    }
    Ok(stored.blocks)
}

/// Decodes a list: size, form and number of digits, not its proof.
pub(crate) fn decode_list(bytes: &[u8], blocks: u16) -> Result<List, InputError> {
    if bytes.len() > MAX_LIST_BYTES {
        return Err(InputError::TooLarge { actual: bytes.len(), limit: MAX_LIST_BYTES });
    }
    let list: List =
        decode("a clear list", bytes, MAX_LIST_BYTES).map_err(|e| InputError::NotConformant(e.to_string()))?;
    if list.tag != LIST_TAG || list.digits.len() != usize::from(blocks) || list.digits.iter().any(|d| *d > 15) {
        let got = list.digits.len();
        return Err(InputError::NotConformant(format!("{got} numbers of four bits where {blocks} are expected")));
    }
    Ok(list)
}

impl List {
    /// Whether the list was made for this metadata.
    pub(crate) fn proves(&self, metadata: &Digest) -> bool {
        proof(self.key, &self.digits, self.salt, metadata) == self.proof
    }
}

/// Encrypts, in name. Each call uses the next salt of its seed, so equal numbers give different lists, and a run is
/// reproduced by its seed.
#[derive(Debug)]
pub struct ClearCipher {
    key: KeyId,
    seed: u64,
    calls: AtomicU64,
}

impl ClearCipher {
    /// A cipher under this key with this seed.
    pub fn new(key: KeyId, seed: u64) -> Self {
        Self { key, seed, calls: AtomicU64::new(0) }
    }
}

impl ClientCipher for ClearCipher {
    fn key_id(&self) -> KeyId {
        self.key
    }

    fn encrypt(&self, digits: &[u8], metadata: &Digest) -> Result<Vec<u8>, FheError> {
        if let Some(index) = digits.iter().position(|d| *d > 15) {
            return Err(FheError::BadInput { index, reason: "a digit is over 15".to_owned() });
        }
        if digits.is_empty() || digits.len() > MAX_LIST_DIGITS {
            let reason = format!("a list holds 1..={MAX_LIST_DIGITS} digits, this one {}", digits.len());
            return Err(FheError::BadInput { index: 0, reason });
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let salt = Digest::of_value(Domain::Simulation, &("salt", self.key, self.seed, call));
        let proof = proof(self.key, digits, salt, metadata);
        Ok(encode(&List { tag: LIST_TAG, key: self.key, digits: digits.to_vec(), salt, proof }))
    }
}

/// Decrypts, in name.
#[derive(Clone, Debug)]
pub struct ClearDecryptor {
    key: KeyId,
}

impl ClearDecryptor {
    /// For ciphertexts under this key.
    pub fn new(key: KeyId) -> Self {
        Self { key }
    }
}

impl Decryptor for ClearDecryptor {
    fn key_id(&self) -> KeyId {
        self.key
    }

    fn decrypt(&self, cipher: &[u8], blocks: u16) -> Result<Zeroizing<Vec<u8>>, FheError> {
        let blocks = decode_stored(self.key, cipher, blocks)?;
        Ok(Zeroizing::new(blocks.iter().map(|b| b.value).collect()))
    }
}
