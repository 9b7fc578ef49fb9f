//! The scheduling ParaTime: accounts pay each other, a host reports.

use super::{Executed, ROUND, Transactions, Work};
use async_trait::async_trait;
use eyre::{Result, ensure, eyre};
use parallax_genesis::AccountKey;
use parallax_localnet::fixture::ACCOUNT_BALANCE;
use parallax_localnet::{ParaTimeKind, Plan};
use parallax_network::peer_id_of;
use parallax_node::client::SchedulerClient;
use parallax_primitives::{Amount, Nonce, ParaTimeId};
use parallax_scheduler::{Call, Purpose, Report};
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) struct Scheduling {
    client: SchedulerClient,
    accounts: Vec<AccountKey>,
    /// The directory of the ParaTime's key set.
    keys: PathBuf,
    transactions: Transactions,
    /// After the last transfer that was submitted.
    next_nonce: Nonce,
    transferred: u128,
    reported: bool,
}

impl Scheduling {
    pub(crate) async fn new(plan: &Plan, nodes: &[String]) -> Result<Self> {
        let url = |name: &String| plan.node(name).map(|n| n.rpc_url()).ok_or_else(|| eyre!("there is no node {name}"));
        let urls = nodes.iter().map(url).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            client: SchedulerClient::connect_any(&urls).await?,
            accounts: plan.accounts.iter().map(parallax_localnet::Account::load).collect::<Result<_, _>>()?,
            keys: plan.keys(ParaTimeKind::Scheduler)?.to_owned(),
            transactions: Transactions::default(),
            next_nonce: Nonce(0),
            transferred: 0,
            reported: false,
        })
    }
}

#[async_trait(?Send)]
impl Work for Scheduling {
    fn id(&self) -> ParaTimeId {
        self.client.id()
    }

    fn key(&self) -> Vec<u8> {
        parallax_scheduler::keys::params()
    }

    async fn submit(&mut self) -> Result<()> {
        let (from, to) = (&self.accounts[0], self.accounts[1].address());
        let amount = 1 + self.transactions.count();
        // The account's next nonce, after what waits.
        let nonce = self.client.nonce(from.address()).await?.max(self.next_nonce);
        let tx = self.client.sign(from, nonce, Call::Transfer { to, amount: Amount(amount) });
        let digest = self.client.submit(tx.clone()).await?;
        self.next_nonce = nonce.next();
        self.transactions.waiting.push((digest, tx));
        self.transferred += amount;
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        for (digest, tx) in std::mem::take(&mut self.transactions.waiting) {
            let result = self.client.wait(digest, ROUND).await?;
            self.transactions.executed.insert((result.round, result.index), tx);
        }
        Ok(())
    }

    /// A host registers and reports: 46 bootstraps for each replica.
    async fn encrypted(&mut self) -> Result<()> {
        self.reported = true;
        let host = self.accounts[2].clone();
        let peer_id = peer_id_of(&host.public())?.to_bytes();
        let name = "host".to_owned();
        let register = Call::RegisterHost { name, organisation: "row".to_owned(), zone: 0, peer_id };
        let tx = self.client.send(&host, register).await?;
        self.client.wait(tx, ROUND).await?;
        let cipher = Arc::new(self.client.cipher(&self.keys)?);
        let policies = self.client.params().policies.clone();
        let scores = policies.iter().map(|policy| (*policy, 0)).collect();
        let report = Report { cpu: 3, memory: 3, scores, ..Report::default() };
        let list = self.client.encrypt(cipher, Purpose::Telemetry, host.address(), report.digits(&policies)?).await?;
        let tx = self.client.send(&host, Call::ReportTelemetry(list)).await?;
        self.client.wait(tx, ROUND).await?;
        let hosts = self.client.hosts().await?;
        ensure!(hosts.iter().any(|h| h.report.is_some_and(|r| r.number == 1)), "the report was not taken");
        Ok(())
    }

    fn executed(&self) -> Option<&Executed> {
        (!self.reported).then_some(&self.transactions.executed)
    }

    async fn wrong(&self) -> Result<Vec<String>> {
        let received = self.client.balance(self.accounts[1].address()).await?;
        let expected = ACCOUNT_BALANCE.0 + self.transferred;
        let wrong = (received.0 != expected).then(|| format!("the receiver has {received}, {expected} are right"));
        Ok(wrong.into_iter().collect())
    }
}
