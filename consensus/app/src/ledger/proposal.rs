//! Choosing and ordering the transactions of a block.
//!
//! Of the transactions that come next for their senders, always the one with the highest fee (at equal fees, the
//! smaller digest) is tried first, by executing it; so a sender's nonces stay in order, and what `deliver` would refuse
//! never gets into a block.

use super::{Ledger, parameters};
use crate::application::BlockLimits;
use crate::errors::CallError;
use crate::execute::Envelope;
use crate::genesis::ConsensusParameters;
use parallax_primitives::{Address, Amount, Digest, Nonce, limits};
use parallax_state::{Overlay, StateError, StateView};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A transaction that may be chosen.
struct Candidate {
    bytes: Vec<u8>,
    envelope: Envelope,
}

/// One sender's candidates by nonce.
type Queue = BTreeMap<Nonce, Candidate>;

impl Ledger {
    /// The transactions of the next block on `snapshot`.
    pub(super) fn choose(
        &self,
        snapshot: &dyn StateView,
        candidates: Vec<Vec<u8>>,
        wanted: BlockLimits,
    ) -> Result<Vec<Vec<u8>>, StateError> {
        let parameters = parameters(snapshot)?;
        let height = self.parent(snapshot)?.height.next();
        let max_bytes = wanted.max_bytes.min(limits::MAX_BLOCK_BYTES);
        let max_txs = wanted.max_txs.min(limits::MAX_BLOCK_TXS);
        let mut queues = self.sort(candidates, &parameters);
        let mut heads: BTreeMap<(Reverse<Amount>, Digest), Address> = BTreeMap::new();
        for (sender, queue) in &queues {
            offer(&mut heads, *sender, queue);
        }
        let mut overlay = Overlay::new(snapshot);
        let (mut chosen, mut bytes) = (Vec::new(), 0usize);
        while chosen.len() < max_txs {
            let Some((_, sender)) = heads.pop_first() else { break };
            let Some(queue) = queues.get_mut(&sender) else { continue };
            let Some((_, candidate)) = queue.pop_first() else { continue };
            let after = bytes.saturating_add(candidate.bytes.len());
            if after > max_bytes {
                // The sender's later nonces cannot come without this one.
                continue;
            }
            match candidate.envelope.execute(&mut overlay, self.chain(), height, &parameters) {
                Ok(_) => {
                    bytes = after;
                    chosen.push(candidate.bytes);
                }
                Err(CallError::State(error)) => return Err(error),
                // Used or unaffordable now; the next nonce is tried and falls out by itself if this one was needed.
                Err(CallError::Refused(_)) => {}
            }
            offer(&mut heads, sender, queue);
        }
        Ok(chosen)
    }

    /// Groups what can be opened by sender and nonce; of two with the same nonce the higher fee stays.
    fn sort(&self, candidates: Vec<Vec<u8>>, parameters: &ConsensusParameters) -> BTreeMap<Address, Queue> {
        let mut queues: BTreeMap<Address, Queue> = BTreeMap::new();
        for bytes in candidates {
            let Ok(envelope) = Envelope::open(&bytes, self.chain(), parameters) else { continue };
            let queue = queues.entry(envelope.sender).or_default();
            let rank = |e: &Envelope| (Reverse(e.body.fee), e.digest);
            let nonce = envelope.body.nonce;
            if queue.get(&nonce).is_none_or(|other| rank(&envelope) < rank(&other.envelope)) {
                queue.insert(nonce, Candidate { bytes, envelope });
            }
        }
        queues
    }
}

fn offer(heads: &mut BTreeMap<(Reverse<Amount>, Digest), Address>, sender: Address, queue: &Queue) {
    if let Some(candidate) = queue.values().next() {
        heads.insert((Reverse(candidate.envelope.body.fee), candidate.envelope.digest), sender);
    }
}
