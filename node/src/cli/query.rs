//! `parallax query`: questions to a node, answered in JSON.

use super::names::Names;
use super::{RpcArgs, print_json};
use crate::client::chain_of;
use clap::{Args, Subcommand};
use eyre::{Result, bail, eyre};
use parallax_consensus_app::keys;
use parallax_primitives::{Address, Digest, Height, NodeId, ParaTimeId, Round};
use parallax_rpc::types::{NodeView, ParaTimeView};
use parallax_rpc::{Client, ConsensusApiClient as _, Hex, NodeApiClient as _, ParaTimeApiClient};

#[derive(Debug, Subcommand)]
pub(super) enum QueryCommand {
    /// What the node is and where it stands
    Status(RpcArgs),
    /// Whether the node can do its work
    Health(RpcArgs),
    /// A block
    Block(HeightArgs),
    /// A header with certificate and validators
    Header(HeightArgs),
    /// The validators of a height
    Validators(HeightArgs),
    /// Where a consensus transaction ended
    Tx(DigestArgs),
    /// An account of the ledger
    Account(AccountArgs),
    /// The registered nodes, and where each of them stands
    Nodes(RpcArgs),
    /// A registered node: its stake, whether it can be elected, its faults and whether it is frozen
    Node(NodeArgs),
    /// Events of the ledger
    Events(EventsArgs),
    /// The ParaTimes of the chain
    Paratimes(RpcArgs),
    /// The running round of a ParaTime
    Round(ParaTimeArgs),
    /// A block of a ParaTime
    ParatimeBlock(ParaTimeRoundArgs),
    /// Events of a ParaTime
    ParatimeEvents(ParaTimeSpanArgs),
    /// The result of a ParaTime transaction
    Result(ResultArgs),
    /// A question that the ParaTime itself answers, for example `hosts`, `jobs`, `params`
    Paratime(AskArgs),
    /// What encrypts for a ParaTime, and who decrypts
    PublicKey(ParaTimeArgs),
    /// A state value with its proof; check it with `parallax verify`
    Proof(ProofArgs),
}

#[derive(Debug, Args)]
pub(super) struct HeightArgs {
    /// The height [default: the last committed]
    height: Option<Height>,
    #[command(flatten)]
    rpc: RpcArgs,
}

#[derive(Debug, Args)]
pub(super) struct DigestArgs {
    /// The transaction's digest
    digest: Digest,
    #[command(flatten)]
    rpc: RpcArgs,
}

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    /// The address
    address: Address,
    #[command(flatten)]
    rpc: RpcArgs,
}

#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// The node: its name in the localnet, its id, or how that begins
    node: String,
    #[command(flatten)]
    rpc: RpcArgs,
}

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// First height
    #[arg(long, default_value = "1")]
    from: Height,
    /// Last height [default: the last committed]
    #[arg(long)]
    to: Option<Height>,
    /// Only names that begin so, for example `rounds.`
    #[arg(long)]
    prefix: Option<String>,
    #[command(flatten)]
    rpc: RpcArgs,
}

#[derive(Debug, Args)]
pub(super) struct ParaTimeArgs {
    /// The ParaTime's id or kind [default: the only one]
    #[arg(long)]
    paratime: Option<String>,
    #[command(flatten)]
    rpc: RpcArgs,
}

#[derive(Debug, Args)]
pub(super) struct ParaTimeRoundArgs {
    /// The round [default: the last finalised]
    round: Option<Round>,
    #[command(flatten)]
    paratime: ParaTimeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ParaTimeSpanArgs {
    /// First round
    #[arg(long, default_value = "1")]
    from: Round,
    /// Last round [default: the last finalised]
    #[arg(long)]
    to: Option<Round>,
    #[command(flatten)]
    paratime: ParaTimeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ResultArgs {
    /// The transaction's digest
    digest: Digest,
    #[command(flatten)]
    paratime: ParaTimeArgs,
}

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// The question
    method: String,
    /// Its parameters, a JSON object
    #[arg(default_value = "{}", value_parser = object)]
    parameters: serde_json::Value,
    #[command(flatten)]
    paratime: ParaTimeArgs,
}

/// Which value to prove.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ProofTarget {
    /// An account of the ledger
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Address>,
    /// A state key of the ledger, or of the ParaTime given with --paratime, in hexadecimal
    #[arg(long, value_name = "HEX")]
    key: Option<Hex>,
    /// A state key as text
    #[arg(long, value_name = "TEXT")]
    text_key: Option<String>,
    /// A job of the scheduling ParaTime
    #[arg(long, value_name = "ID")]
    job: Option<Digest>,
    /// A host of the scheduling ParaTime
    #[arg(long, value_name = "ADDRESS")]
    host: Option<Address>,
}

#[derive(Debug, Args)]
pub(super) struct ProofArgs {
    #[command(flatten)]
    target: ProofTarget,
    /// The ParaTime's id or kind, for a key of its state
    #[arg(long)]
    paratime: Option<String>,
    /// The height or round after which the value is to be proven [default: the newest proven one]
    #[arg(long)]
    at: Option<u64>,
    #[command(flatten)]
    rpc: RpcArgs,
}

/// Reads the parameters of a question. Left to itself, the parser of arguments would make one JSON string of any text.
fn object(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(value),
        Ok(_) => Err("it is JSON, but no object".to_owned()),
        Err(error) => Err(format!("it is no JSON object: {error}")),
    }
}

/// A ParaTime by id, by kind, or the only one.
pub(super) async fn paratime(rpc: &Client, wanted: Option<&str>) -> Result<ParaTimeView> {
    one_of(&ParaTimeApiClient::list(rpc).await?, wanted)
}

