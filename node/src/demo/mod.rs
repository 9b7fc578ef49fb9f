//! `parallax localnet demo`: the main job from end to end. Hosts register and report encrypted telemetry, jobs arrive
//! encrypted, a committee places them, key managers open what their grants allow, and every decision is compared with
//! the plaintext reference scheduler on the order that the run recorded.

mod cluster;
mod faults;
mod table;

use crate::client::{SchedulerClient, endpoints};
use clap::Args;
use cluster::{Cluster, Outcome};
use eyre::{Result, WrapErr as _, eyre};
use indicatif::{ProgressBar, ProgressStyle};
use parallax_consensus_app::tx::Role;
use parallax_localnet::cli::{FixtureArgs, print_notice};
use parallax_localnet::{FaultSpec, Fixture, Localnet, ParaTimeKind, Running, StartOptions};
use parallax_rpc::Client;
use parallax_scheduler::{cluster as machines, openb};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the demonstration's network lives unless told otherwise.
const DEFAULT_DIR: &str = ".parallax/demo";
/// Most hosts: one decision looks at no more candidates.
const MAX_HOSTS: usize = 60;
/// Most jobs of one run.
const MAX_JOBS: usize = 10_000;
/// Accounts that own jobs.
pub(crate) const OWNERS: usize = 2;

/// What the demonstration takes.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Machines as a CSV file: columns sn, cpu_milli, memory_mib, gpu, model (the openb trace) [default: a small
    /// cluster of four machines that comes with the program]
    #[arg(long, value_name = "CSV", requires = "pods")]
    hosts: Option<PathBuf>,
    /// Jobs as a CSV file: columns name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec
    #[arg(long, value_name = "CSV", requires = "hosts")]
    pods: Option<PathBuf>,
    /// How many machines of the file to take
    #[arg(long, value_name = "N", default_value_t = 16)]
    hosts_count: usize,
    /// How many jobs of the file to place
    #[arg(long, value_name = "M", default_value_t = 20)]
    jobs: usize,
    /// Which machines and jobs of the files are taken
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Directory of the network; what an earlier demonstration left there is replaced
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Start one node dishonest, for example compute-1=wrong-root; may be repeated for other nodes
    #[arg(long, value_name = "NODE=KIND")]
    fault: Vec<FaultSpec>,
    /// Kill this node's process (SIGKILL) once, in the middle of the run; the localnet starts it again. May be repeated
    #[arg(long, value_name = "NODE")]
    kill: Vec<String>,
    /// Sizes of the network.
    #[command(flatten)]
    fixture: FixtureArgs,
}

