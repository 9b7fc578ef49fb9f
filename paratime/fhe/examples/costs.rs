//! Measures what FHE costs on this machine: `cargo run -p parallax-fhe --example costs`.
//!
//! `--start` ends after what a compute node does at its start; `--squashing` makes a key set with noise squashing.
//! Core time is the processor time of the whole process, so a busy machine does not distort it much.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod clock;

use clock::core_seconds;
use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, Manifest, SecretKeys, TfheBackend,
    TfheClientCipher, TfheDecryptor, cache, init,
};
use parallax_primitives::Digest;
use parallax_runtime::{
    ClientCipher, Decryptor, FheBackend, InputKind, Program, ProgramBuilder, ProgramError, ReRandomization,
};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Processor time of this process in milliseconds.
fn core_ms() -> f64 {
    core_seconds() * 1e3
}

/// A line of `/proc/self/status`, in MiB.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.split_whitespace().next()?.parse::<u64>().ok());
    found.unwrap_or(0) / 1024
}

fn measure<T>(
    what: &str,
    times: u32,
    mut work: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let (core, wall) = (core_ms(), Instant::now());
    let mut last = work()?;
    for _ in 1..times {
        last = work()?;
    }
    let (core, wall) = ((core_ms() - core) / f64::from(times), wall.elapsed().as_secs_f64() * 1e3 / f64::from(times));
    println!("{what:<44} {core:>10.2} core-ms {wall:>10.2} ms");
    Ok(last)
}

/// `count` independent operations on one block.
fn program(count: usize, table: bool) -> Result<Program, ProgramError> {
    let mut p = ProgramBuilder::new();
    let x = p.input(InputKind::Stored { blocks: 1, max: 15 })[0];
    let mut last = x;
    // All different: the same operation on the same value is in a program once.
    for i in 0..count {
        last = if table {
            p.map(x, |v| [i % 16, i / 16 % 16].get(usize::from(v)).map_or(v, |entry| *entry as u8))
        } else {
            p.linear(&[(x, -1)], 15 + i32::try_from(count - 1 - i).unwrap_or(0))
        };
    }
    p.output(vec![last]);
    p.build()
}

/// Takes `blocks` in and gives them back.
fn passing(kind: InputKind) -> Result<Program, ProgramError> {
    let mut p = ProgramBuilder::new();
    let blocks = p.input(kind);
    p.output(blocks);
    p.build()
}

fn files(manifest: &Manifest, dir: &Path) {
    println!("key set {} in {}", manifest.key_id(), dir.display());
    for part in &manifest.parts {
        println!("  {:<40} {:>12} bytes", part.role.file_name(), part.bytes);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    init(FftPlan::Dif16)?;
    let root = cache::default_root().ok_or("neither PARALLAX_KEYS nor HOME is set")?;
    let squashing = std::env::args().any(|a| a == "--squashing");
    let (manifest, dir) = measure("key set (made, or found in the cache)", 1, || {
        let report = |p: parallax_fhe::Progress| println!("  [{}/{}] {}", p.done + 1, p.steps, p.stage);
        Ok(cache::key_set(&root, GenerateOptions { squashing }, &report)?)
    })?;
    files(&manifest, &dir);
    let start = Instant::now();
    println!("memory before loading: {} MiB resident", memory("VmRSS:"));
    let keys = Arc::new(measure("load evaluation keys", 1, || {
        Ok(EvaluationKeys::load(&dir, &manifest, BackendKind::CpuFft)?)
    })?);
    println!("memory after loading: {} MiB resident, {} MiB at most", memory("VmRSS:"), memory("VmHWM:"));
    let backend = TfheBackend::new(keys, 2)?;
    measure("known answers of the profile", 1, || Ok(backend.check_profile()?))?;
    println!("memory after the known answers: {} MiB resident", memory("VmRSS:"));
    if std::env::args().any(|a| a == "--start") {
        println!("ready after {:.1} s", start.elapsed().as_secs_f64());
        return Ok(());
    }

    let client = Arc::new(measure("load client keys", 1, || Ok(ClientKeys::load(&dir, &manifest)?))?);
    let (cipher, metadata) = (TfheClientCipher::new(client), Digest([1; 32]));
    let decryptor = TfheDecryptor::new(SecretKeys::load(&dir, &manifest)?);
    let short = measure("encrypt and prove 4 numbers", 1, || Ok(cipher.encrypt(&[1, 2, 3, 4], &metadata)?))?;
    let digits: Vec<u8> = (0..64).map(|i| i % 16).collect();
    let long = measure("encrypt and prove 64 numbers", 1, || Ok(cipher.encrypt(&digits, &metadata)?))?;
    println!("  a list of 4 has {} bytes, one of 64 {}", short.len(), long.len());
    let key = manifest.key_id();
    measure("verify 4 numbers", 1, || Ok(backend.verify_input(key, &short, 4, &metadata)?))?;
    measure("verify 64 numbers", 1, || Ok(backend.verify_input(key, &long, 64, &metadata)?))?;

    let seed = ReRandomization { seed: Digest([2; 32]) };
    let run = |program: &Program, input: &[u8]| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut done = backend.evaluate(key, program, &[input], &seed, &|| false)?;
        done.outputs.pop().ok_or_else(|| "no output".into())
    };
    let expand = passing(InputKind::Proven { blocks: 64 })?;
    let stored = measure("expand 64 numbers (64 PBS)", 1, || run(&expand, &long))?;
    if *decryptor.decrypt(&stored, 64)? != digits {
        return Err("the list does not decrypt to what was encrypted".into());
    }
    let again = passing(InputKind::Stored { blocks: 64, max: 15 })?;
    measure("re-randomise 64 blocks", 20, || run(&again, &stored))?;
    let expand_one = passing(InputKind::Proven { blocks: 4 })?;
    let four = run(&expand_one, &short)?;
    let again_four = passing(InputKind::Stored { blocks: 4, max: 15 })?;
    measure("re-randomise 4 blocks", 50, || run(&again_four, &four))?;
    let one = {
        let mut p = ProgramBuilder::new();
        let blocks = p.input(InputKind::Stored { blocks: 4, max: 15 });
        p.output(vec![blocks[0]]);
        run(&p.build()?, &four)?
    };
    let tables = program(100, true)?;
    measure("100 tables (100 PBS)", 1, || run(&tables, &one))?;
    let linear = program(1000, false)?;
    measure("1000 linear combinations of one term", 1, || run(&linear, &one))?;
    measure("decrypt 64 blocks", 20, || Ok(decryptor.decrypt(&stored, 64)?))?;
    println!("memory at the end: {} MiB resident, {} MiB at most", memory("VmRSS:"), memory("VmHWM:"));
    Ok(())
}
