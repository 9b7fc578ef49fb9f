//! The light client: whether a header is final, and what a final header proves. Pure, without a node: `parallax verify`
//! and the key managers rest on it.
//!
//! A header is final if validators with more than two thirds of the power of the set that it names signed
//! [`PrecommitMessage`] for its hash ([`verify_commit`]). That alone says nothing: anyone can make up a set. A
//! [`LightClient`] also knows which sets to believe, by the rules of Tendermint's light client:
//!
//! - *adjacent*: the header after the trusted one must have it as its parent and the set that it announced;
//! - *same set*: a set that is trusted already may sign any height;
//! - *skipping*: a set that is new must have the signatures of more than one third of the power of the trusted set,
//!   so at least one honest validator of it vouches (Braithwaite et al., "A Tendermint Light Client",
//!   arXiv:2010.07031).
//!
//! All three assume that less than a third of the trusted set's power was ever faulty while its stake answers for it.
//! There is no clock here; a caller that has one refuses trust that is too old with [`LightClient::is_stale`].
//!
//! A [`ProofBundle`] carries one state value with everything needed to check it. The header of height `h + 1` holds the
//! state root after height `h`. A ParaTime's value hangs on the ParaTime block that the ledger holds for its round. A
//! [`ProofSet`] carries several values of one state.

mod set;

pub use set::{MAX_SET_BYTES, MAX_SET_KEYS, ProofSet, ProofSetV1, VerifiedSet};

use crate::block::{CommitCertificate, Header, PrecommitMessage, ValidatorSet};
use crate::{keys, stored};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::{MAX_PROOF_BYTES, MAX_VALIDATORS};
use parallax_primitives::{ChainContext, DecodeError, Digest, Height, NodeId, ParaTimeId, Round, decode, encode};
use parallax_rounds::ParaTimeBlock;
use parallax_state::{ProofError, StateError, StateProof, Value};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Largest proof bundle, in bytes: two state proofs, and header, certificate and validators of the largest set.
pub const MAX_BUNDLE_BYTES: usize = 2 * MAX_PROOF_BYTES + 64 * 1024;

