//! `parallax host`: a machine that organisations offer.

use super::placement::{self, AcknowledgeArgs, VerifyProofArgs};
use super::{EncryptionArgs, KeyArgs, RpcArgs};
use crate::client::SchedulerClient;
use clap::{Args, Subcommand};
use eyre::Result;
use parallax_network::peer_id_of;
use parallax_primitives::Address;
use parallax_scheduler::cluster::Machine;
use parallax_scheduler::openb::Node;
use parallax_scheduler::{Call, Purpose};
use std::time::Duration;

/// How long a client waits for a round.
const ROUND_LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug, Subcommand)]
pub(super) enum HostCommand {
    /// Make an account a host: locks its stake
    Register(RegisterArgs),
    /// Register what the machine has, encrypted, with a proof: reports are audited against it
    Capacity(CapacityArgs),
    /// Report what the machine has free, encrypted, with a proof; it may then be chosen (again)
    Report(ReportArgs),
    /// Check the proof that a job went to this host, without believing its owner
    VerifyProof(VerifyProofArgs),
    /// Sign how far a job has come, for its owner
    Acknowledge(AcknowledgeArgs),
    /// Show the registered hosts
    List(RpcArgs),
}

#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// The host's name, public
    #[arg(long)]
    name: String,
    /// Who owns it, public
    #[arg(long)]
    organisation: String,
    /// Its zone, public
    #[arg(long, default_value_t = 0)]
    zone: u16,
}

#[derive(Debug, Args)]
struct MachineArgs {
    /// CPU of the machine, in milli-cores
    #[arg(long)]
    cpu_milli: u64,
    /// Memory of the machine, in MiB
    #[arg(long)]
    memory_mib: u64,
    /// GPUs of the machine
    #[arg(long, default_value_t = 0)]
    gpus: u8,
}

impl MachineArgs {
    fn node(&self, address: Address, model: String) -> Node {
        let (cpu_milli, memory_mib, gpus) = (self.cpu_milli, self.memory_mib, self.gpus);
        Node { name: address.to_string(), cpu_milli, memory_mib, gpus, model }
    }
}

#[derive(Debug, Args)]
pub(super) struct CapacityArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Price, for the policy COST; public
    #[arg(long, default_value_t = 0)]
    price: u8,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Model of its GPUs
    #[arg(long, default_value = "")]
    model: String,
    /// Latency class, 0..=15
    #[arg(long, default_value_t = 0)]
    latency: u8,
    /// Price, for the policy COST
    #[arg(long, default_value_t = 0)]
    price: u8,
}

impl HostCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Register(args) => register(args).await,
            Self::Capacity(args) => capacity(args).await,
            Self::Report(args) => report(args).await,
            Self::VerifyProof(args) => placement::verify(args).await,
            Self::Acknowledge(args) => placement::acknowledge_job(args).await,
            Self::List(rpc) => {
                let client = SchedulerClient::connect(&rpc.url()?).await?;
                for host in client.hosts().await? {
                    let report =
                        host.report.map_or("none".to_owned(), |r| format!("#{} in round {}", r.number, r.round));
                    println!(
                        "{}  {:<20} {:<16} zone {:<4} report {report}",
                        host.address, host.name, host.organisation, host.zone
                    );
                }
                Ok(())
            }
        }
    }
}

async fn register(args: RegisterArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let key = args.key.load()?;
    let peer_id = peer_id_of(&key.public())?.to_bytes();
    let call = Call::RegisterHost { name: args.name, organisation: args.organisation, zone: args.zone, peer_id };
    let result = client.wait(client.send(&key, call).await?, ROUND_LIMIT).await?;
    println!("host {} is registered in round {}", key.address(), result.round);
    Ok(())
}

async fn capacity(args: CapacityArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let key = args.key.load()?;
    let cipher = args.encryption.cipher(&client)?;
    let node = args.machine.node(key.address(), String::new());
    let digits = Machine::new(node, 0, args.price).capacity().digits()?;
    let sender = key.address();
    let capacity = client.encrypt(cipher, Purpose::Capacity, sender, digits).await?;
    let call = Call::RegisterCapacity { capacity, price: args.price };
    let result = client.wait(client.send(&key, call).await?, ROUND_LIMIT).await?;
    println!("the capacity of {sender} was taken in round {}; report anew", result.round);
    Ok(())
}

async fn report(args: ReportArgs) -> Result<()> {
    let client = SchedulerClient::connect(&args.rpc.url()?).await?;
    let key = args.key.load()?;
    let cipher = args.encryption.cipher(&client)?;
    let models = args.encryption.models("--model", std::slice::from_ref(&args.model))?;
    let node = args.machine.node(key.address(), args.model);
    let digits = Machine::new(node, args.latency, args.price).report(&models).digits(&client.params().policies)?;
    let sender = key.address();
    let list = client.encrypt(cipher, Purpose::Telemetry, sender, digits).await?;
    let result = client.wait(client.send(&key, Call::ReportTelemetry(list)).await?, ROUND_LIMIT).await?;
    println!("the report of {sender} was taken in round {}", result.round);
    Ok(())
}
