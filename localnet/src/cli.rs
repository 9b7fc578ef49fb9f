//! The commands `localnet up`, `status`, `logs` and `stop`. The node's program mounts [`LocalnetCommand`] and may add
//! more beside it with `#[command(flatten)]`.

use crate::error::{LocalnetError, io};
use crate::fixture::{FaultSpec, Fixture, ParaTimeKind};
use crate::localnet::{DEFAULT_DIR, Localnet, READY_TIMEOUT, Running, StartOptions};
use crate::plan::Plan;
use crate::process;
use crate::state::{NodePhase, SupervisorState};
use crate::supervisor::{Notice, TAIL_LINES};
use clap::{Args, Subcommand};
use nix::sys::signal::Signal;
use parallax_evm::params::LOCALNET_CHAIN_ID;
use parallax_fhe::BackendKind;
use parallax_rounds::Resolution;
use parallax_rpc::{Client, NodeApiClient as _};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long `stop` waits for a supervisor.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// How often files and processes are looked at.
const POLL: Duration = Duration::from_millis(200);
/// Accounts that are listed in full.
const SHOWN_ACCOUNTS: usize = 4;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum LocalnetCommand {
    /// Start a network of real processes on this machine and wait until it is ready
    Up(UpArgs),
    /// Show the nodes of a running localnet: process, height, peers, memory
    Status(DirArgs),
    /// Print what a node has logged
    Logs(LogsArgs),
    /// End a localnet that runs detached or on another terminal
    Stop(DirArgs),
}

/// Which localnet.
#[derive(Clone, Debug, Args)]
pub struct DirArgs {
    /// Directory of the localnet
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
}

/// The ParaTimes of a localnet.
#[derive(Clone, Debug, Args)]
pub struct ParaTimeArgs {
    /// ParaTimes that run, separated by commas: scheduler, evm
    #[arg(long, value_name = "KINDS", value_delimiter = ',', default_values_t = ParaTimeKind::ALL)]
    pub paratimes: Vec<ParaTimeKind>,
    /// Port of compute-0's Ethereum JSON-RPC, the next one for compute-1's, and so on; 8545 is what most tools expect
    /// [default: as for the others]
    #[arg(long, value_name = "PORT")]
    pub ethereum_port: Option<u16>,
}

impl ParaTimeArgs {
    /// A fixture with these ParaTimes.
    pub fn of(&self, fixture: &FixtureArgs) -> Fixture {
        Fixture { paratimes: self.paratimes.clone(), ethereum_port: self.ethereum_port, ..Fixture::from(fixture) }
    }
}

/// The sizes of a localnet; shared with the demonstration.
#[derive(Clone, Debug, Args)]
pub struct FixtureArgs {
    /// Validators
    #[arg(long, default_value_t = Fixture::default().validators)]
    pub validators: u16,
    /// Compute nodes; at least workers and backups together
    #[arg(long, default_value_t = Fixture::default().compute)]
    pub compute: u16,
    /// Workers of a committee
    #[arg(long, default_value_t = Fixture::default().workers)]
    pub workers: u16,
    /// Backups of a committee
    #[arg(long, default_value_t = Fixture::default().backups)]
    pub backups: u16,
    /// Key managers; this version runs one
    #[arg(long, default_value_t = Fixture::default().key_managers)]
    pub key_managers: u16,
    /// Funded accounts with keys that everyone knows
    #[arg(long, default_value_t = Fixture::default().accounts)]
    pub accounts: u16,
    /// Milliseconds from one block to the next
    #[arg(long, default_value_t = Fixture::default().block_interval_ms)]
    pub block_interval_ms: u64,
    /// Blocks in an epoch [default: what the deadlines need]
    #[arg(long)]
    pub epoch_blocks: Option<u64>,
    /// What backups execute after a discrepancy: `full`, or `resume` from where the workers began to differ
    #[arg(long, value_name = "MODE", default_value = "full", value_parser = resolution)]
    pub resolution: Resolution,
    /// First of three ports a node, RPC servers first; after these, Ethereum RPC servers [default: free ports]
    #[arg(long)]
    pub base_port: Option<u16>,
    /// Threads for FHE work in each compute node [default: processors shared among the workers]
    #[arg(long)]
    pub fhe_threads: Option<u16>,
    /// Workers that may be missing when a deadline passes
    #[arg(long, default_value_t = Fixture::default().stragglers)]
    pub stragglers: u16,
    /// Blocks that each rank has to announce before the next one may
    #[arg(long, default_value_t = Fixture::default().proposer_timeout)]
    pub proposer_timeout: u64,
    /// Blocks that a round without FHE work may take
    #[arg(long, default_value_t = Fixture::default().round_timeout)]
    pub round_timeout: u64,
    /// Blocks from one round to the next without work, at most [default: what the windows of all ranks need, twice]
    #[arg(long)]
    pub max_round_interval: Option<u64>,
    /// FHE backend: cpu-fft, or cpu-exact, whose nodes agree on any processor at up to twice the time
    #[arg(long, value_name = "BACKEND", default_value_t = Fixture::default().backend)]
    pub backend: BackendKind,
}

