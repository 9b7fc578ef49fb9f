//! The namespaces of a key manager: `kms`, and what it can say of `node`.

use super::Identity;
use super::node::resident_bytes;
use crate::kms::{Busy, ContractService, KmsService, Served};
use jsonrpsee::core::async_trait;
use parallax_evm::decryption;
use parallax_evm::permit::SignedPermit as EvmPermit;
use parallax_kms::Refusal;
use parallax_network::Handle;
use parallax_primitives::{Address, ChainContext, Digest, Epoch, Height, ParaTimeId};
use parallax_rpc::types::{ChainEvent, Health, InputAttestation, KmsParaTime, KmsStatus, PublicValues, Status};
use parallax_rpc::{ErrorCode, Hex, KmsApiServer, NodeApiServer, RpcError, RpcResult};
use parallax_runtime::decryption::{SignedAnswer, SignedPermit};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Serves `kms_*` and `node_*`.
#[derive(Clone)]
pub struct Kms {
    /// What it does.
    pub service: KmsService,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Chain id and context.
    pub chain: (String, ChainContext),
    /// The network.
    pub network: Handle,
    /// The address by which contracts know it.
    pub signer: Address,
}

impl Kms {
    async fn peers(&self) -> u32 {
        u32::try_from(self.network.peers().await.len()).unwrap_or(u32::MAX)
    }

    /// The service of an EVM ParaTime, for a method that only those have.
    fn contracts(&self, id: &ParaTimeId, method: &str) -> Result<&Arc<ContractService>, RpcError> {
        self.service.contracts(id).ok_or_else(|| self.not_of(id, method))
    }

    /// That a ParaTime is not served, or not in this way.
    fn not_of(&self, id: &ParaTimeId, method: &str) -> RpcError {
        if self.service.served.contains_key(id) {
            let text = format!("{method} is not for ParaTimes of the kind of {id}; see kms_status for what is served");
            return RpcError::new(ErrorCode::Unsupported, text);
        }
        let served: Vec<String> = self.service.served.keys().map(ToString::to_string).collect();
        let text =
            format!("this key manager decrypts for {}; ask the key managers of ParaTime {id}", served.join(", "));
        RpcError::new(ErrorCode::UnknownParaTime, text)
    }
}

/// Why there is no answer. What is no refusal is a matter of the nodes around it: worth another attempt. Programs find
/// the stable code of a refusal in `data`.
fn refusal(error: &eyre::Report) -> RpcError {
    let text = format!("{error:#}");
    if error.is::<Busy>() {
        return RpcError::new(ErrorCode::Busy, text);
    }
    let Some(refusal) = error.downcast_ref::<Refusal>() else { return RpcError::new(ErrorCode::NotReady, text) };
    let code = match refusal {
        // It may be there later.
        Refusal::NoTransaction { .. } | Refusal::NoCiphertext { .. } => ErrorCode::NotFound,
        Refusal::Stale { .. } | Refusal::Unavailable => ErrorCode::NotReady,
        Refusal::Handles(_) => ErrorCode::TooMuch,
        _ => ErrorCode::Denied,
    };
    RpcError { data: Some(serde_json::json!({ "refusal": refusal.code() })), ..RpcError::new(code, text) }
}

fn status(id: ParaTimeId, served: &Served) -> KmsParaTime {
    let (managers, counters) = (&served.managers, served.service.counters());
    KmsParaTime {
        id,
        parties: u16::try_from(managers.parties.len()).unwrap_or(u16::MAX),
        threshold: managers.threshold,
        epoch: managers.epoch,
        key_id: served.key_id,
        answered: counters.answered.load(Ordering::Relaxed),
        refused: counters.refused.load(Ordering::Relaxed),
        pending: counters.pending.load(Ordering::Relaxed),
    }
}

#[async_trait]
impl KmsApiServer for Kms {
    async fn user_decrypt(&self, permit: SignedPermit) -> RpcResult<SignedAnswer> {
        let id = permit.permit.paratime;
        let service = self.service.grants(&id).ok_or_else(|| self.not_of(&id, "kms_user_decrypt"))?;
        Ok(service.user_decrypt(&permit).await.map_err(|e| refusal(&e))?)
    }

    async fn attest_input(&self, paratime: ParaTimeId, tx: Digest) -> RpcResult<InputAttestation> {
        let done = self.contracts(&paratime, "kms_attest_input")?.attest(tx).await.map_err(|e| refusal(&e))?;
        Ok(InputAttestation {
            handles: done.handles.iter().map(|handle| Digest(handle.0)).collect(),
            contract: done.contract,
            user: done.user,
            signature: done.signature,
            signer: done.signer,
            extra: Hex(done.extra),
        })
    }

    async fn public_decrypt(&self, paratime: ParaTimeId, handles: Vec<Digest>) -> RpcResult<PublicValues> {
        let service = self.contracts(&paratime, "kms_public_decrypt")?;
        let done = service.public(&handles).await.map_err(|e| refusal(&e))?;
        Ok(PublicValues {
            plaintexts: Hex(done.plaintexts()),
            values: done.values.iter().map(|(kind, word)| decryption::value(*kind, word)).collect(),
            signature: done.signature,
            signer: done.signer,
            extra: Hex(done.extra),
        })
    }

    async fn user_decrypt_for(&self, paratime: ParaTimeId, permit: EvmPermit) -> RpcResult<Vec<SignedAnswer>> {
        let service = self.contracts(&paratime, "kms_user_decrypt_for")?;
        Ok(service.user(permit).await.map_err(|e| refusal(&e))?)
    }

    async fn status(&self) -> RpcResult<KmsStatus> {
        let party = self.identity.config.kms.as_ref().map_or(0, |k| k.party);
        let paratimes = self.service.served.iter().map(|(id, served)| status(*id, served)).collect();
        Ok(KmsStatus { party, signer: self.signer, paratimes })
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
