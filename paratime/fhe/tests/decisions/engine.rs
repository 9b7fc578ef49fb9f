//! Batches of decisions on real ciphertexts.

use parallax_clear::compute;
use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, SecretKeys, TfheBackend, TfheClientCipher,
    TfheDecryptor, cache, init,
};
use parallax_primitives::{Digest, Domain, KeyId};
use parallax_runtime::{ClientCipher, Decryptor, FheBackend, InputKind, Program, ProgramBuilder, ReRandomization};
use parallax_scheduler::instances::Engine;
use std::error::Error;
use std::sync::Arc;

/// Evaluates programs on the cached key set.
///
/// Proofs of knowledge take most of the time of small batches and are no part of a decision. So reports and requests
/// come from one proven list of the numbers 0 to 15: their circuits are computed in the clear, and what they give is put
/// together from blocks of that list, re-randomised, unless `proofs` is set.
pub(crate) struct Real {
    backend: TfheBackend,
    cipher: TfheClientCipher,
    decryptor: TfheDecryptor,
    key: KeyId,
    numbers: Vec<u8>,
    calls: u64,
    /// Whether reports and requests are encrypted, proven and evaluated one by one.
    pub(crate) proofs: bool,
}

impl Real {
    /// With this many worker threads.
    pub(crate) fn new(threads: usize) -> Result<Self, Box<dyn Error>> {
        init(FftPlan::Dif16)?;
        let root = cache::default_root().ok_or("neither PARALLAX_KEYS nor HOME is set")?;
        let (manifest, dir) = cache::key_set(&root, GenerateOptions::default(), &|p| eprintln!("keys: {}", p.stage))?;
        let keys = Arc::new(EvaluationKeys::load(&dir, &manifest, BackendKind::CpuFft)?);
        let mut real = Self {
            backend: TfheBackend::new(keys, threads)?,
            cipher: TfheClientCipher::new(Arc::new(ClientKeys::load(&dir, &manifest)?)),
            decryptor: TfheDecryptor::new(SecretKeys::load(&dir, &manifest)?),
            key: manifest.key_id(),
            numbers: Vec::new(),
            calls: 0,
            proofs: false,
        };
        let list = real.cipher.encrypt(&(0..16).collect::<Vec<u8>>(), &Digest::ZERO)?;
        let mut p = ProgramBuilder::new();
        let blocks = p.input(InputKind::Proven { blocks: 16 });
        p.output(blocks);
        real.numbers = real.run(&p.build()?, &[&list]).remove(0);
        Ok(real)
    }

    fn run(&mut self, program: &Program, inputs: &[&[u8]]) -> Vec<Vec<u8>> {
        self.calls += 1;
        let seed = ReRandomization { seed: Digest::of_value(Domain::Simulation, &("decision", self.calls)) };
        let done = self.backend.evaluate(self.key, program, inputs, &seed, &|| false).expect("it is evaluated");
        assert_eq!(done.pbs, program.pbs(), "the backend counts what the program says");
        done.outputs
    }

    /// Ciphertexts of these blocks, put together from the numbers.
    fn store_all(&mut self, all: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut p = ProgramBuilder::new();
        let numbers = p.input(InputKind::Stored { blocks: 16, max: 15 });
        for blocks in all {
            p.output(blocks.iter().map(|b| numbers[usize::from(*b)]).collect());
        }
        let (program, list) = (p.build().expect("it is a valid program"), self.numbers.clone());
        self.run(&program, &[&list])
    }
}

impl Engine for Real {
    type Cipher = Vec<u8>;

    fn store(&mut self, blocks: &[u8]) -> Vec<u8> {
        self.store_all(&[blocks.to_vec()]).remove(0)
    }

    fn proven(&mut self, program: &Program, digits: &[u8]) -> Vec<Vec<u8>> {
        if self.proofs {
            let list = self.cipher.encrypt(digits, &Digest::ZERO).expect("digits are in range");
            return self.run(program, &[&list]);
        }
        let outputs = compute(program, &[digits.to_vec()]).expect("the circuit runs");
        self.store_all(&outputs)
    }

    fn evaluate(&mut self, program: &Program, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.run(program, &inputs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn open(&mut self, cipher: &Vec<u8>, blocks: u16) -> Vec<u8> {
        self.decryptor.decrypt(cipher, blocks).expect("an output conforms").to_vec()
    }
}
