//! What a decision costs, beside the same decision written with tfhe's high-level integers, on one key set in one run.
//!
//! `cargo run -p parallax-fhe --example decision -- [--candidates 8,32] [--naive 8] [--bits 8,16] [--replicas 2]
//! [--threads 1,2]`
//!
//! Core-seconds are the processor time of this process, so that other work on the machine does not show. The high-level
//! form has the same features: CPU, memory, GPUs, share, labels, latency, exclusion, the least score with ties to the
//! lowest position, `placed`, the position, and each candidate's exclusion afterwards.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod clock;
#[path = "../tests/decisions/engine.rs"]
mod engine;

use clock::core_seconds;
use engine::Real;
use parallax_scheduler::Replication;
use parallax_scheduler::circuit::{Shape, decision_program, job_program, report_program};
use parallax_scheduler::instances::{Engine, Numbers};
use std::collections::BTreeMap;
use std::error::Error;
use std::ops::BitAnd;
use std::time::Instant;
use tfhe::prelude::*;
use tfhe::shortint::parameters::v1_8::V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;
use tfhe::{ClientKey, ConfigBuilder, FheBool, FheUint8, FheUint16, ServerKey, set_server_key};

/// What a type of the library must do here.
trait Number: FheOrd<Self> + FheEq<Self> + Clone + Sized {
    fn encrypt_number(value: u8, key: &ClientKey) -> Self;
    fn trivial(value: u8) -> Self;
    fn choose(condition: &FheBool, yes: &Self, no: &Self) -> Self;
    /// Whether no bit of `need` is set in `lacking`.
    fn disjoint(need: &Self, lacking: &Self) -> FheBool;
    fn open(&self, key: &ClientKey) -> u64;
}

macro_rules! number {
    ($type:ty, $plain:ty) => {
        impl Number for $type {
            fn encrypt_number(value: u8, key: &ClientKey) -> Self {
                <$type>::encrypt(<$plain>::from(value), key)
            }

            fn trivial(value: u8) -> Self {
                <$type>::encrypt_trivial(<$plain>::from(value))
            }

            fn choose(condition: &FheBool, yes: &Self, no: &Self) -> Self {
                condition.if_then_else(yes, no)
            }

            fn disjoint(need: &Self, lacking: &Self) -> FheBool {
                need.bitand(lacking).eq(<$plain>::MIN)
            }

            fn open(&self, key: &ClientKey) -> u64 {
                let value: $plain = self.decrypt(key);
                value.into()
            }
        }
    };
}
number!(FheUint8, u8);
number!(FheUint16, u16);

/// CPU, memory, GPUs, share, latency, labels, and a host's score.
struct Host<T> {
    has: [T; 4],
    latency: T,
    lacking: T,
    score: T,
    excluded: FheBool,
}

struct Job<T> {
    asks: [T; 4],
    latency: T,
    need: T,
}

/// The decision with the library's integers: `placed`, the position, and who is excluded afterwards.
fn high_level<T: Number>(hosts: &[Host<T>], job: &Job<T>) -> Option<(FheBool, T, Vec<FheBool>)> {
    // (feasible, score, position) of the best so far, in rounds of pairs.
    let mut left: Vec<(FheBool, T, T)> = Vec::new();
    for (i, host) in (0u8..).zip(hosts) {
        let mut fits = host.latency.le(job.latency.clone()) & T::disjoint(&job.need, &host.lacking) & !&host.excluded;
        for (has, asks) in host.has.iter().zip(&job.asks) {
            fits &= has.ge(asks.clone());
        }
        left.push((fits, host.score.clone(), T::trivial(i)));
    }
    while left.len() > 1 {
        left = left
            .chunks(2)
            .map(|pair| match pair {
                [(fa, sa, pa), (fb, sb, pb)] => {
                    let second = fb & (!fa | sb.lt(sa.clone()));
                    (fa | fb, T::choose(&second, sb, sa), T::choose(&second, pb, pa))
                }
                odd => odd[0].clone(),
            })
            .collect();
    }
    let (placed, _, position) = left.pop()?;
    let position = T::choose(&placed, &position, &T::trivial(0));
    let excluded =
        (0u8..).zip(hosts).map(|(i, host)| &host.excluded | (position.eq(T::trivial(i)) & &placed)).collect();
    Some((placed, position, excluded))
}

