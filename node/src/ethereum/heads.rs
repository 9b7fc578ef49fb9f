//! New blocks, seen once for all subscriptions.

use super::chain::EvmChain;
use super::{Service, limits};
use crate::paratime::ParaTimeHost;
use eyre::{Result, eyre};
use parallax_evm::eth::{self, Chain as _};
use parallax_evm::state;
use parallax_state::StateView;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// A block that has just become part of the chain.
pub(super) struct Head {
    /// Its number.
    pub(super) number: u64,
    /// Its header, as subscribers get it.
    pub(super) header: Box<RawValue>,
    /// Whether a transaction in it left a log.
    pub(super) has_logs: bool,
}

/// Where the chain is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tip {
    number: u64,
    hash: [u8; 32],
}

/// What tells of new blocks.
pub(super) struct Heads {
    sender: broadcast::Sender<Arc<Head>>,
    tip: Mutex<Tip>,
}

fn tip_of(view: &dyn StateView) -> Result<Tip> {
    let head = state::head(view)?;
    Ok(Tip { number: head.header.number, hash: head.hash })
}

impl Heads {
    /// Blocks from the next one on.
    pub(super) fn new(host: &ParaTimeHost) -> Result<Self> {
        let tip = tip_of(&*EvmChain(host).newest()?)?;
        Ok(Self { sender: broadcast::Sender::new(limits::MAX_BEHIND), tip: Mutex::new(tip) })
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<Head>> {
        self.sender.subscribe()
    }

    /// Tells of the blocks of a state that were not there before. Where a developer's method has gone back in the
    /// chain, only the newest block is told of.
    fn advance(&self, view: &dyn StateView) -> Result<()> {
        let mut tip = self.tip.lock().unwrap_or_else(PoisonError::into_inner);
        let new = tip_of(view)?;
        if new == *tip {
            return Ok(());
        }
        let follows = new.number > tip.number && state::block(view, tip.number)?.is_some_and(|b| b.hash == tip.hash);
        let first = if follows { tip.number.saturating_add(1) } else { new.number };
        *tip = new;
        if self.sender.receiver_count() == 0 {
            return Ok(());
        }
        for number in first..=new.number {
            let (Some(block), Some(header)) = (state::block(view, number)?, eth::header(view, number)?) else {
                continue;
            };
            let has_logs = block.header.bloom.iter().any(|byte| *byte != 0);
            // No subscriber is no error.
            let _ = self.sender.send(Arc::new(Head { number, header: to_raw_value(&header)?, has_logs }));
        }
        Ok(())
    }
}

/// Follows the ParaTime's rounds for as long as it runs.
pub(super) async fn follow(service: Arc<Service>) -> Result<()> {
    let mut rounds = service.host.rounds();
    let mut applied = None;
    loop {
        let round = rounds.borrow_and_update().applied;
        if applied.replace(round) != Some(round) {
            tokio::task::block_in_place(|| -> Result<()> {
                service.heads.advance(&*EvmChain(&service.host).newest()?)
            })?;
            service.pending().forget(|digest| service.host.pool.contains(digest));
        }
        rounds.changed().await.map_err(|_| eyre!("the worker of ParaTime {} has ended", service.host.id))?;
    }
}
