//! A client of the scheduling ParaTime: accounts, hosts, jobs and decryption, over JSON-RPC. The command line and the
//! demonstration use it; so may anyone else.

use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_consensus_app::tx::Role;
use parallax_fhe::{ClientKeys, Manifest, TfheClientCipher};
use parallax_genesis::AccountKey;
use parallax_kms::open_answer;
use parallax_primitives::{Address, Amount, ChainContext, Digest, Epoch, Height, KeyId, Nonce, ParaTimeId, Round};
use parallax_rpc::types::{PublicKeyInfo, ResultView};
use parallax_rpc::{Client, ConsensusApiClient as _, KmsApiClient as _, NodeApiClient, ParaTimeApiClient};
use parallax_runtime::ClientCipher;
use parallax_runtime::decryption::{Permit, SignedPermit};
use parallax_scheduler::{Call, EncryptedList, Params, Purpose, TxBody, metadata};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often a client asks whether something has happened.
const POLL: Duration = Duration::from_millis(250);
/// Heights for which a permit is valid.
const PERMIT_HEIGHTS: u64 = 1_000;

/// A job as the ParaTime's query shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: Digest,
    /// Who asked.
    pub owner: Address,
    /// `pending`, `decided`, `placed` or `unplaced`.
    pub status: String,
    /// Attempts made.
    pub attempts: u32,
    /// The last attempt.
    pub decision: Option<DecisionView>,
}

/// A decision as the ParaTime's query shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct DecisionView {
    /// The round that decided.
    pub round: Round,
    /// Position among the decisions of that round.
    pub index: u32,
    /// The candidates in the beacon's order.
    pub candidates: Vec<CandidateView>,
    /// Whether a host was found: a ciphertext.
    pub placed: Digest,
    /// The winner's position: a ciphertext.
    pub position: Digest,
    /// Bootstraps spent.
    pub pbs: u64,
}

/// A candidate of a decision.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct CandidateView {
    /// Which host.
    pub host: Address,
    /// The number of the report that was compared.
    pub report: u64,
}

/// A host as the ParaTime's query shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct HostView {
    /// Its account.
    pub address: Address,
    /// Its name.
    pub name: String,
    /// Who owns it.
    pub organisation: String,
    /// Its zone.
    pub zone: u16,
    /// Its newest report.
    pub report: Option<ReportView>,
}

/// What is public of a report.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ReportView {
    /// How many there have been.
    pub number: u64,
    /// The round that took it.
    pub round: Round,
}

#[derive(Deserialize)]
struct ParamsView {
    params: Params,
}

#[derive(Deserialize)]
struct AccountJson {
    balance: String,
    nonce: Nonce,
}

/// A ParaTime transaction that was executed and failed.
#[derive(Debug, thiserror::Error)]
#[error("the transaction was executed in round {round} and failed: {error}")]
pub struct Failed {
    /// The round.
    pub round: Round,
    /// Why.
    pub error: parallax_runtime::TxError,
}

/// A client of one scheduling ParaTime through one node.
#[derive(Clone)]
pub struct SchedulerClient {
    rpc: Client,
    chain: ChainContext,
    id: ParaTimeId,
    params: Params,
    keys: PublicKeyInfo,
}

impl SchedulerClient {
    /// Connects to a compute node and finds its scheduling ParaTime.
    ///
    /// # Errors
    /// If the node does not answer or runs no scheduling ParaTime.
    pub async fn connect(url: &str) -> Result<Self> {
        let rpc = Client::connect(url).await?;
        let status = NodeApiClient::status(&rpc).await?;
        let all = ParaTimeApiClient::list(&rpc).await?;
        let found = all.iter().find(|p| p.kind == parallax_scheduler::KIND && p.served_here);
        let id = found.map(|p| p.id).ok_or_else(|| {
            let roles: Vec<String> = status.roles.iter().map(|r| format!("{r:?}").to_lowercase()).collect();
            eyre!("{url} ({}) runs no scheduling ParaTime; give --rpc the URL of a compute node", roles.join(", "))
        })?;
        let params = ParaTimeApiClient::query(&rpc, id, "params".to_owned(), serde_json::json!({})).await?;
        let ParamsView { params } = serde_json::from_value(params).wrap_err("the ParaTime's parameters")?;
        let keys = rpc.public_key(id).await?;
        Ok(Self { rpc, chain: status.chain_context, id, params, keys })
    }

