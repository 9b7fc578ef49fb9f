//! Between the engine's pool, the network and this node's own calls.

use crate::chain::Chain;
use crate::outbox::{Outbox, Price};
use parallax_consensus_app::epoch;
use parallax_consensus_app::ledger::{self, Ledger};
use parallax_consensus_app::tx::{Call, Transaction, tx_digest};
use parallax_consensus_app::{Checked, TxError, beacon, staking, validators};
use parallax_consensus_engine::{Pool, Tip};
use parallax_genesis::NodeKeys;
use parallax_network::{Handle, Topic};
use parallax_primitives::{Address, Amount, Height, ParaTimeId, limits};
use parallax_rounds::Statement;
use parallax_state::StateError;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast, watch};

/// A signed envelope around a call has about this many bytes besides the call: nonce, fee, gas limit, key, signature.
const ENVELOPE_BYTES: usize = 160;

/// Statements that wait for a worker to look at them, at most; one that falls behind misses the oldest. Another honest
/// node sees them too.
const HEARD: usize = 1_024;

/// Admits transactions to the pool and passes them on.
#[derive(Clone)]
pub struct Submitter {
    chain: Chain,
    pool: Arc<Pool<Ledger>>,
    network: Handle,
    outbox: Arc<Mutex<Outbox>>,
    /// Wakes the task that signs.
    wake: Arc<Notify>,
    address: Address,
    /// What members of committees say in transactions, from pools and blocks.
    heard: broadcast::Sender<(ParaTimeId, Statement)>,
}

impl Submitter {
    /// The submitter of a node; its own calls are paid by the account of its consensus key.
    pub fn new(chain: Chain, pool: Arc<Pool<Ledger>>, network: Handle, keys: &NodeKeys) -> Self {
        let outbox = Outbox::new(chain.context, keys.consensus.clone());
        let address = Address::of(&keys.node());
        let heard = broadcast::Sender::new(HEARD);
        Self { chain, pool, network, outbox: Arc::new(Mutex::new(outbox)), wake: Arc::default(), address, heard }
    }

    /// Every statement of a committee's member in a transaction that this node comes across from now on, be it admitted
    /// to the pool or not: a second one that contradicts the first is what an honest pool has no use for.
    pub fn heard(&self) -> broadcast::Receiver<(ParaTimeId, Statement)> {
        self.heard.subscribe()
    }

    fn hear(&self, transaction: &Transaction) {
        match &transaction.signed().body.call {
            Call::Announce { paratime, proposal } => self.pass_on(*paratime, Statement::Proposal(proposal.clone())),
            Call::Commit { paratime, commitments } => {
                for commitment in commitments.iter().take(limits::MAX_COMMITMENTS_PER_TX) {
                    self.pass_on(*paratime, Statement::Commitment(commitment.clone()));
                }
            }
            _ => {}
        }
    }

    fn pass_on(&self, paratime: ParaTimeId, statement: Statement) {
        // It fails only where no worker listens.
        let _ = self.heard.send((paratime, statement));
    }

    /// Admits a transaction that a client or the node itself has signed, and gossips it.
    ///
    /// # Errors
    /// The pool's or the ledger's refusal.
    pub async fn submit(&self, bytes: Vec<u8>) -> Result<Checked, TxError> {
        let checked = self.pool.submit(bytes.clone())?;
        if let Ok(transaction) = Transaction::decode(&bytes) {
            self.hear(&transaction);
        }
        if let Err(error) = self.network.publish(Topic::ConsensusTx, bytes).await {
            tracing::warn!(%error, tx = %checked.digest, "consensus.tx.not_gossiped");
        }
        Ok(checked)
    }

