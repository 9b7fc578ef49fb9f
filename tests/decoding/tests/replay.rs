//! The corpus of the fuzzer, and seeded mutations of it, on the stable toolchain.

// A corpus that cannot be read is a failed test.
#![allow(clippy::unwrap_used)]

use parallax_decoding::{TARGETS, seeds, target};
use parallax_primitives::{Digest, Domain};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Mutations of each file. The fuzzer does millions; these are for whoever has no nightly toolchain.
const MUTATIONS: u64 = 200;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// Every file of a target's corpus.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(name);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{} must be readable: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// One to four changes: a byte set, a bit turned, a piece cut out, doubled, or filled with the ends of the range.
fn mutated(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let noise = Digest::of_value(Domain::Simulation, &(seed, bytes)).0;
    for n in noise.chunks(8).take(1 + usize::from(noise[31] % 4)) {
        if out.is_empty() {
            break;
        }
        let at = (usize::from(n[0]) << 8 | usize::from(n[1])) % out.len();
        let length = 1 + usize::from(n[2]) % 8.min(out.len() - at);
        match n[3] % 6 {
            0 => out[at] = n[4],
            1 => out[at] ^= 1 << (n[4] % 8),
            2 => drop(out.drain(at..at + length)),
            3 => {
                let piece = out[at..at + length].to_vec();
                out.splice(at..at, piece);
            }
            4 => out[at..at + length].fill(0xff),
            _ => out[at..at + length].fill(0),
        }
    }
    out
}

#[test]
fn every_target_has_seeds_and_each_of_them_decodes() {
    let seeds = seeds::all();
    let seeded: BTreeSet<&str> = seeds.iter().map(|(target, ..)| *target).collect();
    assert_eq!(seeded, TARGETS.iter().map(|t| t.name).collect());
    for (name, seed, bytes) in &seeds {
        assert!((target(name).unwrap().decode)(bytes), "{name}/{seed} decodes");
    }
}

#[test]
fn the_whole_corpus_and_seeded_mutations_of_it_hold_every_property() {
    for target in TARGETS {
        let seeds = seeds::all().into_iter().filter(|(of, ..)| *of == target.name);
        let seeds = seeds.map(|(_, name, bytes)| (name.to_owned(), bytes));
        for (name, bytes) in files(target.name).into_iter().chain(seeds) {
            println!("{}/{name}", target.name);
            (target.check)(&bytes);
            for seed in 0..MUTATIONS {
                let bytes = mutated(&bytes, seed);
                println!("{}/{name}, mutation {seed}", target.name);
                (target.check)(&bytes);
            }
        }
    }
}
