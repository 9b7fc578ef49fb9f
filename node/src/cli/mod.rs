//! The command line.

mod contract;
mod genesis;
mod host;
mod job;
mod keys;
mod names;
mod placement;
mod policy;
mod query;
mod request;
mod round;
mod tx;
mod verify;

use crate::client::SchedulerClient;
use crate::demo::DemoArgs;
use crate::run;
use clap::{Args, Parser, Subcommand};
use eyre::{Result, bail, eyre};
use parallax_consensus_app::tx::Role;
use parallax_fhe::TfheClientCipher;
use parallax_genesis::AccountKey;
use parallax_localnet::cli::LocalnetCommand;
use parallax_localnet::localnet::DEFAULT_DIR;
use parallax_localnet::{ParaTimeKind, Plan};
use parallax_rpc::Client;
use parallax_scheduler::cluster::Models;
use parallax_worker::Fault;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// A network that computes on encrypted data, replicated and verified bit for bit
#[derive(Debug, Parser)]
#[command(name = "parallax", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    #[command(subcommand)]
    Node(NodeCommand),
    /// A network of real processes on this machine
    #[command(subcommand)]
    Localnet(LocalnetCommands),
    /// Make and check genesis documents
    #[command(subcommand)]
    Genesis(genesis::GenesisCommand),
    /// Make and show keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Send consensus transactions
    #[command(subcommand)]
    Tx(tx::TxCommand),
    /// Ask a node
    #[command(subcommand)]
    Query(query::QueryCommand),
    /// What the replicas of a round said, and where they began to differ
    #[command(subcommand)]
    Round(round::RoundCommand),
    /// Check a proof bundle without a node
    Verify(verify::VerifyArgs),
    /// Offer a machine: register it, report its encrypted telemetry
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Submit an encrypted job, see where it went
    #[command(subcommand)]
    Job(job::JobCommand),
    /// What governs a cluster: images, submitters, tiers, freshness
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Deploy and use contracts that compute on encrypted values
    #[command(subcommand)]
    Contract(contract::ContractCommand),
    /// Lists of images, as Merkle trees in OpenZeppelin's form
    #[command(subcommand)]
    Images(policy::ImagesCommand),
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Run the node of a home directory until it is asked to end
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Home directory
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Be dishonest; refused outside a localnet
    #[arg(long, value_name = "KIND[@ROUNDS]")]
    fault: Option<Fault>,
    /// Watch standard input and end when it does; set by a localnet's supervisor
    #[arg(long, hide = true)]
    supervised: bool,
}

#[derive(Debug, Subcommand)]
enum LocalnetCommands {
    #[command(flatten)]
    Supervise(LocalnetCommand),
    /// Start a network, place encrypted jobs on encrypted hosts, and compare with a plaintext scheduler
    Demo(DemoArgs),
}

/// Which node to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct RpcArgs {
    /// URL of a node's RPC server [default: the first compute node of the localnet in .parallax/localnet]
    #[arg(long, value_name = "URL", env = "PARALLAX_RPC")]
    rpc: Option<String>,
}

/// Who signs.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyArgs {
    /// Key file of the account that signs
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl KeyArgs {
    fn load(&self) -> Result<AccountKey> {
        Ok(AccountKey::load(&self.key)?)
    }
}

impl RpcArgs {
    fn url(&self) -> Result<String> {
        match &self.rpc {
            Some(url) => Ok(url.clone()),
            None => default_endpoint(Role::Compute),
        }
    }

    async fn connect(&self) -> Result<Client> {
        Ok(Client::connect(&self.url()?).await?)
    }
}

/// An endpoint of the localnet in the default directory.
fn default_endpoint(role: Role) -> Result<String> {
    let plan = Plan::load(Path::new(DEFAULT_DIR))?;
    let url = plan.as_ref().and_then(|plan| crate::client::endpoints(plan, role).into_iter().next());
    url.ok_or_else(|| {
        eyre!(
            "no node is named and there is no localnet in {DEFAULT_DIR}; give --rpc URL, or run `parallax localnet up`"
        )
    })
}

/// What a client needs to encrypt for a cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct EncryptionArgs {
    /// Directory of the ParaTime's FHE key set [default: that of the localnet in .parallax/localnet]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// All GPU models of the cluster, separated by commas: labels are numbered in their alphabetical order
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
}

impl EncryptionArgs {
    fn cipher(&self, client: &SchedulerClient) -> Result<Arc<TfheClientCipher>> {
        let dir = match &self.keys {
            Some(dir) => dir.clone(),
            None => {
                let plan = Plan::load(Path::new(DEFAULT_DIR))?.ok_or_else(|| {
                    eyre!("there is no localnet in {DEFAULT_DIR}; give --keys the directory of the ParaTime's key set")
                })?;
                plan.keys(ParaTimeKind::Scheduler)?.to_owned()
            }
        };
        Ok(Arc::new(client.cipher(&dir)?))
    }

    /// The labels of the cluster's models. Every model that `flag` names must be among them, or no label would stand
    /// for it and it would pass for any other.
    fn models(&self, flag: &str, named: &[String]) -> Result<Models> {
        if let Some(unknown) = named.iter().find(|m| !m.is_empty() && !self.models.contains(m)) {
            bail!(
                "{flag}: {unknown:?} is not among --models, so no label stands for it; list all models of the cluster"
            );
        }
        Models::from_names(&self.models).map_err(|e| eyre!("--models: {e}"))
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    use std::io::Write as _;
    let text = serde_json::to_string_pretty(value)?;
    // A reader that has gone away is no fault of ours.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    Ok(())
}

fn log_to_stderr(filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).try_init();
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// What went wrong, in words for its user.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Node(NodeCommand::Run(args)) => return node(args),
            Command::Localnet(command) => return localnet(command),
            Command::Genesis(command) => command.run()?,
            Command::Keys(command) => command.run()?,
            Command::Verify(args) => args.run()?,
            Command::Tx(command) => runtime(1)?.block_on(command.run())?,
            Command::Query(command) => runtime(1)?.block_on(command.run())?,
            Command::Round(command) => runtime(1)?.block_on(command.run())?,
            Command::Host(command) => runtime(2)?.block_on(command.run())?,
            Command::Job(command) => runtime(2)?.block_on(command.run())?,
            Command::Policy(command) => runtime(1)?.block_on(command.run())?,
            Command::Contract(command) => runtime(2)?.block_on(command.run())?,
            Command::Images(command) => command.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn node(args: RunArgs) -> Result<ExitCode> {
    if args.supervised {
        parallax_localnet::lifeline::watch()?;
    }
    let home = run::open_home(&args.home)?;
    log_to_stderr(&home.config.log);
    // Two threads are enough for consensus, network and RPC; FHE has its own.
    runtime(2)?.block_on(run::run(home, args.fault))?;
    Ok(ExitCode::SUCCESS)
}

fn localnet(command: LocalnetCommands) -> Result<ExitCode> {
    log_to_stderr("warn");
    let runtime = runtime(2)?;
    match command {
        LocalnetCommands::Supervise(command) => runtime.block_on(command.run())?,
        LocalnetCommands::Demo(args) => {
            let agreed = runtime.block_on(crate::demo::run(args))?;
            return Ok(if agreed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}
