//! `parallax job`: encrypted requests.

use super::placement::{self, AnchorArgs, CountersignArgs, DeploymentArgs, ProofArgs, UpdateArgs};
use super::request::{self, EncryptArgs, PriceArgs, TermsArgs, WishArgs};
use super::{EncryptionArgs, KeyArgs, RpcArgs, default_endpoint, print_json};
use crate::client::SchedulerClient;
use clap::{Args, Subcommand};
use eyre::{Result, bail, eyre};
use parallax_consensus_app::tx::Role;
use parallax_primitives::Digest;
use parallax_rpc::Client;
use parallax_scheduler::{Call, Purpose};
use std::path::PathBuf;
use std::time::Duration;

/// How long a client waits for a round, and for the placement of a job.
const ROUND_LIMIT: Duration = Duration::from_secs(600);

/// How long the grant of a placed job may take to a final header.
const GRANT_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// Encrypt a request and submit it
    Submit(SubmitArgs),
    /// What a job costs: the fee of its submission and the escrow for all attempts, of which the rest comes back
    Price(PriceArgs),
    /// Encrypt the request of a contract's job; prints the arguments that the contract takes
    Encrypt(EncryptArgs),
    /// Show where a job stands; with the key of its owner, or of its contract's agent, also where it went
    Status(StatusArgs),
    /// Write the proof of where a job went, for the chosen host
    Proof(ProofArgs),
    /// Countersign what the host acknowledged
    Countersign(CountersignArgs),
    /// Anchor a job: the chain gets a digest that does not say which host it is
    Anchor(AnchorArgs),
    /// Say on the chain how far an anchored job has come
    Update(UpdateArgs),
    /// Open an anchor with what owner and host both signed; either of them may
    Dispute(AnchorArgs),
    /// Show a job's anchor and status
    Deployment(DeploymentArgs),
}

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    wish: WishArgs,
    #[command(flatten)]
    terms: TermsArgs,
    /// Return when the job is in a round, without waiting for its placement
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The job's id
    id: Digest,
    #[command(flatten)]
    rpc: RpcArgs,
    /// Key file of the job's owner, or of the agent of the contract that owns it: has the position decrypted
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// URL of the key manager [default: that of the localnet in .parallax/localnet]
    #[arg(long, value_name = "URL")]
    kms: Option<String>,
}

impl JobCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Submit(args) => submit(args).await,
            Self::Price(args) => request::price(args).await,
            Self::Encrypt(args) => request::encrypt(args).await,
            Self::Status(args) => status(args).await,
            Self::Proof(args) => placement::prove(args).await,
            Self::Countersign(args) => placement::countersign(args).await,
            Self::Anchor(args) => placement::anchor(args).await,
            Self::Update(args) => placement::update(args).await,
            Self::Dispute(args) => placement::dispute(args).await,
            Self::Deployment(args) => placement::deployment(args).await,
        }
    }
}

async fn submit(args: SubmitArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let key = args.key.load()?;
    let (image, terms) = (args.terms.image()?, &args.terms);
    let cipher = args.encryption.cipher(&client)?;
    let digits = args.wish.digits(&args.encryption)?;
    let request = client.encrypt(cipher, Purpose::Job, key.address(), digits).await?;
    let (policy, tier, replication) = (terms.choice.policy, terms.tier, terms.choice.replication());
    let call = Call::SubmitJob { request, policy, tier, replication, image };
    let result = client.wait(client.send(&key, call).await?, ROUND_LIMIT).await?;
    let output = result.output.ok_or_else(|| eyre!("the round returned no job id"))?;
    let id: Digest = parallax_primitives::decode("job id", &output.0, 32)?;
    println!("job {id} is in round {}", result.round);
    if args.no_wait {
        return Ok(());
    }
    let job = client.wait_job(id, ROUND_LIMIT).await?;
    println!("job {id} is {} after {} attempts", job.status, job.attempts);
    Ok(())
}

async fn status(args: StatusArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let Some(job) = client.job(args.id).await? else { bail!("there is no job {}", args.id) };
    let decided = job.decision.as_ref();
    print_json(&serde_json::json!({
        "id": job.id,
        "owner": job.owner,
        "agent": job.agent,
        "contract": job.contract,
        "status": job.status,
        "attempts": job.attempts,
        "round": decided.map(|d| d.round),
        "candidates": decided.map(|d| d.candidates.iter().map(|c| c.host).collect::<Vec<_>>()),
        "pbs": decided.map(|d| d.pbs),
    }))?;
    let (Some(file), Some(decision)) = (args.key, decided) else { return Ok(()) };
    if job.status != "placed" {
        bail!("the job is {}; only the position of a placed job can be decrypted", job.status);
    }
    let kms = match &args.kms {
        Some(url) => url.clone(),
        None => default_endpoint(Role::KeyManager)?,
    };
    let owner = parallax_genesis::AccountKey::load(&file)?;
    // The grant of a job that was placed a moment ago is still on its way to a final header.
    let limit = if owner.address() == job.agent { GRANT_LIMIT } else { Duration::ZERO };
    let positions = client.wait_positions(&Client::new(&kms)?, &owner, &job, limit).await?;
    let hosts = client.hosts().await?;
    for position in positions {
        let chosen = decision.candidates.get(position).ok_or_else(|| eyre!("position {position} is no candidate"))?;
        let name = hosts.iter().find(|h| h.address == chosen.host).map_or("?", |h| h.name.as_str());
        println!("placed on {name} ({}), candidate {position}", chosen.host);
    }
    Ok(())
}
