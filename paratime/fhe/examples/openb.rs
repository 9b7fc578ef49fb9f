//! Places jobs of the openb trace on its machines with real ciphertexts and one evaluator, and compares every decision
//! with the plaintext reference.
//!
//! `cargo run -p parallax-fhe --example openb -- DIRECTORY [--hosts 32] [--pods 64] [--threads 2] [--seed 1]`
//!
//! Machines and jobs are drawn at random. Every machine is a candidate of every decision (up to 60), the policy is PACK,
//! and the chosen machine reports after its placement.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod clock;
#[path = "../tests/decisions/engine.rs"]
mod engine;

use clock::core_seconds;
use engine::Real;
use parallax_scheduler::circuit::{MAX_FLAGS, Shape, decision_program, job_program, report_program};
use parallax_scheduler::cluster::{Machine, Models, request};
use parallax_scheduler::instances::{Engine, Numbers};
use parallax_scheduler::openb::{parse_nodes, parse_pods};
use parallax_scheduler::reference::{self, Candidate};
use parallax_scheduler::{Policy, Replication, Report};
use std::error::Error;
use std::time::Instant;

struct Host {
    machine: Machine,
    report: Report,
    chosen: bool,
    /// Numbers, labels, score.
    ciphers: Vec<Vec<u8>>,
    flags: Vec<Vec<u8>>,
}

fn draw<T: Clone>(numbers: &mut Numbers, mut all: Vec<T>, count: usize) -> Vec<T> {
    for step in 0..count.min(all.len()) {
        let other = step + numbers.below((all.len() - step) as u64) as usize;
        all.swap(step, other);
    }
    all.truncate(count);
    all
}

fn report(real: &mut Real, models: &Models, machine: Machine) -> Result<Host, Box<dyn Error>> {
    let report = machine.report(models);
    let mut ciphers = real.proven(&report_program(1)?, &report.digits(&[Policy::Pack])?);
    let flags = ciphers.pop().into_iter().collect();
    Ok(Host { machine, report, chosen: false, ciphers, flags })
}

fn main() -> Result<(), Box<dyn Error>> {
    let all: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, usual: u64| -> Result<u64, Box<dyn Error>> {
        let given = all.iter().position(|a| a == name).and_then(|i| all.get(i + 1));
        Ok(given.map_or(Ok(usual), |text| text.parse())?)
    };
    let directory = all.first().filter(|a| !a.starts_with("--")).ok_or("name the directory of the trace first")?;
    let (hosts, pods) = (number("--hosts", 32)? as usize, number("--pods", 64)? as usize);
    let seed = number("--seed", 1)?;
    let read = |name: &str| std::fs::read_to_string(format!("{directory}/{name}")).map_err(|e| format!("{name}: {e}"));
    let nodes = parse_nodes("nodes", &read("openb_node_list_all_node.csv")?)?;
    let jobs = parse_pods("pods", &read("openb_pod_list_default.csv")?)?;
    let mut numbers = Numbers::new(seed);
    let (nodes, jobs) = (draw(&mut numbers, nodes, hosts.min(60)), draw(&mut numbers, jobs, pods));
    println!("{} jobs on {} hosts of the trace, seed {seed}", jobs.len(), nodes.len());
    let models = Models::of(&nodes)?;
    let mut real = Real::new(number("--threads", 2)? as usize)?;
    let mut cluster: Vec<Host> = Vec::new();
    for node in nodes {
        cluster.push(report(&mut real, &models, Machine::new(node, 0, 0))?);
    }
    let (mut equal, mut placed, mut pbs, mut core, begun) = (0usize, 0usize, 0u64, 0.0, Instant::now());
    for pod in &jobs {
        let wanted = request(pod, &models)?;
        let order = draw(&mut numbers, (0..cluster.len()).collect(), cluster.len());
        let shape = Shape {
            flags: order.iter().map(|i| cluster[*i].flags.len() as u8).collect(),
            ..Shape::fresh(order.len() as u16, true, Replication::default())
        };
        let program = decision_program(&shape)?;
        let mut inputs = real.proven(&job_program()?, &wanted.digits()?);
        for host in order.iter().map(|i| &cluster[*i]) {
            inputs.extend(host.ciphers.iter().chain(&host.flags).cloned());
        }
        let before = core_seconds();
        let out = real.evaluate(&program, &inputs);
        core += core_seconds() - before;
        pbs += program.pbs();
        let blocks = real.open(&out[1], 2);
        let position = usize::from(blocks[0]) + 16 * usize::from(blocks[1]);
        let got: Vec<usize> = (real.open(&out[0], 1) == [1]).then_some(position).into_iter().collect();
        let rows: Vec<Candidate<'_>> = order
            .iter()
            .map(|i| Candidate { report: &cluster[*i].report, chosen: cluster[*i].chosen, zone: 0 })
            .collect();
        let expected = reference::decide(&rows, &wanted, Policy::Pack, Replication::default());
        equal += usize::from(got == expected);
        for (i, flag) in order.iter().zip(&out[2..]) {
            let host = &mut cluster[*i];
            if host.flags.len() >= usize::from(MAX_FLAGS) {
                host.flags.clear();
            }
            host.flags.push(flag.clone());
        }
        let name = got.first().and_then(|p| order.get(*p)).map(|i| cluster[*i].machine.name().to_owned());
        println!(
            "{}: {} ({}), {} bootstraps",
            pod.name,
            name.as_deref().unwrap_or("no host"),
            if got == expected { "as the reference" } else { "NOT as the reference" },
            program.pbs()
        );
        if let Some(winner) = got.first().and_then(|p| order.get(*p)) {
            placed += 1;
            let mut machine = cluster[*winner].machine.clone();
            machine.place(pod).ok_or("a job does not fit where it was placed")?;
            cluster[*winner] = report(&mut real, &models, machine)?;
        }
    }
    println!(
        "{equal} of {} decisions equal to the reference, {placed} placed; {pbs} bootstraps, {core:.0} core-seconds, {:.1} \
         core-ms a bootstrap; {:.0} s",
        jobs.len(),
        core * 1e3 / pbs.max(1) as f64,
        begun.elapsed().as_secs_f64()
    );
    if equal == jobs.len() { Ok(()) } else { Err("the circuit and the reference differ".into()) }
}
