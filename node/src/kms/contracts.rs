//! Answers about an EVM ParaTime: for contracts, and for users of contracts. Nothing goes on chain by itself; whoever
//! asked brings the answer there.

use super::Counters;
use super::desk::Desk;
use super::follower::Follower;
use eyre::{Result, bail};
use parallax_evm::permit::SignedPermit;
use parallax_kms::evm::{input_keys, public_keys, user_keys};
use parallax_kms::{Attestation, AuditRecord, EvmKeyManager, Granted, PublicDecryption, Refusal};
use parallax_primitives::{Address, Digest, ParaTimeId};
use parallax_runtime::decryption::SignedAnswer;
use parallax_state::Value;
use rand::rngs::OsRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Most requests that are worked on at a time; a further one is told to come again.
const MAX_REQUESTS: usize = 16;
/// How often a request is proven anew because a newer round came in between.
const ATTEMPTS: u32 = 5;
/// Most inputs of which is remembered that their attestation has been recorded.
const MAX_RECORDED: usize = 16_384;

/// That too many requests are being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this key manager works on {MAX_REQUESTS} requests already; ask again in a moment")]
pub struct Busy;

/// A key manager of one EVM ParaTime, with its way to the compute nodes.
pub struct ContractService {
    paratime: ParaTimeId,
    signer: Address,
    follower: Arc<Follower>,
    desk: Arc<Desk<EvmKeyManager>>,
    room: Semaphore,
    recorded: std::sync::Mutex<BTreeSet<Digest>>,
    /// What became of requests.
    pub counters: Counters,
}

impl ContractService {
    /// The service of one key manager.
    pub fn new(manager: EvmKeyManager, follower: Arc<Follower>) -> Self {
        Self {
            paratime: manager.paratime(),
            signer: manager.signer(),
            follower,
            desk: Desk::new(manager),
            room: Semaphore::new(MAX_REQUESTS),
            recorded: std::sync::Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// The address by which contracts know this key manager.
    pub fn signer(&self) -> Address {
        self.signer
    }

    fn enter(&self) -> Result<SemaphorePermit<'_>> {
        Ok(self.room.try_acquire().map_err(|_| Busy)?)
    }

    /// Attests the values of the encrypted input with this transaction hash.
    ///
    /// # Errors
    /// A [`Refusal`] or [`Busy`]; anything else if no peer serves what it needs to decide.
    pub async fn attest(&self, tx: Digest) -> Result<Attestation> {
        let result = self.answer_attest(tx).await;
        self.counters.count(result.is_ok());
        result
    }

    async fn answer_attest(&self, tx: Digest) -> Result<Attestation> {
        let _room = self.enter()?;
        for attempt in 1.. {
            // The state says where the receipt is, so there are two questions; the second proves both answers together.
            let hash = tx.0.into();
            let (_, found) = self.follower.proofs(self.paratime, &input_keys(&hash, None), &self.desk.newest).await?;
            let place = found.first.value.as_ref().and_then(|value| match value {
                Value::Plain(bytes) => Some(bytes.as_slice()),
                Value::Cipher(_) => None,
            });
            if place.is_none() {
                return Err(Refusal::NoTransaction { tx }.into());
            }
            let keys = input_keys(&hash, place);
            let (set, _) = self.follower.proofs(self.paratime, &keys, &self.desk.newest).await?;
            let light = self.follower.trusted()?;
            let height = light.height();
            let outcome = self.desk.ask(move |manager| manager.attest(&light, &hash, &set)).await?;
            if again(&outcome, attempt) {
                continue;
            }
            // What anyone may ask as often as it likes is recorded once, and a refusal not at all.
            if outcome.is_ok() && self.is_new(tx) {
                self.follower.record(AuditRecord::attestation(self.paratime, tx, height, &outcome)).await?;
            }
            return Ok(outcome?);
        }
        bail!("the ParaTime moves faster than its state can be proven; ask again")
    }

    /// Whether the attestation of this input is to be recorded.
    fn is_new(&self, tx: Digest) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if recorded.len() >= MAX_RECORDED {
            recorded.clear();
        }
        recorded.insert(tx)
    }

