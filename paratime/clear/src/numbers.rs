//! Programs computed on numbers alone, without stand-ins for ciphertexts, traces or digests: some fifty times as fast,
//! for tests of circuits over very many inputs.

use crate::backend::numbers;
use parallax_runtime::{FheError, Program, ValueId};

/// The outputs of a program, one number a block. Every value is checked against its table's domain and against the range
/// that the program's builder claimed for it.
///
/// # Errors
/// [`FheError::BadInput`] for inputs that do not fit; [`FheError::Library`] for a value outside its range.
pub fn compute(program: &Program, inputs: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, FheError> {
    let bad = |index: usize, reason: &str| Err(FheError::BadInput { index, reason: reason.to_owned() });
    if inputs.len() != program.inputs().len() {
        return bad(inputs.len(), "the program takes another number of inputs");
    }
    let mut values: Vec<i64> = Vec::with_capacity(program.value_count());
    for (index, (kind, blocks)) in program.inputs().iter().zip(inputs).enumerate() {
        if blocks.len() != usize::from(kind.blocks()) || blocks.iter().any(|b| *b > kind.max()) {
            return bad(index, "it has another number of blocks, or one over its largest value");
        }
        values.extend(blocks.iter().map(|b| i64::from(*b)));
    }
    for (index, op) in program.ops().iter().enumerate() {
        let get = |id: &ValueId| values.get(id.0 as usize).copied();
        let results = numbers(op, &get)
            .ok_or_else(|| FheError::Library(format!("operation {index} has an argument outside its domain")))?;
        for number in results {
            if let Some(fact) = program.facts().get(values.len())
                && !(fact.min..=fact.max).contains(&number)
            {
                let (min, max) = (fact.min, fact.max);
                let text = format!("a result of operation {index} left the range {min}..={max} claimed for it");
                return Err(FheError::Library(text));
            }
            values.push(number);
        }
    }
    let block = |id: &ValueId| values.get(id.0 as usize).and_then(|v| u8::try_from(*v).ok());
    let outputs = program.outputs().iter().map(|blocks| blocks.iter().map(block).collect::<Option<Vec<u8>>>());
    let outputs: Option<Vec<Vec<u8>>> = outputs.collect();
    outputs.ok_or_else(|| FheError::Library("an output is not four bits".to_owned()))
}
