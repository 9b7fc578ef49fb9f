//! What a job asks for, as options: what is encrypted of it and what is public. And the jobs of contracts, which a contract
//! submits and a client encrypts.

use super::contract::ethereum_account;
use super::policy::claim;
use super::{EncryptionArgs, RpcArgs, print_json, query};
use crate::client::{PriceView, SchedulerClient};
use clap::Args;
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_genesis::AccountKey;
use parallax_primitives::message::contract_account;
use parallax_primitives::{Address, Amount, ParaTimeId};
use parallax_rpc::ParaTimeApiClient;
use parallax_runtime::jobs::MAX_LIST_BYTES;
use parallax_scheduler::cluster;
use parallax_scheduler::openb::Pod;
use parallax_scheduler::{EncryptedList, ImageClaim, Policy, Purpose, Replication, Spread};
use revm::primitives::{Address as Contract, U256, hex};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// Messages that a contract's job pays for: the request, and two answers.
const MESSAGES: u64 = 3;

/// What a job needs. It is encrypted.
#[derive(Debug, Args)]
pub(super) struct WishArgs {
    /// CPU, in milli-cores
    #[arg(long)]
    cpu_milli: u64,
    /// Memory, in MiB
    #[arg(long)]
    memory_mib: u64,
    /// GPUs
    #[arg(long, default_value_t = 0)]
    gpus: u8,
    /// Thousandths of each GPU: 1000 for whole ones [default: 1000 with GPUs]
    #[arg(long)]
    gpu_milli: Option<u16>,
    /// GPU models that will do, separated by commas; any if left out
    #[arg(long, value_delimiter = ',')]
    accept: Vec<String>,
}

impl WishArgs {
    /// The digits that are encrypted.
    pub(super) fn digits(&self, encryption: &EncryptionArgs) -> Result<Vec<u8>> {
        let models = encryption.models("--accept", &self.accept)?;
        let pod = Pod {
            name: String::new(),
            cpu_milli: self.cpu_milli,
            memory_mib: self.memory_mib,
            gpus: self.gpus,
            gpu_milli: self.gpu_milli.unwrap_or(if self.gpus > 0 { 1_000 } else { 0 }),
            models: self.accept.clone(),
        };
        Ok(cluster::request(&pod, &models)?.digits()?)
    }
}

/// How a job's hosts are chosen, and how many. Public, and what its price depends on.
#[derive(Debug, Args)]
pub(super) struct ChoiceArgs {
    /// How the winner is chosen: pack, spread, cost or priority-round-robin
    #[arg(long, default_value = "pack")]
    pub(super) policy: Policy,
    /// How many hosts it wants, 1 to 8, each another one. It is placed with the first of them, unless it is a gang
    #[arg(long, default_value_t = 1)]
    replicas: u8,
    /// How replicas keep apart: none (other hosts) or zone (other zones)
    #[arg(long, default_value = "none")]
    spread: Spread,
    /// All replicas or none
    #[arg(long)]
    gang: bool,
}

impl ChoiceArgs {
    pub(super) fn replication(&self) -> Replication {
        Replication { count: self.replicas, spread: self.spread, gang: self.gang }
    }
}

/// What is public of a job.
#[derive(Debug, Args)]
pub(super) struct TermsArgs {
    #[command(flatten)]
    pub(super) choice: ChoiceArgs,
    /// Tier; 0 goes first
    #[arg(long, default_value_t = 0)]
    pub(super) tier: u8,
    /// What the job runs, a `sha256:` digest; public
    #[arg(long)]
    image: Option<String>,
    /// The cluster's list of images, from which the image is proven
    #[arg(long, value_name = "FILE", requires = "image")]
    images: Option<PathBuf>,
}

impl TermsArgs {
    /// The image with its proof, if one is named.
    pub(super) fn image(&self) -> Result<Option<ImageClaim>> {
        self.image.as_deref().map(|image| claim(image, self.images.as_deref())).transpose()
    }
}

#[derive(Debug, Args)]
pub(super) struct PriceArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// What is paid for one unit of FHE gas, in base units [default: the least]
    #[arg(long)]
    gas_price: Option<Amount>,
    /// Print the wei that a contract has to send with such a job, messages included, and nothing else
    #[arg(long)]
    wei: bool,
}

/// `parallax job price`.
pub(super) async fn price(args: PriceArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let price = client.price(args.choice.policy, args.choice.replication(), args.gas_price).await?;
    if args.wei {
        println!("{}", Gateway::of(&args.rpc, &client).await?.wei(&price)?);
        return Ok(());
    }
    print_json(&price)
}

#[derive(Debug, Args)]
pub(super) struct EncryptArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    /// The contract that will submit the job: its list counts for no other
    #[arg(long, value_name = "ADDRESS")]
    contract: String,
    /// Who learns where the job went, deals with the host and anchors the deployment: an account of the scheduler, by
    /// its address or its key file
    #[arg(long, value_name = "ACCOUNT")]
    agent: String,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    wish: WishArgs,
    #[command(flatten)]
    terms: TermsArgs,
    /// What is paid for one unit of FHE gas, in base units [default: the least]
    #[arg(long)]
    gas_price: Option<Amount>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `parallax job encrypt`.
