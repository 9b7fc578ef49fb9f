//! Traces of executed rounds, what comparing them showed, and what executions cost.

use super::{ResultStore, TAG_DIVERGENCE, TAG_EFFORT, TAG_TRACE, TAG_TRACE_DIGESTS};
use crate::seams::TracePart;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::{MAX_TRACE_LEAVES, MAX_TRACE_PART_BYTES};
use parallax_primitives::{Digest, Round, encode, merkle};
use parallax_runtime::{Divergence, ProvenLeaf, Replayed, Trace, TraceLeaf};
use parallax_state::{AtomicWrite, Batch, Column, StateError};

/// Leaves in a row: the largest leaf, a linear combination of 256 terms, has about 11 KiB.
const LEAVES_PER_ROW: usize = 256;
/// Bytes that a part of a trace has beside its items.
const PART_OVERHEAD: usize = 16;

/// What an execution took on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Effort {
    /// Programs taken over from what the workers agreed on.
    pub replayed: u64,
    /// Programs evaluated.
    pub evaluated: u64,
    /// Bootstraps that the former would have cost.
    pub saved_pbs: u64,
    /// Bootstraps that the latter cost.
    pub spent_pbs: u64,
}

impl Effort {
    pub(super) fn of(replayed: &Replayed) -> Self {
        let Replayed { replayed, evaluated, saved_pbs, spent_pbs, .. } = *replayed;
        Self { replayed, evaluated, saved_pbs, spent_pbs }
    }
}

impl ResultStore {
    /// The rows of a trace: the digests of its leaves, and the leaves in rows of [`LEAVES_PER_ROW`]. One that is too
    /// long to be compared by anyone is not kept.
    pub(super) fn trace_rows(&self, round: Round, proposal: &Digest, trace: &Trace) -> Batch {
        let mut batch = Batch::default();
        if trace.leaves.len() > MAX_TRACE_LEAVES {
            tracing::warn!(round = round.0, leaves = trace.leaves.len(), "worker.trace_not_kept");
            return batch;
        }
        batch.put(Column::Rounds, self.row(round, TAG_TRACE_DIGESTS, proposal), encode(&trace.digests()));
        for (number, leaves) in (0u32..).zip(trace.leaves.chunks(LEAVES_PER_ROW)) {
            batch.put(Column::Rounds, self.leaves_row(round, proposal, number), encode(leaves));
        }
        batch
    }

    fn leaves_row(&self, round: Round, proposal: &Digest, number: u32) -> Vec<u8> {
        [&self.row(round, TAG_TRACE, proposal)[..], &number.to_be_bytes()].concat()
    }

