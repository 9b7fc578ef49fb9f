//! Evaluates a program on decoded ciphertexts.
//!
//! Three steps. Inputs are re-randomised: stored blocks by an encryption of zero under the public key derived from the
//! compute key, a compact list by one under the clients' public key *before* it is expanded, so that not even the
//! casting bootstrap sees what a client has prepared. That costs next to nothing: 0.02 core-milliseconds a block against
//! 24 for a bootstrap, and no bootstrap. Lists are then cast, one bootstrap a block. Last, the operations
//! run as soon as their arguments are there. The thread that called does the scheduling and polls for cancellation;
//! the work is done by the pool, each operation on one worker from start to end (see [`crate::pool`]).

use crate::encoding::{Words, digest_of_block};
use crate::exact::keyswitch;
use crate::integer::integer;
use crate::keys::{Casting, Material};
use crate::parameters::{
    ATOMIC_PATTERN, BLOCK_WORDS, CARRY_MODULUS, DELTA, MESSAGE_MODULUS, PUBLIC, dimension, modulus,
};
use crate::pool::{Batch, BatchError, FhePool};
use crate::random::random;
use parallax_primitives::Digest;
use parallax_runtime::{FheError, Op, Program, Table};
use std::sync::Arc;
use tfhe::core_crypto::prelude::{
    ContiguousEntityContainer, LweCiphertext, LweCiphertextCount, LweCiphertextList, LweCompactCiphertextList,
    expand_lwe_compact_ciphertext_list,
};
use tfhe::shortint::ciphertext::{
    CompactCiphertextList, Degree, NoiseLevel, ReRandomizationContext, ReRandomizationSeed,
};
use tfhe::shortint::parameters::CompactCiphertextListExpansionKind;
use tfhe::shortint::server_key::LookupTableOwned;
use tfhe::shortint::{Ciphertext, KeySwitchingKeyView, ServerKey};

/// Domain separators of tfhe's seed derivation: ours for the seeds, tfhe's own for the encryptions of zero.
const SEED_DOMAIN: [u8; 8] = *b"PLX_Rrd1";
pub(crate) const ENCRYPTION_DOMAIN: [u8; 8] = *b"TFHE_Enc";
/// The largest value of a block.
const FULL: u64 = 15;

/// A decoded input.
pub(crate) enum Input {
    /// Blocks from the state.
    Stored(Vec<Words>),
    /// The mask and bodies of a compact list.
    List(Words),
}

/// What an evaluation gives.
pub(crate) struct Outcome {
    /// The blocks of each output.
    pub(crate) outputs: Vec<Vec<Arc<Words>>>,
    /// The digest of every value by number; stored input blocks as they were before re-randomisation.
    pub(crate) digests: Vec<Digest>,
}

/// Values with their digests: what a job hands back.
type Results = Vec<(Words, Digest)>;

fn failed(error: BatchError) -> FheError {
    match error {
        BatchError::Cancelled => FheError::Cancelled,
        BatchError::Failed(reason) => FheError::Library(reason),
    }
}

/// Evaluates `program`; `inputs` are in its order and have the right number of blocks. With `flip`, one bit of the first
/// result of that operation is flipped.
pub(crate) fn evaluate(
    pool: &FhePool,
    keys: &Arc<Material>,
    program: &Program,
    inputs: Vec<Input>,
    (seed, flip): (&Digest, Option<usize>),
    cancelled: &dyn Fn() -> bool,
) -> Result<Outcome, FheError> {
    let blocks = prepare(pool, keys, inputs, seed, cancelled)?;
    run(pool, keys, program, blocks, (seed, flip), cancelled)
}

