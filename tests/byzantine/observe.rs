//! What the chain tells of a row: its events and refused calls, with nodes by their names.

use eyre::{Result, eyre};
use parallax_consensus_app::tx::Role;
use parallax_localnet::{Plan, Running};
use parallax_primitives::{Height, ParaTimeId};
use parallax_rounds::BlockKind;
use parallax_rpc::{Client, ConsensusApiClient, NodeApiClient, ParaTimeApiClient, limits};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long a node may be out of reach, dead and restarted nodes included.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two questions.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// Something that happened on chain.
pub(crate) struct Told {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Told {
    /// An attribute; empty if there is none of that name.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.attributes.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Whether it is called this.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Whether it fits a pattern: `name attribute=value ...`.
    pub(crate) fn fits(&self, pattern: &str) -> bool {
        let mut words = pattern.split(' ');
        words.next() == Some(self.name.as_str())
            && words.all(|word| word.split_once('=').is_some_and(|(name, value)| self.get(name) == value))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let long = ["paratime", "state_root", "block", "proposal", "io_root", "trace_root", "vote"];
        self.attributes
            .iter()
            .filter(|(name, _)| !long.contains(&name.as_str()))
            .try_for_each(|(n, v)| write!(f, " {n}={v}"))
    }
}

/// Repeats a question until it is answered: nodes die and are behind in these tests.
pub(crate) async fn asked<T, F: Future<Output = Result<T>>>(ask: impl Fn() -> F) -> Result<T> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if begun.elapsed() >= PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Reads the chain from one validator.
pub(crate) struct Observer {
    rpc: Client,
    names: BTreeMap<String, String>,
}

impl Observer {
    /// Asks the last validator, which no row cuts off.
    pub(crate) fn new(running: &Running) -> Result<Self> {
        let plan: &Plan = running.plan();
        let node = plan.nodes.iter().rfind(|n| n.role == Role::Validator).ok_or_else(|| eyre!("no validator"))?;
        let mut names = BTreeMap::new();
        for node in &plan.nodes {
            names.insert(node.node.to_string(), node.name.clone());
            names.insert(node.entity.to_string(), node.name.clone());
        }
        Ok(Self { rpc: running.client(&node.name)?, names })
    }

    pub(crate) fn rpc(&self) -> &Client {
        &self.rpc
    }

    pub(crate) async fn height(&self) -> Result<Height> {
        asked(|| async { Ok(self.rpc.health().await?.height) }).await
    }

    fn name(&self, value: &str) -> String {
        let one = |text: &str| self.names.get(text).cloned().unwrap_or_else(|| text.to_owned());
        value.split(',').map(one).collect::<Vec<_>>().join(",")
    }

    /// Every event so far whose name begins with this.
    pub(crate) async fn events(&self, prefix: &str) -> Result<Vec<Told>> {
        let tip = self.height().await?;
        let (mut all, mut from) = (Vec::new(), Height(1));
        while from <= tip {
            let to = from.saturating_add(limits::MAX_EVENT_SPAN - 1).min(tip);
            let page = asked(|| async {
                Ok(NodeApiClient::events(&self.rpc, from, Some(to), Some(prefix.to_owned())).await?)
            });
            all.extend(page.await?.into_iter().map(|found| Told {
                name: found.event.name,
                attributes: found.event.attributes.into_iter().map(|(n, v)| (n, self.name(&v))).collect(),
            }));
            from = to.next();
        }
        Ok(all)
    }

    /// Calls in blocks that the ledger refused, as events `refused` with the call, its signer and the reason.
    pub(crate) async fn refused(&self) -> Result<Vec<Told>> {
        let (tip, mut all, mut height) = (self.height().await?, Vec::new(), Height(1));
        while height <= tip {
            let block = asked(|| async { Ok(ConsensusApiClient::block(&self.rpc, Some(height)).await?) }).await?;
            for tx in block.transactions {
                if let Some(Err(error)) = tx.receipt.map(|receipt| receipt.outcome) {
                    let signer = self.name(&tx.signer.to_string());
                    let attributes = [("call", tx.call), ("signer", signer), ("reason", error.to_string())];
                    let attributes = attributes.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
                    all.push(Told { name: "refused".to_owned(), attributes });
                }
            }
            height = height.next();
        }
        Ok(all)
    }

    /// How the rounds so far have ended, with the names of the kinds.
    pub(crate) async fn blocks(&self, id: ParaTimeId) -> Result<BTreeMap<&'static str, usize>> {
        let mut kinds = BTreeMap::new();
        for block in crate::replay::chain(&self.rpc, id).await?.iter().skip(1) {
            let kind = match block.kind {
                BlockKind::Normal => "normal",
                BlockKind::RoundFailed => "failed",
                BlockKind::EpochTransition => "epoch",
                BlockKind::Suspended => "suspended",
            };
            *kinds.entry(kind).or_default() += 1;
        }
        Ok(kinds)
    }

    /// The last finalised round that this node knows.
    pub(crate) async fn last(&self, id: ParaTimeId) -> Result<parallax_rounds::ParaTimeBlock> {
        asked(|| async { Ok(ParaTimeApiClient::block(&self.rpc, id, None).await?) }).await
    }
}
