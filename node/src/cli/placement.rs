//! What a job's owner and its host hand to each other, as files: the proof of a placement, acknowledgements, and what
//! of it goes on the chain. How the files travel is left to the two.

use super::verify::TrustArgs;
use super::{KeyArgs, RpcArgs, default_endpoint, print_json};
use crate::client::SchedulerClient;
use clap::Args;
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_consensus_app::tx::Role;
use parallax_genesis::AccountKey;
use parallax_placement::{
    MAX_PROOF_JSON, Placement, PlacementProof, Reader, acknowledge, countersign as sign_for_owner,
};
use parallax_primitives::{Address, Digest, Height, ParaTimeId};
use parallax_rpc::Client;
use parallax_scheduler::images::parse_image;
use parallax_scheduler::{Call, Countersigned, Progress, SignedAcknowledgement};
use serde::de::DeserializeOwned;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file of an acknowledgement, in bytes.
const MAX_ACKNOWLEDGEMENT_JSON: usize = 16 * 1024;
/// How long a client waits for a round.
const ROUND_LIMIT: Duration = Duration::from_secs(300);

/// Reads at most `limit` bytes of a file.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).wrap_err_with(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    if bytes.len() > limit {
        bail!("{} is larger than {limit} bytes, the limit for such a file", path.display());
    }
    Ok(bytes)
}

/// Writes a new file that its owner alone may read: it says where a job went.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file =
        file.wrap_err_with(|| format!("cannot create {}; give --out a file that is not there", path.display()))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).wrap_err_with(|| format!("cannot write {}", path.display()))
}

fn read_acknowledgement<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let bytes = read(path, MAX_ACKNOWLEDGEMENT_JSON)?;
    // The parser's own text could quote what it found.
    serde_json::from_slice(&bytes)
        .map_err(|e| eyre!("{} is no {what}: line {}, column {}", path.display(), e.line(), e.column()))
}

fn write_acknowledgement(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write_secret(path, &serde_json::to_vec_pretty(value)?)
}

/// What a proof is held against.
#[derive(Debug, Args)]
struct AgainstArgs {
    #[command(flatten)]
    trust: TrustArgs,
    /// The ParaTime [default: the scheduling ParaTime of a localnet]
    #[arg(long)]
    paratime: Option<ParaTimeId>,
    /// The consensus height now; a proof is void after the height in it [default: a node is asked]
    #[arg(long, value_name = "HEIGHT")]
    at_height: Option<Height>,
    #[command(flatten)]
    rpc: RpcArgs,
}

impl AgainstArgs {
    fn paratime(&self) -> ParaTimeId {
        self.paratime.unwrap_or_else(|| ParaTimeId::named(parallax_scheduler::KIND))
    }

    async fn height(&self) -> Result<Height> {
        match self.at_height {
            Some(height) => Ok(height),
            None => SchedulerClient::connect(&self.rpc.url()?).await?.height().await,
        }
    }

    async fn open(&self, file: &Path) -> Result<Placement> {
        let proof = PlacementProof::from_json(&read(file, MAX_PROOF_JSON)?)?;
        Ok(proof.open(&self.trust.light()?, self.paratime(), self.height().await?)?)
    }

    async fn verify(&self, file: &Path, host: Address, job: Option<Digest>) -> Result<Placement> {
        let proof = PlacementProof::from_json(&read(file, MAX_PROOF_JSON)?)?;
        let reader = Reader { paratime: self.paratime(), host, job, height: self.height().await? };
        Ok(proof.verify(&self.trust.light()?, &reader)?)
    }
}

