//! Which validators decide a height. After block `h` the state holds the sets of `h`, `h + 1` and `h + 2`; a change
//! made by block `h` is the set of `h + 2`.

use crate::{ValidatorSet, keys, stored};
use parallax_primitives::Height;
use parallax_state::{Overlay, StateError, StateView};

/// Writes the sets of the first two heights.
pub(crate) fn genesis(overlay: &mut Overlay<'_>, set: &ValidatorSet) {
    for height in [Height(1), Height(2)] {
        stored::write(overlay, keys::validators(height), set);
    }
}

/// Fixes the set two heights ahead, and forgets the one before this height. Returns the new set if it differs from the
/// one before it.
pub(crate) fn advance(
    overlay: &mut Overlay<'_>,
    height: Height,
    elected: Option<ValidatorSet>,
) -> Result<Option<ValidatorSet>, StateError> {
    let next = at(overlay, height.next())?;
    let update = elected.filter(|set| *set != next);
    stored::write(overlay, keys::validators(height.saturating_add(2)), update.as_ref().unwrap_or(&next));
    overlay.delete(keys::validators(height.saturating_sub(1)));
    Ok(update)
}

/// The set that decides a height.
///
/// # Errors
/// If the state cannot be read, or is not within two heights before `height`.
pub fn at(view: &dyn StateView, height: Height) -> Result<ValidatorSet, StateError> {
    stored::require(view, &keys::validators(height))
}