/// Re-randomises the inputs and expands lists. The values of all inputs in order.
fn prepare(
    pool: &FhePool,
    keys: &Arc<Material>,
    inputs: Vec<Input>,
    seed: &Digest,
    cancelled: &dyn Fn() -> bool,
) -> Result<Results, FheError> {
    let mut context = ReRandomizationContext::new(SEED_DOMAIN, ENCRYPTION_DOMAIN);
    context.add_bytes(&seed.0);
    let mut seeds = context.finalize();
    let count = inputs.len();
    let mut is_list = Vec::with_capacity(count);
    let mut batch: Batch<'_, Results> = Batch::new(pool);
    for (i, input) in inputs.into_iter().enumerate() {
        // Seeds are drawn in input order, whatever order the jobs run in.
        let (keys, seed) = (Arc::clone(keys), seeds.next_seed());
        is_list.push(matches!(input, Input::List(_)));
        match input {
            Input::Stored(blocks) => batch.submit(i, move || rerandomize_stored(&keys, blocks, seed)),
            Input::List(words) => batch.submit(i, move || rerandomize_list(&keys, words, seed)),
        }
    }
    let mut prepared: Vec<Results> = (0..count).map(|_| Vec::new()).collect();
    for _ in 0..count {
        let (i, values) = batch.next(cancelled).map_err(failed)?;
        prepared[i] = values;
    }
    let is_cast: Vec<bool> =
        prepared.iter().zip(&is_list).flat_map(|(values, list)| values.iter().map(|_| *list)).collect();
    let mut values: Results = prepared.into_iter().flatten().collect();
    let mut batch: Batch<'_, (Words, Digest)> = Batch::new(pool);
    let mut pending = 0usize;
    for (v, (value, _)) in values.iter_mut().enumerate().filter(|(v, _)| is_cast[*v]) {
        let (keys, words) = (Arc::clone(keys), std::mem::take(value));
        batch.submit(v, move || Ok(with_digest(cast(&keys, words))));
        pending += 1;
    }
    for _ in 0..pending {
        let (v, value) = batch.next(cancelled).map_err(failed)?;
        values[v] = value;
    }
    Ok(values)
}

/// Runs the operations on the values of the inputs.
fn run(
    pool: &FhePool,
    keys: &Arc<Material>,
    program: &Program,
    inputs: Results,
    (seed, flip): (&Digest, Option<usize>),
    cancelled: &dyn Fn() -> bool,
) -> Result<Outcome, FheError> {
    let count = program.value_count();
    let mut state = Dataflow::new(program, inputs);
    let ops: Arc<Vec<Op>> = Arc::new(program.ops().to_vec());
    let mut batch: Batch<'_, Results> = Batch::new(pool);
    let mut started = 0usize;
    let mut finished = 0usize;
    while finished < ops.len() {
        while let Some(i) = state.ready.pop_front() {
            let arguments = state.arguments(&ops[i]).ok_or_else(|| broken(i))?;
            let (keys, ops) = (Arc::clone(keys), Arc::clone(&ops));
            let (flipped, seed) = (flip == Some(i), *seed);
            batch.submit(i, move || {
                let mut results = apply(&keys, &ops[i], &arguments, &seed)?;
                if flipped && let Some(word) = results.first_mut().and_then(|words| words.first_mut()) {
                    *word ^= 1;
                }
                Ok(results.into_iter().map(with_digest).collect())
            });
            started += 1;
        }
        if started == finished {
            return Err(broken(finished));
        }
        let (i, results) = batch.next(cancelled).map_err(failed)?;
        state.complete(&ops, i, results).ok_or_else(|| broken(i))?;
        finished += 1;
    }
    let get = |v: &parallax_runtime::ValueId| state.values.get(v.0 as usize).cloned().flatten();
    let outputs: Option<Vec<Vec<_>>> =
        program.outputs().iter().map(|blocks| blocks.iter().map(get).collect::<Option<Vec<_>>>()).collect();
    let outputs = outputs.ok_or_else(|| broken(ops.len()))?;
    debug_assert_eq!(state.digests.len(), count);
    Ok(Outcome { outputs, digests: state.digests })
}

/// A program that its own builder would not have let through, or inputs that do not fit it.
fn broken(op: usize) -> FheError {
    FheError::Library(format!("operation {op} has arguments that no earlier operation defines"))
}

