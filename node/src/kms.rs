//! The key manager's service: finds what waits for decryption, fetches proofs and ciphertexts from compute nodes, and
//! lets the pure [`KeyManager`] decide. It runs no engine; nothing that a peer sends is believed without a proof, and
//! no single peer can stop it: what one refuses, forges or does not have yet is asked of the next one.

mod memory;
mod pace;

use eyre::{Result, bail, eyre};
use memory::Memory;
use pace::{Nonces, Waits};
use parallax_consensus_app::light::{LightClient, LightError, ProofBundle, ProofBundleV1, Verified};
use parallax_kms::{AuditRecord, KeyManager, MAX_PROOF_AGE, Refusal};
use parallax_network::{Handle, PeerId, Penalty, Request, Response, Topic};
use parallax_primitives::{Address, ChainContext, Digest, Height, Nonce, ParaTimeId, Round, SecretKey};
use parallax_rpc::LightBlock;
use parallax_runtime::access;
use parallax_runtime::decryption::{SignedAnswer, SignedPermit};
use parallax_scheduler as scheduler;
use parallax_state::{Value, blob_digest};
use rand::rngs::OsRng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// How often the key manager asks for grants that wait.
const POLL: Duration = Duration::from_millis(500);
/// How long one peer may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most grants that one peer may name in one poll.
const MAX_GRANTS: u32 = 64;
/// How often the newest header is fetched when nothing else brings it, and written to disk.
const FOLLOW: Duration = Duration::from_secs(10);
/// How often a user's request is proven anew because a newer round came in between.
const ATTEMPTS: u32 = 3;
/// How old the newest trusted header may be when something is decrypted: far longer than a chain that lives is silent,
/// far shorter than stake is locked. Validators answer for what they signed within it.
pub const TRUST_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// A key manager of one ParaTime, with its light client and its way to the compute nodes.
pub struct KmsService {
    chain: ChainContext,
    paratime: ParaTimeId,
    key: SecretKey,
    network: Handle,
    core: Mutex<Core>,
    memory: Option<Memory>,
    /// Requests answered and refused since the process started.
    pub answered: AtomicU64,
    /// See [`KmsService::answered`].
    pub refused: AtomicU64,
    /// Grants seen in the last poll and not yet answered on chain.
    pub pending: AtomicU64,
}

struct Core {
    manager: KeyManager,
    trail: Trail,
    nonces: Nonces,
    waits: Waits,
    /// The peer that answered last is asked first.
    last: Option<PeerId>,
    /// Where each peer's list of grants goes on; absent: at its beginning.
    cursors: BTreeMap<PeerId, Vec<u8>>,
}

/// The chain as far as proofs have led along it.
struct Trail {
    light: LightClient,
    /// The newest trusted header, until it is on disk.
    unsaved: Option<LightBlock>,
    /// When the trusted header last moved.
    followed: Option<Instant>,
}

/// What a peer's response is worth.
enum Reading<T> {
    /// It is what was asked for.
    Good(T),
    /// It holds, but another peer may know of something newer: taken if nobody has better.
    Weak(T),
    /// It does not serve; the peer may be honest.
    Skip(String),
    /// It cannot come from an honest peer.
    False(String),
}

impl KmsService {
    /// The service of one key manager.
    pub fn new(manager: KeyManager, light: LightClient, chain: ChainContext, key: SecretKey, network: Handle) -> Self {
        let core = Core {
            trail: Trail { light, unsaved: None, followed: None },
            nonces: Nonces::new(Instant::now()),
            waits: Waits::default(),
            last: None,
            cursors: BTreeMap::new(),
            manager,
        };
        Self {
            chain,
            paratime: core.manager.paratime(),
            key,
            network,
            core: Mutex::new(core),
            memory: None,
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            pending: AtomicU64::new(0),
        }
    }

    /// Keeps the newest trusted header (`light.json`) and the record of what was asked (`audit.log`) in a directory,
    /// and begins with the header that is there already. Without this call nothing is kept.
    #[must_use]
    pub fn with_memory(mut self, dir: PathBuf) -> Self {
        let memory = Memory::new(dir);
        memory.recall(&mut self.core().trail.light);
        self.memory = Some(memory);
        self
    }