/// As [`paratime`], for questions: with several ParaTimes the scheduler is meant if none is named.
pub(super) async fn paratime_or_scheduler(rpc: &Client, wanted: Option<&str>) -> Result<ParaTimeId> {
    let all = ParaTimeApiClient::list(rpc).await?;
    let usual = all.iter().find(|p| p.kind == parallax_scheduler::KIND).filter(|_| all.len() > 1);
    Ok(one_of(&all, wanted.or(usual.map(|p| p.kind.as_str())))?.id)
}

fn one_of(all: &[ParaTimeView], wanted: Option<&str>) -> Result<ParaTimeView> {
    let known = || all.iter().map(|p| format!("{} ({})", p.kind, p.id)).collect::<Vec<_>>().join(", ");
    let found = match wanted {
        Some(text) => all.iter().find(|p| p.kind == text || p.id.to_string() == text),
        None if all.len() == 1 => all.first(),
        None => bail!("name one with --paratime; there are {}", known()),
    };
    match found {
        Some(found) => Ok(found.clone()),
        None => bail!("there is no ParaTime {}; there are {}", wanted.unwrap_or_default(), known()),
    }
}

/// The registered node that a text means.
pub(super) async fn node(rpc: &Client, wanted: &str) -> Result<NodeView> {
    let names = Names::of(chain_of(rpc).await?);
    let all = rpc.nodes().await?;
    let ids: Vec<NodeId> = all.iter().map(|view| view.descriptor.node).collect();
    let found = names.find(wanted, &ids, "is registered")?;
    all.into_iter().find(|view| view.descriptor.node == found).ok_or_else(|| eyre!("no node {wanted} is registered"))
}

impl ParaTimeArgs {
    async fn connect(&self) -> Result<(Client, ParaTimeId)> {
        let rpc = self.rpc.connect().await?;
        let id = paratime(&rpc, self.paratime.as_deref()).await?.id;
        Ok((rpc, id))
    }
}

impl QueryCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Status(rpc) => print_json(&rpc.connect().await?.status().await?),
            Self::Health(rpc) => print_json(&rpc.connect().await?.health().await?),
            Self::Block(a) => {
                print_json(&parallax_rpc::ConsensusApiClient::block(&a.rpc.connect().await?, a.height).await?)
            }
            Self::Header(a) => print_json(&a.rpc.connect().await?.header(a.height).await?),
            Self::Validators(a) => print_json(&a.rpc.connect().await?.validators(a.height).await?),
            Self::Tx(a) => print_json(&a.rpc.connect().await?.transaction(a.digest).await?),
            Self::Account(a) => print_json(&a.rpc.connect().await?.account(a.address).await?),
            Self::Nodes(rpc) => print_json(&rpc.connect().await?.nodes().await?),
            Self::Node(a) => print_json(&node(&a.rpc.connect().await?, &a.node).await?),
            Self::Events(a) => {
                let rpc = a.rpc.connect().await?;
                print_json(&parallax_rpc::NodeApiClient::events(&rpc, a.from, a.to, a.prefix).await?)
            }
            Self::Paratimes(rpc) => print_json(&ParaTimeApiClient::list(&rpc.connect().await?).await?),
            Self::Round(a) => {
                let (rpc, id) = a.connect().await?;
                print_json(&rpc.round(id).await?)
            }
            Self::ParatimeBlock(a) => {
                let (rpc, id) = a.paratime.connect().await?;
                print_json(&ParaTimeApiClient::block(&rpc, id, a.round).await?)
            }
            Self::ParatimeEvents(a) => {
                let (rpc, id) = a.paratime.connect().await?;
                print_json(&ParaTimeApiClient::events(&rpc, id, a.from, a.to).await?)
            }
            Self::Result(a) => {
                let (rpc, id) = a.paratime.connect().await?;
                print_json(&rpc.result(id, a.digest).await?)
            }
            Self::Paratime(a) => {
                let (rpc, id) = a.paratime.connect().await?;
                print_json(&ParaTimeApiClient::query(&rpc, id, a.method, a.parameters).await?)
            }
            Self::PublicKey(a) => {
                let (rpc, id) = a.connect().await?;
                print_json(&rpc.public_key(id).await?)
            }
            Self::Proof(args) => proof(args).await,
        }
    }
}

async fn proof(args: ProofArgs) -> Result<()> {
    let rpc = args.rpc.connect().await?;
    let target = args.target;
    let scheduler = || args.paratime.clone().unwrap_or_else(|| parallax_scheduler::KIND.to_owned());
    let (id, key) = match (target.account, target.key, target.text_key, target.job, target.host) {
        (Some(account), ..) => (None, keys::account(&account)),
        (_, Some(key), ..) => (args.paratime.clone(), key.0),
        (_, _, Some(text), ..) => (args.paratime.clone(), text.into_bytes()),
        (_, _, _, Some(job), _) => (Some(scheduler()), parallax_scheduler::keys::job(&job)),
        (_, _, _, _, Some(host)) => (Some(scheduler()), parallax_scheduler::keys::host(&host)),
        _ => bail!("say what to prove: --account, --key, --text-key, --job or --host"),
    };
    let bundle = match id {
        Some(id) => {
            let id = paratime(&rpc, Some(&id)).await?.id;
            ParaTimeApiClient::proof(&rpc, id, key.into(), args.at.map(Round)).await?
        }
        None => parallax_rpc::ConsensusApiClient::proof(&rpc, key.into(), args.at.map(Height)).await?,
    };
    print_json(&bundle)
}