/// Which values there are, and which operations wait for how many of them.
struct Dataflow {
    values: Vec<Option<Arc<Words>>>,
    digests: Vec<Digest>,
    /// How often a value is still needed; at 0 it is dropped.
    uses: Vec<usize>,
    /// The operations that read a value, once for every time they read it.
    readers: Vec<Vec<usize>>,
    /// How many arguments an operation waits for.
    missing: Vec<usize>,
    /// The first value that an operation defines.
    first_result: Vec<usize>,
    ready: std::collections::VecDeque<usize>,
}

impl Dataflow {
    fn new(program: &Program, inputs: Results) -> Self {
        let count = program.value_count();
        let mut state = Self {
            values: vec![None; count],
            digests: vec![Digest::ZERO; count],
            uses: vec![0; count],
            readers: vec![Vec::new(); count],
            missing: Vec::with_capacity(program.ops().len()),
            first_result: Vec::with_capacity(program.ops().len()),
            ready: std::collections::VecDeque::new(),
        };
        let mut next = inputs.len();
        for v in program.outputs().iter().flatten() {
            state.uses[v.0 as usize] += 1;
        }
        for (i, op) in program.ops().iter().enumerate() {
            let arguments = op.arguments();
            for v in &arguments {
                state.uses[v.0 as usize] += 1;
                state.readers[v.0 as usize].push(i);
            }
            state.missing.push(arguments.len());
            state.first_result.push(next);
            next += op.results();
            if arguments.is_empty() {
                state.ready.push_back(i);
            }
        }
        for (v, (words, digest)) in inputs.into_iter().enumerate() {
            state.define(v, words, digest);
        }
        state
    }

    fn define(&mut self, v: usize, words: Words, digest: Digest) {
        self.digests[v] = digest;
        if self.uses[v] > 0 {
            self.values[v] = Some(Arc::new(words));
        }
        for i in std::mem::take(&mut self.readers[v]) {
            self.missing[i] -= 1;
            if self.missing[i] == 0 {
                self.ready.push_back(i);
            }
        }
    }

    fn arguments(&self, op: &Op) -> Option<Vec<Arc<Words>>> {
        op.arguments().iter().map(|v| self.values.get(v.0 as usize).cloned().flatten()).collect()
    }

    fn complete(&mut self, ops: &[Op], i: usize, results: Results) -> Option<()> {
        let op = ops.get(i)?;
        if results.len() != op.results() {
            return None;
        }
        let first = self.first_result[i];
        for (k, (words, digest)) in results.into_iter().enumerate() {
            self.define(first + k, words, digest);
        }
        for v in op.arguments() {
            let v = v.0 as usize;
            self.uses[v] -= 1;
            if self.uses[v] == 0 {
                self.values[v] = None;
            }
        }
        Some(())
    }
}

fn with_digest(words: Words) -> (Words, Digest) {
    let digest = digest_of_block(&words);
    (words, digest)
}

/// A block as tfhe's shortint layer wants it. The noise level is always nominal: what can go into which operation was
/// settled by the program's builder, and tfhe must not take a block for a trivial one and skip its bootstrap.
pub(crate) fn block(words: Words, degree: u64) -> Ciphertext {
    let lwe = LweCiphertext::from_container(words, modulus());
    Ciphertext::new(lwe, Degree::new(degree), NoiseLevel::NOMINAL, MESSAGE_MODULUS, CARRY_MODULUS, ATOMIC_PATTERN)
}

pub(crate) fn words(block: Ciphertext) -> Words {
    block.ct.into_container()
}

fn rerandomize_stored(keys: &Material, blocks: Vec<Words>, seed: ReRandomizationSeed) -> Result<Results, String> {
    let digests: Vec<Digest> = blocks.iter().map(|b| digest_of_block(b)).collect();
    let mut blocks: Vec<Ciphertext> = blocks.into_iter().map(|b| block(b, FULL)).collect();
    keys.rerandomization.re_randomize_ciphertexts(&mut blocks, None, seed).map_err(|e| e.to_string())?;
    Ok(blocks.into_iter().map(words).zip(digests).collect())
}

