//! Key sets on disk, made once for each specification and found again.
//!
//! Under one root there is a directory for each specification (library version, parameters, plan, options, format, the
//! program of the known answers) and label: key sets of one specification that must not be one have labels. It appears by a rename when it is complete, so a directory that exists is whole; a lock file makes a second process
//! wait for the first and use its result.

use crate::keys::{GenerateOptions, KeyError, MANIFEST_FILE, Manifest, Progress, Stage, generate, known_answers};
use crate::parameters::{LIBRARY, MAX_LIST_BLOCKS, NAME};
use crate::plan::FftPlan;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// The format of key sets. Raised when the files change; older directories are then left alone and not used.
const FORMAT: u32 = 3;
/// The environment variable that moves the cache.
pub const ENVIRONMENT: &str = "PARALLAX_KEYS";

/// The cache's root: the value of `PARALLAX_KEYS`, else `~/.cache/parallax/keys`. `None` without either variable.
pub fn default_root() -> Option<PathBuf> {
    if let Some(root) = std::env::var_os(ENVIRONMENT).filter(|root| !root.is_empty()) {
        return Some(PathBuf::from(root));
    }
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/parallax/keys"))
}

/// The name of the directory for a specification and a label; the empty label is none.
fn directory_name(label: &str, options: GenerateOptions) -> String {
    // A key set whose answers are to other operations than this version's is of no use to it.
    let answers = known_answers::program_digest().map_or_else(|e| e.to_string(), |digest| digest.to_string());
    let specification = format!(
        "format {FORMAT}, {LIBRARY}, {NAME}, plan {}, lists of {MAX_LIST_BLOCKS}, squashing {}, answers {answers}",
        FftPlan::Dif16,
        options.squashing
    );
    let specification = if label.is_empty() { specification } else { format!("{specification}, label {label}") };
    blake3::hash(specification.as_bytes()).to_hex()[..16].to_owned()
}

/// The key set without a label for these options: from the cache, or made now. Returns its manifest and directory. The parts are
/// verified by whoever loads them; here only their lengths are looked at.
///
/// # Errors
/// If the cache cannot be written, or holds a damaged key set; the message names the path.
pub fn key_set(
    root: &Path,
    options: GenerateOptions,
    progress: &dyn Fn(Progress),
) -> Result<(Manifest, PathBuf), KeyError> {
    key_set_with(root, "", options, progress, &generate)
}

/// The key set that bears a label. Another label, another key: a key set belongs to one ParaTime, and where one cache
/// serves several ParaTimes, each has its own.
///
/// # Errors
/// As for [`key_set`].
pub fn labelled_key_set(
    root: &Path,
    label: &str,
    options: GenerateOptions,
    progress: &dyn Fn(Progress),
) -> Result<(Manifest, PathBuf), KeyError> {
    key_set_with(root, label, options, progress, &generate)
}

type Generate<'a> = &'a dyn Fn(&Path, GenerateOptions, &dyn Fn(Progress)) -> Result<Manifest, KeyError>;

fn key_set_with(
    root: &Path,
    label: &str,
    options: GenerateOptions,
    progress: &dyn Fn(Progress),
    generate: Generate<'_>,
) -> Result<(Manifest, PathBuf), KeyError> {
    let name = directory_name(label, options);
    let dir = root.join(&name);
    if let Some(found) = find(&dir)? {
        return Ok((found, dir));
    }
    std::fs::create_dir_all(root).map_err(KeyError::io("create", root))?;
    // Held until the end of this function.
    let _lock = lock(&root.join(format!("{name}.lock")), progress)?;
    if let Some(found) = find(&dir)? {
        return Ok((found, dir));
    }
    // Whoever holds the lock is alone here, so a directory of this name is what a killed process left behind.
    let unfinished = root.join(format!("{name}.unfinished"));
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(KeyError::io("remove", &unfinished))?;
    }
    create_private(&unfinished)?;
    let manifest = generate(&unfinished, options, progress)?;
    std::fs::rename(&unfinished, &dir).map_err(KeyError::io("rename the finished key set to", &dir))?;
    tracing::info!(key = %manifest.key_id(), path = %dir.display(), "fhe.keys_made");
    Ok((manifest, dir))
}

