//! What a key manager does for an EVM ParaTime: it attests encrypted inputs, decrypts for contracts, and decrypts for
//! users. Contracts believe it by its Ethereum key ([`EthereumKey`]), users by its signed answers.
//!
//! # On what it acts
//! On the ParaTime's final state alone, every fact proven under one root ([`ProofSet`]): receipts, the ciphertext of a
//! handle, and the **storage of the access control list**. That is the contract that the EVM itself asks, so what a
//! key manager allows is what `isAllowedForDecryption`, `persistAllowed` and
//! `isHandleDelegatedForUserDecryption` say, neither more nor less. The grants of [`parallax_runtime::access`] would
//! be the weaker source: they stand under the digest of a ciphertext, and two handles may have one ciphertext, so a
//! later grant to one of them overwrites which handle the earlier one was about; and a right that is given before the
//! ciphertext is there leaves none.
//!
//! # Requests in two steps
//! First the request and its proofs are checked, which gives a [`Granted`]; nobody else can make one. Then the
//! ciphertexts, whose digests the state commits to, are decrypted. In between the shell fetches them: whoever is not
//! allowed to ask moves no ciphertext.
//!
//! Time is that of the newest consensus header, in whole seconds. It is not the EVM's, which a development chain may
//! move.

use crate::SetupError;
use crate::manager::{KeyManager, Place, same_bytes};
use crate::refusal::{Refusal, Role};
use parallax_consensus_app::light::{LightClient, ProofSet, VerifiedSet};
use parallax_evm::decryption::{self, check_handles};
use parallax_evm::host::{ACL, Verifier, slots};
use parallax_evm::params::Params;
use parallax_evm::permit::{PermitError, SignedPermit};
use parallax_evm::{input, state};
use parallax_primitives::seal::{self, SealingKey};
use parallax_primitives::{Address, Digest, EthereumKey, EthereumSignature, ParaTimeId, Round};
use parallax_runtime::FheType;
use parallax_runtime::access::Grant;
use parallax_runtime::decryption::{Payload, SignedAnswer};
use parallax_state::{CipherRef, Value};
use rand::{CryptoRng, RngCore};
use revm::primitives::{Address as Account, B256, U256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use zeroize::Zeroizing;

/// Most values that are remembered after a public decryption; the oldest goes, and is decrypted anew when it is asked
/// for again.
pub const MAX_PUBLIC_VALUES: usize = 16_384;
/// What attestations of inputs are signed with as extra data: form 0, which holds nothing, as published clients send it.
pub const INPUT_EXTRA: [u8; 1] = [0];
/// What public decryptions are signed with as extra data: none, which is what published clients check.
pub const DECRYPTION_EXTRA: [u8; 0] = [];

/// The key manager of one EVM ParaTime at one node.
pub struct EvmKeyManager {
    inner: KeyManager,
    key: EthereumKey,
    chain_id: u64,
    inputs: Verifier,
    decryptions: Verifier,
    /// Values that everyone may know, by handle.
    public: BTreeMap<B256, B256>,
    order: VecDeque<B256>,
}

impl fmt::Debug for EvmKeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmKeyManager")
            .field("inner", &self.inner)
            .field("signer", &self.key.address())
            .field("chain_id", &self.chain_id)
            .finish_non_exhaustive()
    }
}

/// That contracts may use these values on behalf of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The values.
    pub handles: Vec<B256>,
    /// The contract that may use them.
    pub contract: Address,
    /// On whose behalf.
    pub user: Address,
    /// On `parallax_evm::input::attestation`.
    pub signature: EthereumSignature,
    /// Whose signature.
    pub signer: Address,
    /// Extra data, which is signed too.
    pub extra: Vec<u8>,
}

/// Values that everyone may know, for contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicDecryption {
    /// The values with their types, in the order of the request.
    pub values: Vec<(FheType, B256)>,
    /// On `parallax_evm::decryption::digest`.
    pub signature: EthereumSignature,
    /// Whose signature.
    pub signer: Address,
    /// Extra data, which is signed too.
    pub extra: Vec<u8>,
}

