//! Replays the openb trace with the circuits on plaintext: every job on every machine of the trace, in random order,
//! without departures, one decision a job among a sample of candidates. After a placement the chosen host reports; the
//! others do not, so their exclusions grow and are merged as they do on the network.
//!
//! ```text
//! cargo run --release -p parallax-scheduler --example replay -- DIRECTORY [--seeds 3] [--svg FILE]
//! ```
//!
//! The circuits run as programs on numbers (`parallax_clear::compute`): the same operations that a replica evaluates on
//! ciphertexts. Every decision is compared with the reference; a difference ends the run with an error. The baselines
//! beside it see exact residuals in the clear and scan every host for every job.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod baseline;
mod plot;

use baseline::Rule;
use parallax_clear::compute;
use parallax_scheduler::circuit::{MAX_FLAGS, Shape, decision_program, job_program, report_program};
use parallax_scheduler::cluster::{Machine, Models, request};
use parallax_scheduler::instances::Numbers;
use parallax_scheduler::openb::{Node, Pod, parse_nodes, parse_pods};
use parallax_scheduler::reference::{self, Candidate};
use parallax_scheduler::{Policy, Replication, Report};
use std::error::Error;
use std::time::Instant;

/// A host of the replay: in the clear, and as its ciphertexts would hold it.
struct Host {
    machine: Machine,
    report: Report,
    chosen: bool,
    numbers: Vec<u8>,
    labels: Vec<u8>,
    score: Vec<u8>,
    flags: Vec<Vec<u8>>,
}

/// What a replay gave.
struct Outcome {
    rejected: usize,
    pbs: u64,
}

/// The first `count` of a random order.
fn sample(numbers: &mut Numbers, pool: &mut [usize], count: usize) -> Vec<usize> {
    let count = count.min(pool.len());
    for step in 0..count {
        let other = step + numbers.below((pool.len() - step) as u64) as usize;
        pool.swap(step, other);
    }
    pool[..count].to_vec()
}

fn order(seed: u64, jobs: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..jobs).collect();
    sample(&mut Numbers::new(seed), &mut all, jobs)
}

/// Takes a host's report in, as the network does.
fn report(host: &mut Host, models: &Models, policy: Policy) -> Result<(), Box<dyn Error>> {
    let scores = u16::from(policy.is_scored());
    host.report = host.machine.report(models);
    let mut out = compute(&report_program(scores)?, &[host.report.digits(&[policy])?])?.into_iter();
    let mut next = || out.next().ok_or("the circuit of a report lacks an output");
    (host.numbers, host.labels) = (next()?, next()?);
    host.score = if policy.is_scored() { next()? } else { Vec::new() };
    host.flags = vec![next()?];
    host.chosen = false;
    Ok(())
}

