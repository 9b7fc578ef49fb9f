//! A client of the scheduling ParaTime: accounts, hosts, jobs and decryption, over JSON-RPC. The command line and the
//! demonstration use it; so may anyone else.

mod placement;

pub use placement::PERMIT_HEIGHTS;

use crate::paratime::pool::PoolError;
use eyre::{Result, WrapErr as _, bail, eyre};
use jsonrpsee::core::client::Error as RpcFault;
use parallax_consensus_app::tx::Role;
use parallax_fhe::{ClientKeys, Manifest, TfheClientCipher};
use parallax_genesis::AccountKey;
use parallax_primitives::{Address, Amount, ChainContext, Digest, Gas, Height, KeyId, Nonce, ParaTimeId, Round};
use parallax_rounds::ParaTimeBlock;
use parallax_rpc::types::{PublicKeyInfo, ResultView, RoundEvent};
use parallax_rpc::{Client, ConsensusApiClient as _, NodeApiClient, ParaTimeApiClient};
use parallax_runtime::ClientCipher;
use parallax_runtime::paratime::tx_digest;
use parallax_scheduler::{Call, EncryptedList, Params, Policy, Purpose, Replication, TxBody, metadata};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a client asks whether something has happened.
const POLL: Duration = Duration::from_millis(250);
/// How long a client tries nodes that do not answer.
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);
/// After how long a transaction that is in no round is sent again.
const RESUBMIT: Duration = Duration::from_secs(10);

/// A job as the ParaTime's query shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: Digest,
    /// Who asked: an account, or that of a contract.
    pub owner: Address,
    /// Who signs for the owner: the owner itself, or the account that its contract has named.
    pub agent: Address,
    /// The contract that asked, as JSON: its ParaTime, address and request; `null` if it was none.
    #[serde(default)]
    pub contract: serde_json::Value,
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
    /// The candidates in the order in which positions count.
    pub candidates: Vec<CandidateView>,
    /// Whether a host was found: a ciphertext.
    pub placed: Digest,
    /// The winners' positions: a ciphertext a replica.
    pub positions: Vec<Digest>,
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

/// What a job costs, as the ParaTime's query shows it. Amounts are in base units.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PriceView {
    /// For one unit of FHE gas.
    #[serde(with = "text")]
    pub gas_price: Amount,
    /// FHE gas of its submission.
    pub submission_gas: Gas,
    /// FHE gas of one attempt at its largest.
    pub attempt_gas: Gas,
    /// Attempts that are paid in advance.
    pub attempts: u32,
    /// The fee of the submission.
    #[serde(with = "text")]
    pub fee: Amount,
    /// What all attempts may cost; what is left of it comes back.
    #[serde(with = "text")]
    pub escrow: Amount,
    /// Fee and escrow.
    #[serde(with = "text")]
    pub total: Amount,
}

/// Amounts as the queries of ParaTimes show them: decimal digits as text.
mod text {
    use parallax_primitives::Amount;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
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

/// A client of one scheduling ParaTime. It asks one node, and the next one when that does not answer.
#[derive(Clone)]
pub struct SchedulerClient {
    nodes: Arc<Vec<Client>>,
    /// The node that answered last.
    current: Arc<AtomicUsize>,
    /// Transactions whose results are awaited: a node that dies takes its pool with it, so they are sent again.
    unfinished: Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>,
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
        Self::connect_any(&[url.to_owned()]).await
    }