    /// Puts a call of the node's own into its outbox. One task signs and sends it, and replaces it until a block holds
    /// it.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn call(&self, call: Call) -> Result<(), StateError> {
        let parameters = ledger::parameters(&self.chain.view()?)?;
        let bytes = parallax_primitives::encode(&call).len().saturating_add(ENVELOPE_BYTES);
        let gas_limit = call.gas(bytes, &parameters);
        let fee = Amount(parameters.min_gas_price.0.saturating_mul(u128::from(gas_limit.0)));
        self.outbox().push(call, Price { fee, gas_limit });
        self.wake.notify_one();
        Ok(())
    }

    /// Drops waiting calls that are no longer wanted.
    pub fn retain(&self, wanted: impl Fn(&Call) -> bool) {
        self.outbox().retain(wanted);
    }

    /// Transactions that wait in the pool.
    pub fn waiting(&self) -> usize {
        self.pool.len()
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs and sends what is due. The nonce is read from the same state up to which blocks are looked through, so a
    /// call that a block holds is never signed again.
    async fn flush(&self, done: &mut Height) -> Result<(), StateError> {
        let view = self.chain.view()?;
        let height = Height(view.version().unwrap_or_default());
        let mut included = BTreeSet::new();
        while *done < height {
            *done = done.next();
            if let Some(block) = self.chain.blocks.block(*done)? {
                included.extend(block.transactions.iter().map(|tx| tx_digest(tx)));
                let transactions = block.transactions.iter().filter_map(|tx| Transaction::decode(tx).ok());
                transactions.for_each(|transaction| self.hear(&transaction));
            }
        }
        let nonce = staking::account(&view, &self.address)?.nonce;
        drop(view);
        let due = self.outbox().due(height, nonce, &included);
        for bytes in due {
            let digest = tx_digest(&bytes);
            match self.submit(bytes).await {
                Ok(_) => tracing::debug!(tx = %digest.short(), "consensus.tx.sent"),
                // The pool's own refusals pass, and nonces settle with the next block; what a module refuses, it will
                // refuse again.
                Err(error) if ["mempool", "auth", "state"].contains(&error.module.as_str()) => {
                    tracing::debug!(%error, "consensus.tx.not_pooled");
                }
                Err(error) => {
                    tracing::warn!(%error, "consensus.tx.refused");
                    self.outbox().refused(&digest);
                }
            }
        }
        Ok(())
    }

    /// Follows the chain: what a block holds leaves the outbox, the rest is sent when it is due. Ends with the engine.
    pub async fn follow(self, mut tip: watch::Receiver<Tip>) {
        let mut done = tip.borrow_and_update().height;
        loop {
            tokio::select! {
                changed = tip.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tip.borrow_and_update();
                }
                () = self.wake.notified() => {}
            }
            if let Err(error) = self.flush(&mut done).await {
                tracing::error!(%error, "consensus.outbox.failed");
            }
        }
    }

    /// Takes transactions that peers gossip.
    pub async fn relay(self) {
        let mut incoming = match self.network.subscribe(Topic::ConsensusTx).await {
            Ok(incoming) => incoming,
            Err(error) => return tracing::error!(%error, "consensus.gossip.not_subscribed"),
        };
        while let Some(message) = incoming.recv().await {
            match Transaction::decode(&message.bytes) {
                Ok(transaction) if transaction.verify(self.chain.context) => self.hear(&transaction),
                Ok(_) | Err(_) => {
                    message.verdict.reject();
                    continue;
                }
            }
            match self.pool.submit(message.bytes) {
                Ok(_) => message.verdict.accept(),
                // Another node may be ahead of this one, or behind it: no fault of the peer.
                Err(_) => message.verdict.ignore(),
            }
        }
    }
}

/// A validator's part in the beacon: one VRF proof an epoch, early in the epoch before it.
pub async fn beacon(submitter: Submitter, keys: NodeKeys, mut tip: watch::Receiver<Tip>) {
    let node = keys.node();
    let mut proven = None;
    while tip.changed().await.is_ok() {
        let height = tip.borrow_and_update().height;
        let step = || -> Result<Option<Call>, StateError> {
            let view = submitter.chain.view()?;
            let now = epoch::current(&view)?;
            let target = now.epoch.next();
            let votes = validators::at(&view, height.next())?.power_of(&node) > 0;
            let shown = beacon::contributed(&view, target, &node)?;
            if !votes || shown || proven == Some(target) {
                return Ok(None);
            }
            let input = beacon::input(submitter.chain.context, target, &now.entropy);
            Ok(Some(Call::BeaconProof { epoch: target, output: keys.vrf().evaluate(&input) }))
        };
        match step() {
            Ok(Some(call)) => {
                let Call::BeaconProof { epoch, .. } = &call else { continue };
                let epoch = *epoch;
                submitter.retain(|c| !matches!(c, Call::BeaconProof { epoch: old, .. } if *old < epoch));
                match submitter.call(call) {
                    Ok(()) => proven = Some(epoch),
                    Err(error) => tracing::error!(%error, "beacon.proof.failed"),
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "beacon.state.unreadable"),
        }
    }
}
