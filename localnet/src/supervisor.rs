//! One task a node: it starts the process, starts it again when it dies, and ends it.
//!
//! Rules: a process that exits with [`EXIT_REFUSED`] has refused its configuration and is not started again; one that
//! dies more than [`MAX_DEATHS`] times within [`DEATHS_WITHIN`] is given up; all others come back after a pause that
//! doubles from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`]. A node is asked to end with SIGTERM and killed after
//! [`lifeline::GRACE`]. Signals go to the task's own child and to nothing else.

use crate::error::{LocalnetError, io};
use crate::lifeline;
use crate::plan::PlannedNode;
use crate::process;
use crate::state::{NodePhase, NodeState, SupervisorState};
use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

/// The exit code with which a node refuses its configuration: `EX_CONFIG` of sysexits(3).
pub const EXIT_REFUSED: i32 = 78;
/// Deaths within [`DEATHS_WITHIN`] after which a node is given up.
pub const MAX_DEATHS: usize = 8;
/// The span in which deaths are counted.
pub const DEATHS_WITHIN: Duration = Duration::from_secs(120);
/// The pause before the first restart.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause before a restart.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Lines of a log that go into a message.
pub(crate) const TAIL_LINES: usize = 20;

/// Something that a supervisor's owner may want to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A process was started.
    Started {
        /// The node.
        node: String,
        /// Its process.
        pid: u32,
    },
    /// A node can do its work.
    Ready {
        /// The node.
        node: String,
    },
    /// A process died and will be started again.
    Restarting {
        /// The node.
        node: String,
        /// How it ended.
        how: String,
        /// The pause before it is started.
        after: Duration,
    },
    /// A node refuses its configuration.
    Refused {
        /// The node.
        node: String,
        /// Its own words.
        message: String,
    },
    /// A node is not started again.
    GaveUp {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
}

/// Called for each [`Notice`], from any thread.
pub type Notify = Arc<dyn Fn(&Notice) + Send + Sync>;

/// What the tasks and their owner share.
pub(crate) struct Shared {
    dir: PathBuf,
    state: Mutex<SupervisorState>,
    pub(crate) notify: Notify,
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, nodes: &[PlannedNode], notify: Notify) -> Result<Arc<Self>, LocalnetError> {
        let pid = std::process::id();
        let state = SupervisorState {
            pid,
            started: process::start_time(pid).unwrap_or(0),
            ready: false,
            nodes: nodes
                .iter()
                .map(|n| NodeState {
                    name: n.name.clone(),
                    phase: NodePhase::Planned,
                    pid: None,
                    restarts: 0,
                    message: None,
                })
                .collect(),
        };
        state.save(&dir)?;
        Ok(Arc::new(Self { dir, state: Mutex::new(state), notify }))
    }

    fn lock(&self) -> MutexGuard<'_, SupervisorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes as they stand.
    pub(crate) fn nodes(&self) -> Vec<NodeState> {
        self.lock().nodes.clone()
    }

    /// One node as it stands.
    pub(crate) fn node(&self, name: &str) -> Option<NodeState> {
        self.lock().nodes.iter().find(|n| n.name == name).cloned()
    }

    /// Notes that every node has been ready.
    pub(crate) fn set_ready(&self) {
        self.change(|state| state.ready = true);
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut NodeState)) {
        self.change(|state| {
            if let Some(node) = state.nodes.iter_mut().find(|n| n.name == name) {
                change(node);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut SupervisorState)) {
        let mut state = self.lock();
        change(&mut state);
        // The network goes on without the file; `status` then shows an older picture.
        if let Err(error) = state.save(&self.dir) {
            tracing::warn!(%error, "localnet.state_not_written");
        }
    }
}

/// How one node is run.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: PlannedNode,
    pub(crate) program: PathBuf,
    pub(crate) fault: Option<String>,
    /// What to do with the process.
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Whether it is to stay down once it has ended.
    pub(crate) down: bool,
    /// Becomes true when the network is to end.
    pub(crate) stop: watch::Receiver<bool>,
}

/// What a network's owner may want of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// SIGKILL; it is started again like one that died.
    Kill,
    /// SIGKILL; it stays down.
    Down,
    /// It is started again.
    Up,
}

/// How a process came to its end.
enum End {
    Stopped,
    Exited(std::io::Result<ExitStatus>),
}

