//! `parallax policy` and `parallax images`: what a cluster's governance sets, and its list of images.

use super::placement::{read, send};
use super::{KeyArgs, RpcArgs, print_json};
use crate::client::SchedulerClient;
use clap::{Args, Subcommand};
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_primitives::{Address, Keccak256};
use parallax_scheduler::images::{MAX_IMAGES, parse_image};
use parallax_scheduler::{Call, ImageClaim, ImageRule, ImageTree, PolicyChange, SubmitterRule};
use std::path::{Path, PathBuf};

/// Largest list of images, in bytes.
const MAX_LIST_BYTES: usize = MAX_IMAGES * 128;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Show what governance has set
    Show(RpcArgs),
    /// Change it; counts from the next round on. What is left out stays as it is
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Jobs run images of the list with this root only; see `parallax images root`
    #[arg(long, value_name = "ROOT", conflicts_with = "any_image")]
    images: Option<Keccak256>,
    /// Jobs run any image
    #[arg(long)]
    any_image: bool,
    /// Only these accounts submit jobs, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with = "anyone")]
    submitters: Vec<Address>,
    /// Everyone submits jobs
    #[arg(long)]
    anyone: bool,
    /// How many tiers there are
    #[arg(long)]
    tiers: Option<u8>,
    /// For how many rounds after its report a host is a candidate
    #[arg(long)]
    freshness_rounds: Option<u64>,
    /// Most candidates of a decision
    #[arg(long)]
    candidates: Option<u16>,
}

impl SetArgs {
    fn change(&self) -> PolicyChange {
        let listed = (!self.submitters.is_empty()).then(|| SubmitterRule::Listed(self.submitters.clone()));
        PolicyChange {
            images: self.images.map(ImageRule::Root).or(self.any_image.then_some(ImageRule::Any)),
            submitters: listed.or(self.anyone.then_some(SubmitterRule::Anyone)),
            tiers: self.tiers,
            freshness_rounds: self.freshness_rounds,
            candidates_per_decision: self.candidates,
        }
    }
}

impl PolicyCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Show(rpc) => print_json(&SchedulerClient::connect(&rpc.url()?).await?.policy().await?),
            Self::Set(args) => {
                let change = args.change();
                if change == PolicyChange::default() {
                    bail!("nothing is to change; name at least one rule, see --help");
                }
                let round = send(&args.rpc, &args.key, Call::SetPolicy(change)).await?;
                println!("the policy is changed in {round}; it counts from the next one on");
                Ok(())
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ImagesCommand {
    /// The Merkle root of a list of images, one `sha256:` digest a line
    Root(RootArgs),
    /// The proof that an image is on a list
    Prove(ProveArgs),
}

#[derive(Debug, Args)]
pub(super) struct RootArgs {
    /// The list
    list: PathBuf,
    /// Print the whole tree, as `StandardMerkleTree.load` of @openzeppelin/merkle-tree reads it
    #[arg(long)]
    tree: bool,
}

#[derive(Debug, Args)]
pub(super) struct ProveArgs {
    /// The list
    list: PathBuf,
    /// The image, a `sha256:` digest
    image: String,
}

fn tree(list: &Path) -> Result<ImageTree> {
    let text = String::from_utf8(read(list, MAX_LIST_BYTES)?).map_err(|_| eyre!("{} is no text", list.display()))?;
    ImageTree::parse(&text).wrap_err_with(|| format!("{}", list.display()))
}

/// An image with its proof from a list; without a list the proof is empty.
pub(super) fn claim(image: &str, list: Option<&Path>) -> Result<ImageClaim> {
    let image = parse_image(image).map_err(|e| eyre!("--image: {e}"))?;
    match list {
        None => Ok(ImageClaim { image, proof: Vec::new() }),
        Some(list) => {
            tree(list)?.claim(&image).ok_or_else(|| eyre!("image {image} is not on the list {}", list.display()))
        }
    }
}

impl ImagesCommand {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Root(args) => {
                let tree = tree(&args.list)?;
                if args.tree {
                    return print_json(&tree.dump());
                }
                println!("{}", tree.root());
                Ok(())
            }
            Self::Prove(args) => print_json(&claim(&args.image, Some(&args.list))?),
        }
    }
}
