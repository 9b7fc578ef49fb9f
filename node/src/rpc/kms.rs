//! The namespaces of a key manager: `kms`, and what it can say of `node`.

use super::Identity;
use super::node::resident_bytes;
use crate::kms::KmsService;
use jsonrpsee::core::async_trait;
use parallax_kms::Refusal;
use parallax_network::Handle;
use parallax_primitives::{ChainContext, Digest, Epoch, Height, KeyId};
use parallax_rpc::types::{ChainEvent, Health, KmsStatus, Status};
use parallax_rpc::{ErrorCode, KmsApiServer, NodeApiServer, RpcError, RpcResult};
use parallax_runtime::decryption::{KeyManagers, SignedAnswer, SignedPermit};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Serves `kms_*` and `node_*`.
#[derive(Clone)]
pub(super) struct Kms {
    pub(super) service: Arc<KmsService>,
    pub(super) identity: Arc<Identity>,
    pub(super) chain: (String, ChainContext),
    pub(super) network: Handle,
    pub(super) managers: KeyManagers,
    pub(super) key_id: KeyId,
}

impl Kms {
    async fn peers(&self) -> u32 {
        u32::try_from(self.network.peers().await.len()).unwrap_or(u32::MAX)
    }
}

#[async_trait]
impl KmsApiServer for Kms {
    async fn user_decrypt(&self, permit: SignedPermit) -> RpcResult<SignedAnswer> {
        let answer = self.service.user_decrypt(&permit).await;
        Ok(answer.map_err(|e| {
            // What is no refusal is a matter of the nodes around it: worth another attempt.
            let code = if e.is::<Refusal>() { ErrorCode::Denied } else { ErrorCode::NotReady };
            RpcError::new(code, format!("{e:#}"))
        })?)
    }

    async fn status(&self) -> RpcResult<KmsStatus> {
        let party = self.identity.config.kms.as_ref().map_or(0, |k| k.party);
        Ok(KmsStatus {
            party,
            parties: u16::try_from(self.managers.parties.len()).unwrap_or(u16::MAX),
            threshold: self.managers.threshold,
            epoch: self.managers.epoch,
            key_id: self.key_id,
            answered: self.service.answered.load(Ordering::Relaxed),
            refused: self.service.refused.load(Ordering::Relaxed),
            pending: self.service.pending.load(Ordering::Relaxed),
        })
    }
}

#[async_trait]
impl NodeApiServer for Kms {
    async fn health(&self) -> RpcResult<Health> {
        let (peers, height) = (self.peers().await, self.service.height());
        let reason = (peers == 0).then(|| "no compute node is connected".to_owned());
        Ok(Health {
            ready: reason.is_none(),
            reason,
            height,
            peers,
            roles: self.identity.config.roles.clone(),
            catching_up: false,
            paratimes: Vec::new(),
        })
    }

    async fn status(&self) -> RpcResult<Status> {
        Ok(Status {
            node: self.identity.node,
            entity: self.identity.entity,
            moniker: self.identity.config.moniker.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            chain_id: self.chain.0.clone(),
            chain_context: self.chain.1,
            height: self.service.height(),
            // A key manager has no state: it trusts headers and proofs, one by one.
            app_hash: Digest::ZERO,
            time_ms: 0,
            epoch: Epoch::ZERO,
            roles: self.identity.config.roles.clone(),
            peers: self.peers().await,
            rss_bytes: resident_bytes(),
            pool: 0,
            paratimes: Vec::new(),
            fault: self.identity.fault.clone(),
        })
    }

    async fn events(&self, _: Height, _: Option<Height>, _: Option<String>) -> RpcResult<Vec<ChainEvent>> {
        let text = "a key manager keeps no blocks; ask a validator or a compute node";
        Err(RpcError::new(ErrorCode::WrongRole, text).into())
    }
}
