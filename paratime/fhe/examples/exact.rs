//! Measures the exact backend against the ordinary one, in one run on the same keys and inputs:
//! `cargo run -p parallax-fhe --example exact [COUNT]`.
//!
//! Core time is the processor time of this thread, so a busy machine distorts it little; the order alternates, so that
//! what distorts it distorts both. Noise is the deviation of outputs from what they encrypt, which the secret key of the
//! cached key set shows: the standard deviation, as a power of two of the 64-bit torus.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod clock;

use clock::core_seconds;
use parallax_fhe::exact::Path;
use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, SecretKeys, TfheBackend, TfheClientCipher,
    TfheDecryptor, cache, init,
};
use parallax_primitives::Digest;
use parallax_runtime::{
    ClientCipher, Decryptor, FheBackend, InputKind, Program, ProgramBuilder, ProgramError, ReRandomization,
};
use std::error::Error;
use std::sync::Arc;

/// Processor time of this process in milliseconds.
fn core_ms() -> f64 {
    core_seconds() * 1e3
}

/// `count` tables on one block, one after the other: `x -> x + 1 mod 16`, each result an output.
fn chain(count: usize) -> Result<Program, ProgramError> {
    let mut p = ProgramBuilder::new();
    let mut x = p.input(InputKind::Stored { blocks: 1, max: 15 })[0];
    for _ in 0..count {
        x = p.map(x, |v| (v + 1) % 16);
        p.output(vec![x]);
    }
    p.build()
}

/// Takes a list in and gives it back expanded.
fn expansion() -> Result<Program, ProgramError> {
    let mut p = ProgramBuilder::new();
    let blocks = p.input(InputKind::Proven { blocks: 1 });
    p.output(blocks);
    p.build()
}

struct Row {
    name: String,
    core_ms: Vec<f64>,
    noise: Vec<f64>,
    load_ms: f64,
    backend: TfheBackend,
}

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(40), |text| text.parse())?;
    init(FftPlan::Dif16)?;
    let root = cache::default_root().ok_or("neither PARALLAX_KEYS nor HOME is set")?;
    let (manifest, dir) = cache::key_set(&root, GenerateOptions::default(), &|p| println!("keys: {}", p.stage))?;
    for part in &manifest.parts {
        println!("{:<28} {:>12} bytes", part.role.file_name(), part.bytes);
    }
    let mut rows = Vec::new();
    let paths = Path::ALL.into_iter().filter(|path| path.is_available());
    for (kind, path) in
        std::iter::once((BackendKind::CpuFft, None)).chain(paths.map(|path| (BackendKind::CpuExact, Some(path))))
    {
        let before = core_ms();
        let keys = EvaluationKeys::load_on(&dir, &manifest, kind, path.unwrap_or(Path::Portable))?;
        let name = path.map_or_else(|| kind.to_string(), |path| format!("{kind}, {path}"));
        let backend = TfheBackend::new(Arc::new(keys), 1)?;
        rows.push(Row { name, core_ms: Vec::new(), noise: Vec::new(), load_ms: core_ms() - before, backend });
    }
    let cipher = TfheClientCipher::new(Arc::new(ClientKeys::load(&dir, &manifest)?));
    let decryptor = TfheDecryptor::new(SecretKeys::load(&dir, &manifest)?);
    let (key, seed) = (manifest.key_id(), ReRandomization { seed: Digest([2; 32]) });
    let list = cipher.encrypt(&[7], &Digest([1; 32]))?;
    let program = chain(10)?;
    for round in 0..count.div_ceil(10) {
        let seed = ReRandomization { seed: Digest([round as u8; 32]) };
        for row in &mut rows {
            let taken = row.backend.evaluate(key, &expansion()?, &[&list], &seed, &|| false)?;
            let input = taken.outputs.first().ok_or("no output")?;
            let before = core_ms();
            let done = row.backend.evaluate(key, &program, &[input.as_slice()], &seed, &|| false)?;
            row.core_ms.push((core_ms() - before) / 10.0);
            for (i, output) in done.outputs.iter().enumerate() {
                let value = ((7 + 1 + i) % 16) as u8;
                if *decryptor.decrypt(output, 1)? != [value] {
                    return Err(format!("{} computes a wrong value", row.name).into());
                }
                row.noise.push(decryptor.noise(output, value)?);
            }
        }
    }
    print(&rows);
    let roots: Vec<Vec<Vec<u8>>> = rows[1..]
        .iter()
        .map(|row| Ok(row.backend.evaluate(key, &expansion()?, &[&list], &seed, &|| false)?.outputs))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let agree = roots.windows(2).all(|pair| pair[0] == pair[1]);
    println!("the exact paths give {} bits", if agree { "the same" } else { "DIFFERENT" });
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(rows: &[Row]) {
    println!(
        "\n{:<22} {:>14} {:>8} {:>12} {:>16} {:>10}",
        "backend", "core-ms/PBS", "ratio", "noise, log2", "outputs", "load, ms"
    );
    let base = median(&rows[0].core_ms);
    for row in rows {
        let deviation = (row.noise.iter().map(|e| e * e).sum::<f64>() / row.noise.len() as f64).sqrt().log2();
        let time = median(&row.core_ms);
        let (ratio, outputs) = (time / base, row.noise.len());
        println!("{:<22} {time:>14.1} {ratio:>8.2} {deviation:>12.2} {outputs:>16} {:>10.0}", row.name, row.load_ms);
    }
    println!("(a PBS: keyswitch, modulus switch, blind rotation; the median of batches of ten)");
}
