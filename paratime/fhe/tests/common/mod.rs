//! What the tests on real ciphertexts share: one key set, one backend, and a random program with its plain result.

pub(crate) mod prices;

use parallax_fhe::{
    BackendKind, ClientKeys, EvaluationKeys, FftPlan, GenerateOptions, Manifest, SecretKeys, TfheBackend,
    TfheClientCipher, TfheDecryptor, cache, init,
};
use parallax_primitives::Digest;
use parallax_runtime::{
    ClientCipher, Evaluation, FheBackend, InputKind, IntegerOp, Operand, Program, ProgramBuilder, ReRandomization,
    ValueId,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

/// More threads than any committee machine needs; tfhe would switch its addition at this number.
pub(crate) const CHILD_THREADS: usize = 16;
const CHILD_TASK: &str = "PARALLAX_FHE_TEST_TASK";
const CHILD_DIR: &str = "PARALLAX_FHE_TEST_DIR";
/// The seed under which parents and children evaluate [`random_program`].
pub(crate) const CHILD_SEED: ReRandomization = ReRandomization { seed: Digest([3; 32]) };

/// The shared key set, from the cache.
pub(crate) fn key_set() -> &'static (Manifest, PathBuf) {
    static KEYS: OnceLock<(Manifest, PathBuf)> = OnceLock::new();
    KEYS.get_or_init(|| {
        init(FftPlan::Dif16).unwrap();
        let root = cache::default_root().expect("PARALLAX_KEYS or HOME");
        cache::key_set(&root, GenerateOptions::default(), &|p| eprintln!("keys: {}", p.stage)).unwrap()
    })
}

/// The shared backend, with three workers.
pub(crate) fn backend() -> &'static TfheBackend {
    static BACKEND: OnceLock<TfheBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        let (manifest, dir) = key_set();
        TfheBackend::new(Arc::new(EvaluationKeys::load(dir, manifest, BackendKind::CpuFft).unwrap()), 3).unwrap()
    })
}

/// The shared keys of the exact backend.
pub(crate) fn exact_keys() -> &'static Arc<EvaluationKeys> {
    static KEYS: OnceLock<Arc<EvaluationKeys>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let (manifest, dir) = key_set();
        Arc::new(EvaluationKeys::load(dir, manifest, BackendKind::CpuExact).unwrap())
    })
}

/// The shared exact backend, with three workers.
pub(crate) fn exact_backend() -> &'static TfheBackend {
    static BACKEND: OnceLock<TfheBackend> = OnceLock::new();
    BACKEND.get_or_init(|| TfheBackend::new(Arc::clone(exact_keys()), 3).unwrap())
}

pub(crate) fn client() -> Arc<ClientKeys> {
    static CLIENT: OnceLock<Arc<ClientKeys>> = OnceLock::new();
    let (manifest, dir) = key_set();
    Arc::clone(CLIENT.get_or_init(|| Arc::new(ClientKeys::load(dir, manifest).unwrap())))
}

pub(crate) fn decryptor() -> &'static TfheDecryptor {
    static DECRYPTOR: OnceLock<TfheDecryptor> = OnceLock::new();
    let (manifest, dir) = key_set();
    DECRYPTOR.get_or_init(|| TfheDecryptor::new(SecretKeys::load(dir, manifest).unwrap()))
}

/// What lists of these tests are bound to.
pub(crate) fn metadata() -> Digest {
    Digest([0x42; 32])
}

/// A proven list.
pub(crate) fn list(digits: &[u8]) -> Vec<u8> {
    TfheClientCipher::new(client()).encrypt(digits, &metadata()).unwrap()
}