    /// The digests of the leaves of a trace that is kept here.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn trace_digests(&self, round: Round, proposal: &Digest) -> Result<Option<Vec<Digest>>, StateError> {
        self.read(&self.row(round, TAG_TRACE_DIGESTS, proposal), "trace digests")
    }

    /// Digests from an index on, as many as one message takes; `None` if the trace is not kept here.
    pub(super) fn trace_digests_part(
        &self,
        round: Round,
        proposal: &Digest,
        from: u64,
    ) -> Result<Option<TracePart<Digest>>, StateError> {
        let Some(digests) = self.trace_digests(round, proposal)? else { return Ok(None) };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let most = (MAX_TRACE_PART_BYTES - PART_OVERHEAD) / 32;
        let items = digests.iter().skip(from).take(most).copied().collect();
        Ok(Some(TracePart { count: digests.len() as u64, items }))
    }

    /// Leaves from an index on, as many as one message takes; `None` if the trace is not kept here.
    pub(super) fn trace_leaves_part(
        &self,
        round: Round,
        proposal: &Digest,
        from: u64,
    ) -> Result<Option<TracePart<TraceLeaf>>, StateError> {
        let Some(digests) = self.trace_digests(round, proposal)? else { return Ok(None) };
        let (mut items, mut bytes) = (Vec::new(), PART_OVERHEAD);
        let mut next = usize::try_from(from).unwrap_or(usize::MAX);
        while next < digests.len() {
            let Some(row) = self.leaves_at(round, proposal, next)? else { break };
            for leaf in row.into_iter().skip(next % LEAVES_PER_ROW) {
                bytes = bytes.saturating_add(encode(&leaf).len());
                if bytes > MAX_TRACE_PART_BYTES && !items.is_empty() {
                    return Ok(Some(TracePart { count: digests.len() as u64, items }));
                }
                items.push(leaf);
                next = next.saturating_add(1);
            }
        }
        Ok(Some(TracePart { count: digests.len() as u64, items }))
    }

    /// The row of leaves in which an index lies.
    fn leaves_at(&self, round: Round, proposal: &Digest, index: usize) -> Result<Option<Vec<TraceLeaf>>, StateError> {
        let Ok(number) = u32::try_from(index / LEAVES_PER_ROW) else { return Ok(None) };
        let row: Option<Vec<TraceLeaf>> = self.read(&self.leaves_row(round, proposal, number), "trace leaves")?;
        Ok(row.filter(|leaves| index % LEAVES_PER_ROW < leaves.len()))
    }

    /// One leaf with its proof; `None` if the trace is not kept here or ends before it.
    ///
    /// # Errors
    /// If the store fails or a row is corrupt.
    pub fn trace_leaf(&self, round: Round, proposal: &Digest, index: u64) -> Result<Option<ProvenLeaf>, StateError> {
        let Some(digests) = self.trace_digests(round, proposal)? else { return Ok(None) };
        let Ok(index) = usize::try_from(index) else { return Ok(None) };
        let Some(proof) = merkle::prove(&digests, index) else { return Ok(None) };
        let Some(row) = self.leaves_at(round, proposal, index)? else { return Ok(None) };
        let leaf = row.into_iter().nth(index % LEAVES_PER_ROW);
        Ok(leaf.map(|leaf| ProvenLeaf { leaf, proof }))
    }

    /// Ciphertext bytes by digest, if they are kept here.
    ///
    /// # Errors
    /// If the store fails.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
        self.db.blobs().get(digest)
    }

    /// Whether ciphertext bytes are kept here.
    ///
    /// # Errors
    /// If the store fails.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, StateError> {
        self.db.blobs().contains(digest)
    }

    /// Keeps what comparing the traces of a disputed round showed.
    ///
    /// # Errors
    /// If the store fails.
    pub fn put_divergence(&self, divergence: &Divergence) -> Result<(), StateError> {
        let mut batch = Batch::default();
        let row = self.row(divergence.round, TAG_DIVERGENCE, &divergence.proposal);
        batch.put(Column::Rounds, row, encode(divergence));
        self.db.write(AtomicWrite::new().extra(batch))
    }

    /// What comparing the traces of a disputed proposal showed here.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn divergence(&self, round: Round, proposal: &Digest) -> Result<Option<Divergence>, StateError> {
        self.read(&self.row(round, TAG_DIVERGENCE, proposal), "divergence")
    }

    /// Keeps a ciphertext that a disputed proposal's execution needs, until the round's results are dropped. The
    /// proposal's divergence is kept already ([`ResultStore::put_divergence`]).
    ///
    /// # Errors
    /// If it is over its limit, or the store fails.
    pub fn put_output(&self, round: Round, proposal: &Digest, bytes: Vec<u8>) -> Result<(), StateError> {
        let holder = self.holder(&self.prefix(round), &proposal.0);
        self.db.blobs().put_pinned(&holder, &[bytes])?;
        Ok(())
    }

    /// What executing a proposal took here; `None` if it was not executed here.
    ///
    /// # Errors
    /// If the store fails or the row is corrupt.
    pub fn effort(&self, round: Round, proposal: &Digest) -> Result<Option<Effort>, StateError> {
        self.read(&self.row(round, TAG_EFFORT, proposal), "effort of an execution")
    }
}