    /// Decrypts values that everyone may know.
    ///
    /// # Errors
    /// As [`ContractService::attest`].
    pub async fn public(&self, handles: &[Digest]) -> Result<PublicDecryption> {
        let result = self.answer_public(handles).await;
        self.counters.count(result.is_ok());
        result
    }

    async fn answer_public(&self, handles: &[Digest]) -> Result<PublicDecryption> {
        let _room = self.enter()?;
        let asked: Arc<Vec<_>> = Arc::new(handles.iter().map(|handle| handle.0.into()).collect());
        let checked = Arc::clone(&asked);
        // What is refused for itself moves no other node.
        self.desk.ask(move |manager| manager.check_public(&checked).map(|_| ())).await??;
        let keys = public_keys(&asked);
        for attempt in 1.. {
            let (set, _) = self.follower.proofs(self.paratime, &keys, &self.desk.newest).await?;
            let light = self.follower.trusted()?;
            let (height, asked) = (light.height(), Arc::clone(&asked));
            let outcome = self.desk.ask(move |manager| manager.grant_public(&light, &asked, &set)).await?;
            if again(&outcome, attempt) {
                continue;
            }
            let granted = outcome?;
            let (granted, ciphers) = self.fetch(granted).await?;
            let decrypted = !ciphers.is_empty();
            let outcome = self.desk.ask(move |manager| manager.public(&granted, &ciphers)).await?;
            if decrypted {
                let record = AuditRecord::evm_public(self.paratime, handles.to_vec(), height, &outcome);
                self.follower.record(record).await?;
            }
            return Ok(outcome?);
        }
        bail!("the ParaTime moves faster than its state can be proven; ask again")
    }

    /// The ciphertexts that are needed to answer what is granted.
    async fn fetch(&self, granted: Granted) -> Result<(Granted, BTreeMap<Digest, Vec<u8>>)> {
        let (granted, needed) = self
            .desk
            .ask(move |manager| {
                let needed = manager.needed(&granted);
                (granted, needed)
            })
            .await?;
        let mut ciphers = BTreeMap::new();
        for digest in needed {
            ciphers.insert(digest, self.follower.blob(digest).await?);
        }
        Ok((granted, ciphers))
    }

    /// Decrypts for the signer of a permit, one answer for each value.
    ///
    /// # Errors
    /// As [`ContractService::attest`].
    pub async fn user(&self, permit: SignedPermit) -> Result<Vec<SignedAnswer>> {
        let result = self.answer_user(Arc::new(permit)).await;
        self.counters.count(result.is_ok());
        result
    }

    async fn answer_user(&self, permit: Arc<SignedPermit>) -> Result<Vec<SignedAnswer>> {
        let _room = self.enter()?;
        // Whoever has no right to ask moves no other node. Not recorded either: anyone could fill the disk.
        let (light, wished) = (self.follower.light(), Arc::clone(&permit));
        self.desk.ask(move |manager| manager.check_user(&light, &wished)).await??;
        let keys = user_keys(&permit);
        for attempt in 1.. {
            let (set, _) = self.follower.proofs(self.paratime, &keys, &self.desk.newest).await?;
            let light = self.follower.trusted()?;
            let (height, wished) = (light.height(), Arc::clone(&permit));
            let outcome = self.desk.ask(move |manager| manager.grant_user(&light, &wished, &set)).await?;
            if again(&outcome, attempt) {
                continue;
            }
            // A right that is proven absent is not recorded either: any key may sign such a permit, and as often as it likes.
            let (granted, ciphers) = self.fetch(outcome?).await?;
            let outcome = self.desk.ask(move |manager| manager.user(&mut OsRng, &granted, &ciphers)).await?;
            let record = AuditRecord::evm_user(self.paratime, &permit, height, &outcome);
            self.follower.record(record).await?;
            return Ok(outcome?);
        }
        bail!("the ParaTime moves faster than its state can be proven; ask again")
    }
}

/// Whether a request is proven anew: another one may have brought a newer round meanwhile.
fn again<T>(outcome: &Result<T, Refusal>, attempt: u32) -> bool {
    matches!(outcome, Err(Refusal::Stale { .. })) && attempt < ATTEMPTS
}
