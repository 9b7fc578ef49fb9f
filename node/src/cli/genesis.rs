//! `parallax genesis`: documents.

use clap::{Args, Subcommand};
use eyre::{Result, eyre};
use parallax_genesis::GenesisDocument;
use parallax_localnet::cli::{FixtureArgs, ParaTimeArgs};
use parallax_localnet::{Localnet, StartOptions};
use parallax_primitives::ParaTimeId;
use parallax_runtime::ParaTime;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum GenesisCommand {
    /// Write the genesis document and the home directories of a localnet, and start nothing
    Init(InitArgs),
    /// Check a document: form, meaning, signatures and the state of its ParaTimes
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    paratimes: ParaTimeArgs,
    #[command(flatten)]
    fixture: FixtureArgs,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The document
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl GenesisCommand {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Init(args) => {
                let options = StartOptions::new(&args.out)?;
                let plan =
                    super::runtime(1)?.block_on(Localnet::prepare(&args.paratimes.of(&args.fixture), &options))?;
                println!("chain {} in {}", plan.chain, plan.genesis().display());
                for node in &plan.nodes {
                    println!("parallax node run --home {}", node.home.display());
                }
                Ok(())
            }
            Self::Check(args) => {
                let document = GenesisDocument::load(&args.file)?;
                let program = |kind: &str, id: ParaTimeId| -> Option<std::sync::Arc<dyn ParaTime>> {
                    crate::paratime::program(kind, id).ok()
                };
                for paratime in &document.consensus.paratimes {
                    let known = program(&paratime.kind, paratime.id);
                    let known =
                        known.ok_or_else(|| eyre!("this program has no ParaTime of kind {:?}", paratime.kind))?;
                    let parameters = document.paratimes.iter().find(|p| p.id == paratime.id).map(|p| &p.parameters);
                    let parameters = parameters.ok_or_else(|| eyre!("ParaTime {} has no parameters", paratime.id))?;
                    let changes = known.init_genesis(parameters).map_err(|e| eyre!("ParaTime {}: {e}", paratime.id))?;
                    let root = parallax_genesis::genesis_root(paratime.id, &changes)?;
                    if root != paratime.genesis_root {
                        return Err(eyre!(
                            "ParaTime {}: its parameters give the state root {root}, the document says {}",
                            paratime.id,
                            paratime.genesis_root
                        ));
                    }
                }
                println!("valid; chain {} ({})", document.consensus.chain_id, document.chain_context()?);
                Ok(())
            }
        }
    }
}