    /// The node.
    pub fn rpc(&self) -> &Client {
        &self.rpc
    }

    /// The ParaTime.
    pub fn id(&self) -> ParaTimeId {
        self.id
    }

    /// Its rules.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The key under which clients encrypt.
    pub fn key_id(&self) -> KeyId {
        self.keys.key_id
    }

    /// Loads what encrypts for this ParaTime from the directory of its key set.
    ///
    /// # Errors
    /// If the directory holds another key set, or a part is damaged.
    pub fn cipher(&self, dir: &Path) -> Result<TfheClientCipher> {
        let manifest = Manifest::load(dir)?;
        if manifest.key_id() != self.keys.key_id {
            let (here, there) = (manifest.key_id(), self.keys.key_id);
            bail!("{} holds key set {here}, this ParaTime uses {there}; give --keys its directory", dir.display());
        }
        Ok(TfheClientCipher::new(Arc::new(ClientKeys::load(dir, &manifest)?)))
    }

    async fn query<T: serde::de::DeserializeOwned>(&self, method: &str, parameters: serde_json::Value) -> Result<T> {
        let answer = ParaTimeApiClient::query(&self.rpc, self.id, method.to_owned(), parameters).await?;
        serde_json::from_value(answer).wrap_err_with(|| format!("the answer to the query {method}"))
    }

