//! The shell: carries out what [`WorkerState`] says, durable things first.
//!
//! One task owns the state and handles one event after the other. Everything that takes long runs in tasks of its own
//! and comes back as an event, so the loop never waits for the network or for FHE. A crash point stands before and
//! after each effect.

use crate::core::WorkerState;
use crate::disputes::{self, Disputes};
use crate::event::{Action, Dispute, RoundView, Step, Work, WorkerConfig, WorkerEvent};
use crate::executor::Executor;
use crate::results::ResultStore;
use crate::seams::{CrashPoint, CrashStep, Journal, Ledger, LedgerError, Pool, Transport, Where};
use crate::tasks::{self, TaskEvent};
use parallax_primitives::{Digest, NodeId, ParaTimeId, Round, limits};
use parallax_rounds::{SignedProposal, Statement};
use parallax_runtime::{FheBackend, ParaTime};
use parallax_state::{Database, StateError};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Most inputs that wait for a worker. Blocks are announced again by the next one, so dropping one loses nothing.
const MAX_INPUTS: usize = 256;
/// Most events of its own tasks that wait; a task then waits in turn.
const MAX_EVENTS: usize = 64;

/// Why a worker stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The state or the journal failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The chain could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ParaTime's genesis state is not in the database.
    #[error(
        "the state of ParaTime {0} has no genesis; initialise the home directory with this chain's genesis document"
    )]
    NoGenesis(ParaTimeId),
    /// A crash point ended it.
    #[error("ended by the fault `crash-at={0}-{1}`")]
    Crashed(Where, CrashStep),
}

/// What a worker is built from.
pub struct WorkerSetup<L, T, P> {
    /// How it runs.
    pub config: WorkerConfig,
    /// The chain.
    pub ledger: L,
    /// The network.
    pub transport: T,
    /// The ParaTime's pool.
    pub pool: P,
    /// The ParaTime.
    pub runtime: Arc<dyn ParaTime>,
    /// What evaluates its programs.
    pub fhe: Arc<dyn FheBackend>,
    /// The node's database; the ParaTime's genesis state is in it.
    pub database: Database,
    /// Its durable memory.
    pub journal: Arc<dyn Journal>,
    /// The node's FHE threads.
    pub executor: Executor,
    /// Crash points.
    pub crash: Arc<dyn CrashPoint>,
    /// The pause before a peer is asked again.
    pub retry: Duration,
}

/// What the tasks of a worker share.
pub(crate) struct Context<L, T, P> {
    pub(crate) paratime: ParaTimeId,
    pub(crate) me: NodeId,
    pub(crate) ledger: L,
    pub(crate) transport: T,
    pub(crate) pool: P,
    pub(crate) runtime: Arc<dyn ParaTime>,
    pub(crate) fhe: Arc<dyn FheBackend>,
    pub(crate) results: ResultStore,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) executor: Executor,
    pub(crate) crash: Arc<dyn CrashPoint>,
    pub(crate) retry: Duration,
    pub(crate) disputes: Disputes,
    pub(crate) events: mpsc::Sender<TaskEvent>,
}

impl<L, T, P> Context<L, T, P> {
    /// Passes a crash point.
    pub(crate) fn pass(&self, place: Where, step: CrashStep) -> Result<(), WorkerError> {
        if self.crash.reached(place, step) { Err(WorkerError::Crashed(place, step)) } else { Ok(()) }
    }

    pub(crate) async fn tell(&self, event: WorkerEvent) {
        // The receiver is gone only when the worker is.
        drop(self.events.send(TaskEvent::Worker(event)).await);
    }

    pub(crate) async fn fail(&self, error: WorkerError) {
        drop(self.events.send(TaskEvent::Fatal(error)).await);
    }
}

/// What the node tells a worker.
#[derive(Clone, Debug)]
pub enum Input {
    /// A consensus block was finalised.
    Block,
    /// A proposal came over gossip; unchecked.
    Proposal(Box<SignedProposal>),
    /// A statement of a member stands in a transaction; unchecked.
    Heard(Box<Statement>),
    /// The pool changed.
    Pool,
    /// Stop; nothing is lost.
    Stop,
}

/// What a worker shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// See [`crate::WorkerStatus::name`].
    pub status: &'static str,
    /// The last round whose state is committed here.
    pub applied: Round,
    /// The round under way on chain.
    pub round: Round,
}

/// The node's end of a worker. Cheap to clone.
#[derive(Clone)]
pub struct WorkerHandle {
    inputs: mpsc::Sender<Input>,
    report: watch::Receiver<WorkerReport>,
    results: ResultStore,
}

impl WorkerHandle {
    /// Tells the worker something; `false` if it has stopped or is behind by more than its queue holds.
    pub fn send(&self, input: Input) -> bool {
        self.inputs.try_send(input).is_ok()
    }

    /// Its results, to answer peers with [`ResultStore::serve`].
    pub fn results(&self) -> &ResultStore {
        &self.results
    }

