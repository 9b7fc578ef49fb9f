//! The key manager: verifies, then decrypts, then signs.

use crate::designated;
use crate::refusal::Refusal;
use parallax_consensus_app::light::{HeaderVerifier, LightClient, ProofBundle, ProofSet, Verified, VerifiedSet};
use parallax_primitives::limits::{MAX_BLOB_BYTES, MAX_VALUE_BYTES};
use parallax_primitives::{
    Address, ChainContext, Digest, Height, KeyId, ParaTimeId, PublicKey, Round, SecretKey, decode, encode, seal,
};
use parallax_runtime::Decryptor;
use parallax_runtime::access::{self, Grant};
use parallax_runtime::decryption::{Answer, KeyManagers, Payload, SignedAnswer, SignedPermit, request_digest};
use parallax_state::{CipherRef, Value, blob_digest};
use rand::{CryptoRng, RngCore};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most blocks of one ciphertext: 256 bits at two bits a block.
pub const MAX_BLOCKS: u16 = 128;
/// How many heights the header of a proof may lie behind the light client. The block of the ParaTime under it may be
/// older, since an idle ParaTime makes few; see [`KeyManager::newest_round`] for what bounds that.
pub const MAX_PROOF_AGE: u64 = 1_000;
/// Most answers that are remembered; the oldest goes, and is made anew when it is asked for again.
pub const MAX_REMEMBERED: usize = 4_096;

/// Why a key manager cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// More parties than the designated decryptor.
    #[error(
        "the genesis document names {parties} key managers with threshold {threshold}; this version has the {} alone (1 party, threshold 0)",
        designated::LABEL
    )]
    ThresholdNotSupported {
        /// How many parties.
        parties: usize,
        /// Their threshold.
        threshold: u16,
    },
    /// The signing key is not the one that the document names for this party.
    #[error("party {party} of the key managers has another signing key than {key}; use the key of that node")]
    NotAParty {
        /// The party's number.
        party: u16,
        /// The key at hand.
        key: PublicKey,
    },
    /// The genesis parameters of an EVM ParaTime do not name the node's Ethereum address.
    #[error(
        "the EVM's parameter {list} has no signer {address}, which is this node's Ethereum address; use the key of that node"
    )]
    NotASigner {
        /// The node's address.
        address: Address,
        /// The parameter.
        list: &'static str,
    },
    /// No secret key, or one twice.
    #[error("a key manager needs one decryptor for each key id, at least one")]
    Keys,
}

/// What names an answer: the ciphertext, and the permit (zero for a public one).
pub(crate) type Request = (Digest, Digest);

/// The key manager of one ParaTime at one node.
pub struct KeyManager {
    chain: ChainContext,
    paratime: ParaTimeId,
    managers: KeyManagers,
    party: u16,
    key: SecretKey,
    decryptors: BTreeMap<KeyId, Arc<dyn Decryptor>>,
    remembered: BTreeMap<Request, SignedAnswer>,
    order: VecDeque<Request>,
    newest: (Round, Height),
}

