//! `parallax tx`: consensus transactions.

use super::{KeyArgs, RpcArgs};
use crate::client::{chain_of, wait_consensus};
use clap::{Args, Subcommand};
use eyre::Result;
use parallax_consensus_app::tx::{Call, Transaction, TxBody};
use parallax_primitives::{Address, Amount, Gas, Nonce};
use parallax_rpc::{Client, ConsensusApiClient as _};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum TxCommand {
    /// Send native tokens
    Transfer(TransferArgs),
    /// Put tokens into an entity's escrow
    Escrow(TransferArgs),
    /// Take tokens out of an entity's escrow; they are free after the debonding time
    Reclaim(TransferArgs),
}

#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// The other account: recipient or entity
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    /// How much, in base units
    #[arg(long)]
    amount: Amount,
    /// Fee in base units
    #[arg(long, default_value = "10000")]
    fee: Amount,
    /// Most gas that it may use
    #[arg(long, default_value = "10000")]
    gas: Gas,
    /// Nonce [default: the account's next]
    #[arg(long)]
    nonce: Option<Nonce>,
    /// Print the transaction instead of sending it
    #[arg(long)]
    offline: bool,
}

impl TxCommand {
    pub(super) async fn run(self) -> Result<()> {
        let (args, call) = match self {
            Self::Transfer(a) => {
                let call = Call::Transfer { to: a.to, amount: a.amount };
                (a, call)
            }
            Self::Escrow(a) => {
                let call = Call::Escrow { to: a.to, amount: a.amount };
                (a, call)
            }
            Self::Reclaim(a) => {
                let call = Call::Reclaim { from: a.to, amount: a.amount };
                (a, call)
            }
        };
        let rpc = args.rpc.connect().await?;
        let key = args.key.load()?;
        let nonce = match args.nonce {
            Some(nonce) => nonce,
            None => rpc.account(key.address()).await?.nonce,
        };
        let body = TxBody { nonce, fee: args.fee, gas_limit: args.gas, call };
        let bytes = Transaction::sign(body, chain_of(&rpc).await?, &key.secret).encode();
        if args.offline {
            println!("{}", parallax_rpc::Hex(bytes));
            return Ok(());
        }
        send(&rpc, bytes).await
    }
}

async fn send(rpc: &Client, bytes: Vec<u8>) -> Result<()> {
    let digest = rpc.submit(bytes.into()).await?;
    let height = wait_consensus(rpc, digest, Duration::from_secs(30)).await?;
    println!("{digest} is in block {height}");
    Ok(())
}