/// Why a header or a proof is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// The bytes are no bundle.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Certificate and header are of different heights, or the height is 0.
    #[error("the certificate is for height {certificate}, the header has height {header}; heights begin with 1")]
    WrongHeight {
        /// The certificate's.
        certificate: Height,
        /// The header's.
        header: Height,
    },
    /// The certificate is for another header.
    #[error("the certificate of height {height} is for header {certified}, not for {header}")]
    WrongHeader {
        /// The height.
        height: Height,
        /// What was certified.
        certified: Digest,
        /// The header's hash.
        header: Digest,
    },
    /// No consensus round is negative.
    #[error("the certificate names consensus round {0}; a decision has round 0 or a later one")]
    WrongRound(i64),
    /// The validator set is not sorted, has duplicates, has members without power, or is too large.
    #[error("the validator set is not valid: {0}")]
    MalformedValidators(&'static str),
    /// The validators given are not those that the header names.
    #[error("the validators given hash to {given}, header {height} names {named}")]
    WrongValidators {
        /// The header's height.
        height: Height,
        /// The hash of those given.
        given: Digest,
        /// The hash in the header.
        named: Digest,
    },
    /// A signer who is not in the set.
    #[error("{signer} signed the certificate of height {height} but is no validator of it")]
    NotAValidator {
        /// The height.
        height: Height,
        /// Who.
        signer: NodeId,
    },
    /// A signer who is listed twice.
    #[error("{signer} is listed twice in the certificate of height {height}")]
    DuplicateSigner {
        /// The height.
        height: Height,
        /// Who.
        signer: NodeId,
    },
    /// A signature that does not hold: forged, or made for another chain, height, round or header.
    #[error("the signature of {signer} on height {height} does not hold for this header on chain {chain}")]
    BadSignature {
        /// The height.
        height: Height,
        /// Whose.
        signer: NodeId,
        /// The chain for which it was checked.
        chain: ChainContext,
    },
    /// Too little power signed.
    #[error("validators with power {signed} of {total} signed height {height}; more than two thirds are needed")]
    NotEnoughPower {
        /// The height.
        height: Height,
        /// The power that signed.
        signed: u64,
        /// The power of the set.
        total: u64,
    },
    /// A new validator set for which too few trusted validators vouch.
    #[error(
        "header {height} is signed by a new validator set, and trusted validators with power {vouched} of {total} among \
         them; more than one third is needed. Verify a header between {trusted} and {height} first"
    )]
    NotEnoughTrust {
        /// The header's height.
        height: Height,
        /// The trusted height.
        trusted: Height,
        /// The power of the trusted set that signed.
        vouched: u64,
        /// The power of the trusted set.
        total: u64,
    },
    /// The set of this header is not the one trusted, and there is nothing from which to derive trust in it.
    #[error(
        "header {height} is signed by validator set {given}, trusted is {trusted} only; trust the genesis document instead, or a later set"
    )]
    UntrustedValidators {
        /// The header's height.
        height: Height,
        /// Its validators hash.
        given: Digest,
        /// The trusted one.
        trusted: Digest,
    },
    /// The next header does not name the set that its parent announced.
    #[error("header {height} names validator set {given}, its parent announced {announced}")]
    UnannouncedValidators {
        /// The header's height.
        height: Height,
        /// What it names.
        given: Digest,
        /// What was announced.
        announced: Digest,
    },
    /// Another header of a height that is trusted, or a child of another parent: two histories, both signed.
    #[error(
        "header {height} contradicts the trusted history: {expected} is expected there, it has {given}. Keep both headers; they convict validators"
    )]
    Fork {
        /// The height.
        height: Height,
        /// The trusted hash.
        expected: Digest,
        /// The one given.
        given: Digest,
    },
    /// The time does not lie where the height does.
    #[error(
        "header {height} has time {time_ms} ms, trusted height {trusted} has {trusted_ms} ms: time must rise with the height"
    )]
    TimeNotMonotonic {
        /// The header's height.
        height: Height,
        /// Its time.
        time_ms: u64,
        /// The trusted height.
        trusted: Height,
        /// Its time.
        trusted_ms: u64,
    },
    /// The proof of the ledger's value does not lead to the header's state root.
    #[error("the proof in the ledger's state does not hold for header {height}: {reason}")]
    ConsensusProof {
        /// The header's height.
        height: Height,
        /// Why.
        reason: Box<ProofError>,
    },
    /// The ledger's proof is about another key than the ParaTime block's.
    #[error("the ledger's proof is about another key than round {round} of ParaTime {paratime}")]
    NotTheBlock {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// The round.
        round: Round,
    },
    /// The ledger holds another ParaTime block, or none.
    #[error("the ledger holds no such block for round {round} of ParaTime {paratime}")]
    WrongBlock {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// The round.
        round: Round,
    },
    /// The ledger's value cannot be read.
    #[error("the ledger's value cannot be read: {0}")]
    Unreadable(StateError),
    /// The proof of the ParaTime's value does not lead to its block's state root.
    #[error("the proof in the state of ParaTime {paratime} does not hold for round {round}: {reason}")]
    ParaTimeProof {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// The round.
        round: Round,
        /// Why.
        reason: Box<ProofError>,
    },
}

impl LightError {
    /// Whether the header is final and only the proofs under it do not hold.
    pub fn is_about_state(&self) -> bool {
        matches!(
            self,
            Self::ConsensusProof { .. }
                | Self::NotTheBlock { .. }
                | Self::WrongBlock { .. }
                | Self::Unreadable(_)
                | Self::ParaTimeProof { .. }
        )
    }
}

/// Decides whether a header is final. No I/O and no clock. One implementation an engine: [`LightClient`] for our own
/// certificates.
pub trait HeaderVerifier {
    /// What an engine gives as the evidence that a header is final.
    type Certificate;

    /// The chain whose headers it verifies.
    fn chain(&self) -> ChainContext;

