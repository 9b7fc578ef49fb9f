//! Evaluates a fixed decision of the scheduler on the cached keys and prints the root of its trace, for a comparison
//! between programs that were compiled differently: `scripts/determinism`.
//!
//! `evaluate --inputs FILE [--backend cpu-fft|cpu-exact] [--path avx-512|avx2+fma|portable] [--threads N]
//! [--candidates N]`. The inputs are made and written if the file does not exist; encryption is random.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use parallax_fhe::exact::Path;
use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, TfheBackend, TfheClientCipher, cache, init,
};
use parallax_primitives::{Digest, decode, encode};
use parallax_runtime::trace::Trace;
use parallax_runtime::{ClientCipher, FheBackend, InputKind, Program, ProgramBuilder, ReRandomization};
use parallax_scheduler::Replication;
use parallax_scheduler::circuit::{Shape, decision_program};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest file of inputs.
const MAX_INPUT_BYTES: usize = 64 * 1024 * 1024;
const SEED: ReRandomization = ReRandomization { seed: Digest([0x2a; 32]) };

struct Arguments {
    inputs: PathBuf,
    backend: BackendKind,
    path: Path,
    threads: usize,
    candidates: u16,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut out = Arguments {
        inputs: PathBuf::new(),
        backend: BackendKind::CpuExact,
        path: Path::best(),
        threads: 2,
        candidates: 4,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--inputs" => out.inputs = value.into(),
            "--backend" => out.backend = value.parse()?,
            "--path" => out.path = value.parse()?,
            "--threads" => out.threads = value.parse()?,
            "--candidates" => out.candidates = value.parse()?,
            other => return Err(format!("{other} is no option; see the head of examples/evaluate.rs").into()),
        }
    }
    if out.inputs.as_os_str().is_empty() {
        return Err("--inputs FILE is needed".into());
    }
    Ok(out)
}

/// The numbers of the list from which all inputs are taken: any nibbles, then bits for inputs with smaller limits.
const NIBBLES: [u8; 8] = [3, 14, 0, 9, 15, 6, 11, 5];
const BITS: [u8; 4] = [1, 0, 0, 1];

/// A stored ciphertext for each input of the program, from one proven list: a proof costs its sender 1.7 core-seconds.
fn make_inputs(
    program: &Program,
    backend: &TfheBackend,
    cipher: &TfheClientCipher,
) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let list = cipher.encrypt(&[NIBBLES.as_slice(), &BITS].concat(), &Digest::ZERO)?;
    let mut p = ProgramBuilder::new();
    let values = p.input(InputKind::Proven { blocks: (NIBBLES.len() + BITS.len()) as u16 });
    let (nibbles, bits) = values.split_at(NIBBLES.len());
    let (mut nibbles, mut bits) = (nibbles.iter().copied().cycle(), bits.iter().copied().cycle());
    for kind in program.inputs() {
        let blocks = usize::from(kind.blocks());
        let taken = if kind.max() == 15 { nibbles.by_ref().take(blocks) } else { bits.by_ref().take(blocks) };
        p.output(taken.collect());
    }
    Ok(backend.evaluate(cipher.key_id(), &p.build()?, &[&list], &SEED, &|| false)?.outputs)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { inputs, backend: kind, path, threads, candidates } = arguments()?;
    if kind == BackendKind::CpuFft {
        init(FftPlan::Dif16)?;
    }
    let root = cache::default_root().ok_or("neither PARALLAX_KEYS nor HOME is set")?;
    let (manifest, dir) = cache::key_set(&root, GenerateOptions::default(), &|p| eprintln!("keys: {}", p.stage))?;
    let keys = Arc::new(EvaluationKeys::load_on(&dir, &manifest, kind, path)?);
    let backend = TfheBackend::new(Arc::clone(&keys), threads)?;
    let program = decision_program(&Shape::fresh(candidates, true, Replication::default()))?;
    let given: Vec<Vec<u8>> = if inputs.exists() {
        decode("inputs", &std::fs::read(&inputs)?, MAX_INPUT_BYTES)?
    } else {
        let cipher = TfheClientCipher::new(Arc::new(ClientKeys::load(&dir, &manifest)?));
        let made = make_inputs(&program, &backend, &cipher)?;
        std::fs::write(&inputs, encode(&made))?;
        made
    };
    let borrowed: Vec<&[u8]> = given.iter().map(Vec::as_slice).collect();
    let done = backend.evaluate(manifest.key_id(), &program, &borrowed, &SEED, &|| false)?;
    let mut hasher = blake3::Hasher::new();
    done.outputs.iter().for_each(|output| {
        hasher.update(output);
    });
    let how = if kind == BackendKind::CpuExact { path.to_string() } else { "pinned plan".to_owned() };
    let root = Trace { leaves: done.leaves }.root();
    eprintln!(
        "{kind} ({how}), {threads} threads, {candidates} candidates, {} bootstraps, outputs {}",
        done.pbs,
        hasher.finalize().to_hex()
    );
    println!("{root}");
    Ok(())
}