/// Writes to standard output. A reader that has gone away is no fault of ours.
pub(crate) fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A progress bar on standard error, or none where that is no terminal.
pub(crate) fn bar(length: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("{prefix:24} [{bar:30}] {pos}/{len} ({elapsed})") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn read(path: &Path) -> Result<(String, String)> {
    let text = std::fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    Ok((path.display().to_string(), text))
}

/// The machines and jobs of a run.
fn load(args: &DemoArgs) -> Result<(Vec<openb::Node>, Vec<openb::Pod>)> {
    let (Some(hosts), Some(pods)) = (&args.hosts, &args.pods) else { return Ok(machines::sample()) };
    let (name, text) = read(hosts)?;
    let nodes = openb::parse_nodes(&name, &text)?;
    let (name, text) = read(pods)?;
    let pods = openb::parse_pods(&name, &text)?;
    let count = |wanted: usize, most: usize, flag: &str, there: usize| {
        if wanted == 0 || wanted > most || wanted > there {
            return Err(eyre!("{flag} {wanted} is not possible: 1 to {} are", most.min(there)));
        }
        Ok(wanted)
    };
    let hosts = count(args.hosts_count, MAX_HOSTS, "--hosts-count", nodes.len())?;
    let jobs = count(args.jobs, MAX_JOBS, "--jobs", pods.len())?;
    Ok((cluster::pick(nodes, hosts, args.seed), cluster::pick(pods, jobs, args.seed)))
}

/// Runs the demonstration. `false`: some decision was not what the reference decides, or the network did not agree.
///
/// # Errors
/// If files cannot be read, the network does not start, or it stops answering.
pub async fn run(args: DemoArgs) -> Result<bool> {
    let (nodes, pods) = load(&args)?;
    let needed = u16::try_from(nodes.len() + OWNERS)?;
    let mut fixture = Fixture::from(&args.fixture);
    fixture.accounts = fixture.accounts.max(needed);
    let begun = Instant::now();
    let options = StartOptions {
        fresh: true,
        faults: args.fault.clone(),
        notify: Arc::new(print_notice),
        ..StartOptions::new(&args.dir)?
    };
    say(format_args!(
        "starting {} validators, {} compute nodes and {} key manager in {}",
        fixture.validators,
        fixture.compute,
        fixture.key_managers,
        args.dir.display()
    ));
    let running = Localnet::launch(fixture, options).await?;
    let outcome = tokio::select! {
        outcome = drive(&running, &args, nodes, pods, begun) => outcome,
        asked = parallax_localnet::cli::asked_to_end() => {
            asked?;
            Err(eyre!("interrupted; the network is ended"))
        }
    };
    running.stop().await;
    outcome
}

async fn drive(
    running: &Running,
    args: &DemoArgs,
    nodes: Vec<openb::Node>,
    pods: Vec<openb::Pod>,
    begun: Instant,
) -> Result<bool> {
    running.wait_ready().await?;
    say(format_args!("ready after {:.1} s", begun.elapsed().as_secs_f64()));
    let plan = running.plan();
    let kms = endpoints(plan, Role::KeyManager);
    let kms = kms.first().ok_or_else(|| eyre!("the localnet has no key manager"))?;
    let client = SchedulerClient::connect_any(&endpoints(plan, Role::Compute)).await?;
    let cipher = Arc::new(client.cipher(plan.keys(ParaTimeKind::Scheduler)?)?);
    let accounts = plan.accounts.iter().map(parallax_localnet::Account::load).collect::<Result<Vec<_>, _>>()?;

    let mut cluster = Cluster::new(client, Client::new(kms)?, cipher, accounts, nodes)?;
    let before = faults::stakes(running).await?;
    let reporting = Instant::now();
    cluster.register().await?;
    cluster.report_all().await?;
    say(format_args!(
        "{} hosts registered and reported in {:.1} s\n",
        cluster.len(),
        reporting.elapsed().as_secs_f64()
    ));

    table::header();
    let placing = Instant::now();
    let (mut outcomes, mut kill) = (Vec::new(), args.kill.clone());
    let wave = usize::try_from(cluster.jobs_per_round())?.max(1);
    for (number, jobs) in pods.chunks(wave).enumerate() {
        if number == 1 || pods.len() <= wave {
            for node in kill.drain(..) {
                say(format_args!("killing {node}"));
                running.kill(&node)?;
            }
        }
        for outcome in cluster.place(jobs).await? {
            table::row(&outcome);
            outcomes.push(outcome);
        }
        cluster.report_on_cadence(number).await?;
    }
    let seconds = placing.elapsed().as_secs_f64();
    let agreed = outcomes.iter().all(|o| o.agrees);
    table::summary(&outcomes, seconds);
    faults::report(running, &before).await?;
    let roots = faults::roots_agree(running, client_id(&cluster)).await?;
    say(if agreed && roots {
        "\nEvery placement is what the plaintext reference decides."
    } else {
        "\nDISAGREEMENT: see above."
    });
    Ok(agreed && roots && outcomes.iter().all(Outcome::is_decided))
}

fn client_id(cluster: &Cluster) -> parallax_primitives::ParaTimeId {
    cluster.client().id()
}
