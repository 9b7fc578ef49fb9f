//! What a running supervisor tells other processes: `state.json` in the localnet's directory.

use crate::error::{LocalnetError, io};
use crate::process;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const FILE: &str = "state.json";
const PID_FILE: &str = "supervisor.pid";

/// Where a node stands, as its supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodePhase {
    /// Not started yet.
    Planned,
    /// The process runs.
    Running,
    /// The process died and will be started again.
    Restarting,
    /// Killed, and not to be started again until its owner says so.
    Down,
    /// The node refuses its configuration; it is not started again.
    Refused,
    /// The node died too often; it is not started again.
    GaveUp,
    /// Ended on request.
    Stopped,
}

/// A node and its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub phase: NodePhase,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// What it said when it refused, or how it last ended.
    pub message: Option<String>,
}

/// A supervisor and its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorState {
    /// Its process.
    pub pid: u32,
    /// When that process started, in clock ticks since the system did: an id alone may be given out again.
    pub started: u64,
    /// Whether every node has been ready.
    pub ready: bool,
    /// The nodes, in the order of the plan.
    pub nodes: Vec<NodeState>,
}

impl SupervisorState {
    /// Whether the supervisor is there still.
    pub fn is_alive(&self) -> bool {
        process::start_time(self.pid) == Some(self.started)
    }

    /// Reads the state of a directory, if its supervisor is alive.
    pub fn of_living(dir: &Path) -> Option<Self> {
        let text = fs::read(dir.join(FILE)).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(Self::is_alive)
    }

    /// Writes the state so that readers see the old or the new one.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), LocalnetError> {
        let (path, beside) = (dir.join(FILE), dir.join("state.json.new"));
        let text = serde_json::to_vec_pretty(self).map_err(|e| io("encode", &path)(e.into()))?;
        fs::write(&beside, text).map_err(io("write", &beside))?;
        fs::rename(&beside, &path).map_err(io("replace", &path))
    }
}

/// Removes the files of a supervisor that has ended.
pub(crate) fn clear(dir: &Path) {
    for name in [FILE, PID_FILE] {
        let _ = fs::remove_file(dir.join(name));
    }
}

/// Writes the id of the supervisor, for people and scripts.
pub(crate) fn save_pid(dir: &Path, pid: u32) -> Result<(), LocalnetError> {
    let path: PathBuf = dir.join(PID_FILE);
    fs::write(&path, format!("{pid}\n")).map_err(io("write", &path))
}