#[derive(Debug, Args)]
pub(super) struct ProofArgs {
    /// The job's id
    id: Digest,
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// URL of the key manager [default: that of the localnet in .parallax/localnet]
    #[arg(long, value_name = "URL")]
    kms: Option<String>,
    /// Which of the job's replicas, counted from 0
    #[arg(long, default_value_t = 0)]
    replica: u8,
    /// For how many heights the proof is valid
    #[arg(long, default_value_t = crate::client::PERMIT_HEIGHTS)]
    heights: u64,
    /// Where to write it; it is for the chosen host's eyes only
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// `parallax job proof`.
pub(super) async fn prove(args: ProofArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let owner = args.key.load()?;
    let Some(job) = client.job(args.id).await? else { bail!("there is no job {}", args.id) };
    let kms = match &args.kms {
        Some(url) => url.clone(),
        None => default_endpoint(Role::KeyManager)?,
    };
    let proof = client.placement_proof(&Client::new(&kms)?, &owner, &job, (args.replica, args.heights)).await?;
    write_secret(&args.out, &proof.to_json()?)?;
    println!(
        "the proof of where job {} went is in {}; hand it to that host and to nobody else",
        job.id,
        args.out.display()
    );
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct VerifyProofArgs {
    /// The proof that the job's owner sent
    proof: PathBuf,
    /// Account of this host
    #[arg(long, value_name = "ADDRESS", required_unless_present = "key")]
    host: Option<Address>,
    /// Key file of this host's account
    #[arg(long, value_name = "FILE", conflicts_with = "host")]
    key: Option<PathBuf>,
    /// The job that this host was asked to run
    #[arg(long, value_name = "ID")]
    job: Option<Digest>,
    #[command(flatten)]
    against: AgainstArgs,
}

/// `parallax host verify-proof`.
pub(super) async fn verify(args: VerifyProofArgs) -> Result<()> {
    let host = match (args.host, &args.key) {
        (Some(host), _) => host,
        (None, Some(file)) => AccountKey::load(file)?.address(),
        (None, None) => bail!("say who verifies: --host ADDRESS or --key FILE"),
    };
    let placement = args.against.verify(&args.proof, host, args.job).await?;
    print_json(&serde_json::json!({
        "verified": true,
        "job": placement.job,
        "replica": placement.replica,
        "owner": placement.owner,
        "host": placement.host,
        "report": placement.report,
        "image": placement.image,
        "decided_in_round": placement.round,
        "shown_in_round": placement.shown,
        "state_root": placement.state_root,
        "expires": placement.expires,
    }))
}

#[derive(Debug, Args)]
pub(super) struct AcknowledgeArgs {
    /// The proof that the job's owner sent
    proof: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// How far the job has come: accepted, running, finished or failed
    #[arg(long)]
    status: Progress,
    /// What runs: a `sha256:` digest; may be left out if the job names its image on the chain
    #[arg(long)]
    image: Option<String>,
    /// Where to write it, for the owner
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    against: AgainstArgs,
}

/// `parallax host acknowledge`.
pub(super) async fn acknowledge_job(args: AcknowledgeArgs) -> Result<()> {
    let key = args.key.load()?;
    let image = args.image.as_deref().map(parse_image).transpose().map_err(|e| eyre!("--image: {e}"))?;
    let placement = args.against.verify(&args.proof, key.address(), None).await?;
    let signed = acknowledge(&placement, &key.secret, image, args.status)?;
    write_acknowledgement(&args.out, &signed)?;
    println!("job {} is acknowledged as {} in {}", placement.job, args.status.name(), args.out.display());
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct CountersignArgs {
    /// The acknowledgement that the host sent
    acknowledgement: PathBuf,
    /// The owner's own proof of the placement
    #[arg(long, value_name = "FILE")]
    proof: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Where to write it; the host gets a copy
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    against: AgainstArgs,
}

/// `parallax job countersign`.
pub(super) async fn countersign(args: CountersignArgs) -> Result<()> {
    let owner = args.key.load()?;
    let signed: SignedAcknowledgement = read_acknowledgement(&args.acknowledgement, "acknowledgement")?;
    let placement = args.against.open(&args.proof).await?;
    let both = sign_for_owner(&placement, signed, &owner.secret)?;
    write_acknowledgement(&args.out, &both)?;
    let said = &both.host.acknowledgement;
    println!("{} of job {} is countersigned in {}", said.status.name(), said.job, args.out.display());
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct AnchorArgs {
    /// The countersigned acknowledgement
    acknowledgement: PathBuf,
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// The countersigned acknowledgement of a file, with both signatures checked.
fn read_countersigned(path: &Path) -> Result<Countersigned> {
    let both: Countersigned = read_acknowledgement(path, "countersigned acknowledgement")?;
    if !both.verify() {
        bail!("{} does not hold: the signature of the host or of the owner is not over this text", path.display());
    }
    Ok(both)
}

/// `parallax job anchor`.
pub(super) async fn anchor(args: AnchorArgs) -> Result<()> {
    let said = read_countersigned(&args.acknowledgement)?.host.acknowledgement;
    let (job, replica, anchor) = (said.job, said.replica, said.anchor());
    let round = send(&args.rpc, &args.key, Call::AnchorDeployment { job, replica, anchor }).await?;
    println!("job {job} is anchored in {round} as {anchor}");
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// The job's id
    id: Digest,
    /// Which of its replicas, counted from 0
    #[arg(long, default_value_t = 0)]
    replica: u8,
    /// How far the job has come: running, finished or failed
    #[arg(long)]
    status: Progress,
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// `parallax job update`.
pub(super) async fn update(args: UpdateArgs) -> Result<()> {
    let call = Call::UpdateStatus { job: args.id, replica: args.replica, status: args.status };
    let round = send(&args.rpc, &args.key, call).await?;
    println!("job {} is {} since {round}", args.id, args.status.name());
    Ok(())
}

/// `parallax job dispute`.
pub(super) async fn dispute(args: AnchorArgs) -> Result<()> {
    let both = read_countersigned(&args.acknowledgement)?;
    let job = both.host.acknowledgement.job;
    let round = send(&args.rpc, &args.key, Call::OpenAnchor(Box::new(both))).await?;
    println!("the anchor of job {job} is open since {round}: host, image and status are public now");
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct DeploymentArgs {
    /// The job's id
    id: Digest,
    /// Which of its replicas, counted from 0
    #[arg(long, default_value_t = 0)]
    replica: u8,
    #[command(flatten)]
    rpc: RpcArgs,
}

/// `parallax job deployment`.
pub(super) async fn deployment(args: DeploymentArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    print_json(&client.deployment(args.id, args.replica).await?)
}

/// Sends a call and waits for its round.
pub(super) async fn send(rpc: &RpcArgs, key: &KeyArgs, call: Call) -> Result<String> {
    let client = SchedulerClient::connect(&rpc.url()?).await?;
    let key = key.load()?;
    let result = client.wait(client.send(&key, call).await?, ROUND_LIMIT).await?;
    Ok(format!("round {}", result.round))
}