    /// What it is doing; the receiver can wait for changes.
    pub fn report(&self) -> watch::Receiver<WorkerReport> {
        self.report.clone()
    }
}

/// Work on one proposal.
struct Job {
    cancelled: Arc<AtomicBool>,
    task: Option<AbortHandle>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A worker of one ParaTime.
pub struct Worker<L, T, P> {
    context: Arc<Context<L, T, P>>,
    core: WorkerState,
    inputs: mpsc::Receiver<Input>,
    events: mpsc::Receiver<TaskEvent>,
    report: watch::Sender<WorkerReport>,
    jobs: BTreeMap<Digest, Job>,
    tasks: JoinSet<()>,
}

impl<L: Ledger, T: Transport, P: Pool> Worker<L, T, P> {
    /// A worker with what it remembers from before. It acts once [`Worker::run`] runs.
    ///
    /// # Errors
    /// [`WorkerError::NoGenesis`], or if the store fails.
    pub fn new(setup: WorkerSetup<L, T, P>) -> Result<(Self, WorkerHandle), WorkerError> {
        let paratime = setup.config.paratime;
        let results = ResultStore::new(setup.database, paratime);
        let applied = results.applied()?.ok_or(WorkerError::NoGenesis(paratime))?;
        let (me, records) = (setup.config.key.public(), setup.journal.load()?);
        tracing::info!(%paratime, round = applied.0, records = records.len(), "worker.restored");
        let core = WorkerState::restore(setup.config, applied, records);
        let (inputs, inbox) = mpsc::channel(MAX_INPUTS);
        let (events_sender, events) = mpsc::channel(MAX_EVENTS);
        let (report, watcher) = watch::channel(WorkerReport { applied, ..WorkerReport::default() });
        let context = Context {
            paratime,
            me,
            ledger: setup.ledger,
            transport: setup.transport,
            pool: setup.pool,
            runtime: setup.runtime,
            fhe: setup.fhe,
            results: results.clone(),
            journal: setup.journal,
            executor: setup.executor,
            crash: setup.crash,
            retry: setup.retry,
            disputes: Disputes::default(),
            events: events_sender,
        };
        let worker = Self {
            context: Arc::new(context),
            core,
            inputs: inbox,
            events,
            report,
            jobs: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        Ok((worker, WorkerHandle { inputs, report: watcher, results }))
    }

    /// Runs until it is told to stop, its handles are dropped, or it cannot go on.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn run(mut self) -> Result<(), WorkerError> {
        self.block()?;
        loop {
            tokio::select! {
                input = self.inputs.recv() => match input {
                    None | Some(Input::Stop) => return Ok(()),
                    Some(Input::Block) => self.block()?,
                    Some(Input::Pool) => self.work()?,
                    Some(Input::Proposal(signed)) => self.handle(WorkerEvent::ProposalReceived(*signed))?,
                    Some(Input::Heard(statement)) => self.handle(WorkerEvent::Heard(statement))?,
                },
                event = self.events.recv() => match event {
                    // The context holds a sender, so the channel stays open.
                    None => return Ok(()),
                    Some(TaskEvent::Fatal(error)) => return Err(error),
                    Some(TaskEvent::Worker(event)) => {
                        let applied = matches!(event, WorkerEvent::Applied { .. });
                        self.handle(event)?;
                        if applied {
                            self.work()?;
                        }
                    }
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "worker.task_panicked");
                    }
                }
            }
            self.report();
        }
    }

    fn report(&self) {
        let report = WorkerReport {
            status: self.core.status().name(),
            applied: self.core.applied(),
            round: self.core.view().map_or(Round::ZERO, |view| view.state.round()),
        };
        self.report.send_if_modified(|old| {
            let changed = *old != report;
            *old = report;
            changed
        });
    }

    /// Reads the chain anew.
    fn block(&mut self) -> Result<(), WorkerError> {
        let ledger = &self.context.ledger;
        let state = ledger.state(self.context.paratime)?;
        let anchor = ledger.header(state.rounds.accepted_height().next())?;
        let view = RoundView {
            height: state.height,
            state: state.rounds,
            beacon: state.beacon,
            key_ids: state.key_ids,
            message_results: state.message_results,
            anchor,
        };
        self.handle(WorkerEvent::Block(Box::new(view)))?;
        self.work()
    }

    /// Looks whether there is work.
    fn work(&mut self) -> Result<(), WorkerError> {
        let context = &self.context;
        let count = context.pool.len();
        let snapshot = context.results.snapshot(self.core.applied())?;
        let queued = match context.runtime.has_work(&snapshot) {
            Ok(queued) => queued,
            Err(abort) => {
                tracing::error!(error = %abort, "worker.has_work_failed");
                false
            }
        };
        let work = Work { waiting: count > 0 || queued, queued, full: queued || count >= limits::MAX_BATCH_TXS };
        self.handle(WorkerEvent::Work(work))
    }

    fn handle(&mut self, event: WorkerEvent) -> Result<(), WorkerError> {
        let Step { persist, then } = self.core.apply(event);
        if !persist.is_empty() {
            self.context.pass(Where::Before, CrashStep::Persist)?;
            self.context.journal.append(&persist)?;
            self.context.pass(Where::After, CrashStep::Persist)?;
        }
        for action in then {
            self.perform(action)?;
        }
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Result<(), WorkerError> {
        let context = Arc::clone(&self.context);
        let paratime = context.paratime;
        // The handle is for jobs that can be cancelled; the others end by themselves.
        let _task = match action {
            Action::Propose { context: round, limit } => {
                self.spawn(CrashStep::Propose, tasks::propose(context, round, limit))
            }
            Action::PublishProposal(signed) => self.spawn(CrashStep::PublishProposal, async move {
                context.transport.publish(paratime, signed).await;
                Ok(())
            }),
            Action::SubmitAnnounce(signed) => self.spawn(CrashStep::SubmitAnnounce, async move {
                context.ledger.announce(paratime, signed).await;
                Ok(())
            }),
            Action::SubmitCommitment(vote) => {
                tracing::info!(round = vote.commitment.round.0, "worker.commit");
                self.spawn(CrashStep::SubmitCommitment, async move {
                    context.ledger.commit(paratime, vec![vote]).await;
                    Ok(())
                })
            }
            Action::SubmitEvidence(evidence) => {
                if let Ok(offence) = evidence.offence() {
                    let (node, round) = (offence.node.to_string(), offence.round.0);
                    tracing::warn!(node, round, kind = evidence.kind(), "worker.equivocation");
                }
                // No crash point: the fact is another node's, and the chain may learn it from anybody.
                self.tasks.spawn(async move { context.ledger.report(paratime, *evidence).await });
                return Ok(());
            }
            Action::FetchTransactions(signed) => {
                let digest = signed.proposal.digest();
                let task = self.spawn(CrashStep::FetchTransactions, tasks::fetch_batch(context, signed));
                self.jobs.insert(digest, Job { cancelled: Arc::default(), task: Some(task) });
                return Ok(());
            }
            Action::StartExecution { proposal, context: round, dispute } => {
                return self.execute(proposal, round, dispute);
            }
            Action::CompareTraces(dispute) => {
                self.spawn(CrashStep::CompareTraces, disputes::compare_traces(context, dispute))
            }
            Action::Cancel { proposal } => {
                self.context.pass(Where::Before, CrashStep::Cancel)?;
                self.jobs.remove(&proposal);
                return self.context.pass(Where::After, CrashStep::Cancel);
            }
            Action::CommitState { round } => {
                self.jobs.clear();
                self.spawn(CrashStep::CommitState, tasks::commit_state(context, round))
            }
            Action::FetchResult { round } => self.spawn(CrashStep::FetchResult, tasks::fetch_result(context, round)),
            Action::FetchState { round } => {
                let applied = self.core.applied().0;
                tracing::info!(applied, round = round.0, "worker.behind_what_peers_keep");
                self.jobs.clear();
                self.spawn(CrashStep::FetchState, tasks::fetch_state(context, round))
            }
            Action::Prune { before } => self.spawn(CrashStep::Prune, async move {
                let results = context.results.clone();
                tasks::blocking(move || results.prune(before)).await?;
                Ok(())
            }),
        };
        Ok(())
    }

    /// Runs a task between its crash points. Its failure ends the worker.
    fn spawn(
        &mut self,
        step: CrashStep,
        task: impl Future<Output = Result<(), WorkerError>> + Send + 'static,
    ) -> AbortHandle {
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let outcome = async {
                context.pass(Where::Before, step)?;
                task.await?;
                context.pass(Where::After, step)
            };
            if let Err(error) = outcome.await {
                context.fail(error).await;
            }
        })
    }

    fn execute(
        &mut self,
        signed: SignedProposal,
        round: parallax_runtime::RoundContext,
        dispute: Option<Dispute>,
    ) -> Result<(), WorkerError> {
        let Some(view) = self.core.view() else { return Ok(()) };
        let digest = signed.proposal.digest();
        let order = tasks::Order {
            max_gas: view.state.parameters().max_batch_gas,
            signed,
            round,
            dispute,
            prefix: Vec::new(),
            cancelled: Arc::default(),
        };
        let cancelled = Arc::clone(&order.cancelled);
        self.spawn(CrashStep::StartExecution, tasks::execute(Arc::clone(&self.context), order));
        // The task itself is not aborted: it hands the thread back once the work has seen the flag.
        self.jobs.insert(digest, Job { cancelled, task: None });
        Ok(())
    }
}

#[cfg(test)]
mod evm_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../../../paratime/evm/tests/support/wallet.rs"]
#[allow(dead_code, unreachable_pub)]
mod wallet;