/// A list with a right proof, but under a public key of somebody else, dressed as one of ours.
pub(crate) fn list_under_another_key(digits: &[u8]) -> Vec<u8> {
    use tfhe::safe_serialization::{DeserializationConfig, SerializationConfig};
    use tfhe::shortint::CompactPublicKey;
    use tfhe::shortint::parameters::v1_8::V1_8_PARAM_PKE_TO_SMALL_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128_ZKV2 as PUBLIC;
    use tfhe::shortint::public_key::compact::CompactPrivateKey;
    use tfhe::zk::{CompactPkeCrs, ZkComputeLoad};
    let (manifest, dir) = key_set();
    let bytes = std::fs::read(dir.join("crs.bin")).unwrap();
    let config = DeserializationConfig::new(bytes.len() as u64).disable_conformance();
    let crs: CompactPkeCrs = config.deserialize_from(bytes.as_slice()).unwrap();
    let public = CompactPublicKey::new(&CompactPrivateKey::new(PUBLIC));
    let numbers: Vec<u64> = digits.iter().map(|d| u64::from(*d)).collect();
    let proven = public.encrypt_and_prove_slice(&numbers, &crs, &metadata().0, ZkComputeLoad::Proof, 16).unwrap();
    let (list, proof) = proven.into_raw_parts().remove(0);
    let mut out = b"PXL\x01".to_vec();
    out.extend(manifest.key_id().0);
    out.extend((digits.len() as u16).to_le_bytes());
    out.extend(list.ct_list.into_container().iter().flat_map(|w| w.to_le_bytes()));
    SerializationConfig::new_with_unlimited_size().serialize_into(&proof, &mut out).unwrap();
    out
}

/// A small generator for test values (xorshift, Marsaglia 2003).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.word() % n
    }
}

/// A program over one list of digits, and what its outputs are in the clear.
pub(crate) struct Case {
    pub(crate) digits: Vec<u8>,
    pub(crate) program: Program,
    pub(crate) names: Vec<String>,
    pub(crate) expected: Vec<Vec<u8>>,
}

