//! What a row gives its network to do: transactions of its ParaTime, and what must have come of them.

mod contracts;
mod scheduling;

use crate::rows::Shape;
use async_trait::async_trait;
use eyre::Result;
use parallax_localnet::{ParaTimeKind, Plan};
use parallax_primitives::{Digest, ParaTimeId, Round};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a round may take, failed rounds and restarts before it included.
pub(crate) const ROUND: Duration = Duration::from_secs(180);

/// Where a transaction was executed: its round, its place in the batch, and its bytes.
pub(crate) type Executed = BTreeMap<(Round, u32), Vec<u8>>;

/// Clients of one ParaTime.
#[async_trait(?Send)]
pub(crate) trait Work {
    /// The ParaTime.
    fn id(&self) -> ParaTimeId;

    /// A key of which its state has a value at all times: what nodes prove to show their root.
    fn key(&self) -> Vec<u8>;

    /// Sends a transfer of clear tokens, which takes no bootstrap, and does not wait for it.
    async fn submit(&mut self) -> Result<()>;

    /// Waits until everything that was submitted is in a finalised round.
    async fn settle(&mut self) -> Result<()>;

    /// Has something computed on ciphertexts, and waits for it.
    async fn encrypted(&mut self) -> Result<()>;

    /// Every transaction so far, if none had to do with ciphertexts: what can be executed again in the clear.
    fn executed(&self) -> Option<&Executed>;

    /// What clients have in the end, where that is not what they must have.
    async fn wrong(&self) -> Result<Vec<String>>;
}

/// Clients of a row's ParaTime, who ask the first of these compute nodes (by their names), and the others if they can.
pub(crate) async fn work(shape: &Shape, plan: &Plan, nodes: &[String]) -> Result<Box<dyn Work>> {
    Ok(match shape.paratime {
        ParaTimeKind::Scheduler => Box::new(scheduling::Scheduling::new(plan, nodes).await?),
        ParaTimeKind::Evm => Box::new(contracts::Contracts::new(plan, nodes).await?),
    })
}

/// Transactions on their way, and where those before them were executed.
#[derive(Default)]
struct Transactions {
    waiting: Vec<(Digest, Vec<u8>)>,
    executed: Executed,
}

impl Transactions {
    /// How many were submitted.
    fn count(&self) -> u128 {
        (self.waiting.len() + self.executed.len()) as u128
    }
}