fn replay(
    nodes: &[Node],
    pods: &[Pod],
    policy: Policy,
    candidates: usize,
    seed: u64,
) -> Result<Outcome, Box<dyn Error>> {
    let models = Models::of(nodes)?;
    let mut numbers = Numbers::new(seed ^ 0xbeac);
    let mut hosts = Vec::with_capacity(nodes.len());
    for node in nodes {
        // Latency and price matter to COST only.
        let (latency, price) = (numbers.below(16) as u8, numbers.below(136) as u8);
        let machine = Machine::new(node.clone(), latency, price);
        let mut host = Host {
            report: machine.report(&models),
            machine,
            chosen: false,
            numbers: Vec::new(),
            labels: Vec::new(),
            score: Vec::new(),
            flags: Vec::new(),
        };
        report(&mut host, &models, policy)?;
        hosts.push(host);
    }
    let job = job_program()?;
    let mut pool: Vec<usize> = (0..hosts.len()).collect();
    let mut done = Outcome { rejected: 0, pbs: 0 };
    for pod in order(seed, pods.len()).into_iter().filter_map(|i| pods.get(i)) {
        let Ok(wanted) = request(pod, &models) else {
            done.rejected += 1;
            continue;
        };
        let sampled = sample(&mut numbers, &mut pool, candidates);
        let shape = Shape {
            scored: policy.is_scored(),
            replication: Replication::default(),
            flags: sampled.iter().map(|i| hosts[*i].flags.len() as u8).collect(),
            zones: vec![0; sampled.len()],
        };
        let program = decision_program(&shape)?;
        let mut inputs = compute(&job, &[wanted.digits()?])?;
        for host in sampled.iter().map(|i| &hosts[*i]) {
            inputs.extend([host.numbers.clone(), host.labels.clone()]);
            inputs.extend(policy.is_scored().then(|| host.score.clone()));
            inputs.extend(host.flags.iter().cloned());
        }
        let out = compute(&program, &inputs)?;
        done.pbs += program.pbs();
        let rows: Vec<Candidate<'_>> = sampled
            .iter()
            .map(|i| Candidate { report: &hosts[*i].report, chosen: hosts[*i].chosen, zone: 0 })
            .collect();
        let expected = reference::decide(&rows, &wanted, policy, Replication::default());
        let position = usize::from(out[1][0]) + 16 * usize::from(out[1][1]);
        let got = if out[0][0] == 1 { vec![position] } else { Vec::new() };
        if got != expected {
            return Err(format!("job {}: the circuit chose {got:?}, the reference {expected:?}", pod.name).into());
        }
        for (i, flag) in sampled.iter().zip(&out[2..]) {
            let host = &mut hosts[*i];
            if host.flags.len() >= usize::from(MAX_FLAGS) {
                host.flags.clear();
            }
            host.flags.push(flag.clone());
        }
        match got.first().and_then(|p| sampled.get(*p)) {
            Some(winner) => {
                let host = &mut hosts[*winner];
                host.machine.place(pod).ok_or_else(|| format!("job {} does not fit where it was placed", pod.name))?;
                report(host, &models, policy)?;
            }
            None => done.rejected += 1,
        }
    }
    Ok(done)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut directory, mut svg, mut seeds) = (None, None, 3u64);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => seeds = arguments.next().ok_or("--seeds takes a number")?.parse()?,
            "--svg" => svg = arguments.next(),
            _ => directory = Some(argument),
        }
    }
    let directory =
        directory.ok_or("name the directory of openb_node_list_all_node.csv and openb_pod_list_default.csv")?;
    let read = |name: &str| {
        let path = format!("{directory}/{name}");
        std::fs::read_to_string(&path).map(|text| (path.clone(), text)).map_err(|e| format!("{path}: {e}"))
    };
    let (nodes_path, nodes) = read("openb_node_list_all_node.csv")?;
    let (pods_path, pods) = read("openb_pod_list_default.csv")?;
    let (nodes, pods) = (parse_nodes(&nodes_path, &nodes)?, parse_pods(&pods_path, &pods)?);
    println!("{} jobs on {} hosts, seeds 0..{seeds}; jobs rejected for each seed", pods.len(), nodes.len());
    let mut rows: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: String, rejected: Vec<usize>, note: String| {
        println!("{name:<34} {:<18} {note}", rejected.iter().map(usize::to_string).collect::<Vec<_>>().join(" "));
        rows.push((name, rejected));
    };
    let all = [
        (Policy::Pack, 16),
        (Policy::Pack, 32),
        (Policy::Pack, 48),
        (Policy::Pack, 60),
        (Policy::Spread, 32),
        (Policy::Cost, 32),
        (Policy::PriorityRoundRobin, 32),
    ];
    for (policy, candidates) in all {
        let begun = Instant::now();
        let done: Vec<Outcome> =
            (0..seeds).map(|seed| replay(&nodes, &pods, policy, candidates, seed)).collect::<Result<_, _>>()?;
        let decided = (seeds as usize * pods.len() * candidates) as u64;
        let hundredths = done.iter().map(|d| d.pbs).sum::<u64>() * 100 / decided.max(1);
        let note = format!(
            "{}.{:02} bootstraps a candidate, no difference to the reference, {:.0} s",
            hundredths / 100,
            hundredths % 100,
            begun.elapsed().as_secs_f64()
        );
        add(format!("{}, {candidates} candidates", policy.name()), done.iter().map(|d| d.rejected).collect(), note);
    }
    for (rule, name) in [
        (Rule::FirstFit, "first-fit, all hosts"),
        (Rule::MostAllocated, "MostAllocated, all hosts"),
        (Rule::LeastAllocated, "LeastAllocated, all hosts"),
    ] {
        let rejected =
            (0..seeds).map(|seed| baseline::rejected(&nodes, &pods, &order(seed, pods.len()), rule)).collect();
        add(name.to_owned(), rejected, "exact residuals in the clear".to_owned());
    }
    if let Some(path) = svg {
        std::fs::write(&path, plot::svg(&rows, pods.len(), nodes.len())).map_err(|e| format!("{path}: {e}"))?;
        println!("plot in {path}");
    }
    Ok(())
}