impl PublicDecryption {
    /// The values as Solidity's `abi.encode` writes them.
    pub fn plaintexts(&self) -> Vec<u8> {
        decryption::plaintexts(&self.values.iter().map(|(_, word)| *word).collect::<Vec<_>>())
    }
}

/// One value that was found to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    handle: B256,
    kind: FheType,
    cipher: CipherRef,
    /// [`SignedPermit::request`]; zero for a public decryption.
    request: Digest,
}

/// A request that the state allows: what may be decrypted, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    values: Vec<Allowed>,
    /// To whom answers are sealed; `None` for a public decryption.
    seal_to: Option<SealingKey>,
    place: Place,
}

/// Facts about one state.
struct Facts {
    values: BTreeMap<Vec<u8>, Option<Value>>,
    place: Place,
    /// Seconds since the Unix epoch.
    now: u64,
}

impl Facts {
    fn get(&self, key: &[u8]) -> Result<Option<&Value>, Refusal> {
        let found = self.values.get(key).ok_or_else(|| Refusal::NotProven { key: shown(key) })?;
        Ok(found.as_ref())
    }

    /// A slot of the access control list.
    fn acl(&self, slot: &U256) -> Result<U256, Refusal> {
        let key = state::storage_key(&ACL, slot);
        state::read_slot(self.get(&key)?).ok_or_else(|| Refusal::Unreadable { key: shown(&key) })
    }

    fn plain(&self, key: &[u8]) -> Result<Option<&[u8]>, Refusal> {
        match self.get(key)? {
            Some(Value::Plain(bytes)) => Ok(Some(bytes)),
            Some(Value::Cipher(_)) => Err(Refusal::Unreadable { key: shown(key) }),
            None => Ok(None),
        }
    }

    fn cipher(&self, handle: &B256, kind: FheType) -> Result<CipherRef, Refusal> {
        let key = state::cipher_key(handle);
        match self.get(&key)? {
            Some(Value::Cipher(found)) if found.blocks == kind.blocks() => Ok(*found),
            Some(_) => Err(Refusal::Unreadable { key: shown(&key) }),
            None => Err(Refusal::NoCiphertext { handle: Digest(handle.0) }),
        }
    }
}

/// A state key as an error shows it: its first part, and the rest in hexadecimal digits.
fn shown(key: &[u8]) -> String {
    let at = key.iter().position(|byte| *byte == b'/').map_or(0, |at| at.saturating_add(1));
    let (name, rest) = key.split_at(at);
    let digits: String = rest.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    format!("{}0x{digits}", String::from_utf8_lossy(name))
}

fn account(address: &Address) -> Account {
    Account::from(address.0)
}

fn slot_key(slot: &U256) -> Vec<u8> {
    state::storage_key(&ACL, slot)
}

