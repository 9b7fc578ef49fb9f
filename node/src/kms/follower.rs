//! The way of a key manager to the compute nodes, and the chain as far as it has followed it: one for all ParaTimes of the
//! process. Nothing that a peer sends is believed without a proof, and no single peer can stop it: what one refuses,
//! forges or does not have yet is asked of the next one.

use super::TRUST_PERIOD;
use super::desk::Newest;
use super::memory::Memory;
use super::trail::{Reading, Trail, unserved};
use eyre::{Result, bail, eyre};
use parallax_consensus_app::light::{LightClient, ProofBundle, ProofSet, Verified, VerifiedSet};
use parallax_kms::AuditRecord;
use parallax_network::{Handle, PeerId, Penalty, Request, Response};
use parallax_primitives::{Digest, Height, ParaTimeId};
use parallax_state::blob_digest;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long one peer may take for one answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often the newest header is fetched when nothing else brings it, and written to disk.
const FOLLOW: Duration = Duration::from_secs(10);
/// How often is looked whether it is time for that.
const LOOK: Duration = Duration::from_millis(500);

/// See the module.
pub struct Follower {
    pub(super) network: Handle,
    trail: Mutex<Trail>,
    /// The peer that answered last is asked first.
    last: Mutex<Option<PeerId>>,
    memory: Option<Memory>,
}

impl Follower {
    /// With the root of trust.
    pub fn new(light: LightClient, network: Handle) -> Self {
        let trail = Trail { light, unsaved: None, followed: None };
        Self { network, trail: Mutex::new(trail), last: Mutex::new(None), memory: None }
    }

    /// Keeps the newest trusted header (`light.json`) and the record of what was asked (`audit.log`) in a directory,
    /// and begins with the header that is there already. Without this call nothing is kept.
    #[must_use]
    pub fn with_memory(mut self, dir: PathBuf) -> Self {
        let memory = Memory::new(dir);
        memory.recall(&mut self.trail().light);
        self.memory = Some(memory);
        self
    }

    /// The height of the newest header that it has verified.
    pub fn height(&self) -> Height {
        self.trail().light.height()
    }

    /// Never held over an await.
    fn trail(&self) -> MutexGuard<'_, Trail> {
        // Every change to the trail is complete by itself, so a panic elsewhere leaves it sound.
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<PeerId>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is trusted, whatever its age.
    pub(super) fn light(&self) -> LightClient {
        self.trail().light.clone()
    }

    /// What is trusted, unless that is too old to decide by.
    pub(super) fn trusted(&self) -> Result<LightClient> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let period_ms = u64::try_from(TRUST_PERIOD.as_millis()).unwrap_or(u64::MAX);
        let light = self.light();
        if light.is_stale(now_ms, period_ms) {
            bail!(
                "the newest header that this key manager could verify, {}, is older than {} h; check its clock and that \
                 the nodes it is connected to follow the chain",
                light.height(),
                TRUST_PERIOD.as_secs() / 3600
            );
        }
        Ok(light)
    }

    /// Follows the chain when nothing else does, and writes its newest header, for as long as the process runs. Headers
    /// come with proofs in the state of `paratime`.
    pub async fn run(&self, paratime: ParaTimeId) {
        let mut saved: Option<Instant> = None;
        loop {
            let idle = self.trail().followed.is_none_or(|at| at.elapsed() >= FOLLOW);
            // Which key does not matter: any proof brings a header.
            if idle && let Err(error) = self.proof(paratime, b"head", &Newest::default()).await {
                tracing::debug!(%error, "kms.follow.failed");
            }
            if saved.is_none_or(|at| at.elapsed() >= FOLLOW) {
                saved = Some(Instant::now());
                self.save().await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Writes the newest trusted header to disk.
    async fn save(&self) {
        let Some(memory) = self.memory.clone() else { return };
        let Some(newest) = self.trail().unsaved.take() else { return };
        match tokio::task::spawn_blocking(move || memory.remember(&newest)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "kms.light.not_saved"),
            Err(error) => tracing::error!(%error, "kms.light.not_saved"),
        }
    }

    /// Writes a record. An answer whose record cannot be written is not given.
    pub(super) async fn record(&self, record: AuditRecord) -> Result<()> {
        let Some(memory) = self.memory.clone() else { return Ok(()) };
        tokio::task::spawn_blocking(move || memory.record(&record)).await?
    }

    /// Asks the connected peers in turn, the one that answered last first, until one gives what `read` accepts.
    async fn ask<T>(&self, request: Request, read: impl Fn(Response) -> Reading<T>) -> Result<T> {
        let mut peers: Vec<PeerId> = self.network.peers().await.into_iter().map(|info| info.peer).collect();
        if peers.is_empty() {
            bail!("no compute node is connected");
        }
        let last = *self.last();
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
                    *self.last() = Some(*peer);
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

    /// The proof of a key in the newest state of a ParaTime that a peer has.
    pub(super) async fn proof(&self, id: ParaTimeId, key: &[u8], newest: &Newest) -> Result<(ProofBundle, Verified)> {
        let request = Request::Proof { paratime: Some(id), key: key.to_vec(), height: None };
        self.ask(request, |response| match response {
            Response::Proof(bytes) => self.trail().believe(&bytes, id, key, newest),
            other => unserved(&other),
        })
        .await
    }

    /// The proof of several keys in the newest state of a ParaTime that a peer has.
    pub(super) async fn proofs(
        &self,
        id: ParaTimeId,
        keys: &[Vec<u8>],
        newest: &Newest,
    ) -> Result<(ProofSet, VerifiedSet)> {
        let request = Request::Proofs { paratime: id, keys: keys.to_vec() };
        self.ask(request, |response| match response {
            Response::Proof(bytes) => self.trail().believe_all(&bytes, id, keys, newest),
            other => unserved(&other),
        })
        .await
    }

    /// A ciphertext.
    pub(super) async fn blob(&self, digest: Digest) -> Result<Vec<u8>> {
        self.ask(Request::Blob { digest }, |response| match response {
            Response::Blob(bytes) if blob_digest(&bytes) == digest => Reading::Good(bytes),
            Response::Blob(_) => Reading::False("bytes of another digest".to_owned()),
            other => unserved(&other),
        })
        .await
    }
}