impl fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyManager")
            .field("paratime", &self.paratime)
            .field("party", &self.party)
            .field("epoch", &self.managers.epoch)
            .field("key_ids", &self.decryptors.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl KeyManager {
    /// The key manager of `paratime` with the number `party`. `decryptors` holds the current key and, during a
    /// rotation, the previous one. A key belongs to one ParaTime: another one could grant itself anything.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        chain: ChainContext,
        paratime: ParaTimeId,
        managers: KeyManagers,
        party: u16,
        key: SecretKey,
        decryptors: Vec<Arc<dyn Decryptor>>,
    ) -> Result<Self, SetupError> {
        let (parties, threshold) = (managers.parties.len(), managers.threshold);
        if parties != 1 || threshold != 0 {
            return Err(SetupError::ThresholdNotSupported { parties, threshold });
        }
        if managers.parties.get(usize::from(party)) != Some(&key.public()) {
            return Err(SetupError::NotAParty { party, key: key.public() });
        }
        let count = decryptors.len();
        let decryptors: BTreeMap<_, _> = decryptors.into_iter().map(|d| (d.key_id(), d)).collect();
        if decryptors.is_empty() || decryptors.len() != count {
            return Err(SetupError::Keys);
        }
        let (remembered, order) = (BTreeMap::new(), VecDeque::new());
        let newest = (Round::ZERO, Height::ZERO);
        Ok(Self { chain, paratime, managers, party, key, decryptors, remembered, order, newest })
    }

    /// The ParaTime that it serves.
    pub fn paratime(&self) -> ParaTimeId {
        self.paratime
    }

    pub(crate) fn chain(&self) -> ChainContext {
        self.chain
    }

    /// The answer that was given to a request, as far as it is remembered.
    pub(crate) fn remembered(&self, request: &Request) -> Option<&SignedAnswer> {
        self.remembered.get(request)
    }

    /// The newest round that a verified proof was of. Proofs of older rounds are refused from then on, so that a grant
    /// that was taken back is not brought back with the state from before.
    pub fn newest_round(&self) -> Round {
        self.newest.0
    }

    /// Checks what needs no proof: that the permit is for this ParaTime, signed by its requester, and not expired at
    /// the light client's height. [`KeyManager::answer_user`] does so again.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_permit(&self, light: &LightClient, permit: &SignedPermit) -> Result<(), Refusal> {
        let wish = &permit.permit;
        if wish.paratime != self.paratime {
            return Err(Refusal::OtherParaTime { ours: self.paratime });
        }
        if !permit.verify(self.chain) {
            return Err(Refusal::BadPermit);
        }
        let current = light.height();
        if current > wish.expires {
            return Err(Refusal::ExpiredPermit { expires: wish.expires, current });
        }
        Ok(())
    }

    /// Answers a public decryption: `bundle` proves the grant [`access::public_key`] of the ciphertext whose bytes are
    /// `cipher`. Everyone may read the answer.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn answer_public(
        &mut self,
        light: &LightClient,
        bundle: &ProofBundle,
        cipher: &[u8],
    ) -> Result<SignedAnswer, Refusal> {
        let verified = self.proven(light, bundle)?;
        let granted = public_cipher(&verified.key).ok_or(Refusal::OtherGrant)?;
        let (grant, place) = (grant(verified, &granted)?, Place::of(bundle)?);
        let digest = same_bytes(cipher, granted)?;
        let request = (digest, Digest::ZERO);
        if let Some(answer) = self.remembered.get(&request) {
            return Ok(answer.clone());
        }
        let blocks = self.decrypt(&grant.cipher, cipher)?;
        let answer = self.sign(&grant, Digest::ZERO, place, Payload::Public(blocks.to_vec()));
        Ok(self.remember(request, answer))
    }

    /// Answers a user: `bundle` proves the grant [`access::user_key`] of the permit's ciphertext, whose bytes are
    /// `cipher`, for the address of the permit's requester. Only the permit's sealing key opens the answer.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn answer_user<R: RngCore + CryptoRng>(
        &mut self,
        rng: &mut R,
        light: &LightClient,
        permit: &SignedPermit,
        bundle: &ProofBundle,
        cipher: &[u8],
    ) -> Result<SignedAnswer, Refusal> {
        let wish = &permit.permit;
        self.check_permit(light, permit)?;
        let verified = self.proven(light, bundle)?;
        if verified.key != access::user_key(&wish.cipher, &Address::of(&wish.requester)) {
            return Err(Refusal::OtherGrant);
        }
        let (grant, place) = (grant(verified, &wish.cipher)?, Place::of(bundle)?);
        // An old proof does not bring an expired permit back.
        let current = place.height.max(light.height());
        if current > wish.expires {
            return Err(Refusal::ExpiredPermit { expires: wish.expires, current });
        }
        let request = (same_bytes(cipher, wish.cipher)?, request_digest(wish));
        if let Some(answer) = self.remembered.get(&request) {
            return Ok(answer.clone());
        }
        let blocks = self.decrypt(&grant.cipher, cipher)?;
        let sealed = seal::seal(rng, &wish.seal_to, &request.1.0, &blocks).map_err(|_| Refusal::BadSealingKey)?;
        let answer = self.sign(&grant, request.1, place, Payload::Sealed(sealed));
        Ok(self.remember(request, answer))
    }

    /// What a bundle proves, if it proves something of this ParaTime and lately.
    fn proven(&mut self, light: &LightClient, bundle: &ProofBundle) -> Result<Verified, Refusal> {
        let verified = bundle.verify(self.ours(light)?)?;
        self.fresh(light, &verified)?;
        Ok(verified)
    }

    /// What a set proves, and where, if it proves something of this ParaTime and lately.
    pub(crate) fn proven_set(&mut self, light: &LightClient, set: &ProofSet) -> Result<(VerifiedSet, Place), Refusal> {
        let verified = set.verify(self.ours(light)?)?;
        self.fresh(light, &verified.first)?;
        Ok((verified, Place::of(set.bundle())?))
    }

    /// A light client of another chain would vouch for that chain's headers.
    fn ours<'a>(&self, light: &'a LightClient) -> Result<&'a LightClient, Refusal> {
        if light.chain() == self.chain { Ok(light) } else { Err(Refusal::Unavailable) }
    }

    fn fresh(&mut self, light: &LightClient, verified: &Verified) -> Result<(), Refusal> {
        let Some((_, round)) = verified.paratime.filter(|(id, _)| *id == self.paratime) else {
            return Err(Refusal::OtherParaTime { ours: self.paratime });
        };
        let (proven, current) = (verified.height, light.height());
        if current.0.saturating_sub(proven.0) > MAX_PROOF_AGE {
            return Err(Refusal::Stale { proven, current });
        }
        // The ledger keeps the blocks of old rounds, so a fresh header proves old states too.
        let finalised = verified.block_height.unwrap_or(proven);
        if round < self.newest.0 {
            return Err(Refusal::Stale { proven: finalised, current: self.newest.1 });
        }
        self.newest = (round, finalised);
        Ok(())
    }

    /// Decrypts bytes whose digest is the granted one.
    pub(crate) fn decrypt(&self, reference: &CipherRef, cipher: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let (blocks, bytes) = (reference.blocks, cipher.len());
        if blocks == 0 || blocks > MAX_BLOCKS || bytes > MAX_BLOB_BYTES {
            return Err(Refusal::Size { blocks, bytes });
        }
        let decryptor = self.decryptors.get(&reference.key_id).ok_or(Refusal::UnknownKey(reference.key_id))?;
        designated::decrypt(decryptor.as_ref(), reference, cipher)
    }

    pub(crate) fn sign(&self, grant: &Grant, request: Digest, place: Place, payload: Payload) -> SignedAnswer {
        let answer = Answer {
            paratime: self.paratime,
            key_id: grant.cipher.key_id,
            cipher: grant.cipher.digest,
            request,
            party: self.party,
            // `new` has seen to it that there are few.
            parties: u16::try_from(self.managers.parties.len()).unwrap_or(u16::MAX),
            threshold: self.managers.threshold,
            epoch: self.managers.epoch,
            height: place.height,
            round: place.round,
            state_root: place.state_root,
            subject: grant.subject,
            payload,
        };
        SignedAnswer::sign(answer, self.chain, &self.key)
    }

    pub(crate) fn remember(&mut self, request: Request, answer: SignedAnswer) -> SignedAnswer {
        if self.remembered.insert(request, answer.clone()).is_none() {
            self.order.push_back(request);
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
        answer
    }
}

