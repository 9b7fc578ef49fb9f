//! Which chain, who signs, what encrypts.

use crate::cli::{RpcArgs, print_json};
use clap::Args;
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_consensus_app::tx::Role;
use parallax_evm_client::{Artifact, Endpoints, EvmClient, Method, Wallet};
use parallax_fhe::{ClientKeys, Manifest, TfheClientCipher};
use parallax_localnet::localnet::DEFAULT_DIR;
use parallax_localnet::{ParaTimeKind, Plan};
use revm::primitives::Address;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the chain is reached.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ChainArgs {
    /// URL of an Ethereum JSON-RPC server of the chain [default: that of the localnet's first compute node]
    #[arg(long, value_name = "URL", env = "PARALLAX_ETHEREUM")]
    ethereum: Option<String>,
    #[command(flatten)]
    rpc: RpcArgs,
    /// URL of a key manager; may be repeated [default: those of the localnet in .parallax/localnet]
    #[arg(long, value_name = "URL")]
    kms: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn plan() -> Result<Option<Plan>> {
    Ok(Plan::load(Path::new(DEFAULT_DIR))?)
}

impl ChainArgs {
    /// The endpoints, from the command line and else from the localnet.
    fn endpoints(&self) -> Result<Endpoints> {
        let plan = plan()?;
        let ethereum = self.ethereum.clone().or_else(|| {
            let nodes = plan.iter().flat_map(|plan| &plan.nodes);
            nodes.filter(|n| n.role == Role::Compute).find_map(|n| n.ethereum_url())
        });
        let ethereum = match (ethereum, &plan) {
            (Some(url), _) => url,
            (None, Some(plan)) => bail!(
                "the localnet in {} runs no EVM; start one that does with `parallax localnet up --fresh`",
                plan.dir.display()
            ),
            (None, None) => bail!(
                "there is no localnet in {DEFAULT_DIR}; run `parallax localnet up`, or give --ethereum, --rpc and --kms"
            ),
        };
        let key_managers = match (&plan, self.kms.as_slice()) {
            (Some(plan), []) => crate::client::endpoints(plan, Role::KeyManager),
            (_, given) => given.to_vec(),
        };
        Ok(Endpoints { ethereum, node: self.rpc.url()?, key_managers })
    }

    pub(super) fn print_endpoint(&self) -> Result<()> {
        let Endpoints { ethereum, node, key_managers } = self.endpoints()?;
        if self.json {
            return print_json(&serde_json::json!({ "ethereum": ethereum, "node": node, "keyManagers": key_managers }));
        }
        println!("{ethereum}");
        Ok(())
    }

    pub(super) async fn connect(&self) -> Result<EvmClient> {
        let endpoints = self.endpoints()?;
        EvmClient::connect(&endpoints).await.wrap_err_with(|| {
            format!("cannot use the chain at {} and {}; is the localnet running?", endpoints.ethereum, endpoints.node)
        })
    }
}

/// What encrypts.
#[derive(Clone, Debug, Args)]
pub(super) struct CipherArgs {
    /// Directory of the EVM's FHE key set [default: that of the localnet in .parallax/localnet]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

impl CipherArgs {
    pub(super) fn load(&self) -> Result<Arc<TfheClientCipher>> {
        let dir = match (&self.keys, plan()?) {
            (Some(dir), _) => dir.clone(),
            (None, Some(plan)) => plan.keys(ParaTimeKind::Evm)?.to_owned(),
            (None, None) => {
                bail!("there is no localnet in {DEFAULT_DIR}; give --keys the directory of the EVM's key set")
            }
        };
        let manifest = Manifest::load(&dir)?;
        Ok(Arc::new(TfheClientCipher::new(Arc::new(ClientKeys::load(&dir, &manifest)?))))
    }
}

/// Who signs.
#[derive(Clone, Debug, Args)]
pub(super) struct FromArgs {
    /// Who acts: dev-0 to dev-9, the funded accounts of a localnet, whose keys everyone knows; or a key file
    #[arg(long, value_name = "ACCOUNT", default_value = "dev-0")]
    from: String,
}

impl FromArgs {
    pub(super) fn wallet(&self) -> Result<Wallet> {
        match Wallet::named(&self.from) {
            Some(wallet) => Ok(wallet?),
            None => {
                Ok(Wallet::load(Path::new(&self.from))
                    .wrap_err("--from names neither dev-0 to dev-9 nor a key file")?)
            }
        }
    }
}

/// An address, or the name of an account.
pub(in crate::cli) fn address(text: &str) -> Result<Address> {
    if let Some(wallet) = Wallet::named(text) {
        return Ok(wallet?.address());
    }
    text.parse().map_err(|_| eyre!("{text:?} is no address; write 0x and 40 hexadecimal digits, or dev-0 to dev-9"))
}

/// A contract's function, by signature or by its artifact.
#[derive(Clone, Debug, Args)]
pub(super) struct FunctionArgs {
    /// The contract's address
    #[arg(value_name = "CONTRACT")]
    contract: String,
    /// The function: a signature such as "balanceOf(address)(euint64)", or its name alone with --abi
    #[arg(value_name = "FUNCTION")]
    function: String,
    /// Its arguments. dev-1 stands for that account's address, enc:u64:5 for a value to be encrypted, and proof for the
    /// proof of the encrypted ones
    #[arg(value_name = "ARGUMENT", allow_negative_numbers = true)]
    pub(super) arguments: Vec<String>,
    /// The artifact that the compiler wrote for the contract, or its ABI
    #[arg(long, value_name = "FILE")]
    abi: Option<PathBuf>,
}

impl FunctionArgs {
    /// The contract's address, the function, and the artifact if one is given.
    pub(super) fn read(&self) -> Result<(Address, Method, Artifact)> {
        let contract = address(&self.contract)?;
        let artifact = self.abi.as_deref().map(Artifact::load).transpose()?;
        let method = match &artifact {
            Some(artifact) if !self.function.contains('(') => {
                artifact.function(&self.function, self.arguments.len())?
            }
            _ => Method::parse(&self.function)?,
        };
        Ok((contract, method, artifact.unwrap_or_default()))
    }
}
