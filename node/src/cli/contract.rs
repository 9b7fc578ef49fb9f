//! `parallax contract`: deploy and use contracts that compute on encrypted values. What a command was asked for goes to
//! standard output, alone, so that a shell can use it; what else happened goes to standard error.

mod chain;

use super::print_json;
use chain::{ChainArgs, CipherArgs, FromArgs, FunctionArgs, address};
use clap::{Args, Subcommand};
use eyre::{Result, bail, eyre};
use parallax_evm_client::{Artifact, EvmClient, Held, Method, Receipt, Request, Value, Wallet, abi};
use parallax_runtime::FheType;
use revm::primitives::{B256, U256, hex};
use serde_json::{Value as Json, json};
use std::path::PathBuf;

pub(super) use chain::address as ethereum_account;

#[derive(Debug, Subcommand)]
pub(super) enum ContractCommand {
    /// Create a contract from a compiler's artifact; prints its address
    Deploy(DeployArgs),
    /// Send a transaction that calls a function; prints the transaction's hash
    Send(SendArgs),
    /// Send tokens to an account; prints the transaction's hash
    Transfer(TransferArgs),
    /// Ask a function without a transaction; prints what it returns, a line each
    Call(CallArgs),
    /// Encrypt values for a contract; prints handles and proof
    Encrypt(EncryptArgs),
    /// Decrypt handles: for an account that may see them, or with --public for everyone; prints the values
    Decrypt(DecryptArgs),
    /// Show an account's address and balance, or make a new key
    Account(AccountArgs),
    /// Print the URL of the Ethereum JSON-RPC server, for other tools
    Endpoint(ChainArgs),
}

#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// The artifact that a compiler wrote (Hardhat, Foundry, solc), or a file with creation code in hexadecimal
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
    /// Arguments of the constructor
    #[arg(value_name = "ARGUMENT", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Types of the constructor's arguments, for code without an ABI: (uint256,address)
    #[arg(long, value_name = "TYPES")]
    constructor: Option<String>,
    /// Most gas that the transaction may use [default: what it takes, and a quarter]
    #[arg(long)]
    gas: Option<u64>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    function: FunctionArgs,
    /// Wei that the transaction carries
    #[arg(long, value_name = "WEI", default_value_t = U256::ZERO)]
    value: U256,
    /// Most gas that the transaction may use [default: what it takes, and a quarter]
    #[arg(long)]
    gas: Option<u64>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    cipher: CipherArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    /// Who gets them
    #[arg(value_name = "ACCOUNT")]
    to: String,
    /// How much: a token is 10^18 wei
    #[arg(value_name = "WEI")]
    value: U256,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    function: FunctionArgs,
    /// Decrypt the handles that it returns, for --from
    #[arg(long)]
    decrypt: bool,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Debug, Args)]
pub(super) struct EncryptArgs {
    /// Values with their types: u64:5, bool:true, address:0x...
    #[arg(value_name = "TYPE:VALUE", required = true)]
    values: Vec<String>,
    /// The contract that is to use them
    #[arg(long)]
    contract: String,
    /// Who will call it with them [default: --from]
    #[arg(long, value_name = "ACCOUNT")]
    user: Option<String>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    cipher: CipherArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Debug, Args)]
pub(super) struct DecryptArgs {
    /// A handle, 0x and 64 hexadecimal digits; may be repeated
    #[arg(long, required = true, value_parser = handle)]
    handle: Vec<B256>,
    /// A contract that may use the handles
    #[arg(long, required_unless_present = "public")]
    contract: Option<String>,
    /// What was made publicly decryptable, with the proof that contracts take
    #[arg(long, conflicts_with_all = ["contract", "delegator"])]
    public: bool,
    /// An account that has delegated its right to --from
    #[arg(long, value_name = "ACCOUNT")]
    delegator: Option<String>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    /// Make a key, write it to a new file that its owner alone can read, and print its address
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    new: Option<PathBuf>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

impl ContractCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Deploy(args) => deploy(args).await,
            Self::Send(args) => send(args).await,
            Self::Transfer(args) => transfer(args).await,
            Self::Call(args) => call(args).await,
            Self::Encrypt(args) => encrypt(args).await,
            Self::Decrypt(args) => decrypt(args).await,
            Self::Account(args) => account(args).await,
            Self::Endpoint(args) => args.print_endpoint(),
        }
    }
}

