//! The confidential EVM: accounts pay each other, and a token's owner mints an amount that nobody else knows.

use super::{Executed, ROUND, Transactions, Work};
use crate::observe::POLL;
use async_trait::async_trait;
use eyre::{Result, bail, ensure, eyre};
use parallax_consensus_app::tx::Role;
use parallax_evm::state::account_key;
use parallax_evm_client::transaction::Unsigned;
use parallax_evm_client::{Artifact, Endpoints, EvmClient, Held, Method, Request, Wallet};
use parallax_fhe::{ClientKeys, Manifest, TfheClientCipher};
use parallax_localnet::{ParaTimeKind, Plan};
use parallax_node::client::endpoints;
use parallax_primitives::ParaTimeId;
use parallax_rpc::types::ResultView;
use parallax_rpc::{Client, ParaTimeApiClient};
use revm::primitives::{Address, B256, Bytes, TxKind, U256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// An ERC-7984 token.
const TOKEN: &str = include_str!("../../../examples/contracts/artifacts/Token.json");
/// What is minted: every byte of it is another one.
const MINTED: u64 = 0x0123_4567_89ab_cdef;
/// What a plain transfer takes.
const TRANSFER_GAS: u64 = 21_000;
/// Who is paid.
const RECEIVER: Address = Address::repeat_byte(0x77);

pub(crate) struct Contracts {
    client: EvmClient,
    /// The compute node that is asked.
    node: Client,
    /// The directory of the ParaTime's key set.
    keys: PathBuf,
    /// Pays for everything, and owns the token.
    payer: Wallet,
    /// Has what was minted.
    holder: Wallet,
    transactions: Transactions,
    /// After the last transfer that was submitted.
    next_nonce: u64,
    transferred: u128,
    token: Option<Address>,
}

impl Contracts {
    pub(crate) async fn new(plan: &Plan, nodes: &[String]) -> Result<Self> {
        let planned =
            nodes.first().and_then(|name| plan.node(name)).ok_or_else(|| eyre!("no compute node is named"))?;
        let ethereum = planned.ethereum_url().ok_or_else(|| eyre!("{} has no Ethereum server", planned.name))?;
        let key_managers = endpoints(plan, Role::KeyManager);
        let client = EvmClient::connect(&Endpoints { ethereum, node: planned.rpc_url(), key_managers }).await?;
        Ok(Self {
            client,
            node: Client::new(&planned.rpc_url())?,
            keys: plan.keys(ParaTimeKind::Evm)?.to_owned(),
            payer: Wallet::development(0)?,
            holder: Wallet::development(1)?,
            transactions: Transactions::default(),
            next_nonce: 0,
            transferred: 0,
            token: None,
        })
    }

    /// The result of a transaction, when a finalised round has it.
    async fn result(&self, digest: parallax_primitives::Digest) -> Result<ResultView> {
        let begun = Instant::now();
        loop {
            if let Some(result) = ParaTimeApiClient::result(&self.node, self.id(), digest).await? {
                ensure!(result.error.is_none(), "transaction {digest} failed: {:?}", result.error);
                return Ok(result);
            }
            ensure!(begun.elapsed() < ROUND, "transaction {digest} is in no finalised round after {ROUND:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    fn cipher(&self) -> Result<Arc<TfheClientCipher>> {
        let manifest = Manifest::load(&self.keys)?;
        Ok(Arc::new(TfheClientCipher::new(Arc::new(ClientKeys::load(&self.keys, &manifest)?))))
    }

    /// The handle of a holder's balance.
    async fn balance(&self, token: Address) -> Result<Held> {
        let ask = Method::parse("confidentialBalanceOf(address)")?;
        let calldata = ask.arguments(&[self.holder.address().to_string()])?.encode(&[], &[])?;
        let handle = self.client.call(Address::ZERO, &Request::call(token, calldata), None).await?;
        Ok(Held { handle: B256::try_from(handle.as_ref())?, contract: token })
    }
}

#[async_trait(?Send)]
impl Work for Contracts {
    fn id(&self) -> ParaTimeId {
        self.client.paratime()
    }

    fn key(&self) -> Vec<u8> {
        account_key(&self.payer.address())
    }

    async fn submit(&mut self) -> Result<()> {
        let amount = 1 + self.transactions.count();
        // The account's next nonce, after what waits.
        let nonce = self.client.nonce(self.payer.address()).await?.max(self.next_nonce);
        let unsigned = Unsigned {
            chain_id: self.client.chain_id(),
            nonce,
            fee: self.client.fee().await?,
            gas_limit: TRANSFER_GAS,
            to: TxKind::Call(RECEIVER),
            value: U256::from(amount),
            input: Bytes::new(),
        };
        let tx = unsigned.sign(&self.payer)?;
        let digest = ParaTimeApiClient::submit(&self.node, self.id(), tx.clone().into()).await?;
        self.next_nonce = nonce + 1;
        self.transactions.waiting.push((digest, tx));
        self.transferred += amount;
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        for (digest, tx) in std::mem::take(&mut self.transactions.waiting) {
            let result = self.result(digest).await?;
            self.transactions.executed.insert((result.round, result.index), tx);
        }
        Ok(())
    }

    /// A token is deployed and an encrypted amount minted, each in a round of its own: the contract, then the input with
    /// its 48 bootstraps for each replica, then the call with those of the contract's operations.
    async fn encrypted(&mut self) -> Result<()> {
        let artifact = Artifact::parse(TOKEN).map_err(|e| eyre!(e))?;
        let code = artifact.code.clone().ok_or_else(|| eyre!("the token has no code"))?;
        let deployed = self.client.deploy(&self.payer, &code, Some(&artifact.abi)).await?;
        let token = deployed.contract.ok_or_else(|| eyre!("no contract was created"))?;
        self.token = Some(token);
        let given = [self.holder.address().to_string(), format!("enc:{MINTED}"), "proof".to_owned()];
        let mint = artifact.function("mint", given.len())?;
        let arguments = mint.arguments(&given)?;
        let bound = (token, self.payer.address());
        let input = self.client.encrypt_input(self.cipher()?, &arguments.values(), bound, &self.payer).await?;
        let calldata = arguments.encode(&input.handles, &input.proof)?;
        let minted = self.client.send(&self.payer, &Request::call(token, calldata), Some(&artifact.abi)).await?;
        ensure!(minted.fhe_gas > 0, "minting took no FHE gas");
        Ok(())
    }

    fn executed(&self) -> Option<&Executed> {
        self.token.is_none().then_some(&self.transactions.executed)
    }

    async fn wrong(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let received = self.client.balance(RECEIVER).await?;
        if received != U256::from(self.transferred) {
            wrong.push(format!("the receiver has {received} wei, {} are right", self.transferred));
        }
        let Some(token) = self.token else { return Ok(wrong) };
        let balance = self.balance(token).await?;
        match self.client.user_decrypt(&self.holder, None, &[balance]).await?.as_slice() {
            [value] if value.number() == U256::from(MINTED) => {}
            [value] => wrong.push(format!("the balance decrypts to {}, {MINTED} were minted", value.text())),
            other => bail!("one balance was asked for, {} came", other.len()),
        }
        Ok(wrong)
    }
}