/// The state keys whose proofs a public decryption of these handles takes.
pub fn public_keys(handles: &[B256]) -> Vec<Vec<u8>> {
    let keys = handles.iter().flat_map(|h| [state::cipher_key(h), slot_key(&slots::allowed_for_decryption(h))]);
    keys.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The state keys whose proofs a user's request takes.
pub fn user_keys(permit: &SignedPermit) -> Vec<Vec<u8>> {
    let (owner, user) = (account(&permit.owner()), account(&permit.user));
    let mut keys = BTreeSet::new();
    for pair in &permit.pairs {
        let (handle, contract) = (B256::from(pair.handle.0), account(&pair.contract));
        keys.insert(state::cipher_key(&handle));
        keys.insert(slot_key(&slots::allowed(&handle, &owner)));
        keys.insert(slot_key(&slots::allowed(&handle, &contract)));
        if permit.permit.delegator.is_some() {
            keys.insert(slot_key(&slots::delegation(&owner, &user, &contract)));
        }
    }
    keys.into_iter().collect()
}

/// The state keys whose proofs the attestation of an input takes, as far as they are known: where the transaction's
/// receipt lies is itself in the state, so the second one follows from the value under the first.
pub fn input_keys(tx: &B256, place: Option<&[u8]>) -> Vec<Vec<u8>> {
    let receipt = place.and_then(|bytes| state::read_place(bytes).ok());
    let receipt = receipt.map(|(number, index)| state::receipt_key(number, index));
    std::iter::once(state::tx_key(tx)).chain(receipt).collect()
}

impl EvmKeyManager {
    /// The key manager of an EVM ParaTime with these genesis parameters. `inner` holds the keys; contracts know it by
    /// the address of `key`.
    ///
    /// # Errors
    /// [`SetupError::NotASigner`] if the parameters do not name that address.
    pub fn new(inner: KeyManager, params: &Params, key: EthereumKey) -> Result<Self, SetupError> {
        let address = key.address();
        for (list, signers) in [("inputs", &params.inputs), ("decryptions", &params.decryptions)] {
            if !signers.signers.contains(&address) {
                return Err(SetupError::NotASigner { address, list });
            }
        }
        let (inputs, decryptions) = (params.inputs.verifier(), params.decryptions.verifier());
        let (public, order) = (BTreeMap::new(), VecDeque::new());
        Ok(Self { inner, key, chain_id: params.chain_id, inputs, decryptions, public, order })
    }

    /// The ParaTime that it serves.
    pub fn paratime(&self) -> ParaTimeId {
        self.inner.paratime()
    }

    /// See [`KeyManager::newest_round`].
    pub fn newest_round(&self) -> Round {
        self.inner.newest_round()
    }

    /// The address by which contracts know it.
    pub fn signer(&self) -> Address {
        self.key.address()
    }

    /// Checks of a public decryption what needs no proof.
    ///
    /// # Errors
    /// [`Refusal::Handles`].
    pub fn check_public(&self, handles: &[B256]) -> Result<Vec<FheType>, Refusal> {
        Ok(check_handles(handles, self.chain_id)?)
    }

    /// Checks of a user's request what needs no proof: limits, signature, and that it has not ended yet.
    ///
    /// # Errors
    /// [`Refusal::Permit`].
    pub fn check_user(&self, light: &LightClient, permit: &SignedPermit) -> Result<(), Refusal> {
        permit.check(self.chain_id, &Address(self.decryptions.contract.into_array()))?;
        // The light client may be behind, so whether the permit has begun is asked again with the proof at hand.
        match permit.permit.holds_at(light.time_ms() / 1_000) {
            Err(PermitError::NotYetValid { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn facts(&mut self, light: &LightClient, set: &ProofSet) -> Result<Facts, Refusal> {
        let (VerifiedSet { first, values }, place) = self.inner.proven_set(light, set)?;
        Ok(Facts { values, place, now: first.time_ms.max(light.time_ms()) / 1_000 })
    }

    fn sign(&self, digest: &B256) -> Result<(EthereumSignature, Address), Refusal> {
        let signature = self.key.sign(&digest.0).ok_or(Refusal::Unavailable)?;
        Ok((signature, self.key.address()))
    }

    /// Attests the values of an encrypted input: `set` proves the keys of [`input_keys`].
    ///
    /// # Errors
    /// [`Refusal`]: the input is in no final block, it failed, or it is another transaction.
    pub fn attest(&mut self, light: &LightClient, tx: &B256, set: &ProofSet) -> Result<Attestation, Refusal> {
        let facts = self.facts(light, set)?;
        let name = Digest(tx.0);
        let key = state::tx_key(tx);
        let place = facts.plain(&key)?.ok_or(Refusal::NoTransaction { tx: name })?;
        let (number, index) = state::read_place(place).map_err(|_| Refusal::Unreadable { key: shown(&key) })?;
        let key = state::receipt_key(number, index);
        let unreadable = || Refusal::Unreadable { key: shown(&key) };
        let receipt = facts.plain(&key)?.ok_or_else(unreadable)?;
        let receipt = state::read_receipt(receipt).map_err(|_| unreadable())?;
        let (contract, user) = input::kept(&receipt.transaction).ok_or(Refusal::NotAnInput { tx: name })?;
        let Ok(returned) = receipt.outcome else { return Err(Refusal::InputFailed { tx: name }) };
        let (words, rest) = returned.as_chunks::<32>();
        if words.is_empty() || !rest.is_empty() {
            return Err(unreadable());
        }
        let handles: Vec<B256> = words.iter().map(|word| B256::from(*word)).collect();
        let digest = input::attestation(&self.inputs, &handles, user, contract, self.chain_id, &INPUT_EXTRA);
        let (signature, signer) = self.sign(&digest)?;
        let (contract, user) = (Address(contract.into_array()), Address(user.into_array()));
        Ok(Attestation { handles, contract, user, signature, signer, extra: INPUT_EXTRA.to_vec() })
    }

    /// Whether everyone may know these values: `set` proves the keys of [`public_keys`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn grant_public(&mut self, light: &LightClient, handles: &[B256], set: &ProofSet) -> Result<Granted, Refusal> {
        let kinds = self.check_public(handles)?;
        let facts = self.facts(light, set)?;
        let mut values = Vec::with_capacity(handles.len());
        for (handle, kind) in handles.iter().zip(kinds) {
            if !slots::is_set(&facts.acl(&slots::allowed_for_decryption(handle))?) {
                return Err(Refusal::NotPublic { handle: Digest(handle.0) });
            }
            let cipher = facts.cipher(handle, kind)?;
            values.push(Allowed { handle: *handle, kind, cipher, request: Digest::ZERO });
        }
        Ok(Granted { values, seal_to: None, place: facts.place })
    }

    /// Whether a user may know these values: `set` proves the keys of [`user_keys`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn grant_user(
        &mut self,
        light: &LightClient,
        permit: &SignedPermit,
        set: &ProofSet,
    ) -> Result<Granted, Refusal> {
        self.check_user(light, permit)?;
        let facts = self.facts(light, set)?;
        permit.permit.holds_at(facts.now)?;
        let handles: Vec<B256> = permit.pairs.iter().map(|pair| B256::from(pair.handle.0)).collect();
        let kinds = self.check_public(&handles)?;
        let owner = permit.owner();
        let role = if permit.permit.delegator.is_some() { Role::Delegator } else { Role::User };
        let mut values = Vec::with_capacity(handles.len());
        for ((pair, handle), kind) in permit.pairs.iter().zip(&handles).zip(kinds) {
            for (address, role) in [(owner, role), (pair.contract, Role::Contract)] {
                if !slots::is_set(&facts.acl(&slots::allowed(handle, &account(&address)))?) {
                    return Err(Refusal::NotAllowed { handle: pair.handle, role, address });
                }
            }
            if permit.permit.delegator.is_some() {
                delegated(&facts, owner, permit.user, pair.contract)?;
            }
            let cipher = facts.cipher(handle, kind)?;
            let request = permit.request(self.inner.chain(), self.paratime(), pair);
            values.push(Allowed { handle: *handle, kind, cipher, request });
        }
        Ok(Granted { values, seal_to: Some(permit.permit.public_key), place: facts.place })
    }

    /// The ciphertexts that are needed to answer: those of values that are not remembered.
    pub fn needed(&self, granted: &Granted) -> BTreeSet<Digest> {
        let remembered = |value: &&Allowed| match granted.seal_to {
            None => self.public.contains_key(&value.handle),
            Some(_) => self.inner.remembered(&(value.cipher.digest, value.request)).is_some(),
        };
        granted.values.iter().filter(|value| !remembered(value)).map(|value| value.cipher.digest).collect()
    }

    /// Decrypts what everyone may know, and signs it for contracts. Asked again, it gives the same signature.
    ///
    /// # Errors
    /// [`Refusal`]: a ciphertext is missing, is another one, or does not conform.
    pub fn public(
        &mut self,
        granted: &Granted,
        ciphers: &BTreeMap<Digest, Vec<u8>>,
    ) -> Result<PublicDecryption, Refusal> {
        if granted.seal_to.is_some() {
            // What a user may know is not for everyone.
            return Err(Refusal::OtherGrant);
        }
        let mut values = Vec::with_capacity(granted.values.len());
        for value in &granted.values {
            let word = match self.public.get(&value.handle) {
                Some(word) => *word,
                None => {
                    let blocks = self.blocks(value, ciphers)?;
                    let word = decryption::word(value.kind, &blocks).ok_or(Refusal::NotConformant)?;
                    self.know(value.handle, word);
                    word
                }
            };
            values.push((value.kind, word));
        }
        let handles: Vec<B256> = granted.values.iter().map(|value| value.handle).collect();
        let words: Vec<B256> = values.iter().map(|(_, word)| *word).collect();
        let plaintexts = decryption::plaintexts(&words);
        let digest = decryption::digest(&self.decryptions, &handles, &plaintexts, &DECRYPTION_EXTRA);
        let (signature, signer) = self.sign(&digest)?;
        Ok(PublicDecryption { values, signature, signer, extra: DECRYPTION_EXTRA.to_vec() })
    }

    /// Decrypts for a user: one answer for each value, in the order of the request, each sealed to the permit's key and
    /// bound to [`SignedPermit::request`]. Asked again with the same permit, it gives the same answers.
    ///
    /// # Errors
    /// [`Refusal`]: a ciphertext is missing, is another one, or does not conform; the sealing key is none.
    pub fn user<R: RngCore + CryptoRng>(
        &mut self,
        rng: &mut R,
        granted: &Granted,
        ciphers: &BTreeMap<Digest, Vec<u8>>,
    ) -> Result<Vec<SignedAnswer>, Refusal> {
        let Some(seal_to) = granted.seal_to else { return Err(Refusal::OtherGrant) };
        let mut answers = Vec::with_capacity(granted.values.len());
        for value in &granted.values {
            let name = (value.cipher.digest, value.request);
            if let Some(answer) = self.inner.remembered(&name) {
                answers.push(answer.clone());
                continue;
            }
            let blocks = self.blocks(value, ciphers)?;
            decryption::word(value.kind, &blocks).ok_or(Refusal::NotConformant)?;
            let sealed = seal::seal(rng, &seal_to, &value.request.0, &blocks).map_err(|_| Refusal::BadSealingKey)?;
            let subject = Digest(value.handle.0);
            let grant = Grant { cipher: value.cipher, round: granted.place.round, subject };
            let answer = self.inner.sign(&grant, value.request, granted.place, Payload::Sealed(sealed));
            answers.push(self.inner.remember(name, answer));
        }
        Ok(answers)
    }

    fn blocks(&self, value: &Allowed, ciphers: &BTreeMap<Digest, Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let granted = value.cipher.digest;
        let bytes = ciphers.get(&granted).ok_or(Refusal::NoBytes { cipher: granted })?;
        same_bytes(bytes, granted)?;
        self.inner.decrypt(&value.cipher, bytes)
    }

    fn know(&mut self, handle: B256, word: B256) {
        if self.public.insert(handle, word).is_none() {
            self.order.push_back(handle);
        }
        if self.order.len() > MAX_PUBLIC_VALUES
            && let Some(oldest) = self.order.pop_front()
        {
            self.public.remove(&oldest);
        }
    }
}

/// Whether `delegator` lets `user` see values of `contract`, now.
fn delegated(facts: &Facts, delegator: Address, user: Address, contract: Address) -> Result<(), Refusal> {
    let slot = slots::delegation(&account(&delegator), &account(&user), &account(&contract));
    match slots::expiry(&facts.acl(&slot)?) {
        0 => Err(Refusal::NoDelegation { delegator, user, contract }),
        expiry if expiry < facts.now => {
            Err(Refusal::DelegationExpired { delegator, user, contract, expiry, now: facts.now })
        }
        _ => Ok(()),
    }
}
