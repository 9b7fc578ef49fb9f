//! A node never outlives its supervisor: the supervisor holds the writing end of the node's standard input and writes
//! nothing; when the supervisor ends, however it ends, the system closes the pipe and the node sees the end of input.
//!
//! Not `PR_SET_PDEATHSIG`: that fires when the *thread* that spawned the child ends, and an asynchronous runtime ends
//! threads at will.

use nix::sys::signal::{Signal, raise};
use std::io::Read as _;
use std::time::Duration;

/// The argument with which the supervisor starts a node that is to watch its lifeline.
pub const FLAG: &str = "--supervised";
/// How long a node may take to end in an orderly way.
pub const GRACE: Duration = Duration::from_secs(10);

/// Watches standard input on a thread of its own. At its end the process gets SIGTERM, as if an operator had sent it,
/// and if it is still there after [`GRACE`], it exits with status 1. Call it once, early, when started with [`FLAG`].
///
/// # Errors
/// If the system has no thread to give.
pub fn watch() -> std::io::Result<()> {
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        let mut buffer = [0; 64];
        let mut input = std::io::stdin().lock();
        loop {
            match input.read(&mut buffer) {
                Ok(0) => break,
                Err(e) if e.kind() != std::io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        tracing::warn!("node.supervisor_gone");
        let _ = raise(Signal::SIGTERM);
        std::thread::sleep(GRACE);
        std::process::exit(1);
    })?;
    Ok(())
}