fn resolution(text: &str) -> Result<Resolution, String> {
    match text {
        "full" => Ok(Resolution::Full),
        "resume" => Ok(Resolution::Resume),
        other => Err(format!("{other:?} is neither full nor resume")),
    }
}

impl From<&FixtureArgs> for Fixture {
    fn from(args: &FixtureArgs) -> Self {
        Self {
            validators: args.validators,
            compute: args.compute,
            workers: args.workers,
            backups: args.backups,
            key_managers: args.key_managers,
            accounts: args.accounts,
            block_interval_ms: args.block_interval_ms,
            epoch_blocks: args.epoch_blocks,
            resolution: args.resolution,
            base_port: args.base_port,
            fhe_threads: args.fhe_threads,
            stragglers: args.stragglers,
            proposer_timeout: args.proposer_timeout,
            round_timeout: args.round_timeout,
            max_round_interval: args.max_round_interval,
            backend: args.backend,
            ..Self::default()
        }
    }
}

/// What `up` takes.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Which localnet.
    #[command(flatten)]
    pub place: DirArgs,
    /// What runs on it.
    #[command(flatten)]
    pub paratimes: ParaTimeArgs,
    /// Its sizes.
    #[command(flatten)]
    pub fixture: FixtureArgs,
    /// Start one node dishonest, for example compute-1=wrong-root; may be repeated for other nodes
    #[arg(long, value_name = "NODE=KIND")]
    pub fault: Vec<FaultSpec>,
    /// Replace the localnet that is in the directory
    #[arg(long)]
    pub fresh: bool,
    /// Return once the network is ready and leave it running
    #[arg(long)]
    pub detach: bool,
    /// Seconds that nodes may take to be ready
    #[arg(long, value_name = "SECONDS", default_value_t = READY_TIMEOUT.as_secs())]
    pub ready_timeout: u64,
    /// Set in the process that `--detach` leaves behind
    #[arg(long, hide = true)]
    pub detached_child: bool,
}

/// What `logs` takes.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// The node, for example compute-0, or `supervisor`
    pub node: String,
    /// Which localnet.
    #[command(flatten)]
    pub place: DirArgs,
    /// Lines from the end
    #[arg(short = 'n', long, default_value_t = 50)]
    pub lines: usize,
    /// Go on printing what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
}

impl LocalnetCommand {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// [`LocalnetError`].
    pub async fn run(self) -> Result<(), LocalnetError> {
        match self {
            Self::Up(args) if args.detach && !args.detached_child => up_detached(&args).await,
            Self::Up(args) => up(&args).await,
            Self::Status(args) => status(&args.dir).await,
            Self::Logs(args) => logs(&args).await,
            Self::Stop(args) => stop(&args.dir).await,
        }
    }
}

