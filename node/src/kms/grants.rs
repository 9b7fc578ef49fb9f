//! Answers to the grants of a ParaTime that takes them on chain: the scheduler. What waits for a public decryption is
//! found by asking, and its answer is delivered in a transaction; a user is answered directly.

use super::Counters;
use super::desk::Desk;
use super::follower::{Follower, PATIENCE};
use super::pace::{Nonces, Waits};
use crate::paratime::gossip;
use eyre::{Result, bail, eyre};
use parallax_kms::{AuditRecord, KeyManager, Refusal};
use parallax_network::{PeerId, Request, Response, Topic};
use parallax_primitives::{Address, ChainContext, Digest, Nonce, ParaTimeId, Round, SecretKey};
use parallax_runtime::access;
use parallax_runtime::decryption::{SignedAnswer, SignedPermit};
use parallax_scheduler as scheduler;
use parallax_state::Value;
use rand::rngs::OsRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often the key manager asks for grants that wait.
const POLL: Duration = Duration::from_millis(500);
/// Most grants that one peer may name in one poll.
const MAX_GRANTS: u32 = 64;
/// How often a user's request is proven anew because a newer round came in between.
const ATTEMPTS: u32 = 3;

/// A key manager of one ParaTime, with its way to the compute nodes.
pub struct GrantService {
    chain: ChainContext,
    paratime: ParaTimeId,
    key: SecretKey,
    follower: Arc<Follower>,
    desk: Arc<Desk<KeyManager>>,
    work: Mutex<Work>,
    /// What became of requests.
    pub counters: Counters,
}

/// What is on its way.
struct Work {
    nonces: Nonces,
    waits: Waits,
    /// Where each peer's list of grants goes on; absent: at its beginning.
    cursors: BTreeMap<PeerId, Vec<u8>>,
}

impl GrantService {
    /// The service of one key manager; `key` signs its transactions.
    pub fn new(manager: KeyManager, chain: ChainContext, key: SecretKey, follower: Arc<Follower>) -> Self {
        let work = Work { nonces: Nonces::new(Instant::now()), waits: Waits::default(), cursors: BTreeMap::new() };
        Self {
            chain,
            paratime: manager.paratime(),
            key,
            follower,
            desk: Desk::new(manager),
            work: Mutex::new(work),
            counters: Counters::default(),
        }
    }

