//! `HCULimit`: what a transaction's operations cost in homomorphic complexity units, in all and one after the other.
//! The table is part of the published behaviour: an operation over the limit reverts.

use super::abi::{self, Args, error};
use super::executor::Op;
use super::frame::{Frame, Outcome};
use super::{EXECUTOR, HCU_LIMIT};
use crate::handle::FheType;
use revm::primitives::{B256, Bytes, U256};

/// The units that the operations of one transaction stay below.
pub const MAX_PER_TRANSACTION: u64 = 20_000_000;
/// The units that operations which depend on each other stay below, along every path.
pub const MAX_DEPTH: u64 = 5_000_000;

/// Complexity units that one unit of EVM gas pays for: operations cost work, and this is how it is paid.
pub const UNITS_PER_GAS: u64 = 10;

/// Prices by type: bool, 8, 16, 32, 64, 128, 160 and 256 bits. 0: there is no such operation.
type Row = [u64; 8];

const NONE: Row = [0; 8];

/// The prices with a scalar on the right, and with two ciphertexts. Operations without a scalar form have one row.
fn rows(op: Op) -> (Row, Row) {
    match op {
        Op::Add => {
            ([0, 84_000, 93_000, 95_000, 133_000, 172_000, 0, 0], [0, 88_000, 93_000, 125_000, 162_000, 259_000, 0, 0])
        }
        Op::Sub => {
            ([0, 84_000, 93_000, 95_000, 133_000, 172_000, 0, 0], [0, 91_000, 93_000, 125_000, 162_000, 260_000, 0, 0])
        }
        Op::Mul => (
            [0, 122_000, 193_000, 265_000, 365_000, 696_000, 0, 0],
            [0, 150_000, 222_000, 328_000, 596_000, 1_686_000, 0, 0],
        ),
        Op::Div => ([0, 210_000, 302_000, 438_000, 715_000, 1_225_000, 0, 0], NONE),
        Op::Rem => ([0, 440_000, 580_000, 792_000, 1_153_000, 1_943_000, 0, 0], NONE),
        Op::BitAnd => (
            [22_000, 31_000, 31_000, 32_000, 34_000, 37_000, 0, 38_000],
            [25_000, 31_000, 31_000, 32_000, 34_000, 37_000, 0, 38_000],
        ),
        Op::BitOr => (
            [22_000, 30_000, 30_000, 32_000, 34_000, 37_000, 0, 38_000],
            [24_000, 30_000, 31_000, 32_000, 34_000, 37_000, 0, 38_000],
        ),
        Op::BitXor => (
            [22_000, 31_000, 31_000, 32_000, 34_000, 37_000, 0, 39_000],
            [22_000, 31_000, 31_000, 32_000, 34_000, 37_000, 0, 39_000],
        ),
        Op::Shl => (
            [0, 32_000, 32_000, 32_000, 34_000, 37_000, 0, 39_000],
            [0, 92_000, 125_000, 162_000, 208_000, 272_000, 0, 378_000],
        ),
        Op::Shr => (
            [0, 32_000, 32_000, 32_000, 34_000, 37_000, 0, 38_000],
            [0, 91_000, 123_000, 163_000, 209_000, 272_000, 0, 369_000],
        ),
        Op::Rotl => (
            [0, 31_000, 31_000, 32_000, 34_000, 37_000, 0, 38_000],
            [0, 91_000, 125_000, 163_000, 209_000, 278_000, 0, 378_000],
        ),
        Op::Rotr => (
            [0, 31_000, 31_000, 32_000, 34_000, 37_000, 0, 40_000],
            [0, 93_000, 125_000, 160_000, 209_000, 283_000, 0, 375_000],
        ),
        Op::Eq => (
            [25_000, 55_000, 55_000, 82_000, 83_000, 117_000, 117_000, 118_000],
            [26_000, 55_000, 83_000, 86_000, 120_000, 122_000, 137_000, 152_000],
        ),
        Op::Ne => (
            [23_000, 55_000, 55_000, 83_000, 84_000, 117_000, 117_000, 117_000],
            [23_000, 55_000, 83_000, 85_000, 118_000, 122_000, 136_000, 150_000],
        ),
        Op::Ge => {
            ([0, 52_000, 55_000, 84_000, 116_000, 149_000, 0, 0], [0, 63_000, 84_000, 118_000, 152_000, 210_000, 0, 0])
        }
        Op::Gt => {
            ([0, 52_000, 55_000, 84_000, 117_000, 150_000, 0, 0], [0, 59_000, 84_000, 118_000, 152_000, 218_000, 0, 0])
        }
        Op::Le => {
            ([0, 58_000, 58_000, 84_000, 119_000, 150_000, 0, 0], [0, 58_000, 83_000, 117_000, 149_000, 218_000, 0, 0])
        }
        Op::Lt => {
            ([0, 52_000, 58_000, 83_000, 118_000, 149_000, 0, 0], [0, 59_000, 84_000, 117_000, 146_000, 215_000, 0, 0])
        }
        Op::Min => (
            [0, 84_000, 88_000, 117_000, 150_000, 186_000, 0, 0],
            [0, 119_000, 146_000, 182_000, 219_000, 289_000, 0, 0],
        ),
        Op::Max => (
            [0, 89_000, 89_000, 117_000, 149_000, 180_000, 0, 0],
            [0, 121_000, 145_000, 180_000, 218_000, 290_000, 0, 0],
        ),
        Op::Neg => (NONE, [0, 79_000, 93_000, 95_000, 131_000, 168_000, 0, 269_000]),
        Op::Not => (NONE, [2, 9, 16, 32, 63, 130, 0, 130]),
        Op::Cast => (NONE, [32, 32, 32, 32, 32, 32, 0, 32]),
        Op::TrivialEncrypt => (NONE, [32; 8]),
        Op::IfThenElse => (NONE, [55_000, 55_000, 55_000, 55_000, 55_000, 57_000, 83_000, 108_000]),
        Op::Rand => (NONE, [19_000, 23_000, 23_000, 24_000, 24_000, 25_000, 0, 30_000]),
        Op::RandBounded => (NONE, [0, 23_000, 23_000, 24_000, 24_000, 25_000, 0, 30_000]),
        Op::VerifyInput => (NONE, NONE),
    }
}