/// Writes to standard output. A reader that has gone away is no fault of ours.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Resolves when the process is asked to end: SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// If the system takes no signal handler.
pub async fn asked_to_end() -> std::io::Result<()> {
    let (mut int, mut term, mut hup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
    Ok(())
}

/// Prints notices on standard error.
pub fn print_notice(notice: &Notice) {
    let _ = match notice {
        Notice::Started { .. } | Notice::Ready { .. } => Ok(()),
        Notice::Restarting { node, how, after } => {
            writeln!(std::io::stderr().lock(), "{node} died ({how}); starting it again in {after:?}")
        }
        Notice::Refused { node, message } => {
            writeln!(std::io::stderr().lock(), "{node} refuses to run as configured:\n{}", indented(message))
        }
        Notice::GaveUp { node, why } => writeln!(std::io::stderr().lock(), "{node} is not started again: {why}"),
    };
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}

fn options(args: &UpArgs) -> Result<StartOptions, LocalnetError> {
    Ok(StartOptions {
        fresh: args.fresh,
        faults: args.fault.clone(),
        ready_timeout: Duration::from_secs(args.ready_timeout),
        notify: Arc::new(print_notice),
        ..StartOptions::new(&args.place.dir)?
    })
}

fn handler_error(source: std::io::Error) -> LocalnetError {
    io("handle signals in", Path::new("this process"))(source)
}

async fn up(args: &UpArgs) -> Result<(), LocalnetError> {
    if args.detached_child {
        // A session of its own, so that the terminal's end is not its own. It cannot lead its group already: it was
        // spawned into its parent's.
        let _ = nix::unistd::setsid();
    }
    let started = Instant::now();
    let running = Localnet::launch(args.paratimes.of(&args.fixture), options(args)?).await?;
    let outcome = tokio::select! {
        ready = running.wait_ready() => ready,
        asked = asked_to_end() => Err(asked.map_or_else(handler_error, |()| LocalnetError::Interrupted)),
    };
    let outcome = match outcome {
        Ok(()) => run_until_asked(&running, args, started).await,
        Err(error) => Err(error),
    };
    running.stop().await;
    outcome
}

async fn run_until_asked(running: &Running, args: &UpArgs, started: Instant) -> Result<(), LocalnetError> {
    print_summary(running.plan(), started.elapsed());
    if !args.detached_child {
        say("\nCtrl-C ends the network.");
    }
    asked_to_end().await.map_err(handler_error)?;
    say("ending the network");
    Ok(())
}

/// Endpoints, accounts, and what to try next.
pub fn print_summary(plan: &Plan, took: Duration) {
    say(format_args!("chain {} ({}), ready after {:.1} s", plan.fixture.chain_id, plan.chain, took.as_secs_f64()));
    say(format_args!("\n{:<14}{:<12}RPC", "NODE", "ROLE"));
    for node in &plan.nodes {
        say(format_args!("{:<14}{:<12}{}", node.name, role(node.role), node.rpc_url()));
    }
    print_ethereum(plan);
    say("\nAccounts. Their keys are public, as are the nodes': nothing on this chain has value.");
    for account in plan.accounts.iter().take(SHOWN_ACCOUNTS) {
        say(format_args!("{:<14}{}  {}", account.name, account.address, account.key.display()));
    }
    if plan.accounts.len() > SHOWN_ACCOUNTS {
        let (more, dir) = (plan.accounts.len() - SHOWN_ACCOUNTS, plan.dir.join("accounts"));
        say(format_args!("{:<14}{more} more in {}", "...", dir.display()));
    }
    print_next(plan);
}

/// Where Ethereum's tools connect, if the EVM runs.
fn print_ethereum(plan: &Plan) {
    let served: Vec<(&str, String)> =
        plan.nodes.iter().filter_map(|n| Some((n.name.as_str(), n.ethereum_url()?))).collect();
    if served.is_empty() {
        return;
    }
    say(format_args!(
        "\nEthereum JSON-RPC of the confidential EVM, chain id {LOCALNET_CHAIN_ID}, HTTP and WebSocket; the ten accounts of \
         the mnemonic\n\"test test test test test test test test test test test junk\" are funded and held by the nodes."
    ));
    for (node, url) in served {
        say(format_args!("  {url}  {node}"));
    }
    let managers = plan.nodes.iter().filter(|n| n.role == parallax_consensus_app::tx::Role::KeyManager);
    for manager in managers {
        say(format_args!("  {}  {}: attests encrypted inputs, and decrypts", manager.rpc_url(), manager.name));
    }
}

fn print_next(plan: &Plan) {
    let Some(node) = plan.nodes.first() else { return };
    // The program is not on the search path of someone who has just built it.
    let program = std::env::current_exe().map_or_else(|_| "parallax".to_owned(), |path| path.display().to_string());
    // What the system says of a program that was built anew while it runs.
    let program = program.trim_end_matches(" (deleted)");
    say("\nTry next:");
    say(format_args!("  {program} query status --rpc {}", node.rpc_url()));
    if let [from, to, ..] = plan.accounts.as_slice() {
        say(format_args!(
            "  {program} tx transfer --rpc {} --key {} --to {} --amount 5",
            node.rpc_url(),
            from.key.display(),
            to.address
        ));
    }
    say(format_args!("  {program} localnet logs compute-0 --follow --dir {}", plan.dir.display()));
}

fn role(role: parallax_consensus_app::tx::Role) -> &'static str {
    use parallax_consensus_app::tx::Role;
    match role {
        Role::Validator => "validator",
        Role::Compute => "compute",
        Role::KeyManager => "key manager",
        Role::Observer => "observer",
    }
}