fn receipt_json(receipt: &Receipt) -> Json {
    json!({
        "transaction": receipt.hash,
        "block": receipt.block,
        "gasUsed": receipt.gas_used,
        "fheGas": receipt.fhe_gas,
        "contract": receipt.contract,
        "logs": receipt.logs,
    })
}

/// What happened beside what was asked for.
fn note(what: &str, receipt: &Receipt) {
    eprintln!("{what} in block {}, {} gas, {} FHE gas", receipt.block, receipt.gas_used, receipt.fhe_gas);
}

async fn deploy(args: DeployArgs) -> Result<()> {
    let artifact = Artifact::load(&args.artifact)?;
    let code = artifact.code.clone().ok_or_else(|| {
        eyre!(
            "{} has no code that can be deployed: compile the contract itself, with its libraries linked",
            args.artifact.display()
        )
    })?;
    let constructor = match &args.constructor {
        Some(types) => Method::parse_constructor(types)?,
        None => artifact.constructor(),
    };
    let arguments = constructor.arguments(&args.arguments)?;
    if !arguments.values().is_empty() {
        bail!("a constructor cannot take encrypted arguments: they are bound to an address that is not there yet");
    }
    let code = [code.as_ref(), &arguments.encode(&[], &[])?].concat();
    let from = args.from.wallet()?;
    let client = args.chain.connect().await?;
    let request = Request { gas: args.gas, ..Request::create(code) };
    let receipt = client.send(&from, &request, Some(&artifact.abi)).await?;
    let contract = receipt.contract.ok_or_else(|| eyre!("the transaction created nothing"))?;
    if args.chain.json {
        return print_json(&receipt_json(&receipt));
    }
    note("created", &receipt);
    println!("{contract}");
    Ok(())
}

async fn send(args: SendArgs) -> Result<()> {
    let (contract, method, artifact) = args.function.read()?;
    let arguments = method.arguments(&args.function.arguments)?;
    let from = args.from.wallet()?;
    let client = args.chain.connect().await?;
    // Before anything is encrypted for it: the transaction would succeed, and do nothing.
    client.require_contract(contract).await?;
    let values = arguments.values();
    let calldata = if values.is_empty() {
        arguments.encode(&[], &[])?
    } else {
        let cipher = args.cipher.load()?;
        let input = client.encrypt_input(cipher, &values, (contract, from.address()), &from).await?;
        if !args.chain.json {
            note(&format!("{} encrypted", plural(values.len(), "value")), &input.receipt);
        }
        arguments.encode(&input.handles, &input.proof)?
    };
    let request = Request { gas: args.gas, value: args.value, ..Request::call(contract, calldata) };
    let receipt = client.send(&from, &request, Some(&artifact.abi)).await?;
    if args.chain.json {
        return print_json(&receipt_json(&receipt));
    }
    note(method.signature(), &receipt);
    println!("{}", receipt.hash);
    Ok(())
}

async fn transfer(args: TransferArgs) -> Result<()> {
    let (to, from) = (address(&args.to)?, args.from.wallet()?);
    let client = args.chain.connect().await?;
    let receipt = client.send(&from, &Request { value: args.value, ..Request::call(to, Vec::new()) }, None).await?;
    if args.chain.json {
        return print_json(&receipt_json(&receipt));
    }
    note("transfer", &receipt);
    println!("{}", receipt.hash);
    Ok(())
}