fn find(dir: &Path) -> Result<Option<Manifest>, KeyError> {
    if !dir.join(MANIFEST_FILE).exists() {
        return Ok(None);
    }
    let manifest = Manifest::load(dir)?;
    manifest.check_sizes(dir)?;
    Ok(Some(manifest))
}

fn lock(path: &Path, progress: &dyn Fn(Progress)) -> Result<File, KeyError> {
    let mut options = OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(false).open(path).map_err(KeyError::io("open the lock", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(Progress { stage: Stage::Waiting, done: 0, steps: 1 });
            file.lock().map_err(KeyError::io("lock", path))?;
        }
        Err(TryLockError::Error(e)) => return Err(KeyError::io("lock", path)(e)),
    }
    Ok(file)
}

fn create_private(dir: &Path) -> Result<(), KeyError> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(dir).map_err(KeyError::io("create", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Origin, Part, Role};
    use parallax_primitives::Digest;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn fake(dir: &Path) -> Result<Manifest, KeyError> {
        let path = dir.join(Role::Crs.file_name());
        std::fs::write(&path, b"crs").map_err(KeyError::io("write", &path))?;
        let manifest = Manifest {
            origin: Origin::TrustedDealer,
            max_list_blocks: 1,
            parts: vec![Part { role: Role::Crs, bytes: 3, digest: Digest(*blake3::hash(b"crs").as_bytes()) }],
            profiles: Vec::new(),
        };
        let path = dir.join(MANIFEST_FILE);
        std::fs::write(&path, manifest.to_json().unwrap()).map_err(KeyError::io("write", &path))?;
        Ok(manifest)
    }

    #[test]
    fn two_callers_at_once_make_the_keys_once() {
        let root = tempfile::tempdir().unwrap();
        let made = AtomicUsize::new(0);
        let slow = |dir: &Path, _: GenerateOptions, _: &dyn Fn(Progress)| {
            made.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(200));
            fake(dir)
        };
        let call = || key_set_with(root.path(), "", GenerateOptions::default(), &|_| {}, &slow).unwrap();
        let (a, b) = std::thread::scope(|s| {
            let (a, b) = (s.spawn(call), s.spawn(call));
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!((a.0.key_id(), &a.1), (b.0.key_id(), &b.1));
    }

    #[test]
    fn what_a_killed_process_left_behind_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let left = root.path().join(format!("{}.unfinished", directory_name("", GenerateOptions::default())));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("half"), b"x").unwrap();
        let quick = |dir: &Path, _: GenerateOptions, _: &dyn Fn(Progress)| fake(dir);
        let (_, dir) = key_set_with(root.path(), "", GenerateOptions::default(), &|_| {}, &quick).unwrap();
        assert!(!left.exists() && !dir.join("half").exists());
        std::fs::write(dir.join(Role::Crs.file_name()), b"cr").unwrap();
        let error = key_set_with(root.path(), "", GenerateOptions::default(), &|_| {}, &quick).unwrap_err().to_string();
        assert!(error.contains("crs.bin is 2 bytes long"), "{error}");
    }

    #[test]
    fn options_have_directories_of_their_own() {
        let plain = GenerateOptions { squashing: false };
        assert_ne!(directory_name("", plain), directory_name("", GenerateOptions { squashing: true }));
    }

    #[test]
    fn labels_have_key_sets_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let quick = |dir: &Path, _: GenerateOptions, _: &dyn Fn(Progress)| fake(dir);
        let of = |label: &str| key_set_with(root.path(), label, GenerateOptions::default(), &|_| {}, &quick).unwrap().1;
        let dirs = [of(""), of("evm"), of("other")];
        assert_eq!(dirs.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_eq!(of("evm"), dirs[1]);
    }
}