/// Core-seconds and bootstraps of the high-level form among so many candidates.
fn naive<T: Number>(name: &str, n: u16, key: &ClientKey) -> Result<f64, Box<dyn Error>> {
    let mut numbers = Numbers::new(7);
    let mut encrypt = |limit: u64| {
        let value = numbers.below(limit) as u8;
        (T::encrypt_number(value, key), value)
    };
    let (mut hosts, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let all = [encrypt(256), encrypt(256), encrypt(9), encrypt(101), encrypt(8), encrypt(2), encrypt(256)];
        plain.push(all.each_ref().map(|(_, value)| *value));
        let [cpu, memory, gpus, share, latency, lacking, score] = all.map(|(cipher, _)| cipher);
        let excluded = FheBool::encrypt(false, key);
        hosts.push(Host { has: [cpu, memory, gpus, share], latency, lacking, score, excluded });
    }
    let asked = [encrypt(100), encrypt(100), encrypt(3), encrypt(40), encrypt(8), encrypt(2)];
    let values = asked.each_ref().map(|(_, value)| *value);
    let [cpu, memory, gpus, share, latency, need] = asked.map(|(cipher, _)| cipher);
    let job = Job { asks: [cpu, memory, gpus, share], latency, need };
    let begun = core_seconds();
    let (placed, position, _) = high_level(&hosts, &job).ok_or("no candidates")?;
    let spent = core_seconds() - begun;
    let fits = |h: &[u8; 7]| (0..4).all(|i| h[i] >= values[i]) && h[4] <= values[4] && h[5] & values[5] == 0;
    let expected = plain.iter().enumerate().filter(|(_, h)| fits(h)).map(|(i, h)| (h[6], i)).min();
    let got = placed.decrypt(key).then(|| position.open(key) as usize);
    if got != expected.map(|(_, i)| i) {
        return Err(format!("{name}: chose {got:?}, {expected:?} is right").into());
    }
    println!("{name:<22} {n:>3} candidates: {spent:>8.2} core-s, {:.3} a candidate", spent / f64::from(n));
    Ok(spent)
}

/// Inputs of a decision among `n` hosts that have just reported, every value at random.
fn inputs(real: &mut Real, n: u16) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let (report, job) = (report_program(1)?, job_program()?);
    let mut numbers = Numbers::new(11);
    let mut digits = |count: u64| (0..count).map(|_| numbers.below(16) as u8).collect::<Vec<u8>>();
    let mut all = real.proven(&job, &digits(10));
    for _ in 0..n {
        all.extend(real.proven(&report, &digits(12)));
    }
    Ok(all)
}

fn measure(real: &mut Real, n: u16, replicas: u8, threads: usize) -> Result<f64, Box<dyn Error>> {
    let replication = Replication { count: replicas, ..Replication::default() };
    let program = decision_program(&Shape::fresh(n, true, replication))?;
    let inputs = inputs(real, n)?;
    let (core, wall) = (core_seconds(), Instant::now());
    real.evaluate(&program, &inputs);
    let (core, wall) = (core_seconds() - core, wall.elapsed().as_secs_f64());
    let (n, pbs) = (f64::from(n), program.pbs() as f64);
    println!(
        "circuit, {replicas} replica(s), {threads} threads {n:>3} candidates: {core:>8.2} core-s, {:.3} a candidate; \
         {pbs} bootstraps, {:.2} a candidate, {:.1} core-ms each; {:.1} decisions a minute here, {:.1} a core",
        core / n,
        pbs / n,
        core * 1e3 / pbs,
        60.0 / wall,
        60.0 / core
    );
    Ok(core)
}

/// The lists of numbers after the options, in the place of their usual values.
fn options() -> Result<BTreeMap<&'static str, Vec<u16>>, Box<dyn Error>> {
    let mut all = BTreeMap::from([
        ("--candidates", vec![8, 32]),
        ("--naive", vec![8]),
        ("--bits", vec![8, 16]),
        ("--replicas", vec![2]),
        ("--threads", vec![2]),
    ]);
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let known = all.keys().copied().collect::<Vec<_>>().join(", ");
        let list = all.get_mut(name.as_str()).ok_or(format!("there is no option {name}; there are {known}"))?;
        let text = given.next().ok_or(format!("{name} wants numbers, for example `{name} 8,32`"))?;
        let number = |t: &str| t.parse().map_err(|_| format!("{name} wants numbers, `{t}` is none"));
        *list = text.split(',').filter(|t| !t.is_empty()).map(number).collect::<Result<_, _>>()?;
    }
    Ok(all)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let mut ours: Vec<(u16, f64)> = Vec::new();
    for threads in &options["--threads"] {
        let threads = usize::from(*threads);
        let mut real = Real::new(threads)?;
        for n in &options["--candidates"] {
            ours.push((*n, measure(&mut real, *n, 1, threads)?));
            for replicas in &options["--replicas"] {
                measure(&mut real, *n, u8::try_from(*replicas)?, threads)?;
            }
        }
    }
    // The same parameters, and tfhe's own keys: what differs is the form of the program.
    let config = ConfigBuilder::with_custom_parameters(V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128).build();
    let key = ClientKey::generate(config);
    set_server_key(ServerKey::new(&key));
    for n in &options["--naive"] {
        for bits in &options["--bits"] {
            let name = format!("high-level FheUint{bits}");
            let spent = match bits {
                8 => naive::<FheUint8>(&name, *n, &key)?,
                16 => naive::<FheUint16>(&name, *n, &key)?,
                other => return Err(format!("--bits wants 8 or 16, not {other}").into()),
            };
            for (_, core) in ours.iter().filter(|(size, _)| size == n) {
                println!("{n} candidates: FheUint{bits} takes {:.2} times as long", spent / core);
            }
        }
    }
    Ok(())
}
