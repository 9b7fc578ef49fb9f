//! `parallax tx`: consensus transactions.

use super::contract::ethereum_account;
use super::{RpcArgs, query};
use crate::client::{chain_of, wait_consensus};
use clap::{Args, Subcommand};
use eyre::{Result, WrapErr as _, bail};
use parallax_consensus_app::tx::{Call, Transaction, TxBody};
use parallax_genesis::AccountKey;
use parallax_primitives::{Address, Amount, Gas, Nonce};
use parallax_rpc::types::ParaTimeView;
use parallax_rpc::{ConsensusApiClient as _, Hex};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum TxCommand {
    /// Send native tokens
    Transfer(TransferArgs),
    /// Put tokens into an entity's escrow
    Escrow(TransferArgs),
    /// Take tokens out of an entity's escrow; they are free after the debonding time
    Reclaim(TransferArgs),
    /// Send tokens into a ParaTime: the next accepted round credits them there
    Deposit(DepositArgs),
    /// Lift the freeze of a node, once its time has come; `parallax query node` says when
    Unfreeze(UnfreezeArgs),
}

#[derive(Debug, Args)]
pub(super) struct DepositArgs {
    /// The ParaTime's id or kind [default: the only one]
    #[arg(long)]
    paratime: Option<String>,
    /// How much, in base units
    #[arg(long)]
    amount: Amount,
    /// What the ParaTime's treasury gets for taking the message, in base units
    #[arg(long, default_value = "1000")]
    message_fee: Amount,
    /// Whose the tokens are to be, on the EVM: an Ethereum address, or dev-0 to dev-9 [default: the account that signs,
    /// which is the only choice at the scheduler]
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "data")]
    to: Option<String>,
    /// What the message says, in hexadecimal, for a ParaTime that knows what it means
    #[arg(long, value_name = "HEX", default_value = "0x")]
    data: Hex,
    #[command(flatten)]
    send: SendArgs,
}

#[derive(Debug, Args)]
pub(super) struct UnfreezeArgs {
    /// The node: its name in the localnet, its id, or how that begins
    #[arg(long, value_name = "NODE")]
    node: String,
    #[command(flatten)]
    send: SendArgs,
}

#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    /// The other account: recipient or entity
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    /// How much, in base units
    #[arg(long)]
    amount: Amount,
    #[command(flatten)]
    send: SendArgs,
}

/// Who signs a transaction, and how it travels.
#[derive(Debug, Args)]
struct SendArgs {
    #[command(flatten)]
    rpc: RpcArgs,
    /// Key file of the account that signs: an account's, or a node's where that is its own entity, as on a localnet
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
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
            Self::Transfer(a) => (a.send, Call::Transfer { to: a.to, amount: a.amount }),
            Self::Escrow(a) => (a.send, Call::Escrow { to: a.to, amount: a.amount }),
            Self::Reclaim(a) => (a.send, Call::Reclaim { from: a.to, amount: a.amount }),
            Self::Deposit(a) => {
                let found = query::paratime(&a.send.rpc.connect().await?, a.paratime.as_deref()).await?;
                let data = match &a.to {
                    Some(to) => receiver(&found, to)?,
                    None => a.data.0,
                };
                (a.send, Call::SendMessage { paratime: found.id, fee: a.message_fee, tokens: a.amount, data })
            }
            Self::Unfreeze(a) => {
                let node = query::node(&a.send.rpc.connect().await?, &a.node).await?.descriptor.node;
                (a.send, Call::Unfreeze { node })
            }
        };
        args.send(call).await
    }
}

/// The data of a deposit to somebody else.
fn receiver(paratime: &ParaTimeView, to: &str) -> Result<Vec<u8>> {
    if paratime.kind != parallax_evm::KIND {
        bail!(
            "--to: at the ParaTime {} a deposit is the signer's; transfer it there, or name the EVM with --paratime {}",
            paratime.kind,
            parallax_evm::KIND
        );
    }
    Ok(ethereum_account(to).wrap_err("--to")?.to_vec())
}

impl SendArgs {
    /// Signs the call and waits until a block holds it.
    async fn send(self, call: Call) -> Result<()> {
        let rpc = self.rpc.connect().await?;
        let key = AccountKey::load_signer(&self.key)?;
        let nonce = match self.nonce {
            Some(nonce) => nonce,
            None => rpc.account(key.address()).await?.nonce,
        };
        let body = TxBody { nonce, fee: self.fee, gas_limit: self.gas, call };
        let bytes = Transaction::sign(body, chain_of(&rpc).await?, &key.secret).encode();
        if self.offline {
            println!("{}", Hex(bytes));
            return Ok(());
        }
        let digest = rpc.submit(bytes.into()).await?;
        let height = wait_consensus(&rpc, digest, Duration::from_secs(30)).await?;
        println!("{digest} is in block {height}");
        Ok(())
    }
}
