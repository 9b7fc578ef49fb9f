//! A second computation of noise, to check the builder's: per value, the coefficients over bootstraps as a dense walk
//! from the outputs of bootstraps forward.

use parallax_runtime::program::MAX_NOISE;
use parallax_runtime::{Op, Program, ValueId};
use std::collections::BTreeMap;

/// Coefficients by (bootstrap, result).
type Combination = BTreeMap<(usize, usize), i64>;

fn norm(combination: &Combination) -> u64 {
    let mut magnitudes: BTreeMap<usize, u64> = BTreeMap::new();
    for ((bootstrap, _), c) in combination {
        *magnitudes.entry(*bootstrap).or_default() += c.unsigned_abs();
    }
    magnitudes.values().map(|m| m * m).sum()
}

/// Whether the argument of every bootstrap is within the parameters and equals what the builder claimed.
pub(crate) fn check(program: &Program) -> Result<(), String> {
    let mut values: Vec<Combination> = (0..program.input_blocks()).map(|i| BTreeMap::from([((i, 0), 1)])).collect();
    let at = |values: &[Combination], id: &ValueId| -> Result<Combination, String> {
        values.get(id.0 as usize).cloned().ok_or_else(|| format!("value {} is not defined", id.0))
    };
    for (index, op) in program.ops().iter().enumerate() {
        match op {
            Op::Linear { terms, .. } => {
                let mut sum = Combination::new();
                for (value, c) in terms {
                    for (source, inner) in at(&values, value)? {
                        *sum.entry(source).or_default() += i64::from(*c) * inner;
                    }
                }
                values.push(sum);
            }
            bootstrap => {
                for argument in bootstrap.arguments() {
                    let noise = norm(&at(&values, &argument)?);
                    if noise > MAX_NOISE {
                        return Err(format!("operation {index} has an argument of noise {noise}, over {MAX_NOISE}"));
                    }
                }
                // Blocks of inputs take the numbers below `input_blocks`, bootstraps the ones above.
                let source = program.input_blocks() + index;
                values.extend((0..bootstrap.results()).map(|result| BTreeMap::from([((source, result), 1)])));
            }
        }
    }
    for (index, (combination, fact)) in values.iter().zip(program.facts()).enumerate() {
        let noise = norm(combination);
        // An integer's result blocks are separate bootstraps to the builder, so only the bound is common to both.
        if noise < fact.noise {
            return Err(format!("value {index} has noise {noise}, its builder claims {}", fact.noise));
        }
    }
    Ok(())
}