impl Runner {
    /// Runs the node until it is stopped, refuses, or is given up.
    pub(crate) async fn run(mut self) {
        let mut deaths: VecDeque<Instant> = VecDeque::new();
        loop {
            let log_start = std::fs::metadata(&self.node.log).map_or(0, |m| m.len());
            let (child, lifeline) = match self.spawn() {
                Ok(started) => started,
                Err(error) => return self.give_up(error.to_string()),
            };
            let status = match self.watch(child, lifeline).await {
                End::Stopped => return self.set_phase(NodePhase::Stopped, None),
                End::Exited(Err(error)) => return self.give_up(format!("its process is lost: {error}")),
                End::Exited(Ok(status)) => status,
            };
            if status.code() == Some(EXIT_REFUSED) {
                return self.refused(log_start);
            }
            if self.down {
                if self.stay_down().await {
                    return self.set_phase(NodePhase::Stopped, None);
                }
                continue;
            }
            let now = Instant::now();
            deaths.push_back(now);
            while deaths.front().is_some_and(|first| now.duration_since(*first) > DEATHS_WITHIN) {
                deaths.pop_front();
            }
            if deaths.len() > MAX_DEATHS {
                return self.give_up(format!("it died {} times in two minutes, last with {status}", deaths.len()));
            }
            if self.pause(status, deaths.len()).await {
                return self.set_phase(NodePhase::Stopped, None);
            }
        }
    }

    fn log(&self) -> Result<File, LocalnetError> {
        let path = &self.node.log;
        OpenOptions::new().create(true).append(true).open(path).map_err(io("open", path))
    }

    fn spawn(&self) -> Result<(Child, Option<ChildStdin>), LocalnetError> {
        let output = self.log()?;
        let errors = output.try_clone().map_err(io("open", &self.node.log))?;
        let mut command = Command::new(&self.program);
        command.args(["node", "run", "--home"]).arg(&self.node.home).arg(lifeline::FLAG);
        if let Some(kind) = &self.fault {
            command.args(["--fault", kind]);
        }
        // A group of its own: Ctrl-C on the terminal reaches the supervisor alone, which ends nodes in order.
        command.stdin(Stdio::piped()).stdout(output).stderr(errors).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(io("start", &self.program))?;
        // Taken out because waiting would close it.
        let lifeline = child.stdin.take();
        let pid = child.id();
        self.shared.update(&self.node.name, |n| {
            n.phase = NodePhase::Running;
            n.pid = pid;
        });
        if let Some(pid) = pid {
            (self.shared.notify)(&Notice::Started { node: self.node.name.clone(), pid });
        }
        Ok((child, lifeline))
    }

    async fn watch(&mut self, mut child: Child, lifeline: Option<ChildStdin>) -> End {
        let end = loop {
            tokio::select! {
                status = child.wait() => break End::Exited(status),
                Some(order) = self.orders.recv() => {
                    self.down = order == Order::Down;
                    if order != Order::Up {
                        let _ = child.start_kill();
                    }
                }
                () = stopped(&mut self.stop) => {
                    terminate(&mut child).await;
                    break End::Stopped;
                }
            }
        };
        drop(lifeline);
        self.shared.update(&self.node.name, |n| n.pid = None);
        end
    }

    /// Waits before a restart; true if the network is to end.
    async fn pause(&mut self, status: ExitStatus, deaths: usize) -> bool {
        let doublings = u32::try_from(deaths.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let after = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        let how = status.to_string();
        self.shared.update(&self.node.name, |n| {
            n.phase = NodePhase::Restarting;
            n.restarts = n.restarts.saturating_add(1);
            n.message = Some(how.clone());
        });
        (self.shared.notify)(&Notice::Restarting { node: self.node.name.clone(), how, after });
        tokio::select! {
            () = tokio::time::sleep(after) => false,
            () = stopped(&mut self.stop) => true,
        }
    }

    /// Waits until it may be started again; true if the network is to end.
    async fn stay_down(&mut self) -> bool {
        self.set_phase(NodePhase::Down, None);
        while self.down {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.down = order != Order::Up,
                    // Nobody is left who could say so.
                    None => return true,
                },
                () = stopped(&mut self.stop) => return true,
            }
        }
        false
    }

    fn set_phase(&self, phase: NodePhase, message: Option<String>) {
        self.shared.update(&self.node.name, |n| {
            n.phase = phase;
            n.pid = None;
            if message.is_some() {
                n.message = message;
            }
        });
    }

    fn refused(&self, log_start: u64) {
        let message = process::since(&self.node.log, log_start, TAIL_LINES);
        let message = if message.is_empty() { "it gave no reason".to_owned() } else { message };
        self.set_phase(NodePhase::Refused, Some(message.clone()));
        (self.shared.notify)(&Notice::Refused { node: self.node.name.clone(), message });
    }

    fn give_up(&self, why: String) {
        self.set_phase(NodePhase::GaveUp, Some(why.clone()));
        (self.shared.notify)(&Notice::GaveUp { node: self.node.name.clone(), why });
    }
}

/// Resolves when the network is to end, also when its owner is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn terminate(child: &mut Child) {
    // The id is valid: the child has not been waited for yet.
    if let Some(pid) = child.id() {
        process::signal(pid, Signal::SIGTERM);
    }
    if tokio::time::timeout(lifeline::GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