    /// Checks that `header` is final, given the validators of its height.
    ///
    /// # Errors
    /// [`LightError`], of which none is [about the state](LightError::is_about_state).
    fn verify(
        &self,
        header: &Header,
        certificate: &Self::Certificate,
        validators: &ValidatorSet,
    ) -> Result<(), LightError>;
}

/// Checks that validators with more than two thirds of the power of `validators` signed `header`, and that the header
/// names this very set. Returns the signers. Whether to believe in the set is another question.
///
/// # Errors
/// [`LightError`].
pub fn verify_commit(
    chain: ChainContext,
    header: &Header,
    certificate: &CommitCertificate,
    validators: &ValidatorSet,
) -> Result<BTreeSet<NodeId>, LightError> {
    let height = header.height;
    if certificate.height != height || height == Height::ZERO {
        return Err(LightError::WrongHeight { certificate: certificate.height, header: height });
    }
    if certificate.round < 0 {
        return Err(LightError::WrongRound(certificate.round));
    }
    let hash = header.hash();
    if certificate.value != hash {
        return Err(LightError::WrongHeader { height, certified: certificate.value, header: hash });
    }
    let total = well_formed(validators)?;
    if validators.hash() != header.validators_hash {
        let (given, named) = (validators.hash(), header.validators_hash);
        return Err(LightError::WrongValidators { height, given, named });
    }
    let mut signers = BTreeSet::new();
    let mut signed = 0u64;
    for (signer, signature) in &certificate.signatures {
        let power = validators.power_of(signer);
        if power == 0 {
            return Err(LightError::NotAValidator { height, signer: *signer });
        }
        if !signers.insert(*signer) {
            return Err(LightError::DuplicateSigner { height, signer: *signer });
        }
        let message =
            PrecommitMessage { chain, height, round: certificate.round, value: Some(hash), validator: *signer };
        if !signer.verify_raw(&message.signing_bytes().0, signature) {
            return Err(LightError::BadSignature { height, signer: *signer, chain });
        }
        signed = signed.saturating_add(power);
    }
    if !exceeds(signed, 2, total) {
        return Err(LightError::NotEnoughPower { height, signed, total });
    }
    Ok(signers)
}

/// Whether `part` is more than `thirds` thirds of `total`.
fn exceeds(part: u64, thirds: u8, total: u64) -> bool {
    // Three times a u64 fits a u128.
    u128::from(part) * 3 > u128::from(total) * u128::from(thirds)
}

/// The total power of a set that is sorted, without duplicates, of members with power, and not too large.
fn well_formed(set: &ValidatorSet) -> Result<u64, LightError> {
    let bad = |reason| Err(LightError::MalformedValidators(reason));
    if set.validators.is_empty() {
        return bad("it is empty");
    }
    if set.validators.len() > MAX_VALIDATORS {
        return bad("it has more members than a chain may have");
    }
    if !set.validators.is_sorted_by(|a, b| a.node < b.node) {
        return bad("it is not sorted, or a member is listed twice");
    }
    let mut total = 0u64;
    for validator in &set.validators {
        if validator.power == 0 {
            return bad("a member has no power");
        }
        match total.checked_add(validator.power) {
            Some(sum) => total = sum,
            None => return bad("its power exceeds 64 bits"),
        }
    }
    Ok(total)
}

/// The trusted header, or the root of trust in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LightClient {
    chain: ChainContext,
    height: Height,
    time_ms: u64,
    /// The hash that a child names as its parent; unknown to one who trusts a set alone.
    hash: Option<Digest>,
    /// The set of `height`; unknown to one who trusts a hash.
    validators: Option<ValidatorSet>,
    validators_hash: Digest,
    next_validators_hash: Digest,
}

impl LightClient {
    /// Trusts the genesis document: its chain context, its first validators (they decide heights 1 and 2) and its time.
    ///
    /// # Errors
    /// [`LightError::MalformedValidators`].
    pub fn genesis(chain: ChainContext, validators: ValidatorSet, time_ms: u64) -> Result<Self, LightError> {
        well_formed(&validators)?;
        let hash = validators.hash();
        Ok(Self {
            chain,
            height: Height::ZERO,
            time_ms,
            hash: Some(chain.0),
            validators: Some(validators),
            validators_hash: hash,
            next_validators_hash: hash,
        })
    }

