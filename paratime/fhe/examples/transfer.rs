//! What a confidential transfer costs in the EVM, beside the same operations called directly on tfhe, in one run.
//!
//! ```sh
//! cargo build --workspace --example transfer
//! $CARGO_TARGET_DIR/debug/examples/transfer [--batch 4] [--threads 1,2] [--repeat 3]
//! ```
//!
//! The token is ERC-7984 of `@openzeppelin/confidential-contracts` as its own toolchain compiled it
//! (`paratime/evm/contracts/Token.hex`); a transfer has an encrypted amount with a proof. Core-seconds are the processor
//! time of this process, so that other work on the machine shows as little as it can; latency is the clock's, and shows
//! it in full.
//!
//! - *round*: all of `EvmParaTime::execute`, from the transaction's bytes to the changes of the state.
//! - *evaluation*: what of it is spent in the backend, and of that, *around*: decoding, re-randomisation, digests and
//!   encoding, measured as a program with the same inputs and outputs and no operation. *Re-randomisation alone* is that
//!   of so many blocks by tfhe's own interface.
//! - *tfhe*: the same operations on ciphertexts of the same sizes by tfhe's own integer API, one after the other, in a
//!   rayon pool of so many threads.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, dead_code, unreachable_pub)]

#[path = "transfer/chain.rs"]
mod chain;
mod clock;
#[path = "transfer/direct.rs"]
mod direct;
#[path = "../../evm/tests/support/wallet.rs"]
mod wallet;

use chain::{Chain, Spent};
use direct::Direct;
use parallax_runtime::{Op, Program};
use std::error::Error;

fn option(name: &str, usual: &str) -> Result<Vec<usize>, Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let known = ["--batch", "--threads", "--repeat"];
    if let Some(other) = given.iter().find(|a| a.starts_with("--") && !known.contains(&a.as_str())) {
        return Err(format!("there is no option {other}; there are {}", known.join(", ")).into());
    }
    let text = given.iter().position(|a| a == name).and_then(|at| given.get(at + 1)).map_or(usual, String::as_str);
    let number = |t: &str| t.parse().map_err(|_| format!("{name} wants numbers, `{t}` is none"));
    Ok(text.split(',').map(number).collect::<Result<_, _>>()?)
}

/// The operations of a program in words: each kind with how often.
fn operations(program: &Program) -> String {
    let mut names: Vec<(String, usize)> = Vec::new();
    for op in program.ops() {
        let name = match op {
            Op::Integer { op, .. } => op.name().to_owned(),
            Op::Linear { .. } => continue,
            _ => "table".to_owned(),
        };
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
    }
    names.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

fn row(what: &str, spent: Spent) {
    println!("{what:<58} {:>9.3} core-s {:>9.3} s", spent.core, spent.wall);
}

/// The median of some runs by core-seconds.
fn median(mut runs: Vec<Spent>) -> Spent {
    runs.sort_by(|a, b| a.core.total_cmp(&b.core));
    runs.get(runs.len() / 2).copied().unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    let (threads, repeat) = (option("--threads", "1,2")?, option("--repeat", "3")?[0].max(1));
    let batch = option("--batch", "4")?[0].max(1);
    let mut chain = Chain::new(batch)?;
    let input = chain.fund()?;
    println!("\none encrypted amount of 64 bits, brought by a transaction of its own");
    row("  proof of knowledge verified", input.verified);
    row("  expanded, cast and taken apart, re-randomisation included", input.evaluated);
    println!("  {} bootstraps", input.pbs);
    let direct = Direct::new();
    for count in &threads {
        chain.threads(*count)?;
        println!("\none transfer, {count} thread(s)");
        let one = chain.transfers(1);
        let (mut rounds, mut evaluated, mut bare, mut around) = (vec![], vec![], vec![], vec![]);
        let mut rerandomized = vec![];
        let mut what = None;
        for _ in 0..repeat {
            let measured = chain.measure(&one)?;
            let calls = chain.take_calls();
            let (key, program, inputs) = calls.first().ok_or("the round evaluated nothing")?;
            around.push(chain.around(*key, program, inputs)?);
            bare.push(direct.run(program, *count)?);
            rerandomized.push(direct.rerandomize(program)?);
            rounds.push(measured.round);
            evaluated.push(measured.evaluated);
            what = Some((operations(program), program.pbs()));
        }
        let (round, evaluated, bare, around) = (median(rounds), median(evaluated), median(bare), median(around));
        if let Some((names, pbs)) = what {
            println!("  {names}; {pbs} bootstraps by the price list");
        }
        row("  round", round);
        row("    of it evaluation", evaluated);
        row("      of it around the operations, re-randomisation included", around);
        row("        re-randomisation alone", median(rerandomized));
        row("  tfhe, the same operations", bare);
        println!(
            "  overhead of the round over tfhe: {:+.1} % of core-seconds, {:+.1} % of latency",
            100.0 * (round.core / bare.core - 1.0),
            100.0 * (round.wall / bare.wall - 1.0)
        );
    }
    if batch > 1 {
        println!("\na batch of {batch} transfers between different accounts");
        let (all, mut result) = (chain.transfers(batch), None);
        for count in &threads {
            chain.threads(*count)?;
            for together in [false, true] {
                chain.together(together);
                let measured = chain.measure(&all)?;
                chain.take_calls();
                if *result.get_or_insert(measured.result) != measured.result {
                    return Err("changes or trace depend on threads, or on what is evaluated side by side".into());
                }
                let how = if together { "side by side" } else { "one after the other" };
                row(&format!("  {count} thread(s), programs {how}"), measured.round);
            }
        }
    }
    Ok(())
}
