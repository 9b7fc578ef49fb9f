//! What an engine has to itself: a directory, for one chain and one process, and a port.

use super::Multiaddr;
use crate::EngineError;
use malachite::app::net::Multiaddr as Address;
use parallax_primitives::ChainContext;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory, locked while this lives.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Locks a directory for this process and names its chain in it.
    pub(super) fn open(path: &Path, chain: ChainContext) -> Result<Self, EngineError> {
        let unusable =
            |path: &Path, e: std::io::Error| EngineError::Home { path: path.to_owned(), reason: e.to_string() };
        std::fs::create_dir_all(path).map_err(|e| unusable(path, e))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| unusable(&lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EngineError::HomeBusy { path: lock_path }),
            Err(TryLockError::Error(e)) => return Err(unusable(&lock_path, e)),
        }
        let chain_path = path.join("chain");
        let expected = chain.to_string();
        match std::fs::read_to_string(&chain_path) {
            Ok(found) if found.trim() == expected => {}
            Ok(found) => {
                let found = found.trim().chars().take(80).collect();
                return Err(EngineError::OtherChain { path: chain_path, found, expected });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                write_durably(&chain_path, &expected).map_err(|e| unusable(&chain_path, e))?
            }
            Err(e) => return Err(unusable(&chain_path, e)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The library's write-ahead log.
    pub(super) fn wal(&self) -> PathBuf {
        self.path.join("consensus.wal")
    }

    /// Waits until the library's threads have let go of log and port: it does not say when they have.
    pub(super) async fn wait_until_free(self, address: SocketAddr, limit: Duration) {
        let free = async {
            while TcpListener::bind(address).is_err()
                || File::open(self.wal()).is_ok_and(|wal| matches!(wal.try_lock(), Err(TryLockError::WouldBlock)))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(limit, free).await.is_err() {
            tracing::warn!(%address, wal = %self.wal().display(), "port or log are still held by a stopped engine");
        }
    }
}

fn write_durably(path: &Path, text: &str) -> std::io::Result<()> {
    // Written beside and renamed, so that a crash leaves no half of a name.
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// The socket address to listen on, if it can be had. The library only logs a failure to listen, so it is tried here.
pub(super) fn check_listen(listen: &Multiaddr) -> Result<SocketAddr, EngineError> {
    let address = socket_address(listen).ok_or_else(|| EngineError::Config {
        setting: "listen",
        reason: format!("{listen} is not of the form /ip4/<address>/tcp/<port> with a port other than 0"),
    })?;
    TcpListener::bind(address)
        .map_err(|e| EngineError::Listen { address: listen.to_string(), reason: e.to_string() })?;
    Ok(address)
}

/// Reads the text form, which is stable, and so needs no second crate for its parts.
fn socket_address(listen: &Address) -> Option<SocketAddr> {
    let text = listen.to_string();
    let mut words = text.strip_prefix('/')?.split('/');
    let ip: IpAddr = match words.next()? {
        "ip4" => IpAddr::V4(words.next()?.parse().ok()?),
        "ip6" => IpAddr::V6(words.next()?.parse().ok()?),
        _ => return None,
    };
    let tcp = words.next()? == "tcp";
    let port: u16 = words.next()?.parse().ok()?;
    (tcp && port != 0 && words.next().is_none()).then_some(SocketAddr::new(ip, port))
}