/// The ciphertext whose public grant has this key.
fn public_cipher(key: &[u8]) -> Option<Digest> {
    let digest = key.strip_prefix(access::PUBLIC_PREFIX)?;
    Some(Digest(digest.try_into().ok()?))
}

/// Where a verified bundle shows its value: the answer names it, so that whoever sees the answer later can look at the
/// same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) state_root: Digest,
}

impl Place {
    fn of(bundle: &ProofBundle) -> Result<Self, Refusal> {
        let ProofBundle::V1(inner) = bundle;
        let block = inner.paratime.as_ref().map(|p| &p.block).ok_or(Refusal::OtherGrant)?;
        let height = inner.header.height.saturating_sub(1);
        Ok(Self { height, round: block.round, state_root: block.state_root })
    }
}

/// The grant of `cipher` that the value is.
fn grant(verified: Verified, cipher: &Digest) -> Result<Grant, Refusal> {
    let bytes = match verified.value {
        Some(Value::Plain(bytes)) => bytes,
        Some(Value::Cipher(_)) => return Err(Refusal::MalformedGrant),
        None => return Err(Refusal::NoGrant { cipher: *cipher }),
    };
    let grant: Grant = decode("grant", &bytes, MAX_VALUE_BYTES).map_err(|_| Refusal::MalformedGrant)?;
    if grant.cipher.digest != *cipher {
        return Err(Refusal::MalformedGrant);
    }
    Ok(grant)
}

/// The digest of the bytes, if it is the granted one.
pub(crate) fn same_bytes(cipher: &[u8], granted: Digest) -> Result<Digest, Refusal> {
    let given = blob_digest(cipher);
    if given == granted { Ok(given) } else { Err(Refusal::OtherCiphertext { given, granted }) }
}

/// The digest that names an answer in the log.
pub(crate) fn answer_digest(answer: &SignedAnswer) -> Digest {
    Digest::of_bytes(parallax_primitives::Domain::DecryptionAnswer, &encode(answer))
}
