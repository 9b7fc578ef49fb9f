//! The FHE key sets of a localnet, one a ParaTime: made once a machine, then taken from the cache.

use crate::error::LocalnetError;
use crate::fixture::ParaTimeKind;
use indicatif::{ProgressBar, ProgressStyle};
use parallax_fhe::{BackendKind, FftPlan, GenerateOptions, Progress, cache};
use parallax_primitives::KeyId;
use parallax_runtime::EvaluationProfile;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A key set on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// Its directory.
    pub dir: PathBuf,
    /// Its id: the digest of its manifest.
    pub key_id: KeyId,
    /// The profile of the backend that was asked for; its known answers are in the manifest.
    pub profile: EvaluationProfile,
}

impl KeySet {
    /// The key set of a localnet's ParaTime, made now if the cache does not hold it: about 20 core-seconds, with a progress bar on
    /// standard error if that is a terminal. `cache_root` is [`parallax_fhe::cache::default_root`] unless given.
    /// Every localnet of this machine has the same for the same ParaTime, and no two ParaTimes share one: what is
    /// encrypted for one cannot be read by the other. A key set serves every backend; `backend` says whose profile the chain is to run. Blocks; call it outside the
    /// asynchronous runtime's threads.
    ///
    /// # Errors
    /// If the processor cannot run the profile, or the cache cannot be written or is damaged.
    pub fn obtain(
        cache_root: Option<&Path>,
        paratime: ParaTimeKind,
        backend: BackendKind,
    ) -> Result<Self, LocalnetError> {
        let root = match cache_root {
            Some(root) => root.to_owned(),
            None => cache::default_root().ok_or_else(|| LocalnetError::Keys {
                dir: PathBuf::from("~/.cache/parallax/keys"),
                reason: format!("neither HOME nor {} is set; set one of them", cache::ENVIRONMENT),
            })?,
        };
        let failed = |reason: String| LocalnetError::Keys { dir: root.clone(), reason };
        parallax_fhe::init(FftPlan::Dif16).map_err(|e| failed(e.to_string()))?;
        let bar = ProgressBar::hidden();
        let report = |progress: Progress| show(&bar, progress);
        let made = cache::labelled_key_set(&root, paratime.key_label(), GenerateOptions::default(), &report);
        bar.finish_and_clear();
        let (manifest, dir) = made.map_err(|e| failed(e.to_string()))?;
        let profile = manifest.answers(backend).map_err(|e| failed(e.to_string()))?.profile.clone();
        Ok(Self { dir, key_id: manifest.key_id(), profile })
    }
}

/// The bar appears with the first step: a key set from the cache shows none.
fn show(bar: &ProgressBar, progress: Progress) {
    if bar.is_hidden() && bar.length().is_none() {
        if let Ok(style) = ProgressStyle::with_template("FHE keys [{bar:30}] {pos}/{len} {msg} ({elapsed})") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(250));
    }
    bar.set_length(u64::from(progress.steps));
    bar.set_position(u64::from(progress.done));
    bar.set_message(progress.stage.to_string());
}
