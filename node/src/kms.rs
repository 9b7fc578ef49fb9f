//! The key manager's service: finds what waits for decryption, fetches proofs and ciphertexts from compute nodes, and
//! lets the pure [`KeyManager`] decide. It runs no engine; nothing that a peer sends is believed without a proof.

use eyre::{Result, bail, eyre};
use parallax_consensus_app::light::{LightClient, ProofBundle, ProofBundleV1};
use parallax_kms::KeyManager;
use parallax_network::{Handle, Request, Response, Topic};
use parallax_primitives::{Address, Amount, ChainContext, Digest, Nonce, ParaTimeId, SecretKey};
use parallax_runtime::access;
use parallax_runtime::decryption::{SignedAnswer, SignedPermit};
use parallax_scheduler as scheduler;
use parallax_state::{Value, blob_digest};
use rand::rngs::OsRng;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How often the key manager asks for grants that wait.
const POLL: Duration = Duration::from_millis(500);
/// After how long an answer that the ParaTime has not taken is delivered again.
const REDELIVER: Duration = Duration::from_secs(10);
/// Most grants looked at in one poll.
const MAX_GRANTS: u32 = 64;

/// A key manager of one ParaTime, with its light client and its way to the compute nodes.
pub struct KmsService {
    chain: ChainContext,
    paratime: ParaTimeId,
    key: SecretKey,
    network: Handle,
    core: Mutex<Core>,
    /// Requests answered and refused since the process started.
    pub answered: AtomicU64,
    /// See [`KmsService::answered`].
    pub refused: AtomicU64,
    /// Grants seen in the last poll and not yet answered on chain.
    pub pending: AtomicU64,
}

struct Core {
    manager: KeyManager,
    light: LightClient,
    delivered: BTreeMap<Digest, Instant>,
    /// The nonce after the last transaction sent, and when that was: the chain may not have taken it yet.
    next: Option<(Nonce, Instant)>,
}

impl KmsService {
    /// The service of one key manager.
    pub fn new(manager: KeyManager, light: LightClient, chain: ChainContext, key: SecretKey, network: Handle) -> Self {
        Self {
            chain,
            paratime: manager.paratime(),
            key,
            network,
            core: Mutex::new(Core { manager, light, delivered: BTreeMap::new(), next: None }),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            pending: AtomicU64::new(0),
        }
    }

    /// The ParaTime that it serves.
    pub fn paratime(&self) -> ParaTimeId {
        self.paratime
    }

    /// The height of the newest header that it has verified.
    pub async fn height(&self) -> parallax_primitives::Height {
        self.core.lock().await.light.height()
    }