/// Starts a supervisor in a session of its own and waits until its network is ready. Keys and files are made here, so
/// that their progress and errors are seen.
async fn up_detached(args: &UpArgs) -> Result<(), LocalnetError> {
    let started = Instant::now();
    let options = options(args)?;
    let plan = Localnet::prepare(&args.paratimes.of(&args.fixture), &options).await?;
    let log = plan.supervisor_log();
    let output = File::create(&log).map_err(io("create", &log))?;
    let errors = output.try_clone().map_err(io("open", &log))?;
    let passed_on: Vec<OsString> = std::env::args_os().skip(1).filter(|a| a != "--detach" && a != "--fresh").collect();
    let mut child = Command::new(&options.program)
        .args(passed_on)
        .arg("--detached-child")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(io("start", &options.program))?;
    loop {
        if let Some(state) = SupervisorState::of_living(&plan.dir)
            && state.ready
        {
            for node in state.nodes.iter().filter(|n| n.phase == NodePhase::Refused) {
                let message = node.message.clone().unwrap_or_default();
                print_notice(&Notice::Refused { node: node.name.clone(), message });
            }
            print_summary(&plan, started.elapsed());
            say(format_args!("\nThe network goes on; `parallax localnet stop --dir {}` ends it.", plan.dir.display()));
            return Ok(());
        }
        if child.try_wait().map_err(io("wait for", &options.program))?.is_some() {
            return Err(LocalnetError::DetachedFailed { tail: process::tail(&log, TAIL_LINES), log });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn find(dir: &Path) -> Result<Plan, LocalnetError> {
    Plan::load(dir)?.ok_or_else(|| LocalnetError::NotRunning { dir: dir.to_owned() })
}

fn living(dir: &Path) -> Result<SupervisorState, LocalnetError> {
    SupervisorState::of_living(dir).ok_or_else(|| LocalnetError::NotRunning { dir: dir.to_owned() })
}

async fn status(dir: &Path) -> Result<(), LocalnetError> {
    let (plan, state) = (find(dir)?, living(dir)?);
    say(format_args!(
        "{:<14}{:<12}{:>9}{:>9}{:>8}{:>7}{:>9}  {:<7}RPC",
        "NODE", "PHASE", "PROCESS", "RESTARTS", "HEIGHT", "PEERS", "MEMORY", "READY"
    ));
    let mut total = 0u64;
    for (node, now) in plan.nodes.iter().zip(&state.nodes) {
        let memory = now.pid.and_then(process::resident).unwrap_or(0);
        total = total.saturating_add(memory);
        let health = match Client::with_timeout(&node.rpc_url(), Duration::from_secs(2)) {
            Ok(client) => client.health().await.ok(),
            Err(_) => None,
        };
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        say(format_args!(
            "{:<14}{:<12}{:>9}{:>9}{:>8}{:>7}{:>6} MB  {:<7}{}",
            node.name,
            format!("{:?}", now.phase).to_lowercase(),
            or_dash(now.pid.map(|p| p.to_string())),
            now.restarts,
            or_dash(health.as_ref().map(|h| h.height.to_string())),
            or_dash(health.as_ref().map(|h| h.peers.to_string())),
            memory / 1_000_000,
            or_dash(health.map(|h| if h.ready { "yes" } else { "no" }.to_owned())),
            node.rpc_url()
        ));
    }
    say(format_args!("all nodes together {} MB; supervisor is process {}", total / 1_000_000, state.pid));
    print_ethereum(&plan);
    Ok(())
}

async fn logs(args: &LogsArgs) -> Result<(), LocalnetError> {
    let plan = find(&args.place.dir)?;
    let path = match plan.node(&args.node) {
        Some(node) => node.log.clone(),
        None if args.node == "supervisor" => plan.supervisor_log(),
        None => {
            let known: Vec<&str> = plan.nodes.iter().map(|n| n.name.as_str()).collect();
            return Err(LocalnetError::UnknownNode { node: args.node.clone(), known: known.join(", ") });
        }
    };
    let mut file = File::open(&path).map_err(io("open", &path))?;
    let mut position = file.metadata().map_err(io("read", &path))?.len();
    say(process::tail(&path, args.lines));
    if !args.follow {
        return Ok(());
    }
    let end = asked_to_end();
    tokio::pin!(end);
    loop {
        tokio::select! {
            asked = &mut end => return asked.map_err(handler_error),
            () = tokio::time::sleep(POLL) => {}
        }
        let mut added = Vec::new();
        file.seek(SeekFrom::Start(position)).map_err(io("read", &path))?;
        file.read_to_end(&mut added).map_err(io("read", &path))?;
        position += added.len() as u64;
        let mut out = std::io::stdout().lock();
        if out.write_all(&added).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}

async fn stop(dir: &Path) -> Result<(), LocalnetError> {
    let state = living(dir)?;
    process::signal(state.pid, Signal::SIGTERM);
    let deadline = Instant::now() + STOP_TIMEOUT;
    while state.is_alive() {
        if Instant::now() > deadline {
            let log = dir.join("supervisor.log");
            return Err(LocalnetError::DoesNotStop { pid: state.pid, seconds: STOP_TIMEOUT.as_secs(), log });
        }
        tokio::time::sleep(POLL).await;
    }
    say("the localnet has ended");
    Ok(())
}
