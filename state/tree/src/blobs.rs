//! Ciphertext bytes beside the tree: stored once under their digest, counted, pinned, compressed, verified.
//!
//! A blob exists exactly as long as a stored value names it (its count in `BlobRefs`) or a holder pins it. Values of
//! old versions count until they are pruned, so a snapshot finds every blob it names. Pins keep what no tree names
//! yet or any more: outputs of an executed round that is not final, inputs fetched ahead, a retention window.

use crate::database::{AtomicWrite, Inner};
use crate::{Batch, Column, Row, StateError, Store, blob_digest, rows};
use parallax_primitives::Digest;
use parallax_primitives::limits::{MAX_BLOB_BYTES, MAX_KEY_BYTES};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The last byte of a stored blob says how the bytes before it are to be read. At the end, not the beginning, so that
/// it is removed without moving megabytes.
const RAW: u8 = 0;
/// LZ4 block, then the length of the blob as a little-endian `u32`, then this tag.
const LZ4: u8 = 1;
/// How much of a blob is tried before all of it is compressed: ciphertexts look random and would only cost time.
const SAMPLE_BYTES: usize = 4 * 1024;

/// The blobs of a database. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

impl Blobs {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// The bytes under a digest, verified against it, or `None` if they are not kept here.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] naming the digest if what is stored is not those bytes; [`StateError::Store`].
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
        read(&*self.inner.store, digest)
    }

    /// Whether a blob is kept, without reading it.
    ///
    /// # Errors
    /// If the store fails.
    pub fn contains(&self, digest: &Digest) -> Result<bool, StateError> {
        is_held(&*self.inner.store, digest)
    }

    /// How many stored values name a blob, over all trees and kept versions.
    ///
    /// # Errors
    /// If the store fails.
    pub fn references(&self, digest: &Digest) -> Result<u64, StateError> {
        count(&*self.inner.store, digest)
    }

    /// Stores blobs and pins them for a holder, in one write. Returns their digests in the order given.
    ///
    /// # Errors
    /// [`StateError::TooLarge`] for a blob or a holder past its limit; [`StateError::Store`]. Then nothing changed.
    pub fn put_pinned(&self, holder: &[u8], blobs: &[Vec<u8>]) -> Result<Vec<Digest>, StateError> {
        let (write, digests) = AtomicWrite::new().pin_new(holder, blobs)?;
        self.inner.write(write)?;
        Ok(digests)
    }

    /// Pins blobs that are kept already.
    ///
    /// # Errors
    /// [`StateError::MissingBlob`] if one is not; [`StateError::TooLarge`], [`StateError::Store`].
    pub fn pin(&self, holder: &[u8], digests: &[Digest]) -> Result<(), StateError> {
        self.inner.write(AtomicWrite::new().pin(holder, digests)?)
    }

    /// Releases every pin of a holder; blobs that nothing else holds are deleted. A holder without pins is no error.
    ///
    /// # Errors
    /// If the store fails.
    pub fn unpin(&self, holder: &[u8]) -> Result<(), StateError> {
        self.inner.write(AtomicWrite::new().unpin(holder))
    }

    /// What a holder pins, in order of digest.
    ///
    /// # Errors
    /// If the store fails.
    pub fn pinned_by(&self, holder: &[u8]) -> Result<Vec<Digest>, StateError> {
        pinned_by(&*self.inner.store, holder)
    }
}

/// A blob in its stored form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packed(Vec<u8>);

/// Checks the size of a blob, digests and packs it.
pub(crate) fn pack(bytes: &[u8]) -> Result<(Digest, Packed), StateError> {
    within("ciphertext blob", bytes.len(), MAX_BLOB_BYTES)?;
    Ok((blob_digest(bytes), Packed(compress(bytes))))
}

pub(crate) fn check_holder(holder: &[u8]) -> Result<(), StateError> {
    within("name of a holder of pins", holder.len(), MAX_KEY_BYTES)
}

pub(crate) fn within(what: &'static str, actual: usize, limit: usize) -> Result<(), StateError> {
    if actual > limit { Err(StateError::TooLarge { what, actual, limit }) } else { Ok(()) }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let middle = bytes.len().saturating_sub(SAMPLE_BYTES) / 2;
    let sample = bytes.get(middle..middle.saturating_add(SAMPLE_BYTES).min(bytes.len())).unwrap_or_default();
    if lz4_flex::block::compress(sample).len() < sample.len()
        && let Ok(length) = u32::try_from(bytes.len())
    {
        let mut packed = lz4_flex::block::compress(bytes);
        packed.extend(length.to_le_bytes());
        if packed.len() < bytes.len() {
            packed.push(LZ4);
            return packed;
        }
    }
    let mut packed = Vec::with_capacity(bytes.len().saturating_add(1));
    packed.extend_from_slice(bytes);
    packed.push(RAW);
    packed
}

fn decompress(mut packed: Vec<u8>) -> Result<Vec<u8>, String> {
    match packed.pop() {
        Some(RAW) => Ok(packed),
        Some(LZ4) => {
            let Some((block, length)) = packed.split_last_chunk::<4>() else {
                return Err("it ends before its length".into());
            };
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|e| e.to_string())?;
            if length > MAX_BLOB_BYTES {
                return Err(format!("it claims {length} bytes, the limit is {MAX_BLOB_BYTES}"));
            }
            lz4_flex::block::decompress(block, length).map_err(|e| e.to_string())
        }
        Some(tag) => Err(format!("its compression tag is {tag}, this program knows {RAW} and {LZ4}")),
        None => Err("it is empty".into()),
    }
}