    /// Answers public decryptions for as long as the process runs.
    pub async fn run(self: std::sync::Arc<Self>) {
        loop {
            if let Err(error) = self.poll().await {
                tracing::debug!(%error, "kms.poll.failed");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks the connected peers in turn until one gives what `read` accepts.
    async fn ask<T>(&self, request: Request, read: impl Fn(Response) -> Option<T>) -> Result<T> {
        let peers = self.network.peers().await;
        if peers.is_empty() {
            bail!("no compute node is connected");
        }
        for peer in &peers {
            match self.network.request(peer.peer, request.clone()).await {
                Ok(response) => {
                    if let Some(value) = read(response) {
                        return Ok(value);
                    }
                }
                Err(error) => tracing::debug!(%error, request = request.name(), "kms.request.failed"),
            }
        }
        Err(eyre!("none of {} peers answered the {} request", peers.len(), request.name()))
    }

    async fn proof(&self, key: Vec<u8>) -> Result<ProofBundle> {
        let request = Request::Proof { paratime: Some(self.paratime), key, height: None };
        let bytes = self
            .ask(request, |response| match response {
                Response::Proof(bytes) => Some(bytes),
                _ => None,
            })
            .await?;
        let bundle = ProofBundle::decode(&bytes)?;
        // Follow the chain by the headers that proofs come with: skipping verification, as far as trust reaches.
        let ProofBundle::V1(ProofBundleV1 { header, certificate, validators, .. }) = &bundle;
        self.core.lock().await.light.advance(header, certificate, validators)?;
        Ok(bundle)
    }

    async fn blob(&self, digest: Digest) -> Result<Vec<u8>> {
        let request = Request::Blob { digest };
        self.ask(request, |response| match response {
            Response::Blob(bytes) if blob_digest(&bytes) == digest => Some(bytes),
            _ => None,
        })
        .await
    }

    async fn poll(&self) -> Result<()> {
        let request = Request::Keys {
            paratime: self.paratime,
            prefix: access::PUBLIC_PREFIX.to_vec(),
            after: Vec::new(),
            limit: MAX_GRANTS,
        };
        let keys = self
            .ask(request, |response| match response {
                Response::Keys(keys) => Some(keys),
                _ => None,
            })
            .await?;
        self.pending.store(keys.len() as u64, Ordering::Relaxed);
        for key in keys {
            let Some(cipher) = key.strip_prefix(access::PUBLIC_PREFIX).and_then(|d| d.try_into().ok()).map(Digest)
            else {
                continue;
            };
            let due = self.core.lock().await.delivered.get(&cipher).is_none_or(|at| at.elapsed() >= REDELIVER);
            if due && let Err(error) = self.answer_public(cipher, key).await {
                self.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, cipher = %cipher.short(), "kms.public.refused");
            }
        }
        Ok(())
    }

    async fn answer_public(&self, cipher: Digest, key: Vec<u8>) -> Result<()> {
        let bundle = self.proof(key).await?;
        let bytes = self.blob(cipher).await?;
        let answer = {
            let core = &mut *self.core.lock().await;
            core.manager.answer_public(&core.light, &bundle, &bytes)?
        };
        self.deliver(answer).await?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        let core = &mut *self.core.lock().await;
        core.delivered.insert(cipher, Instant::now());
        core.delivered.retain(|_, at| at.elapsed() < REDELIVER * 10);
        tracing::info!(cipher = %cipher.short(), "kms.public.answered");
        Ok(())
    }

    /// Brings an answer to the ParaTime, in a transaction of the key manager's own account there.
    async fn deliver(&self, answer: SignedAnswer) -> Result<()> {
        let address = Address::of(&self.key.public());
        let account = self.proof(scheduler::keys::account(&address)).await?;
        let verified = account.verify(&self.core.lock().await.light)?;
        let on_chain = match verified.value {
            Some(Value::Plain(bytes)) => scheduler::records::account_nonce(&bytes)?,
            _ => Nonce::ZERO,
        };
        let nonce = {
            let core = &mut *self.core.lock().await;
            let sent = core.next.filter(|(_, at)| at.elapsed() < REDELIVER).map_or(on_chain, |(nonce, _)| nonce);
            let nonce = on_chain.max(sent);
            core.next = Some((nonce.next(), Instant::now()));
            nonce
        };
        let call = scheduler::Call::DeliverAnswer { answers: vec![answer] };
        let body =
            scheduler::TxBody { chain: self.chain, paratime: self.paratime, nonce, gas_price: Amount::ZERO, call };
        self.network.publish(Topic::ParaTimeTx(self.paratime), body.sign(&self.key)).await?;
        Ok(())
    }

    /// Decrypts for the signer of a permit.
    ///
    /// # Errors
    /// If no peer proves the grant, or the key manager refuses.
    pub async fn user_decrypt(&self, permit: &SignedPermit) -> Result<SignedAnswer> {
        let wish = &permit.permit;
        let result = async {
            let requester = Address::of(&wish.requester);
            let bundle = self.proof(access::user_key(&wish.cipher, &requester)).await?;
            // A grant that is proven absent needs no ciphertext to be refused.
            let granted = bundle.verify(&self.core.lock().await.light)?.value.is_some();
            let bytes = if granted { self.blob(wish.cipher).await? } else { Vec::new() };
            let core = &mut *self.core.lock().await;
            Ok(core.manager.answer_user(&mut OsRng, &core.light, permit, &bundle, &bytes)?)
        }
        .await;
        let counter = if result.is_ok() { &self.answered } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }
}
