//! What the ledger keeps beside the tree: with which root this store began, and the validators of every height since,
//! so that old certificates can be checked after their state is pruned.

use super::Ledger;
use crate::block::ValidatorSet;
use crate::{keys, stored};
use parallax_primitives::{Digest, Height};
use parallax_state::{Batch, Changes, Column, StateError, Value};

/// Rows of [`Column::Blocks`]: one for each change of the validators, under the first height that the set decides.
const VALIDATORS: &[u8] = b"validators/";
/// The row of [`Column::Meta`] with the root of this store's first state.
const FIRST_ROOT: &[u8] = b"ledger/first_root";

fn row(height: Height) -> Vec<u8> {
    [VALIDATORS, &height.0.to_be_bytes()].concat()
}

impl Ledger {
    /// The root of the first state; `None` if the store is empty.
    pub(super) fn first_root(&self) -> Result<Option<Digest>, StateError> {
        let bytes = self.database().store().get(Column::Meta, FIRST_ROOT)?;
        bytes.map(|bytes| stored::from_value(FIRST_ROOT, &Value::Plain(bytes))).transpose()
    }

    /// Records the root of a first state and the validators from `first` on that it holds.
    pub(super) fn begin_history(
        &self,
        batch: &mut Batch,
        root: Digest,
        first: Height,
        changes: &Changes,
    ) -> Result<(), StateError> {
        batch.put(Column::Meta, FIRST_ROOT.to_vec(), stored::to_bytes(&root));
        let mut known: Option<ValidatorSet> = None;
        for ahead in 0..=2 {
            let height = first.saturating_add(ahead);
            let key = keys::validators(height);
            let Some(Some(value)) = changes.writes.get(&key) else { continue };
            let set = stored::from_value(&key, value)?;
            if known.as_ref() != Some(&set) {
                Self::record_validators(batch, height, &set);
                known = Some(set);
            }
        }
        Ok(())
    }

    /// Records that a set decides from `height` on.
    pub(super) fn record_validators(batch: &mut Batch, height: Height, set: &ValidatorSet) {
        batch.put(Column::Blocks, row(height), stored::to_bytes(set));
    }

    /// The validators of a height.
    pub(super) fn validators_of(&self, height: Height) -> Result<ValidatorSet, StateError> {
        let unknown = || StateError::UnknownVersion { namespace: "the validator sets".to_owned(), version: height.0 };
        let (last, _) = self.tree.latest()?.ok_or_else(unknown)?;
        if height > Height(last).saturating_add(2) {
            return Err(unknown());
        }
        let found = self.database().store().last(Column::Blocks, &row(Height::ZERO), &row(height))?;
        let (key, bytes) = found.ok_or_else(unknown)?;
        stored::from_value(&key, &Value::Plain(bytes))
    }
}