    /// Trusts whatever the validator set with this hash signs on this chain, and no other set.
    pub fn from_validators_hash(chain: ChainContext, validators_hash: Digest) -> Self {
        Self {
            chain,
            height: Height::ZERO,
            time_ms: 0,
            hash: None,
            validators: None,
            validators_hash,
            next_validators_hash: validators_hash,
        }
    }

    /// The trusted height; 0 for a root of trust.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The trusted header's time, milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Whether the trusted header is older than `period_ms`: then its validators may have taken their stake back, and
    /// their signatures bind them to nothing. A period shorter than debonding is right.
    pub fn is_stale(&self, now_ms: u64, period_ms: u64) -> bool {
        now_ms.saturating_sub(self.time_ms) > period_ms
    }

    /// Verifies a header and, if it is higher than the trusted one, trusts it from now on.
    ///
    /// # Errors
    /// As for [`HeaderVerifier::verify`]; then nothing changes.
    pub fn advance(
        &mut self,
        header: &Header,
        certificate: &CommitCertificate,
        validators: &ValidatorSet,
    ) -> Result<(), LightError> {
        self.verify(header, certificate, validators)?;
        if header.height > self.height {
            self.height = header.height;
            self.time_ms = header.time_ms;
            self.hash = Some(header.hash());
            self.validators = Some(validators.clone());
            self.validators_hash = header.validators_hash;
            self.next_validators_hash = header.next_validators_hash;
        }
        Ok(())
    }

    /// Whether the header fits what is trusted, whoever signed it.
    fn fits(&self, header: &Header) -> Result<(), LightError> {
        let height = header.height;
        let order = height.cmp(&self.height);
        if order == Ordering::Equal
            && let Some(expected) = self.hash
            && header.hash() != expected
        {
            return Err(LightError::Fork { height, expected, given: header.hash() });
        }
        // The first block may have the genesis document's own time.
        let first = self.height == Height::ZERO && header.time_ms == self.time_ms;
        if header.time_ms.cmp(&self.time_ms) != order && !first {
            let (time_ms, trusted, trusted_ms) = (header.time_ms, self.height, self.time_ms);
            return Err(LightError::TimeNotMonotonic { height, time_ms, trusted, trusted_ms });
        }
        if height == self.height.next()
            && let Some(expected) = self.hash
        {
            if header.parent != expected {
                return Err(LightError::Fork { height, expected, given: header.parent });
            }
            if header.validators_hash != self.next_validators_hash {
                let (given, announced) = (header.validators_hash, self.next_validators_hash);
                return Err(LightError::UnannouncedValidators { height, given, announced });
            }
        }
        Ok(())
    }

    /// Whether the set that signed deserves trust.
    fn trusts(&self, header: &Header, signers: &BTreeSet<NodeId>) -> Result<(), LightError> {
        let (height, given) = (header.height, header.validators_hash);
        let newer = height > self.height;
        if given == self.validators_hash || (newer && given == self.next_validators_hash) {
            return Ok(());
        }
        match &self.validators {
            Some(trusted) if newer => {
                let vouched = signers.iter().fold(0u64, |sum, signer| sum.saturating_add(trusted.power_of(signer)));
                let total = trusted.total_power();
                if exceeds(vouched, 1, total) {
                    Ok(())
                } else {
                    Err(LightError::NotEnoughTrust { height, trusted: self.height, vouched, total })
                }
            }
            // Trust does not run backwards: a set that has left may sign any past.
            _ => Err(LightError::UntrustedValidators { height, given, trusted: self.validators_hash }),
        }
    }
}

impl HeaderVerifier for LightClient {
    type Certificate = CommitCertificate;

    fn chain(&self) -> ChainContext {
        self.chain
    }

    fn verify(
        &self,
        header: &Header,
        certificate: &CommitCertificate,
        validators: &ValidatorSet,
    ) -> Result<(), LightError> {
        let signers = verify_commit(self.chain, header, certificate, validators)?;
        self.fits(header)?;
        self.trusts(header, &signers)
    }
}