/// The name of an encrypted value.
fn handle(text: &str) -> Result<B256, String> {
    text.parse().map_err(|_| "a handle is 0x and 64 hexadecimal digits, as a contract returns it".to_owned())
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

async fn call(args: CallArgs) -> Result<()> {
    let (contract, method, artifact) = args.function.read()?;
    let arguments = method.arguments(&args.function.arguments)?;
    if !arguments.values().is_empty() {
        bail!("an encrypted argument needs a transaction that brings it; use `parallax contract send`");
    }
    let from = args.from.wallet()?;
    let client = args.chain.connect().await?;
    let request = Request::call(contract, arguments.encode(&[], &[])?);
    let output = client.call(from.address(), &request, Some(&artifact.abi)).await?;
    let returned = method.returned(&output)?;
    let shown: Vec<(Json, String)> = if args.decrypt {
        let held = |value| match abi::handle(value) {
            Some(handle) => Ok(Held { handle, contract }),
            None => Err(eyre!("{} returns something that is no handle; leave --decrypt out", method.signature())),
        };
        let held = returned.iter().map(held).collect::<Result<Vec<_>>>()?;
        decrypted(&client, &from, None, &held).await?.iter().map(|value| (value_json(value), value.text())).collect()
    } else {
        returned.iter().map(|value| (abi::json(value), abi::text(value))).collect()
    };
    if args.chain.json {
        return print_json(&shown.into_iter().map(|(json, _)| json).collect::<Vec<_>>());
    }
    shown.into_iter().for_each(|(_, text)| println!("{text}"));
    Ok(())
}

async fn encrypt(args: EncryptArgs) -> Result<()> {
    let values = args.values.iter().map(|text| Value::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let (contract, from) = (address(&args.contract)?, args.from.wallet()?);
    let user = args.user.as_deref().map_or_else(|| Ok(from.address()), address)?;
    let client = args.chain.connect().await?;
    if client.code(contract).await?.is_empty() {
        eprintln!("no contract is deployed at {contract} yet; what is encrypted for it is of no use to another one");
    }
    let input = client.encrypt_input(args.cipher.load()?, &values, (contract, user), &from).await?;
    if args.chain.json {
        return print_json(&json!({
            "handles": input.handles,
            "inputProof": hex::encode_prefixed(&input.proof),
            "contract": contract,
            "user": user,
            "transaction": input.receipt.hash,
        }));
    }
    note(&format!("{} encrypted", plural(values.len(), "value")), &input.receipt);
    input.handles.iter().for_each(|handle| println!("{handle}"));
    println!("{}", hex::encode_prefixed(&input.proof));
    Ok(())
}

async fn decrypted(client: &EvmClient, user: &Wallet, delegator: Option<&str>, held: &[Held]) -> Result<Vec<Value>> {
    // A value that was never set has the handle 0, and no ciphertext.
    if let Some(empty) = held.iter().find(|held| held.handle.is_zero()) {
        bail!("contract {} has not set this value yet: its handle is 0", empty.contract);
    }
    let delegator = delegator.map(address).transpose()?;
    Ok(client.user_decrypt(user, delegator, held).await?)
}

fn value_json(value: &Value) -> Json {
    match value.kind() {
        FheType::Bool => json!(!value.number().is_zero()),
        _ => json!(value.text()),
    }
}

async fn decrypt(args: DecryptArgs) -> Result<()> {
    let client = args.chain.connect().await?;
    let (values, more) = match &args.contract {
        Some(contract) => {
            let contract = address(contract)?;
            let held: Vec<Held> = args.handle.iter().map(|handle| Held { handle: *handle, contract }).collect();
            let values = decrypted(&client, &args.from.wallet()?, args.delegator.as_deref(), &held).await?;
            (values, None)
        }
        None => {
            let opened = client.public_decrypt(&args.handle).await?;
            (opened.values, Some((opened.plaintexts, opened.proof)))
        }
    };
    if !args.chain.json {
        values.iter().for_each(|value| println!("{}", value.text()));
        if let Some((_, proof)) = more {
            println!("{}", hex::encode_prefixed(proof));
        }
        return Ok(());
    }
    let clear: serde_json::Map<String, Json> =
        args.handle.iter().zip(&values).map(|(handle, value)| (handle.to_string(), value_json(value))).collect();
    let mut out = json!({ "clearValues": clear });
    if let (Some((plaintexts, proof)), Some(fields)) = (more, out.as_object_mut()) {
        fields.insert("abiEncodedClearValues".to_owned(), json!(hex::encode_prefixed(plaintexts)));
        fields.insert("decryptionProof".to_owned(), json!(hex::encode_prefixed(proof)));
    }
    print_json(&out)
}

async fn account(args: AccountArgs) -> Result<()> {
    if let Some(file) = &args.new {
        let wallet = Wallet::generate();
        wallet.save(file)?;
        println!("{}", wallet.address());
        return Ok(());
    }
    let wallet = args.from.wallet()?;
    let client = args.chain.connect().await?;
    let balance = client.balance(wallet.address()).await?;
    if args.chain.json {
        return print_json(&json!({ "address": wallet.address(), "balance": balance.to_string() }));
    }
    println!("{}\n{balance} wei", wallet.address());
    Ok(())
}
