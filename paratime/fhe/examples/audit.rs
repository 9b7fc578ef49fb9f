//! Registers a capacity and audits an honest and a false report against it, on real ciphertexts and the cached keys;
//! prints bootstraps and seconds, and fails if a bit is not the one that the statement in the clear gives.
//!
//! `cargo build --workspace --example audit`, then run it from the target directory's `debug/examples`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, SecretKeys, TfheBackend, TfheClientCipher,
    TfheDecryptor, cache, init,
};
use parallax_primitives::Digest;
use parallax_runtime::{ClientCipher, Decryptor, FheBackend, Program, ReRandomization};
use parallax_scheduler::audit::circuit::{audit_program, capacity_program};
use parallax_scheduler::audit::{is_consistent, score};
use parallax_scheduler::{Capacity, Policy, Report};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

const SEED: ReRandomization = ReRandomization { seed: Digest([0x2b; 32]) };
const POLICIES: [Policy; 1] = [Policy::Pack];
const PRICE: u8 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    init(FftPlan::Dif16)?;
    let root = cache::default_root().ok_or("PARALLAX_KEYS or HOME is needed")?;
    let (manifest, dir) = cache::key_set(&root, GenerateOptions::default(), &|p| eprintln!("keys: {}", p.stage))?;
    let keys = EvaluationKeys::load(&dir, &manifest, BackendKind::CpuFft)?;
    let backend = TfheBackend::new(Arc::new(keys), 2)?;
    let cipher = TfheClientCipher::new(Arc::new(ClientKeys::load(&dir, &manifest)?));
    let decryptor = TfheDecryptor::new(SecretKeys::load(&dir, &manifest)?);
    let run = |what: &str, program: &Program, inputs: &[&[u8]]| -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
        let begun = Instant::now();
        let done = backend.evaluate(cipher.key_id(), program, inputs, &SEED, &|| false)?;
        println!("{what}: {} bootstraps, {:.1} s with 2 threads", done.pbs, begun.elapsed().as_secs_f64());
        Ok(done.outputs)
    };
    let capacity = Capacity { cpu: 192, memory: 96, gpus: 8 };
    let list = cipher.encrypt(&capacity.digits()?, &Digest::ZERO)?;
    let stored = run("capacity", &capacity_program(&POLICIES)?, &[&list])?;
    let mut report =
        Report { cpu: 101, memory: 37, gpus: 3, share: 100, labels: 1, latency: 2, scores: BTreeMap::new() };
    let right = score(Policy::Pack, &report, &capacity, PRICE).ok_or("PACK has a score")?;
    for (what, claimed) in [("honest report", right), ("false report", right - 1)] {
        report.scores.insert(Policy::Pack, claimed);
        let list = cipher.encrypt(&report.digits(&POLICIES)?, &Digest::ZERO)?;
        let inputs: Vec<&[u8]> = std::iter::once(&list).chain(&stored).map(Vec::as_slice).collect();
        let out = run(what, &audit_program(&POLICIES, PRICE)?, &inputs)?;
        let bit = out.first().map(|c| decryptor.decrypt(c, 1)).transpose()?.ok_or("no verdict")?;
        let expected = is_consistent(&report, &capacity, PRICE, &POLICIES);
        println!("{what}: consistent is {}, expected {}", bit[0], u8::from(expected));
        if bit[0] != u8::from(expected) {
            return Err("the circuit and the statement differ".into());
        }
    }
    Ok(())
}