/// The part of a bundle that leads from the ledger into a ParaTime's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ParaTimeProof {
    /// The block that the ledger holds for the round.
    pub block: ParaTimeBlock,
    /// The value under the block's state root.
    pub proof: StateProof,
}

/// The first format of a [`ProofBundle`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ProofBundleV1 {
    /// The header whose state root the proofs lead to.
    pub header: Header,
    /// That it is final.
    pub certificate: CommitCertificate,
    /// The validators that the header names.
    pub validators: ValidatorSet,
    /// The ledger's value: what was asked for, or the ParaTime block of `paratime`.
    pub consensus: StateProof,
    /// A ParaTime's value, if one was asked for.
    pub paratime: Option<ParaTimeProof>,
}

/// One state value, or its absence, with all that a verifier needs besides its root of trust.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "version", rename_all = "lowercase")]
pub enum ProofBundle {
    /// The first format.
    V1(ProofBundleV1),
}

/// What a bundle has been found to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The value is in the state after this height.
    pub height: Height,
    /// The time of the header that proves it, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Where the value is: a ParaTime and the round after which it is there; the ledger if `None`.
    pub paratime: Option<(ParaTimeId, Round)>,
    /// The consensus height that finalised the block of that round. It lies before [`Verified::height`]: far before, if
    /// the ParaTime is idle or if the proof is of an old round.
    pub block_height: Option<Height>,
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` if the key is proven absent.
    pub value: Option<Value>,
}

impl ProofBundle {
    /// From canonical bytes; not verified yet.
    ///
    /// # Errors
    /// [`LightError::Decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, LightError> {
        Ok(decode("proof bundle", bytes, MAX_BUNDLE_BYTES)?)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The header that the bundle rests on.
    pub fn header(&self) -> &Header {
        let Self::V1(bundle) = self;
        &bundle.header
    }

    /// Checks everything: that the header is final, and that the value is under it.
    ///
    /// # Errors
    /// [`LightError`]: first what concerns the header, then what concerns the state.
    pub fn verify(&self, trust: &impl HeaderVerifier<Certificate = CommitCertificate>) -> Result<Verified, LightError> {
        let Self::V1(bundle) = self;
        let header = &bundle.header;
        trust.verify(header, &bundle.certificate, &bundle.validators)?;
        bundle
            .consensus
            .verify(&header.app_hash)
            .map_err(|reason| LightError::ConsensusProof { height: header.height, reason: Box::new(reason) })?;
        let (paratime, proof) = match &bundle.paratime {
            None => (None, &bundle.consensus),
            Some(inner) => {
                let (paratime, round) = inner.check(&bundle.consensus)?;
                (Some((paratime, round)), &inner.proof)
            }
        };
        Ok(Verified {
            height: header.height.saturating_sub(1),
            time_ms: header.time_ms,
            paratime,
            block_height: bundle.paratime.as_ref().map(|inner| inner.block.height),
            key: proof.key().to_vec(),
            value: proof.value().cloned(),
        })
    }
}

impl ParaTimeProof {
    /// Checks that the verified `consensus` proof shows the block, and that the value is under the block's root.
    fn check(&self, consensus: &StateProof) -> Result<(ParaTimeId, Round), LightError> {
        let (paratime, round) = (self.block.paratime, self.block.round);
        let key = keys::paratime_block(&paratime, round);
        if consensus.key() != key {
            return Err(LightError::NotTheBlock { paratime, round });
        }
        let value = consensus.value().ok_or(LightError::WrongBlock { paratime, round })?;
        let block: ParaTimeBlock = stored::from_value(&key, value).map_err(LightError::Unreadable)?;
        if block != self.block {
            return Err(LightError::WrongBlock { paratime, round });
        }
        self.proof.verify(&block.state_root).map_err(|reason| LightError::ParaTimeProof {
            paratime,
            round,
            reason: Box::new(reason),
        })?;
        Ok((paratime, round))
    }
}

#[cfg(test)]
mod tests;