/// Every operation on random values; additions on four blocks, where tfhe's choice of algorithm shows.
pub(crate) fn random_program(seed: u64) -> Case {
    let mut random = Numbers(seed);
    // Eight digits of two bits, a bit, three nibbles, two octal digits.
    let limits = [4; 8].into_iter().chain([2]).chain([16; 3]).chain([8; 2]);
    let digits: Vec<u8> = limits.map(|n| random.below(n) as u8).collect();
    let mut p = ProgramBuilder::new();
    let values = p.input(InputKind::Proven { blocks: digits.len() as u16 });
    for (i, v) in values.iter().enumerate() {
        let max = [3, 3, 3, 3, 3, 3, 3, 3, 1, 15, 15, 15, 7, 7][i];
        p.assume(*v, 0, max, "the test encrypts nothing larger");
    }
    let (mut names, mut expected): (Vec<String>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    let mut output = |p: &mut ProgramBuilder, name: &str, blocks: Vec<ValueId>, plain: Vec<u8>| {
        p.output(blocks);
        names.push(name.to_owned());
        expected.push(plain);
    };
    let (x, y, z) = (digits[9], digits[10], digits[11]);
    let [vx, vy, vz] = [values[9], values[10], values[11]];
    for shift in 0..2u8 {
        let f = move |v: u8| (v * 5 + shift) % 16;
        let v = p.map(vx, f);
        output(&mut p, "table.map", vec![v], vec![f(x)]);
    }
    // x - y in -15..=15, and sums with weights before a table.
    let difference = p.linear(&[(vx, 1), (vy, -1)], 0);
    let v = p.non_negative(difference, 11);
    output(&mut p, "table.nonnegative", vec![v], vec![if x >= y { 11 } else { 0 }]);
    let difference = p.linear(&[(vy, 1), (vx, -1)], -1);
    let v = p.non_negative(difference, 1);
    output(&mut p, "table.nonnegative", vec![v], vec![u8::from(y > x)]);
    // Every one of the 32 arguments is another slot of the circle; both orders, so that one of them is negative.
    for (a, b) in [(x, y), (y, x)] {
        let (va, vb) = if (a, b) == (x, y) { (vx, vy) } else { (vy, vx) };
        let difference = p.linear(&[(va, 1), (vb, -1)], -1);
        let entries: [u8; 16] = std::array::from_fn(|i| (i as u8 * 7 + 2) % 13);
        let v = p.folded(difference, entries, 12);
        let d = i32::from(a) - i32::from(b) - 1;
        let entry = entries[d.rem_euclid(16) as usize];
        output(&mut p, "table.folded", vec![v], vec![if d >= 0 { entry } else { 12 - entry }]);
    }
    let sum = p.linear(&[(values[0], 4), (values[1], 1)], 0);
    let v = p.map(sum, |v| 15 - v);
    output(&mut p, "linear", vec![v], vec![15 - (4 * digits[0] + digits[1])]);
    let v = p.linear(&[(vz, -1)], 15);
    output(&mut p, "linear", vec![v], vec![15 - z]);
    for i in [12, 13] {
        let tables = [[3, 1, 4, 1, 5, 9, 2, 6], [15, 0, 14, 1, 13, 2, 12, 3]];
        let v = p.two_tables(values[i], tables);
        let plain = tables.map(|t| t[usize::from(digits[i])]).to_vec();
        output(&mut p, "table.two", v.to_vec(), plain);
    }
    // Integers' digits are at most 3, so the ends of the argument come from a constant.
    for shift in [-1, 0, 1] {
        let tables = [[9, 8, 7, 15, 0, 3, 2, 1, 5], [0, 15, 4, 4, 1, 11, 13, 2, 6]];
        let difference = p.linear(&[(values[0], 1), (values[1], -1)], shift);
        let v = p.two_signed(difference, tables);
        let at = i32::from(digits[0]) - i32::from(digits[1]) + shift + 4;
        output(&mut p, "table.two-signed", v.to_vec(), tables.map(|t| t[at as usize]).to_vec());
    }
    integers(&mut p, &digits, &values, &mut output);
    Case { digits, program: p.build().unwrap(), names, expected }
}

type Output<'a> = &'a mut dyn FnMut(&mut ProgramBuilder, &str, Vec<ValueId>, Vec<u8>);

fn integers(p: &mut ProgramBuilder, digits: &[u8], values: &[ValueId], output: Output<'_>) {
    use IntegerOp::{Add, BitAnd, BitOr, BitXor, Eq, Ge, Gt, Le, Lt, Max, Min, Mul, Ne, Select, Sub};
    let number = |d: &[u8]| d.iter().rev().fold(0u32, |n, d| n * 4 + u32::from(*d));
    for op in [Add, Sub, Mul, BitAnd, BitOr, BitXor, Eq, Ne, Lt, Le, Gt, Ge, Min, Max, Select] {
        let n = if matches!(op, Add | Sub | Gt | Eq) { 4 } else { 1 };
        let (a, b) = (number(&digits[..n]), number(&digits[4..4 + n]));
        let mut operands: Vec<Operand> = vec![values[..n].into(), values[4..4 + n].into()];
        if op == Select {
            operands.insert(0, values[8..9].into());
        }
        let plain = match op {
            Add => a + b,
            Sub => a.wrapping_sub(b),
            Mul => a * b,
            BitAnd => a & b,
            BitOr => a | b,
            BitXor => a ^ b,
            Eq => u32::from(a == b),
            Ne => u32::from(a != b),
            Lt => u32::from(a < b),
            Le => u32::from(a <= b),
            Gt => u32::from(a > b),
            Ge => u32::from(a >= b),
            Min => a.min(b),
            Max => a.max(b),
            Select => {
                if digits[8] == 1 {
                    a
                } else {
                    b
                }
            }
            other => panic!("{} is not among these", other.name()),
        };
        let blocks = if op.is_comparison() { 1 } else { n };
        let plain = (0..blocks).map(|i| (plain >> (2 * i) & 3) as u8).collect();
        let results = p.radix(op, &operands);
        output(p, op.name(), results, plain);
    }
}

/// One digest of everything that an evaluation gives.
pub(crate) fn fingerprint(evaluation: &Evaluation) -> String {
    let mut hasher = blake3::Hasher::new();
    for output in &evaluation.outputs {
        hasher.update(output);
    }
    for leaf in &evaluation.leaves {
        hasher.update(leaf.opcode.as_bytes()).update(&leaf.output.0);
        leaf.inputs.iter().for_each(|d| {
            hasher.update(&d.0);
        });
    }
    hasher.finalize().to_hex().to_string()
}

/// Runs a task of [`child_main`] in a process of its own; what it printed.
pub(crate) fn child(task: &str, dir: &Path) -> String {
    child_with(task, dir, &[])
}

/// The same with variables of its environment.
pub(crate) fn child_with(task: &str, dir: &Path, variables: &[(&str, &str)]) -> String {
    key_set();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child_process", "--nocapture"])
        .env(CHILD_TASK, task)
        .env(CHILD_DIR, dir)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the child failed:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What a child process does.
pub(crate) fn child_main() {
    let task = std::env::var(CHILD_TASK).expect("this is run by other tests");
    let dir = PathBuf::from(std::env::var(CHILD_DIR).unwrap());
    let plan = if matches!(task.as_str(), "other-plan" | "exact") { FftPlan::Dif4 } else { FftPlan::Dif16 };
    init(plan).unwrap();
    let root = cache::default_root().unwrap();
    let (manifest, keys_dir) = cache::key_set(&root, GenerateOptions::default(), &|_| {}).unwrap();
    let load = |backend| Arc::new(EvaluationKeys::load(&keys_dir, &manifest, backend).unwrap());
    if task == "exact" {
        return child_exact(load(BackendKind::CpuExact), &dir);
    }
    let keys = load(BackendKind::CpuFft);
    let number = |name: &str| -> u64 { std::env::var(name).unwrap().parse().unwrap() };
    match task.as_str() {
        "roots" => {
            let threads = number("PARALLAX_FHE_TEST_THREADS") as usize;
            let backends = [keys, load(BackendKind::CpuExact)].map(|keys| TfheBackend::new(keys, threads).unwrap());
            super::exact::child_roots(backends, &std::fs::read(dir.join("input")).unwrap());
        }
        "hostile" => {
            let backend = TfheBackend::new(keys, 2).unwrap();
            super::hostile::child_mutants(&backend, &dir, number("PARALLAX_FHE_TEST_MUTANTS"));
        }
        "other-plan" => {
            let refused = TfheBackend::new(keys, 2).unwrap().check_profile().unwrap_err();
            println!("\nCHILD {refused}");
        }
        "evaluate" => {
            let case = random_program(0x5eed);
            let input = std::fs::read(dir.join("input")).unwrap();
            let backend = TfheBackend::new(keys, CHILD_THREADS).unwrap();
            let seed = CHILD_SEED;
            tfhe::reset_pbs_count();
            let done =
                backend.evaluate(manifest.key_id(), &case.program, &[input.as_slice()], &seed, &|| false).unwrap();
            println!("\nCHILD {}\nCHILD pbs {}", fingerprint(&done), tfhe::get_pbs_count());
        }
        "prices" => prices::count(&TfheBackend::new(keys, CHILD_THREADS).unwrap(), &prices::small(), &dir),
        "prices-large" => prices::count(&TfheBackend::new(keys, CHILD_THREADS).unwrap(), &prices::large(), &dir),
        other => panic!("no such task: {other}"),
    }
}

/// The exact backend under another FFT plan than the network's, which it does not use.
fn child_exact(keys: Arc<EvaluationKeys>, dir: &Path) {
    let backend = TfheBackend::new(Arc::clone(&keys), CHILD_THREADS).unwrap();
    backend.check_profile().unwrap();
    println!("\nCHILD known answers hold");
    // tfhe counts tables on constants, too, and a quotient by a clear number has some; the program below has none.
    tfhe::reset_pbs_count();
    let case = random_program(0xe8ac7);
    let input = std::fs::read(dir.join("input")).unwrap();
    let before = keys.exact().unwrap().rotations();
    let done = backend.evaluate(keys.key_id(), &case.program, &[input.as_slice()], &CHILD_SEED, &|| false).unwrap();
    let rotations = keys.exact().unwrap().rotations() - before;
    println!("\nCHILD {}\nCHILD rotations {rotations} of tfhe {}", fingerprint(&done), tfhe::get_pbs_count());
}