/// A re-randomised list, taken apart into its ciphertexts under the public key's secret. They have no digests yet.
fn rerandomize_list(keys: &Material, list: Words, seed: ReRandomizationSeed) -> Result<Results, String> {
    let mut list = compact_list(list).ok_or("the list has the wrong number of words")?;
    keys.public
        .key
        .re_randomize_compact_ciphertext_lists(std::iter::once(&mut list), seed)
        .map_err(|e| e.to_string())?;
    let list = list.ct_list;
    let mut out = LweCiphertextList::new(0u64, list.lwe_size(), list.lwe_ciphertext_count(), modulus());
    expand_lwe_compact_ciphertext_list(&mut out, &list);
    Ok(out.iter().map(|lwe| (lwe.as_ref().to_vec(), Digest::ZERO)).collect())
}

/// The mask and bodies of a list as tfhe wants them. Everything but the words is fixed by the parameters, so nothing
/// of it is taken from a sender.
pub(crate) fn compact_list(list: Words) -> Option<CompactCiphertextList> {
    let count = list.len().checked_sub(dimension().0)?;
    if count == 0 || count > dimension().0 {
        return None;
    }
    let list =
        LweCompactCiphertextList::from_container(list, dimension().to_lwe_size(), LweCiphertextCount(count), modulus());
    Some(CompactCiphertextList::from_raw_parts(
        list,
        Degree::new(FULL),
        PUBLIC.message_modulus,
        PUBLIC.carry_modulus,
        CompactCiphertextListExpansionKind::RequiresCasting,
    ))
}

/// From the public key's secret to the compute key: one keyswitch and one bootstrap of the identity over all 16 values.
fn cast(keys: &Material, lwe: Words) -> Words {
    match &keys.casting {
        Casting::Fft(casting) => {
            let view = KeySwitchingKeyView::from_raw_parts(casting.as_view(), keys.server.as_ref(), None);
            words(view.cast(&block(lwe, FULL)))
        }
        Casting::Exact(casting, pattern) => {
            let shortint: &ServerKey = keys.server.as_ref();
            let identity = shortint.generate_lookup_table(|x| x);
            let small = keyswitch(casting, &LweCiphertext::from_container(lwe, modulus()));
            pattern.bootstrap(small, &identity.acc).into_container()
        }
    }
}

/// One operation. `arguments` are in the order of [`Op::arguments`]; `seed` is the evaluation's.
fn apply(keys: &Material, op: &Op, arguments: &[Arc<Words>], seed: &Digest) -> Result<Vec<Words>, String> {
    let shortint: &ServerKey = keys.server.as_ref();
    match op {
        Op::Linear { terms, constant } => {
            let coefficients = terms.iter().map(|(_, c)| *c);
            Ok(vec![linear(coefficients.zip(arguments), *constant)])
        }
        Op::Table { table, .. } => {
            let input = block(first(arguments)?, FULL);
            Ok(vec![match table {
                Table::Map(entries) => {
                    let table = shortint.generate_lookup_table(|x| u64::from(entries[(x & FULL) as usize]));
                    words(shortint.apply_lookup_table(&input, &table))
                }
                Table::NonNegative { amplitude } => folded(shortint, &input, [*amplitude; 16], *amplitude),
                Table::Folded { entries, sum } => folded(shortint, &input, *entries, *sum),
            }])
        }
        Op::TwoTables { tables, .. } => {
            let input = block(first(arguments)?, 7);
            let [a, b] = tables.map(|entries| move |x: u64| u64::from(entries[(x & 7) as usize]));
            let table = shortint.generate_many_lookup_table(&[&a, &b]);
            Ok(shortint.apply_many_lookup_table(&input, &table).into_iter().map(words).collect())
        }
        Op::TwoSigned { tables, .. } => Ok(two_signed(shortint, &block(first(arguments)?, FULL), tables)),
        Op::Integer { op, operands } => integer(&keys.server, *op, operands, arguments),
        Op::Random { bits, seed: argument } => random(&keys.random, &keys.rerandomization, (*bits, argument), seed),
    }
}