    /// Never held over an await.
    fn work(&self) -> MutexGuard<'_, Work> {
        // Every change is complete by itself, so a panic elsewhere leaves it sound.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers public decryptions for as long as the process runs.
    pub async fn run(self: Arc<Self>) {
        loop {
            if let Err(error) = self.poll().await {
                tracing::debug!(%error, "kms.poll.failed");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The ciphertexts that wait for a public decryption, as all peers together name them: a list proves nothing, so
    /// none may hide what another one names.
    async fn waiting(&self) -> Result<BTreeSet<Digest>> {
        let mut asked = JoinSet::new();
        for peer in self.follower.network.peers().await {
            let (network, peer) = (self.follower.network.clone(), peer.peer);
            let after = self.work().cursors.get(&peer).cloned().unwrap_or_default();
            let prefix = access::PUBLIC_PREFIX.to_vec();
            let request = Request::Keys { paratime: self.paratime, prefix, after, limit: MAX_GRANTS };
            asked.spawn(async move { (peer, tokio::time::timeout(PATIENCE, network.request(peer, request)).await) });
        }
        let most = usize::try_from(MAX_GRANTS).unwrap_or(usize::MAX);
        let (mut ciphers, mut cursors, mut served) = (BTreeSet::new(), BTreeMap::new(), false);
        while let Some(joined) = asked.join_next().await {
            let Ok((peer, Ok(Ok(Response::Keys(keys))))) = joined else { continue };
            served = true;
            if keys.len() >= most
                && let Some(last) = keys.get(most.saturating_sub(1))
            {
                cursors.insert(peer, last.clone());
            }
            let digests = keys.iter().take(most).filter_map(|key| key.strip_prefix(access::PUBLIC_PREFIX));
            ciphers.extend(digests.filter_map(|digest| digest.try_into().ok()).map(Digest));
        }
        self.work().cursors = cursors;
        if served { Ok(ciphers) } else { Err(eyre!("no peer lists the grants of ParaTime {}", self.paratime)) }
    }

    async fn poll(&self) -> Result<()> {
        let ciphers = self.waiting().await?;
        self.counters.pending.store(ciphers.len() as u64, Ordering::Relaxed);
        for cipher in ciphers {
            if !self.work().waits.due(&cipher, Instant::now()) {
                continue;
            }
            let outcome = self.answer_public(cipher).await;
            let waits = &mut self.work().waits;
            match outcome {
                Ok(()) => {
                    waits.delivered(cipher, Instant::now());
                    self.counters.answered.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(cipher = %cipher.short(), "kms.public.answered");
                }
                Err(error) => {
                    let again_ms = u64::try_from(waits.failed(cipher, Instant::now()).as_millis()).unwrap_or(u64::MAX);
                    if error.is::<Refusal>() {
                        self.counters.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    tracing::warn!(%error, cipher = %cipher.short(), again_ms, "kms.public.not_answered");
                }
            }
        }
        self.work().waits.forget(Instant::now());
        Ok(())
    }

    async fn answer_public(&self, cipher: Digest) -> Result<()> {
        let key = access::public_key(&cipher);
        let (bundle, verified) = self.follower.proof(self.paratime, &key, &self.desk.newest).await?;
        // A grant that is proven absent needs no ciphertext to be refused.
        let bytes = if verified.value.is_some() { self.follower.blob(cipher).await? } else { Vec::new() };
        let light = self.follower.trusted()?;
        let height = light.height();
        let outcome = self.desk.ask(move |manager| manager.answer_public(&light, &bundle, &bytes)).await?;
        self.follower.record(AuditRecord::public(self.paratime, cipher, height, &outcome)).await?;
        self.deliver(outcome?).await
    }

    /// The nonce of the key manager's own account in the ParaTime.
    async fn account(&self) -> Result<Nonce> {
        let key = scheduler::keys::account(&Address::of(&self.key.public()));
        let (_, verified) = self.follower.proof(self.paratime, &key, &self.desk.newest).await?;
        Ok(match verified.value {
            Some(Value::Plain(bytes)) => scheduler::records::account_nonce(&bytes)?,
            _ => Nonce::ZERO,
        })
    }

    /// Brings an answer to the ParaTime, in a transaction of the key manager's own account there.
    async fn deliver(&self, answer: SignedAnswer) -> Result<()> {
        let on_chain = self.account().await?;
        let taken = self.work().nonces.take(on_chain, Instant::now());
        let Some((nonce, gas_price)) = taken else {
            bail!("too many answers are on their way; the next ones wait until the ParaTime has taken some");
        };
        let call = scheduler::Call::DeliverAnswer { answers: vec![answer] };
        let body = scheduler::TxBody { chain: self.chain, paratime: self.paratime, nonce, gas_price, call };
        // A key manager applies no rounds, so nobody has to wait for one.
        let message = gossip::message(Round::ZERO, &body.sign(&self.key));
        self.follower.network.publish(Topic::ParaTimeTx(self.paratime), message).await?;
        Ok(())
    }

    /// Decrypts for the signer of a permit.
    ///
    /// # Errors
    /// A [`Refusal`] if the key manager refuses; anything else if no peer serves what it needs to decide.
    pub async fn user_decrypt(&self, permit: &SignedPermit) -> Result<SignedAnswer> {
        let result = self.answer_user(permit).await;
        self.counters.count(result.is_ok());
        result
    }

    async fn answer_user(&self, permit: &SignedPermit) -> Result<SignedAnswer> {
        // Whoever has no right to ask moves no other node. Not recorded either: anyone could fill the disk.
        let (light, wished) = (self.follower.light(), permit.clone());
        self.desk.ask(move |manager| manager.check_permit(&light, &wished)).await??;
        let wish = &permit.permit;
        let key = access::user_key(&wish.cipher, &Address::of(&wish.requester));
        let mut bytes = Arc::new(Vec::new());
        for attempt in 1.. {
            let (bundle, verified) = self.follower.proof(self.paratime, &key, &self.desk.newest).await?;
            // A grant that is proven absent needs no ciphertext to be refused.
            let granted = verified.value.is_some();
            if granted && bytes.is_empty() {
                bytes = Arc::new(self.follower.blob(wish.cipher).await?);
            }
            let light = self.follower.trusted()?;
            let height = light.height();
            let (wished, given) = (permit.clone(), Arc::clone(&bytes));
            let answer =
                move |manager: &mut KeyManager| manager.answer_user(&mut OsRng, &light, &wished, &bundle, &given);
            let outcome = self.desk.ask(answer).await?;
            // Another request may have brought a newer round while the ciphertext was fetched.
            if matches!(outcome, Err(Refusal::Stale { .. })) && attempt < ATTEMPTS {
                continue;
            }
            // A grant that is proven absent is not recorded either: any key may sign such a permit, as often as it likes.
            if granted {
                self.follower.record(AuditRecord::user(permit, height, &outcome)).await?;
            }
            return Ok(outcome?);
        }
        bail!("the ParaTime moves faster than its state can be proven; ask again")
    }
}