pub(crate) fn read(store: &dyn Store, digest: &Digest) -> Result<Option<Vec<u8>>, StateError> {
    let Some(packed) = store.get(Column::Blobs, &digest.0)? else {
        return Ok(None);
    };
    let corrupt = |reason: String| StateError::Corrupt { what: format!("blob {digest}"), reason };
    let bytes = decompress(packed).map_err(corrupt)?;
    let actual = blob_digest(&bytes);
    if actual == *digest { Ok(Some(bytes)) } else { Err(corrupt(format!("its bytes have digest {actual}"))) }
}

pub(crate) fn is_held(store: &dyn Store, digest: &Digest) -> Result<bool, StateError> {
    Ok(count(store, digest)? > 0 || !holders(store, digest, 1)?.is_empty())
}

fn count(store: &dyn Store, digest: &Digest) -> Result<u64, StateError> {
    match store.get(Column::BlobRefs, &digest.0)? {
        Some(bytes) => rows::content(Column::BlobRefs, &digest.0, &bytes),
        None => Ok(0),
    }
}

/// At most `limit` holders of pins on a blob (0 = all).
fn holders(store: &dyn Store, digest: &Digest, limit: usize) -> Result<Vec<Vec<u8>>, StateError> {
    let start = rows::pins_on(digest);
    let found = store.range(Column::Pins, &start, &rows::successor(&start), limit)?;
    Ok(found.into_iter().map(|(row, _)| row.get(start.len()..).unwrap_or_default().to_vec()).collect())
}

fn pinned_by(store: &dyn Store, holder: &[u8]) -> Result<Vec<Digest>, StateError> {
    check_holder(holder)?;
    let start = rows::pins_of(holder);
    let digest = |(row, _): Row| match row.get(start.len()..).map(<[u8; 32]>::try_from) {
        Some(Ok(digest)) => Ok(Digest(digest)),
        _ => Err(rows::corrupt(Column::Pins, &row, "the row names no digest")),
    };
    store.range(Column::Pins, &start, &rows::successor(&start), 0)?.into_iter().map(digest).collect()
}

/// What one atomic write changes about blobs; resolved against the store under the writer's lock.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Values that name a blob, added less removed.
    pub(crate) counts: BTreeMap<Digest, i64>,
    /// Holders whose earlier pins go.
    pub(crate) unpins: BTreeSet<Vec<u8>>,
    /// Pins to add.
    pub(crate) pins: BTreeSet<(Digest, Vec<u8>)>,
    /// Bytes offered for blobs that may be new.
    pub(crate) bytes: BTreeMap<Digest, Packed>,
}

impl Ledger {
    pub(crate) fn add(&mut self, digest: Digest, delta: i64) {
        let entry = self.counts.entry(digest).or_default();
        *entry = entry.saturating_add(delta);
    }

    /// Appends to `batch` the counts, the pins, the blobs that appear and the blobs that go.
    pub(crate) fn resolve(mut self, store: &dyn Store, batch: &mut Batch) -> Result<(), StateError> {
        let mut unpinned: BTreeMap<Digest, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for holder in &self.unpins {
            for digest in pinned_by(store, holder)? {
                for row in rows::pin(holder, &digest) {
                    batch.delete(Column::Pins, row);
                }
                unpinned.entry(digest).or_default().insert(holder.clone());
            }
        }
        let mut pinned = BTreeSet::new();
        for (digest, holder) in &self.pins {
            check_holder(holder)?;
            for row in rows::pin(holder, digest) {
                batch.put(Column::Pins, row, Vec::new());
            }
            pinned.insert(*digest);
        }
        let touched: BTreeSet<Digest> =
            self.counts.keys().chain(unpinned.keys()).chain(pinned.iter()).copied().collect();
        for digest in touched {
            let released = unpinned.remove(&digest).unwrap_or_default();
            let before = count(store, &digest)?;
            let delta = self.counts.get(&digest).copied().unwrap_or_default();
            let after = before.checked_add_signed(delta).ok_or_else(|| {
                rows::corrupt(
                    Column::BlobRefs,
                    &digest.0,
                    format!("the count is {before} and should change by {delta}"),
                )
            })?;
            if after == 0 && before > 0 {
                batch.delete(Column::BlobRefs, digest.0.to_vec());
            } else if after != before {
                batch.put(Column::BlobRefs, digest.0.to_vec(), parallax_primitives::encode(&after));
            }
            // One holder more than are released shows whether any stays.
            let kept_pins = holders(store, &digest, released.len().saturating_add(1))?;
            let stays = kept_pins.iter().any(|holder| !released.contains(holder));
            let was_held = before > 0 || !kept_pins.is_empty();
            let is_held = after > 0 || stays || pinned.contains(&digest);
            match (was_held, is_held) {
                (false, true) => {
                    let Packed(bytes) = self.bytes.remove(&digest).ok_or(StateError::MissingBlob { digest })?;
                    batch.put(Column::Blobs, digest.0.to_vec(), bytes);
                }
                (true, false) => batch.delete(Column::Blobs, digest.0.to_vec()),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_is_undone_and_costs_at_most_one_byte(
            pattern in proptest::collection::vec(any::<u8>(), 0..40),
            times in 0..400usize,
        ) {
            let bytes = pattern.repeat(times);
            let packed = compress(&bytes);
            prop_assert!(packed.len() <= bytes.len() + 1);
            prop_assert_eq!(decompress(packed).unwrap(), bytes);
        }

        #[test]
        fn hostile_packed_bytes_are_refused_or_read_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), tag in 0..3u8) {
            let mut bytes = bytes;
            bytes.push(tag);
            let _ = decompress(bytes);
        }
    }

    #[test]
    fn compressible_bytes_shrink_and_a_false_length_is_refused() {
        let mut packed = compress(&[7; 100_000]);
        assert!(packed.len() < 1_000);
        let length = packed.len() - 5;
        packed[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decompress(packed).unwrap_err().contains("limit"));
    }
}
