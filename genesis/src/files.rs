//! Files: whole reads with a size cap, atomic writes, and JSON errors with line and column.

use crate::error::GenesisError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Largest file read here, in bytes. A genesis document for the largest validator set is well below it.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone whom the umask allows.
    Public,
    /// Its owner only.
    Secret,
}

pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> GenesisError {
    let path = path.to_owned();
    move |source| GenesisError::Io { what, path, source }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, GenesisError> {
    let file = File::open(path).map_err(io("open", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let source = std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_FILE_BYTES} bytes, the limit for such a file"),
        );
        return Err(GenesisError::Io { what: "read", path: path.to_owned(), source });
    }
    Ok(bytes)
}

/// Refuses a secret that others can read.
pub(crate) fn refuse_exposed(path: &Path) -> Result<(), GenesisError> {
    let mode = fs::metadata(path).map_err(io("open", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(GenesisError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, GenesisError> {
    serde_json::from_slice(bytes).map_err(|e| {
        // serde_json appends the place, which has fields of its own here.
        let text = e.to_string();
        let place = format!(" at line {} column {}", e.line(), e.column());
        let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        GenesisError::Parse { path: path.to_owned(), line: e.line(), column: e.column(), reason }
    })
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, GenesisError> {
    parse(path, &read(path)?)
}

/// Writes beside the file, then renames: a crash leaves the old file or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), GenesisError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside: PathBuf = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if access == Access::Secret {
        // A left-over from a crash keeps its mode, so it is removed first.
        let _ = fs::remove_file(&beside);
        options.create_new(true).mode(0o600);
    }
    let mut file = options.open(&beside).map_err(io("create", &beside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", &beside))?;
    fs::rename(&beside, path).map_err(io("replace", path))
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T, access: Access) -> Result<(), GenesisError> {
    let mut text = zeroize::Zeroizing::new(serde_json::to_vec_pretty(value).map_err(|e| GenesisError::Io {
        what: "encode",
        path: path.to_owned(),
        source: std::io::Error::other(e),
    })?);
    text.push(b'\n');
    write(path, &text, access)
}

pub(crate) fn create_dir(path: &Path) -> Result<(), GenesisError> {
    fs::create_dir_all(path).map_err(io("create", path))
}
