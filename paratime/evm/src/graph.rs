//! From events to work: which operations a transaction asked for, which of them anyone can ever see the result of, and
//! the program that computes those.
//!
//! The logs of a transaction that succeeded are read, so what a reverted frame asked for is not there. A result is
//! *kept* if the access control list gave it to an account for good or allowed its decryption; everything else ends
//! with the transaction, and is computed only if something kept depends on it. Equal operations have equal handles, so
//! a handle that has its ciphertext is never computed again.

use crate::handle;
use crate::host::{ACL, EXECUTOR, Op};
use revm::primitives::{B256, Log, U256, keccak256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// What an operation works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A ciphertext.
    Handle(B256),
    /// A public number.
    Scalar(U256),
}

/// One operation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which.
    pub op: Op,
    /// On what, in the order of the call. A random value has its bound, if there is one.
    pub operands: Vec<Operand>,
    /// The seed that names a random value.
    pub seed: Option<[u8; 16]>,
    /// The handle of the result.
    pub result: B256,
}

impl Operation {
    /// The handles that it reads.
    pub fn reads(&self) -> impl Iterator<Item = B256> + '_ {
        self.operands.iter().filter_map(|operand| match operand {
            Operand::Handle(handle) => Some(*handle),
            Operand::Scalar(_) => None,
        })
    }
}

/// What the logs of one transaction ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The operations, in the order of the calls. An operation that was asked for twice stands here once.
    pub operations: Vec<Operation>,
    /// The handles that outlive the transaction, in the order in which each got its first right.
    pub kept: Vec<B256>,
}

struct Topics {
    operations: BTreeMap<B256, Op>,
    allowed: B256,
    decryption: B256,
}

fn topics() -> &'static Topics {
    static TOPICS: OnceLock<Topics> = OnceLock::new();
    TOPICS.get_or_init(|| Topics {
        operations: Op::ALL.into_iter().map(|op| (keccak256(op.event()), op)).collect(),
        allowed: keccak256("Allowed(address,address,bytes32)"),
        decryption: keccak256("AllowedForDecryption(address,bytes32[])"),
    })
}

fn word(data: &[u8], index: usize) -> Option<B256> {
    let at = index.checked_mul(32)?;
    data.get(at..at.checked_add(32)?).map(B256::from_slice)
}

impl Request {
    /// Reads the logs of a transaction. Those of other contracts are none of its business.
    pub fn of(logs: &[Log]) -> Self {
        let mut out = Self::default();
        let (mut seen, mut kept) = (BTreeSet::new(), BTreeSet::new());
        for log in logs {
            let Some(topic) = log.topics().first() else { continue };
            if log.address == EXECUTOR {
                let operation = topics().operations.get(topic).and_then(|op| operation(*op, &log.data.data));
                if let Some(operation) = operation.filter(|o| seen.insert(o.result)) {
                    out.operations.push(operation);
                }
            } else if log.address == ACL {
                let granted = granted(topic, &log.data.data).unwrap_or_default();
                out.kept.extend(granted.into_iter().filter(|handle| kept.insert(*handle)));
            }
        }
        out
    }

    /// The operations that the given results depend on, in an order in which each comes after what it reads, and the
    /// handles that none of them makes. `known` says which handles have a ciphertext already.
    pub fn needed(&self, results: &[B256], known: impl Fn(&B256) -> bool) -> (Vec<&Operation>, Vec<B256>) {
        let by_result: BTreeMap<B256, &Operation> = self.operations.iter().map(|o| (o.result, o)).collect();
        let (mut wanted, mut outside) = (BTreeSet::new(), BTreeSet::new());
        let mut waiting: Vec<B256> = results.to_vec();
        while let Some(handle) = waiting.pop() {
            match by_result.get(&handle) {
                _ if known(&handle) => drop(outside.insert(handle)),
                Some(operation) => {
                    if wanted.insert(handle) {
                        waiting.extend(operation.reads());
                    }
                }
                None => drop(outside.insert(handle)),
            }
        }
        // Calls come after the calls whose results they use.
        let order = self.operations.iter().filter(|o| wanted.contains(&o.result)).collect();
        (order, outside.into_iter().collect())
    }
}

fn operation(op: Op, data: &[u8]) -> Option<Operation> {
    let handle = |index| word(data, index).map(Operand::Handle);
    let scalar = |index| word(data, index).map(|w| Operand::Scalar(w.into()));
    let seed = |index| {
        let mut out = [0; 16];
        out.copy_from_slice(word(data, index)?.get(..16)?);
        Some(out)
    };
    let (operands, seed, result) = match op {
        op if op.is_binary() => {
            let right = if word(data, 2)?[0] == 1 { scalar(1)? } else { handle(1)? };
            (vec![handle(0)?, right], None, 3)
        }
        Op::Neg | Op::Not => (vec![handle(0)?], None, 1),
        Op::Cast => (vec![handle(0)?], None, 2),
        Op::TrivialEncrypt => (vec![scalar(0)?], None, 2),
        Op::IfThenElse => (vec![handle(0)?, handle(1)?, handle(2)?], None, 3),
        Op::Rand => (vec![], Some(seed(1)?), 2),
        Op::RandBounded => (vec![scalar(0)?], Some(seed(2)?), 3),
        // An input is there or it is not; nothing is computed.
        _ => return None,
    };
    let result = word(data, result)?;
    handle::type_of(&result)?.bits()?;
    Some(Operation { op, operands, seed, result })
}

/// The handles to which the access control list gave somebody a right for good, or everyone the right to decrypt.
fn granted(topic: &B256, data: &[u8]) -> Option<Vec<B256>> {
    if *topic == topics().allowed {
        return Some(vec![word(data, 0)?]);
    }
    if *topic == topics().decryption {
        let count = usize::try_from(U256::from_be_bytes(word(data, 1)?.0)).ok()?;
        return (0..count).map(|index| word(data, index.checked_add(2)?)).collect();
    }
    None
}