    /// The nonce of an account's next transaction.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn nonce(&self, address: Address) -> Result<Nonce> {
        let account: AccountJson = self.query("account", serde_json::json!({ "address": address })).await?;
        Ok(account.nonce)
    }

    /// The balance of an account inside the ParaTime.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn balance(&self, address: Address) -> Result<Amount> {
        let account: AccountJson = self.query("account", serde_json::json!({ "address": address })).await?;
        Ok(account.balance.parse()?)
    }

    /// The epoch to which encrypted inputs are bound now.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn epoch(&self) -> Result<Epoch> {
        Ok(NodeApiClient::status(&self.rpc).await?.epoch)
    }

    /// Encrypts digits for a transaction of `sender`, with their proof. Takes about two core-seconds: call it on a
    /// thread that may block.
    ///
    /// # Errors
    /// If a digit is out of range or the library fails.
    pub fn encrypt(
        &self,
        cipher: &dyn ClientCipher,
        purpose: Purpose,
        sender: Address,
        epoch: Epoch,
        digits: &[u8],
    ) -> Result<EncryptedList> {
        let bound = metadata(self.chain, self.id, purpose, sender, self.keys.key_id, epoch);
        Ok(EncryptedList { key_id: self.keys.key_id, epoch, bytes: cipher.encrypt(digits, &bound)? })
    }

    /// Signs a call.
    pub fn sign(&self, key: &AccountKey, nonce: Nonce, call: Call) -> Vec<u8> {
        let gas_price = if call.is_free() { Amount::ZERO } else { self.params.min_gas_price };
        TxBody { chain: self.chain, paratime: self.id, nonce, gas_price, call }.sign(&key.secret)
    }

    /// Submits a signed transaction.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn submit(&self, tx: Vec<u8>) -> Result<Digest> {
        Ok(ParaTimeApiClient::submit(&self.rpc, self.id, tx.into()).await?)
    }

    /// Signs and submits a call with the account's next nonce.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn send(&self, key: &AccountKey, call: Call) -> Result<Digest> {
        let nonce = self.nonce(key.address()).await?;
        self.submit(self.sign(key, nonce, call)).await
    }

    /// Waits until a round has executed a transaction.
    ///
    /// # Errors
    /// [`Failed`] if it failed; an error if it is in no round within `limit`.
    pub async fn wait(&self, tx: Digest, limit: Duration) -> Result<ResultView> {
        let seconds = limit.as_secs();
        let waiting = async {
            loop {
                if let Some(result) = self.rpc.result(self.id, tx).await? {
                    return match result.error.clone() {
                        Some(error) => Err(Failed { round: result.round, error }.into()),
                        None => Ok(result),
                    };
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, waiting)
            .await
            .map_err(|_| eyre!("transaction {tx} is in no finalised round after {seconds} s; `parallax query round` shows what the committee is doing"))?
    }

    /// A job.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn job(&self, id: Digest) -> Result<Option<JobView>> {
        self.query("job", serde_json::json!({ "id": id })).await
    }

    /// The registered hosts.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn hosts(&self) -> Result<Vec<HostView>> {
        self.query("hosts", serde_json::json!({})).await
    }

    /// Waits until a job is placed or given up.
    ///
    /// # Errors
    /// If it is neither within `limit`.
    pub async fn wait_job(&self, id: Digest, limit: Duration) -> Result<JobView> {
        let seconds = limit.as_secs();
        let waiting = async {
            loop {
                match self.job(id).await? {
                    Some(job) if job.status == "placed" || job.status == "unplaced" => return Ok(job),
                    _ => tokio::time::sleep(POLL).await,
                }
            }
        };
        tokio::time::timeout(limit, waiting)
            .await
            .map_err(|_| eyre!("job {id} is still undecided after {seconds} s"))?
    }

    /// The position of a placed job's host among the candidates, decrypted for its owner by the key managers.
    ///
    /// # Errors
    /// If the key managers refuse, or their answer does not hold.
    pub async fn position(&self, kms: &Client, owner: &AccountKey, job: &JobView) -> Result<usize> {
        let decision = job.decision.as_ref().ok_or_else(|| eyre!("job {} has no decision yet", job.id))?;
        let (opening, seal_to) = owner.opening_key();
        let height = self.rpc.health().await?.height;
        let expires = Height(height.0.saturating_add(PERMIT_HEIGHTS));
        let permit =
            Permit { paratime: self.id, cipher: decision.position, requester: owner.public(), seal_to, expires };
        let signed = SignedPermit::sign(permit.clone(), self.chain, &owner.secret);
        let answer = kms.user_decrypt(signed).await?;
        let blocks = open_answer(&opening, &permit, &[answer], &self.keys.managers, self.chain)?;
        let [low, high] = blocks[..] else { bail!("the position has {} blocks, two are expected", blocks.len()) };
        Ok(usize::from(low) + 16 * usize::from(high))
    }

    /// Like [`SchedulerClient::position`], asked again while the grant is on its way to a final header.
    ///
    /// # Errors
    /// As for [`SchedulerClient::position`], when it still fails after `limit`.
    pub async fn wait_position(
        &self,
        kms: &Client,
        owner: &AccountKey,
        job: &JobView,
        limit: Duration,
    ) -> Result<usize> {
        let begun = tokio::time::Instant::now();
        loop {
            match self.position(kms, owner, job).await {
                Ok(position) => return Ok(position),
                Err(error) if begun.elapsed() >= limit => return Err(error),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}

/// The chain context of a node.
///
/// # Errors
/// If the node does not answer.
pub async fn chain_of(rpc: &Client) -> Result<ChainContext> {
    Ok(NodeApiClient::status(rpc).await?.chain_context)
}

/// Waits until a consensus transaction is in a block.
///
/// # Errors
/// If it failed there, or is in none within `limit`.
pub async fn wait_consensus(rpc: &Client, tx: Digest, limit: Duration) -> Result<Height> {
    let waiting = async {
        loop {
            if let Some(found) = rpc.transaction(tx).await? {
                return match found.receipt.outcome {
                    Ok(()) => Ok(found.height),
                    Err(error) => bail!("the transaction is in block {} and failed: {error}", found.height),
                };
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let seconds = limit.as_secs();
    tokio::time::timeout(limit, waiting)
        .await
        .map_err(|_| eyre!("transaction {tx} is in no block after {seconds} s"))?
}

/// The first RPC URL of a role in a localnet's plan.
pub fn endpoint(plan: &parallax_localnet::Plan, role: Role) -> Option<String> {
    plan.nodes.iter().find(|n| n.role == role).map(parallax_localnet::PlannedNode::rpc_url)
}