pub(super) async fn encrypt(args: EncryptArgs) -> Result<()> {
    let (contract, agent) = (ethereum_account(&args.contract).wrap_err("--contract")?, account(&args.agent)?);
    let (image, choice) = (args.terms.image()?, &args.terms.choice);
    let digits = args.wish.digits(&args.encryption)?;
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let gateway = Gateway::of(&args.rpc, &client).await?;
    let price = client.price(choice.policy, choice.replication(), args.gas_price).await?;
    let wei = gateway.wei(&price)?;
    let cipher = args.encryption.cipher(&client)?;
    let owner = contract_account(&gateway.evm, &Address(contract.into_array()));
    let list = client.encrypt(cipher, Purpose::Job, owner, digits).await?;
    if list.bytes.len() > MAX_LIST_BYTES {
        bail!("the encrypted request has {} bytes, a message takes at most {MAX_LIST_BYTES}", list.bytes.len());
    }
    let job = Prepared { terms: &args.terms, gas_price: price.gas_price, agent, image, list };
    if args.json {
        return print_json(&job.json(contract, owner, wei));
    }
    eprintln!(
        "for contract {contract} alone, until the end of epoch {}; send it with {wei} wei",
        job.list.epoch.next()
    );
    println!("{}\n{}", job.tuple(), hex::encode_prefixed(&job.list.bytes));
    if job.image.as_ref().is_some_and(|claim| !claim.proof.is_empty()) {
        println!("[{}]", job.image_proof().join(","));
    }
    Ok(())
}

/// An account of the scheduler, by its address or its key file.
fn account(text: &str) -> Result<Address> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let key = AccountKey::load(Path::new(text)).wrap_err("--agent is neither an address nor a key file")?;
    Ok(key.address())
}

/// How contracts of the EVM reach the scheduler.
struct Gateway {
    evm: ParaTimeId,
    wei_per_token: u64,
    message_fee: Amount,
}

#[derive(Deserialize)]
struct EvmView {
    params: parallax_evm::params::Params,
}

impl Gateway {
    /// That of the EVM which a node serves beside the scheduler.
    async fn of(rpc: &RpcArgs, scheduler: &SchedulerClient) -> Result<Self> {
        let node = rpc.connect().await?;
        let evm = query::paratime(&node, Some(parallax_evm::KIND)).await?.id;
        let answer = ParaTimeApiClient::query(&node, evm, "params".to_owned(), json!({})).await?;
        let EvmView { params } = serde_json::from_value(answer).wrap_err("the EVM's parameters")?;
        let link = params.scheduler.filter(|link| link.paratime == scheduler.id());
        let link = link.ok_or_else(|| eyre!("contracts of the EVM {evm} submit no jobs to {}", scheduler.id()))?;
        Ok(Self { evm, wei_per_token: params.wei_per_token, message_fee: link.message_fee })
    }

    /// What a contract sends with a job: its price, and the messages.
    fn wei(&self, price: &PriceView) -> Result<U256> {
        let messages = U256::from(self.message_fee.0).checked_mul(U256::from(MESSAGES));
        let tokens = messages.and_then(|messages| messages.checked_add(U256::from(price.total.0)));
        let wei = tokens.and_then(|tokens| tokens.checked_mul(U256::from(self.wei_per_token)));
        wei.ok_or_else(|| eyre!("the price of {} base units exceeds 256 bits in wei", price.total))
    }
}

/// What a contract passes on to the job gateway.
struct Prepared<'a> {
    terms: &'a TermsArgs,
    gas_price: Amount,
    agent: Address,
    image: Option<ImageClaim>,
    list: EncryptedList,
}

impl Prepared<'_> {
    fn image_word(&self) -> String {
        hex::encode_prefixed(self.image.as_ref().map_or([0; 32], |claim| claim.image.0))
    }

    fn image_proof(&self) -> Vec<String> {
        self.image.iter().flat_map(|claim| &claim.proof).map(|node| hex::encode_prefixed(node.0)).collect()
    }

    /// The struct `Terms` of the gateway, as command lines write it.
    fn tuple(&self) -> String {
        let (list, replication) = (&self.list, self.terms.choice.replication());
        format!(
            "({},{},{},{},{},{},{},{},{},{})",
            hex::encode_prefixed(list.key_id.0),
            list.epoch,
            self.terms.choice.policy.number(),
            self.terms.tier,
            replication.count,
            replication.spread == Spread::Zone,
            replication.gang,
            self.gas_price,
            hex::encode_prefixed(self.agent.0),
            self.image_word(),
        )
    }

    /// The arguments as other tools take them.
    fn json(&self, contract: Contract, owner: Address, wei: U256) -> Json {
        let (list, replication) = (&self.list, self.terms.choice.replication());
        json!({
            "contract": contract,
            "account": owner,
            "value": wei.to_string(),
            "terms": {
                "keyId": hex::encode_prefixed(list.key_id.0),
                "epoch": list.epoch,
                "policy": self.terms.choice.policy.number(),
                "tier": self.terms.tier,
                "replicas": replication.count,
                "zones": replication.spread == Spread::Zone,
                "gang": replication.gang,
                "gasPrice": self.gas_price.to_string(),
                "agent": hex::encode_prefixed(self.agent.0),
                "image": self.image_word(),
            },
            "list": hex::encode_prefixed(&list.bytes),
            "imageProof": self.image_proof(),
        })
    }
}