fn first(arguments: &[Arc<Words>]) -> Result<Words, String> {
    arguments.first().map(|a| a.to_vec()).ok_or_else(|| "an argument is missing".to_owned())
}

/// `sum(coefficient * value) + constant`, word by word modulo 2^64.
fn linear<'a>(terms: impl Iterator<Item = (i32, &'a Arc<Words>)>, constant: i32) -> Words {
    let mut sum = vec![0u64; BLOCK_WORDS];
    for (coefficient, value) in terms {
        let factor = i64::from(coefficient) as u64;
        for (s, w) in sum.iter_mut().zip(value.iter()) {
            *s = s.wrapping_add(factor.wrapping_mul(*w));
        }
    }
    if let Some(body) = sum.last_mut() {
        *body = body.wrapping_add((i64::from(constant) as u64).wrapping_mul(DELTA));
    }
    sum
}

/// `entries[x]` for `x >= 0`, else `sum - entries[x + 16]`. The bootstrap gives `entries[x] - sum/2` or, past half of the
/// circle, that is with the padding bit set, its negative, because a test polynomial comes out negated there. Adding
/// `sum/2` makes that the two values.
fn folded(key: &ServerKey, input: &Ciphertext, entries: [u8; 16], sum: u8) -> Words {
    let sum = i64::from(sum);
    let polynomial = entries.map(|entry| i64::from(entry).wrapping_mul(2).wrapping_sub(sum));
    let out = key.apply_lookup_table(input, &polynomial_of(key, polynomial));
    plus_half(words(out), sum)
}

/// Two tables on -4..=4. The second result is read eight slots, half of the polynomial, after the first: with `P` the
/// polynomial's sixteen slots and `P(x + 16) = -P(x)`, they are `P(x) + k` and `P(x + 8) + l`. Both read `P(4)`, for 4
/// and for -4, and both read `P(12)`, the first one negated for -4; that fixes `k` and `l`, in halves.
fn two_signed(key: &ServerKey, input: &Ciphertext, tables: &[[u8; 9]; 2]) -> Vec<Words> {
    let [f, g] = tables.map(|table| move |x: i64| table.get((x + 4) as usize).map_or(0, |e| i64::from(*e)));
    let (k, l) = (f(4) + f(-4) + g(4) - g(-4), f(-4) - f(4) + g(4) + g(-4));
    let polynomial = std::array::from_fn(|slot| match slot as i64 {
        x @ 0..=4 => 2 * f(x) - k,
        x @ 5..=12 => 2 * g(x - 8) - l,
        x => k - 2 * f(x - 16),
    });
    let mut table = key.generate_many_lookup_table(&[&|_| 0, &|_| 0]);
    table.acc = polynomial_of(key, polynomial).acc;
    let results = key.apply_many_lookup_table(input, &table).into_iter().map(words);
    results.zip([k, l]).map(|(result, halves)| plus_half(result, halves)).collect()
}

/// The test polynomial with these values in its sixteen slots, in halves of a unit.
fn polynomial_of(key: &ServerKey, slots: [i64; 16]) -> LookupTableOwned {
    // tfhe lays a table out around 0, with the part that comes before 0 negated: one table tells for each coefficient
    // which slot it is of, the other one whether it is negated.
    let mut table = key.generate_lookup_table(|x| x);
    let signs = key.generate_lookup_table(|_| 1);
    for (coefficient, sign) in table.acc.as_mut().iter_mut().zip(signs.acc.as_ref()) {
        let sign = (*sign as i64).signum();
        let slot = (*coefficient as i64).wrapping_mul(sign) as u64 / DELTA;
        let value = slots[(slot & FULL) as usize].wrapping_mul((DELTA / 2) as i64);
        *coefficient = value.wrapping_mul(sign) as u64;
    }
    table
}

/// A block plus a number of halves of a unit.
fn plus_half(mut block: Words, halves: i64) -> Words {
    if let Some(body) = block.last_mut() {
        *body = body.wrapping_add(halves.wrapping_mul((DELTA / 2) as i64) as u64);
    }
    block
}
