//! Evaluates the programs of a round's transactions: in their order, and those side by side that do not read each other's
//! results.

use super::*;
use crate::circuit::MAX_BLOCKS;
use parallax_runtime::Work as Task;
use std::collections::BTreeSet;

/// How many of the first programs may be evaluated side by side: as many as have [`MAX_BLOCKS`] together. A program that reads what one before it makes waits, and
/// with it everything behind it, so the trace keeps the order of the transactions.
fn independent(works: &[(u64, Work)]) -> usize {
    let (mut made, mut blocks): (BTreeSet<&B256>, usize) = (BTreeSet::new(), 0);
    for (count, (_, work)) in works.iter().enumerate() {
        let reads = match &work.inputs {
            Inputs::Handles(handles) => handles.as_slice(),
            Inputs::List(_) => &[],
        };
        let inputs = work.program.inputs().iter().map(|kind| usize::from(kind.blocks()));
        let outputs = work.program.outputs().iter().map(Vec::len);
        blocks = inputs.chain(outputs).fold(blocks, usize::saturating_add);
        if count > 0 && (blocks > MAX_BLOCKS || reads.iter().any(|handle| made.contains(handle))) {
            return count;
        }
        made.extend(&work.outputs);
    }
    works.len()
}

impl Round<'_> {
    /// Evaluates everything that the transactions asked for, and writes the ciphertexts that are not there yet: a list
    /// may be in one round twice.
    pub(super) fn evaluate(&mut self, evaluator: &mut Evaluator<'_>) -> Result<(), Abort> {
        let works = std::mem::take(&mut self.work);
        let mut rest = works.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(independent(rest));
            self.side_by_side(evaluator, now)?;
            rest = later;
        }
        Ok(())
    }

    fn side_by_side(&mut self, evaluator: &mut Evaluator<'_>, works: &[(u64, Work)]) -> Result<(), Abort> {
        let inputs = works.iter().map(|(_, work)| self.inputs(work)).collect::<Result<Vec<_>, Abort>>()?;
        let tasks: Vec<Task<'_>> = works
            .iter()
            .zip(&inputs)
            .map(|((index, work), inputs)| Task {
                index: *index,
                key: work.key,
                program: &work.program,
                inputs: inputs.iter().map(Vec::as_slice).collect(),
            })
            .collect();
        let done = evaluator.evaluate_all(&tasks)?;
        for ((_, work), outputs) in works.iter().zip(done) {
            for ((handle, blocks), bytes) in work.outputs.iter().zip(work.program.outputs()).zip(outputs) {
                // What a handle names is fixed when it is first written: grants and results rest on it.
                if state::cipher(&self.state, handle)?.is_some() {
                    continue;
                }
                let blocks = u16::try_from(blocks.len()).unwrap_or(u16::MAX);
                self.state.put_cipher(state::cipher_key(handle), work.key, blocks, bytes);
            }
        }
        Ok(())
    }

    /// The bytes of what goes into a program.
    fn inputs(&self, work: &Work) -> Result<Vec<Vec<u8>>, Abort> {
        let handles = match &work.inputs {
            Inputs::Handles(handles) => handles,
            Inputs::List(list) => return Ok(vec![list.clone()]),
        };
        let read = |handle: &B256| {
            let missing = || Abort::Local(format!("the ciphertext of handle {handle} is not here"));
            let cipher = state::cipher(&self.state, handle)?.ok_or_else(missing)?;
            self.state.blob(&cipher.digest)?.ok_or_else(missing)
        };
        handles.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_runtime::{FheType, ProgramBuilder};

    /// A program that reads and makes numbers of 64 bits under these handles.
    fn work(reads: &[u8], makes: &[u8]) -> (u64, Work) {
        let handle = |n: &u8| B256::repeat_byte(*n);
        let mut p = ProgramBuilder::new();
        for _ in reads {
            p.input(FheType::Uint64.input());
        }
        for _ in makes {
            let value = p.trivial(FheType::Uint64, 1u128.into());
            p.output(value);
        }
        let (inputs, outputs) = (reads.iter().map(handle).collect(), makes.iter().map(handle).collect());
        (0, Work { key: KeyId([4; 32]), program: p.build().unwrap(), inputs: Inputs::Handles(inputs), outputs })
    }

    #[test]
    fn what_reads_a_result_waits_for_it_and_so_does_everything_behind() {
        let works = [work(&[1], &[2]), work(&[1], &[3]), work(&[3], &[4]), work(&[1], &[5]), work(&[4], &[6])];
        assert_eq!(independent(&works), 2);
        assert_eq!(independent(&works[2..]), 2);
        assert_eq!(independent(&works[4..]), 1);
    }

    #[test]
    fn what_is_in_memory_is_bounded() {
        let works: Vec<_> = (0..=255u8).map(|_| work(&[1, 1, 1, 1], &[2])).collect();
        assert_eq!(independent(&works), MAX_BLOCKS / (5 * 32));
        let large = [work(&[1; 255], &[2; 255]), work(&[1; 255], &[2; 255])];
        assert_eq!(independent(&large), 1, "one is always evaluated");
    }
}