    /// Connects to the first of these compute nodes; the others are asked when it does not answer.
    ///
    /// # Errors
    /// As for [`SchedulerClient::connect`].
    pub async fn connect_any(urls: &[String]) -> Result<Self> {
        let url = urls.first().ok_or_else(|| eyre!("no compute node is named"))?;
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
        let nodes = urls.iter().map(|url| Client::new(url)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            nodes: Arc::new(nodes),
            current: Arc::default(),
            unfinished: Arc::default(),
            chain: status.chain_context,
            id,
            params,
            keys,
        })
    }

    /// Asks the node that answered last, and the others in turn while none answers. A refusal is an answer.
    async fn ask<T, F: Future<Output = Result<T, RpcFault>>>(&self, question: impl Fn(Client) -> F) -> Result<T> {
        let begun = Instant::now();
        let mut asked = 0;
        loop {
            let current = self.current.load(Ordering::Relaxed);
            let node = self.nodes.get(current % self.nodes.len()).ok_or_else(|| eyre!("no compute node is named"))?;
            match question(node.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(refusal @ RpcFault::Call(_)) => return Err(refusal.into()),
                Err(fault) if begun.elapsed() >= FAILOVER_LIMIT => return Err(fault.into()),
                Err(_) => {}
            }
            self.current.store(current.wrapping_add(1), Ordering::Relaxed);
            asked += 1;
            if asked % self.nodes.len() == 0 {
                tokio::time::sleep(POLL).await;
            }
        }
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
        let id = self.id;
        let answer = self
            .ask(|rpc| {
                let (method, parameters) = (method.to_owned(), parameters.clone());
                async move { ParaTimeApiClient::query(&rpc, id, method, parameters).await }
            })
            .await?;
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

    /// Encrypts digits for a transaction of `sender`, with their proof, bound to the chain's epoch. Takes about two
    /// core-seconds, on a thread that may block.
    ///
    /// # Errors
    /// If no node tells the epoch, a digit is out of range, or the library fails.
    pub async fn encrypt(
        &self,
        cipher: Arc<dyn ClientCipher>,
        purpose: Purpose,
        sender: Address,
        digits: Vec<u8>,
    ) -> Result<EncryptedList> {
        let epoch = self.ask(|rpc| async move { NodeApiClient::status(&rpc).await }).await?.epoch;
        let key_id = self.keys.key_id;
        let bound = metadata(self.chain, self.id, purpose, sender, key_id, epoch);
        let bytes = tokio::task::spawn_blocking(move || cipher.encrypt(&digits, &bound)).await??;
        Ok(EncryptedList { key_id, epoch, bytes })
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
        let (id, digest) = (self.id, tx_digest(&tx));
        self.unfinished().insert(digest, tx.clone());
        let sent = self
            .ask(|rpc| {
                let tx = tx.clone();
                async move { ParaTimeApiClient::submit(&rpc, id, tx.into()).await }
            })
            .await;
        match sent {
            Err(error) if !is_known(&error) => {
                self.unfinished().remove(&digest);
                Err(error)
            }
            // A node that has it already is as good as one that takes it: an answer may have been lost.
            _ => Ok(digest),
        }
    }

    /// Signs and submits a call with the account's next nonce.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn send(&self, key: &AccountKey, call: Call) -> Result<Digest> {
        let nonce = self.nonce(key.address()).await?;
        self.submit(self.sign(key, nonce, call)).await
    }

    fn unfinished(&self) -> MutexGuard<'_, BTreeMap<Digest, Vec<u8>>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a transaction again, through another node: the one that took it may have lost it.
    async fn resubmit(&self, tx: Digest) {
        let bytes = self.unfinished().get(&tx).cloned();
        self.current.fetch_add(1, Ordering::Relaxed);
        let Some(bytes) = bytes else { return };
        let id = self.id;
        let sent = self
            .ask(|rpc| {
                let bytes = bytes.clone();
                async move { ParaTimeApiClient::submit(&rpc, id, bytes.into()).await }
            })
            .await;
        if let Err(error) = sent {
            tracing::debug!(%error, tx = %tx.short(), "client.resubmission_refused");
        }
    }

    /// Waits until a round has executed a transaction.
    ///
    /// # Errors
    /// [`Failed`] if it failed; an error if it is in no round within `limit`.
    pub async fn wait(&self, tx: Digest, limit: Duration) -> Result<ResultView> {
        let seconds = limit.as_secs();
        let id = self.id;
        let waiting = async {
            let mut sent = Instant::now();
            loop {
                let result = self.ask(|rpc| async move { ParaTimeApiClient::result(&rpc, id, tx).await }).await?;
                if let Some(result) = result {
                    self.unfinished().remove(&tx);
                    return match result.error.clone() {
                        Some(error) => Err(Failed { round: result.round, error }.into()),
                        None => Ok(result),
                    };
                }
                if sent.elapsed() >= RESUBMIT {
                    self.resubmit(tx).await;
                    sent = Instant::now();
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, waiting)
            .await
            .map_err(|_| eyre!("transaction {tx} is in no finalised round after {seconds} s; `parallax query round` shows what the committee is doing"))?
    }

    /// The block of a round.
    ///
    /// # Errors
    /// If no node answers, or none has it.
    pub async fn block(&self, round: Round) -> Result<ParaTimeBlock> {
        let id = self.id;
        self.ask(|rpc| async move { ParaTimeApiClient::block(&rpc, id, Some(round)).await }).await
    }

    /// Events of the rounds `from..=to`, in order.
    ///
    /// # Errors
    /// If no node answers, or the span is too long.
    pub async fn events(&self, from: Round, to: Round) -> Result<Vec<RoundEvent>> {
        let id = self.id;
        self.ask(|rpc| async move { ParaTimeApiClient::events(&rpc, id, from, Some(to)).await }).await
    }

    /// What a job costs.
    ///
    /// # Errors
    /// If no node answers, or such a job is not taken.
    pub async fn price(
        &self,
        policy: Policy,
        replication: Replication,
        gas_price: Option<Amount>,
    ) -> Result<PriceView> {
        let asked = serde_json::json!({
            "policy": policy,
            "replicas": replication.count,
            "spread": replication.spread,
            "gang": replication.gang,
            "gas_price": gas_price.map(|price| price.to_string()),
        });
        self.query("price", asked).await
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
}

/// Whether a node refused a transaction because it waits there already.
fn is_known(error: &eyre::Report) -> bool {
    let Some(RpcFault::Call(object)) = error.downcast_ref::<RpcFault>() else { return false };
    let data = object.data().and_then(|d| serde_json::from_str::<parallax_runtime::TxError>(d.get()).ok());
    data.is_some_and(|e| e.module == "pool" && e.code == PoolError::Known.code())
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

/// The RPC URLs of a role in a localnet's plan.
pub fn endpoints(plan: &parallax_localnet::Plan, role: Role) -> Vec<String> {
    plan.nodes.iter().filter(|n| n.role == role).map(parallax_localnet::PlannedNode::rpc_url).collect()
}