    /// The ParaTime that it serves.
    pub fn paratime(&self) -> ParaTimeId {
        self.paratime
    }

    /// The height of the newest header that it has verified.
    pub fn height(&self) -> Height {
        self.core().trail.light.height()
    }

    /// Never held over an await.
    fn core(&self) -> MutexGuard<'_, Core> {
        // Every change to the core is complete by itself, so a panic elsewhere leaves it sound.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers public decryptions for as long as the process runs.
    pub async fn run(self: std::sync::Arc<Self>) {
        let mut saved: Option<Instant> = None;
        loop {
            if let Err(error) = self.poll().await {
                tracing::debug!(%error, "kms.poll.failed");
            }
            if self.core().trail.followed.is_none_or(|at| at.elapsed() >= FOLLOW)
                && let Err(error) = self.account().await
            {
                tracing::debug!(%error, "kms.follow.failed");
            }
            if saved.is_none_or(|at| at.elapsed() >= FOLLOW) {
                saved = Some(Instant::now());
                self.save().await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Writes the newest trusted header to disk.
    async fn save(&self) {
        let Some(memory) = self.memory.clone() else { return };
        let Some(newest) = self.core().trail.unsaved.take() else { return };
        match tokio::task::spawn_blocking(move || memory.remember(&newest)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "kms.light.not_saved"),
            Err(error) => tracing::error!(%error, "kms.light.not_saved"),
        }
    }

    /// Asks the connected peers in turn, the one that answered last first, until one gives what `read` accepts.
    async fn ask<T>(&self, request: Request, read: impl Fn(Response) -> Reading<T>) -> Result<T> {
        let mut peers: Vec<PeerId> = self.network.peers().await.into_iter().map(|info| info.peer).collect();
        if peers.is_empty() {
            bail!("no compute node is connected");
        }
        let last = self.core().last;
        peers.sort_by_key(|peer| Some(*peer) != last);
        let (mut weak, mut reason) = (None, "no response".to_owned());
        for peer in &peers {
            let reading = match tokio::time::timeout(PATIENCE, self.network.request(*peer, request.clone())).await {
                Ok(Ok(response)) => read(response),
                Ok(Err(error)) => Reading::Skip(error.to_string()),
                Err(_) => Reading::Skip(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            match reading {
                Reading::Good(value) => {
                    self.core().last = Some(*peer);
                    return Ok(value);
                }
                Reading::Weak(value) => weak = weak.or(Some(value)),
                Reading::Skip(text) => {
                    tracing::debug!(%peer, request = request.name(), text, "kms.request.skipped");
                    reason = text;
                }
                Reading::False(text) => {
                    tracing::warn!(%peer, request = request.name(), text, "kms.peer.false_content");
                    self.network.penalise(*peer, Penalty::FalseContent).await;
                    reason = text;
                }
            }
        }
        weak.ok_or_else(|| eyre!("none of {} peers served the {} request: {reason}", peers.len(), request.name()))
    }

    /// The proof of a key in the newest state of the ParaTime that a peer has.
    async fn proof(&self, key: &[u8]) -> Result<(ProofBundle, Verified)> {
        let request = Request::Proof { paratime: Some(self.paratime), key: key.to_vec(), height: None };
        self.ask(request, |response| match response {
            Response::Proof(bytes) => {
                let core = &mut *self.core();
                core.trail.believe(&bytes, self.paratime, key, core.manager.newest_round())
            }
            other => unserved(&other),
        })
        .await
    }

    async fn blob(&self, digest: Digest) -> Result<Vec<u8>> {
        self.ask(Request::Blob { digest }, |response| match response {
            Response::Blob(bytes) if blob_digest(&bytes) == digest => Reading::Good(bytes),
            Response::Blob(_) => Reading::False("bytes of another digest".to_owned()),
            other => unserved(&other),
        })
        .await
    }

    /// The ciphertexts that wait for a public decryption, as all peers together name them: a list proves nothing, so
    /// none may hide what another one names.
    async fn waiting(&self) -> Result<BTreeSet<Digest>> {
        let mut asked = JoinSet::new();
        for peer in self.network.peers().await {
            let (network, peer) = (self.network.clone(), peer.peer);
            let after = self.core().cursors.get(&peer).cloned().unwrap_or_default();
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
        self.core().cursors = cursors;
        if served { Ok(ciphers) } else { Err(eyre!("no peer lists the grants of ParaTime {}", self.paratime)) }
    }

    async fn poll(&self) -> Result<()> {
        let ciphers = self.waiting().await?;
        self.pending.store(ciphers.len() as u64, Ordering::Relaxed);
        for cipher in ciphers {
            if !self.core().waits.due(&cipher, Instant::now()) {
                continue;
            }
            let outcome = self.answer_public(cipher).await;
            let waits = &mut self.core().waits;
            match outcome {
                Ok(()) => {
                    waits.delivered(cipher, Instant::now());
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(cipher = %cipher.short(), "kms.public.answered");
                }
                Err(error) => {
                    let again_ms = u64::try_from(waits.failed(cipher, Instant::now()).as_millis()).unwrap_or(u64::MAX);
                    if error.is::<Refusal>() {
                        self.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    tracing::warn!(%error, cipher = %cipher.short(), again_ms, "kms.public.not_answered");
                }
            }
        }
        self.core().waits.forget(Instant::now());
        Ok(())
    }

    async fn answer_public(&self, cipher: Digest) -> Result<()> {
        let (bundle, verified) = self.proof(&access::public_key(&cipher)).await?;
        // A grant that is proven absent needs no ciphertext to be refused.
        let bytes = if verified.value.is_some() { self.blob(cipher).await? } else { Vec::new() };
        let (height, outcome) = self.decide(|core| core.manager.answer_public(&core.trail.light, &bundle, &bytes))?;
        self.record(&AuditRecord::public(self.paratime, cipher, height, &outcome))?;
        self.deliver(outcome?).await
    }

    /// Lets the key manager decide, unless its trust is too old, and tells at which trusted height it did.
    fn decide(
        &self,
        answer: impl FnOnce(&mut Core) -> Result<SignedAnswer, Refusal>,
    ) -> Result<(Height, Result<SignedAnswer, Refusal>)> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let period_ms = u64::try_from(TRUST_PERIOD.as_millis()).unwrap_or(u64::MAX);
        let core = &mut *self.core();
        if core.trail.light.is_stale(now_ms, period_ms) {
            bail!(
                "the newest header that this key manager could verify, {}, is older than {} h; check its clock and that \
                 the nodes it is connected to follow the chain",
                core.trail.light.height(),
                TRUST_PERIOD.as_secs() / 3600
            );
        }
        let outcome = answer(core);
        Ok((core.trail.light.height(), outcome))
    }

    /// Writes a record. An answer whose record cannot be written is not given.
    fn record(&self, record: &AuditRecord) -> Result<()> {
        self.memory.as_ref().map_or(Ok(()), |memory| memory.record(record))
    }

    /// The nonce of the key manager's own account in the ParaTime.
    async fn account(&self) -> Result<Nonce> {
        let address = Address::of(&self.key.public());
        let (_, verified) = self.proof(&scheduler::keys::account(&address)).await?;
        Ok(match verified.value {
            Some(Value::Plain(bytes)) => scheduler::records::account_nonce(&bytes)?,
            _ => Nonce::ZERO,
        })
    }

    /// Brings an answer to the ParaTime, in a transaction of the key manager's own account there.
    async fn deliver(&self, answer: SignedAnswer) -> Result<()> {
        let on_chain = self.account().await?;
        let taken = self.core().nonces.take(on_chain, Instant::now());
        let Some((nonce, gas_price)) = taken else {
            bail!("too many answers are on their way; the next ones wait until the ParaTime has taken some");
        };
        let call = scheduler::Call::DeliverAnswer { answers: vec![answer] };
        let body = scheduler::TxBody { chain: self.chain, paratime: self.paratime, nonce, gas_price, call };
        self.network.publish(Topic::ParaTimeTx(self.paratime), body.sign(&self.key)).await?;
        Ok(())
    }

    /// Decrypts for the signer of a permit.
    ///
    /// # Errors
    /// A [`Refusal`] if the key manager refuses; anything else if no peer serves what it needs to decide.
    pub async fn user_decrypt(&self, permit: &SignedPermit) -> Result<SignedAnswer> {
        let result = self.answer_user(permit).await;
        let counter = if result.is_ok() { &self.answered } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    async fn answer_user(&self, permit: &SignedPermit) -> Result<SignedAnswer> {
        {
            // Whoever has no right to ask moves no other node. Not recorded either: anyone could fill the disk.
            let core = self.core();
            core.manager.check_permit(&core.trail.light, permit)?;
        }
        let wish = &permit.permit;
        let key = access::user_key(&wish.cipher, &Address::of(&wish.requester));
        let mut bytes = Vec::new();
        for attempt in 1.. {
            let (bundle, verified) = self.proof(&key).await?;
            // A grant that is proven absent needs no ciphertext to be refused.
            if verified.value.is_some() && bytes.is_empty() {
                bytes = self.blob(wish.cipher).await?;
            }
            let (height, outcome) =
                self.decide(|core| core.manager.answer_user(&mut OsRng, &core.trail.light, permit, &bundle, &bytes))?;
            // Another request may have brought a newer round while the ciphertext was fetched.
            if matches!(outcome, Err(Refusal::Stale { .. })) && attempt < ATTEMPTS {
                continue;
            }
            self.record(&AuditRecord::user(permit, height, &outcome))?;
            return Ok(outcome?);
        }
        bail!("the ParaTime moves faster than its state can be proven; ask again")
    }
}

impl Trail {
    /// Verifies a bundle, follows the chain by its header, and tells what it is worth as the proof of `key` in the
    /// state of `paratime`, of which the round `newest` is proven already.
    fn believe(
        &mut self,
        bytes: &[u8],
        paratime: ParaTimeId,
        key: &[u8],
        newest: Round,
    ) -> Reading<(ProofBundle, Verified)> {
        let bundle = match ProofBundle::decode(bytes) {
            Ok(bundle) => bundle,
            Err(error) => return Reading::False(error.to_string()),
        };
        let ProofBundle::V1(ProofBundleV1 { header, certificate, validators, .. }) = &bundle;
        let before = self.light.height();
        // Follow the chain by the headers that proofs come with: skipping verification, as far as trust reaches.
        let checked = self.light.advance(header, certificate, validators).and_then(|()| {
            if self.light.height() > before {
                let (header, certificate) = (header.clone(), certificate.clone());
                self.unsaved = Some(LightBlock { header, certificate, validators: validators.clone() });
                self.followed = Some(Instant::now());
            }
            bundle.verify(&self.light)
        });
        let verified = match checked {
            Ok(verified) => verified,
            Err(error) if is_forged(&error) => return Reading::False(error.to_string()),
            Err(error) => return Reading::Skip(error.to_string()),
        };
        let round = match verified.paratime {
            Some((id, round)) if id == paratime && verified.key == key => round,
            _ => return Reading::False("a proof of something else than was asked for".to_owned()),
        };
        if round < newest {
            return Reading::Skip(format!("it proves round {round}, round {newest} is proven already"));
        }
        let (height, current) = (verified.height, self.light.height());
        if current.0.saturating_sub(height.0) > MAX_PROOF_AGE {
            return Reading::Skip(format!("it proves height {height}, the chain is at {current}"));
        }
        if verified.value.is_none() { Reading::Weak((bundle, verified)) } else { Reading::Good((bundle, verified)) }
    }
}

/// Whether an error shows that the peer itself is wrong, whatever it may have missed of the chain.
fn is_forged(error: &LightError) -> bool {
    error.is_about_state()
        || matches!(
            error,
            LightError::Decode(_)
                | LightError::WrongHeight { .. }
                | LightError::WrongHeader { .. }
                | LightError::WrongRound(_)
                | LightError::MalformedValidators(_)
                | LightError::WrongValidators { .. }
                | LightError::NotAValidator { .. }
                | LightError::DuplicateSigner { .. }
                | LightError::BadSignature { .. }
                | LightError::NotEnoughPower { .. }
        )
}

/// A response that is allowed but does not help.
fn unserved<T>(response: &Response) -> Reading<T> {
    Reading::Skip(match response {
        Response::Refused(text) => text.clone(),
        Response::NotFound => "it does not have it".to_owned(),
        Response::Busy => "it is busy".to_owned(),
        _ => "it answered something else".to_owned(),
    })
}

#[cfg(test)]
mod tests;