/// The units of an operation on this type; `None` if there is no such operation.
pub fn units(op: Op, scalar: bool, kind: FheType) -> Option<u64> {
    let column = match kind {
        FheType::BOOL => 0,
        FheType::UINT8 => 1,
        FheType::UINT16 => 2,
        FheType::UINT32 => 3,
        FheType::UINT64 => 4,
        FheType::UINT128 => 5,
        FheType::UINT160 => 6,
        FheType::UINT256 => 7,
        _ => return None,
    };
    let (with_scalar, without) = rows(op);
    let row = if scalar { with_scalar } else { without };
    row.get(column).copied().filter(|units| *units > 0)
}

/// Counts an operation of the executor: `operands` are those that are ciphertexts.
pub(super) fn charge(
    frame: &mut Frame<'_>,
    op: Op,
    scalar: bool,
    kind: FheType,
    operands: &[B256],
    result: B256,
) -> Outcome<()> {
    frame.call(HCU_LIMIT, |f| {
        let units = units(op, scalar, kind).ok_or_else(|| error("UnsupportedOperation()", &[]))?;
        f.spend(units / UNITS_PER_GAS)?;
        let units = U256::from(units);
        let total = f.tload(U256::ZERO)?.saturating_add(units);
        if total >= U256::from(MAX_PER_TRANSACTION) {
            return Err(error("HCUTransactionLimitExceeded()", &[]));
        }
        f.tstore(U256::ZERO, total)?;
        let mut depth = U256::ZERO;
        for operand in operands {
            depth = depth.max(f.tload((*operand).into())?);
        }
        let depth = depth.saturating_add(units);
        if !operands.is_empty() && depth >= U256::from(MAX_DEPTH) {
            return Err(error("HCUTransactionDepthLimitExceeded()", &[]));
        }
        f.tstore(result.into(), depth)
    })
}

/// A call from outside. Only the executor may count, and it does not come this way.
pub(super) fn dispatch(selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    match super::table().hcu.get(&selector) {
        Some(Function::Check { scalar, words }) => {
            let args = Args::new(data, *words)?;
            args.fhe_type(0)?;
            if *scalar {
                args.bytes1(1)?;
            }
            Err(error("CallerMustBeFHEVMExecutorContract()", &[]))
        }
        Some(Function::Executor) => Ok(abi::returns(&[abi::Out::address(EXECUTOR)])),
        Some(Function::Version) => Ok(abi::returns(&[abi::Out::text("HCULimit v0.1.0")])),
        None => super::upgrade(selector, data, super::Behind::Once),
    }
}

/// The functions, by selector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Check { scalar: bool, words: usize },
    Executor,
    Version,
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    let mut out = vec![
        ("getFHEVMExecutorAddress()".to_owned(), Function::Executor),
        ("getVersion()".to_owned(), Function::Version),
    ];
    for name in [
        "Add", "Sub", "Mul", "Div", "Rem", "BitAnd", "BitOr", "BitXor", "Shl", "Shr", "Rotl", "Rotr", "Eq", "Ne", "Ge",
        "Gt", "Le", "Lt", "Min", "Max",
    ] {
        let signature = format!("checkHCUForFhe{name}(uint8,bytes1,bytes32,bytes32,bytes32)");
        out.push((signature, Function::Check { scalar: true, words: 5 }));
    }
    for (name, handles) in [
        ("FheNeg", 2),
        ("FheNot", 2),
        ("Cast", 2),
        ("TrivialEncrypt", 1),
        ("IfThenElse", 4),
        ("FheRand", 1),
        ("FheRandBounded", 1),
    ] {
        let signature = format!("checkHCUFor{name}(uint8{})", ",bytes32".repeat(handles));
        out.push((signature, Function::Check { scalar: false, words: 1 + handles }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_follow_operation_type_and_scalar() {
        assert_eq!(units(Op::Add, false, FheType::UINT64), Some(162_000));
        assert_eq!(units(Op::Add, true, FheType::UINT64), Some(133_000));
        assert_eq!(units(Op::Div, false, FheType::UINT64), None, "there is no division by a ciphertext");
        assert_eq!(units(Op::Add, true, FheType::UINT256), None);
        assert_eq!(units(Op::Not, false, FheType::BOOL), Some(2));
    }
}
