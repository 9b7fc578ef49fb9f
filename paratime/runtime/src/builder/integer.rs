//! Integer operations: what they accept, and which of them need no operation of their own.
//!
//! With a clear operand much is known beforehand. What only moves blocks (a shift by whole digits, a sum with 0) gives
//! the operand's own values back; what is a constant becomes one; what is one table a block (a shift, bits with a clear
//! mask) becomes those tables. Only the rest is an [`Op::Integer`]. That is cheaper, and it keeps the account of noise
//! honest: no result of an operation is a copy of its argument under another number.

use super::{MAX_INTEGER_BLOCKS, ProgramBuilder, ProgramError};
use crate::integer::{DIGIT_BITS, DIGIT_MAX, FheType, IntegerOp, Operand, Scalar};
use crate::program::{NOMINAL_NOISE, Op, ValueId, width};
use parallax_primitives::Digest;

/// Most bits of one [`Op::Random`].
const MAX_RANDOM_BITS: u16 = MAX_INTEGER_BLOCKS as u16 * DIGIT_BITS;

/// A block and its neighbour, of which each gives one bit of a digit that was shifted by an odd number of bits.
type Digit = Option<ValueId>;

impl ProgramBuilder {
    /// An integer operation on values of a type; the result's blocks, lowest first: one for a comparison, else as many
    /// as the type has. Every value operand has the type's blocks, a select's condition one. What each operation
    /// computes stands in [`crate::integer`]; the type of the result is [`IntegerOp::result`].
    ///
    /// Refused by [`ProgramBuilder::build`]: a type that the operation does not take, operands of another number of
    /// blocks or with larger digits than the type has, a clear operand where none may stand, a clear divisor of 0.
    pub fn integer(&mut self, op: IntegerOp, ty: FheType, operands: &[Operand]) -> Vec<ValueId> {
        if !op.accepts(ty) {
            self.fail(ProgramError::UnsupportedType { op: self.ops.len(), name: op.name(), ty });
            return vec![ValueId(0); usize::from(op.result(ty).blocks())];
        }
        let mut reduced = operands.to_vec();
        let divides = matches!(op, IntegerOp::Div | IntegerOp::Rem);
        for (at, operand) in reduced.iter_mut().enumerate() {
            match operand {
                Operand::Scalar(scalar) if !divides => *scalar = scalar.reduced(ty.bits()),
                Operand::Scalar(_) => {}
                Operand::Value(blocks) => {
                    let of = if op == IntegerOp::Select && at == 0 { FheType::Bool } else { ty };
                    self.check_type(op.name(), of, blocks);
                }
            }
        }
        self.radix(op, &reduced)
    }

    /// The same on integers of any number of blocks up to [`MAX_INTEGER_BLOCKS`], `k` being two bits a block.
    pub fn radix(&mut self, op: IntegerOp, operands: &[Operand]) -> Vec<ValueId> {
        if let Err(reason) = self.check_operands(op, operands) {
            self.fail(ProgramError::BadOperands { op: self.ops.len(), name: op.name(), reason });
            let results = if op.is_comparison() { 1 } else { width(operands).max(1) };
            return vec![ValueId(0); results];
        }
        match operands {
            [Operand::Value(blocks), Operand::Scalar(scalar)] => self.with_scalar(op, blocks, *scalar),
            [Operand::Value(blocks), Operand::Value(amount)] if op.is_shift() => self.shifted_by(op, blocks, amount),
            _ => self.emit(op, operands.to_vec()),
        }
    }

    /// Every bit turned round. No bootstrap.
    pub fn not(&mut self, ty: FheType, value: &[ValueId]) -> Vec<ValueId> {
        if ty == FheType::Address {
            self.fail(ProgramError::UnsupportedType { op: self.ops.len(), name: "not", ty });
        }
        self.check_type("not", ty, value);
        value.iter().map(|block| self.linear(&[(*block, -1)], ty.digit_max().into())).collect()
    }

    /// A value of one type as one of another: cut to its lowest bits, or filled up with zeros. No bootstrap. As in
    /// Solidity there is no cast to a boolean ([`IntegerOp::Ne`] with 0 is one), and none from or to an address.
    pub fn cast(&mut self, from: FheType, to: FheType, value: &[ValueId]) -> Vec<ValueId> {
        if from == FheType::Address || !to.is_number() {
            let ty = if to.is_number() { from } else { to };
            self.fail(ProgramError::UnsupportedType { op: self.ops.len(), name: "cast", ty });
        }
        self.check_type("cast", from, value);
        let zeros = self.zeros(usize::from(to.blocks()).saturating_sub(value.len()));
        value.iter().copied().take(usize::from(to.blocks())).chain(zeros).collect()
    }

    /// A clear number, reduced to the type's bits, as a value that anyone can read. No bootstrap.
    pub fn trivial(&mut self, ty: FheType, number: Scalar) -> Vec<ValueId> {
        self.constants(&number.reduced(ty.bits()).digits(usize::from(ty.blocks())))
    }

    /// A value that nobody knows, uniform in `0..2^bits`: `ty.bits()` for any value of the type, the logarithm of the
    /// bound for `fheRandBounded`, 0 for the constant 0. Two bits cost a bootstrap.
    ///
    /// The seed is the argument of a pseudo-random function under a secret key. Whoever calls must see to it that no
    /// seed comes again: equal seeds give equal numbers, in other programs and rounds too. Derive it from the round's
    /// entropy, the transaction and a counter.
    pub fn random(&mut self, ty: FheType, bits: u16, seed: Digest) -> Vec<ValueId> {
        if ty == FheType::Address {
            self.fail(ProgramError::UnsupportedType { op: self.ops.len(), name: "random", ty });
        }
        if bits > ty.bits().min(MAX_RANDOM_BITS) {
            let (actual, limit) = (usize::from(bits), usize::from(ty.bits()));
            self.fail(ProgramError::Size { what: "bits of a random value", actual, limit });
            return vec![ValueId(0); usize::from(ty.blocks())];
        }
        let mut value = Vec::new();
        if bits > 0 {
            let ranges = (0..bits).step_by(DIGIT_BITS.into()).map(|at| (0, if bits - at == 1 { 1 } else { 3 }));
            value = self
                .operation(Op::Random { bits, seed }, |b| ranges.flat_map(|range| b.define_fresh(&[range])).collect());
        }
        let zeros = self.zeros(usize::from(ty.blocks()).saturating_sub(value.len()));
        value.extend(zeros);
        value
    }

    /// A value of a type from the numbers of four bits in which a client's list holds it, lowest first
    /// ([`FheType::packed_blocks`]). Whatever the client encrypted, the digits are within the type. Two bootstraps a
    /// number, one for a boolean.
    pub fn unpack(&mut self, ty: FheType, numbers: &[ValueId]) -> Vec<ValueId> {
        if numbers.len() != usize::from(ty.packed_blocks()) {
            let reason = "a packed value has one number for every four bits of its type";
            self.fail(ProgramError::BadOperands { op: self.ops.len(), name: "unpack", reason });
            return vec![ValueId(0); usize::from(ty.blocks())];
        }
        if ty == FheType::Bool {
            return numbers.iter().map(|number| self.map(*number, |x| x & 1)).collect();
        }
        numbers.iter().flat_map(|number| [self.map(*number, |x| x & 3), self.map(*number, |x| x >> 2)]).collect()
    }

    fn check_type(&mut self, name: &'static str, ty: FheType, blocks: &[ValueId]) {
        let mut fits = blocks.len() == usize::from(ty.blocks());
        for block in blocks {
            let known = self.get(*block);
            fits &= known.min >= 0 && known.max <= i64::from(ty.digit_max()) && known.noise() <= NOMINAL_NOISE;
        }
        if !fits {
            let reason = "an operand has the blocks and digits of its type, with nominal noise";
            self.fail(ProgramError::BadOperands { op: self.ops.len(), name, reason });
        }
    }

    fn check_operands(&mut self, op: IntegerOp, operands: &[Operand]) -> Result<(), &'static str> {
        if operands.len() != op.arity() {
            return Err("wrong number of operands");
        }
        let blocks = width(operands);
        if !(1..=MAX_INTEGER_BLOCKS).contains(&blocks) {
            return Err("an operand has 1..=128 blocks");
        }
        if op.is_shift() && !blocks.is_power_of_two() {
            return Err("what is shifted has 1, 2, 4, 8, ... blocks");
        }
        for (at, operand) in operands.iter().enumerate() {
            let condition = op == IntegerOp::Select && at == 0;
            match operand {
                Operand::Scalar(_) if at != 1 || !op.accepts_scalar() => {
                    return Err("a clear number can be the right-hand side of an operation with two operands only");
                }
                Operand::Scalar(divisor) if divisor.is_zero() && matches!(op, IntegerOp::Div | IntegerOp::Rem) => {
                    self.fail(ProgramError::DivisionByZero { op: self.ops.len(), name: op.name() });
                    return Err("division by zero");
                }
                Operand::Scalar(_) => {}
                Operand::Value(_) if at == 1 && !op.accepts_value() => {
                    return Err("the divisor must be clear");
                }
                Operand::Value(value) if condition && value.len() != 1 => return Err("the condition is one block"),
                Operand::Value(value) if !condition && value.len() != blocks => {
                    return Err("operands differ in their number of blocks");
                }
                Operand::Value(value) => self.check_digits(value, if condition { 1 } else { DIGIT_MAX })?,
            }
        }
        Ok(())
    }

    fn check_digits(&mut self, value: &[ValueId], max: u8) -> Result<(), &'static str> {
        for block in value {
            let known = self.get(*block);
            if known.min < 0 || known.max > i64::from(max) {
                return Err("a block of an integer holds 0..=3, a condition 0 or 1");
            }
            if known.noise() > NOMINAL_NOISE {
                return Err("a block of an integer must have nominal noise");
            }
        }
        Ok(())
    }

    /// An operation of its own.
    fn emit(&mut self, op: IntegerOp, operands: Vec<Operand>) -> Vec<ValueId> {
        let limits = self.result_limits(op, &operands);
        let operation = Op::Integer { op, operands };
        self.operation(operation, |b| limits.iter().flat_map(|max| b.define_fresh(&[(0, *max)])).collect())
    }

    /// The largest value of each block of a result.
    fn result_limits(&mut self, op: IntegerOp, operands: &[Operand]) -> Vec<i64> {
        if op.is_comparison() {
            return vec![1];
        }
        let blocks = width(operands);
        let (Some(Operand::Value(a)), Some(Operand::Value(b))) = (operands.iter().rev().nth(1), operands.last()) else {
            return vec![DIGIT_MAX.into(); blocks];
        };
        let maxima: Vec<(i64, i64)> = a.iter().zip(b).map(|(a, b)| (self.get(*a).max, self.get(*b).max)).collect();
        let bits = |max: i64| if max <= 1 { max } else { DIGIT_MAX.into() };
        maxima
            .into_iter()
            .map(|(a, b)| match op {
                IntegerOp::BitAnd => a.min(b),
                IntegerOp::BitOr | IntegerOp::BitXor => bits(a.max(b)),
                IntegerOp::Select => a.max(b),
                _ => DIGIT_MAX.into(),
            })
            .collect()
    }

    /// A value with a clear number.
    fn with_scalar(&mut self, op: IntegerOp, x: &[ValueId], scalar: Scalar) -> Vec<ValueId> {
        let n = x.len();
        let bits = DIGIT_BITS.saturating_mul(n as u16);
        if op.is_shift() {
            let amount = scalar.reduced(bits.ilog2() as u16).words()[0] as usize;
            return self.moved(op, x, amount);
        }
        if matches!(op, IntegerOp::Div | IntegerOp::Rem) {
            return self.divided(op, x, scalar);
        }
        let scalar = scalar.reduced(bits);
        match op {
            IntegerOp::BitAnd | IntegerOp::BitOr | IntegerOp::BitXor => self.masked(op, x, scalar),
            IntegerOp::Add | IntegerOp::Sub => {
                let (kept, rest) = x.split_at(scalar.zero_digits().min(n));
                if rest.is_empty() {
                    return x.to_vec();
                }
                let scalar = scalar.without_digits(kept.len());
                let sum = self.emit(op, vec![rest.into(), scalar.into()]);
                kept.iter().copied().chain(sum).collect()
            }
            IntegerOp::Mul => self.multiplied(x, scalar),
            _ => self.compared(op, x, scalar),
        }
    }

    fn zeros(&mut self, count: usize) -> Vec<ValueId> {
        (0..count).map(|_| self.linear(&[], 0)).collect()
    }

    fn constants(&mut self, digits: &[u8]) -> Vec<ValueId> {
        digits.iter().map(|digit| self.linear(&[], i32::from(*digit))).collect()
    }

    /// Bits with a clear mask: a table a block, or less.
    fn masked(&mut self, op: IntegerOp, x: &[ValueId], mask: Scalar) -> Vec<ValueId> {
        let mut out = Vec::with_capacity(x.len());
        for (block, digit) in x.iter().zip(mask.digits(x.len())) {
            let all = if self.get(*block).max <= 1 { 1 } else { DIGIT_MAX };
            out.push(match (op, digit & all) {
                (IntegerOp::BitAnd, 0) => self.linear(&[], 0),
                (IntegerOp::BitAnd, mask) if mask == all => *block,
                (IntegerOp::BitOr, mask) if mask == all => self.linear(&[], i32::from(digit)),
                (IntegerOp::BitOr | IntegerOp::BitXor, _) if digit == 0 => *block,
                (IntegerOp::BitXor, _) if digit == all => self.linear(&[(*block, -1)], i32::from(all)),
                (IntegerOp::BitAnd, _) => self.map(*block, |x| x & digit),
                (IntegerOp::BitOr, _) => self.map(*block, |x| (x | digit) & DIGIT_MAX),
                _ => self.map(*block, |x| (x ^ digit) & DIGIT_MAX),
            });
        }
        out
    }

    /// Shifted or rotated by less than its bits: whole digits move, and with one bit left over there is a table a block.
    fn moved(&mut self, op: IntegerOp, x: &[ValueId], amount: usize) -> Vec<ValueId> {
        let (n, digits, odd) = (x.len(), amount / 2, amount % 2 == 1);
        let left = matches!(op, IntegerOp::Shl | IntegerOp::Rotl);
        let block = |at: usize, distance: usize| -> Digit { x.get(source(op, n, at, distance)?).copied() };
        (0..n).map(|at| self.shifted(left, odd, block(at, digits), block(at, digits + 1))).collect()
    }

    /// One digit of a shift: of `near` all bits, or with `odd` one bit of each.
    fn shifted(&mut self, left: bool, odd: bool, near: Digit, far: Digit) -> ValueId {
        let bits = move |near: u8, far: u8| if left { (near << 1 | far >> 1) & 3 } else { (near >> 1 | far << 1) & 3 };
        match (near, far) {
            (None, _) => self.linear(&[], 0),
            (Some(near), _) if !odd => near,
            (Some(near), None) => self.map(near, |near| bits(near & 3, 0)),
            (Some(near), Some(far)) => {
                let both = self.linear(&[(near, 1), (far, 4)], 0);
                self.map(both, |both| bits(both & 3, both >> 2))
            }
        }
    }

    /// Shifted or rotated by an encrypted amount modulo its bits: a barrel shifter, a stage a bit of the amount. Each
    /// stage looks at a digit and the bit once and gives what stays in place and what goes to the neighbour; of the two
    /// that meet in a place one is 0, or they are different bits.
    fn shifted_by(&mut self, op: IntegerOp, x: &[ValueId], amount: &[ValueId]) -> Vec<ValueId> {
        let n = x.len();
        let stages = DIGIT_BITS.saturating_mul(n as u16).ilog2() as usize;
        // The bits of the amount, each as 0 or 4: beside a digit in one argument.
        let pairs = amount
            .iter()
            .take(stages.div_ceil(2))
            .map(|digit| self.two_tables(*digit, [[0, 4, 0, 4, 0, 0, 0, 0], [0, 0, 4, 4, 0, 0, 0, 0]]));
        let controls: Vec<ValueId> = pairs.collect::<Vec<_>>().concat();
        let mut digits = x.to_vec();
        for (stage, control) in controls.into_iter().enumerate().take(stages) {
            let within = stage == 0;
            let tables = if within { within_tables(op) } else { [[0, 1, 2, 3, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 2, 3]] };
            let distance = if within { 1 } else { 1 << (stage - 1) };
            let halves: Vec<[ValueId; 2]> = digits
                .iter()
                .map(|digit| {
                    let argument = self.linear(&[(*digit, 1), (control, 1)], 0);
                    self.two_tables(argument, tables)
                })
                .collect();
            digits = (0..n).map(|at| self.met(op, &halves, at, distance)).collect();
        }
        digits.into_iter().map(|digit| self.cleaned(digit)).collect()
    }

    /// What stays at a place of a barrel shifter and what comes there from `distance` places away.
    fn met(&mut self, op: IntegerOp, halves: &[[ValueId; 2]], at: usize, distance: usize) -> ValueId {
        let stays = halves.get(at).map_or(ValueId(0), |half| half[0]);
        match source(op, halves.len(), at, distance).and_then(|from| halves.get(from)) {
            None => stays,
            Some([_, comes]) => {
                let sum = self.linear(&[(stays, 1), (*comes, 1)], 0);
                self.assume(sum, 0, DIGIT_MAX.into(), "of what stays and what comes one is 0, or they are other bits");
                sum
            }
        }
    }

    /// The same digit with nominal noise.
    fn cleaned(&mut self, digit: ValueId) -> ValueId {
        if self.get(digit).noise() <= NOMINAL_NOISE { digit } else { self.map(digit, |x| x & DIGIT_MAX) }
    }

    /// A product with a clear number that is less than `4^n`.
    fn multiplied(&mut self, x: &[ValueId], scalar: Scalar) -> Vec<ValueId> {
        if scalar.is_zero() {
            return self.zeros(x.len());
        }
        if let Some(power) = scalar.power_of_two() {
            return self.moved(IntegerOp::Shl, x, power.into());
        }
        let moved = scalar.zero_digits();
        let (scalar, rest) = (scalar.without_digits(moved), x.get(..x.len() - moved).unwrap_or_default());
        // The lowest digits of `x * (1 + 4^k * m)` are those of `x`.
        let same = if scalar.digit(0) == 1 { (1..).find(|at| scalar.digit(*at) != 0).unwrap_or(0) } else { 0 };
        let product = self.emit(IntegerOp::Mul, vec![rest.into(), scalar.into()]);
        let kept = rest.iter().copied().take(same).chain(product.into_iter().skip(same));
        self.zeros(moved).into_iter().chain(kept).collect()
    }

    /// A quotient or a rest by a clear number that is not 0.
    fn divided(&mut self, op: IntegerOp, x: &[ValueId], divisor: Scalar) -> Vec<ValueId> {
        let bits = DIGIT_BITS.saturating_mul(x.len() as u16);
        match (op, divisor.power_of_two()) {
            (IntegerOp::Div, _) if divisor.bit_length() > bits => self.zeros(x.len()),
            (_, _) if divisor.bit_length() > bits => x.to_vec(),
            (IntegerOp::Div, Some(power)) => self.moved(IntegerOp::Shr, x, power.into()),
            (_, Some(power)) => self.masked(IntegerOp::BitAnd, x, Scalar([0xff; 32]).reduced(power)),
            _ => self.emit(op, vec![x.into(), divisor.into()]),
        }
    }

    /// A comparison, minimum or maximum with a clear number that is less than `4^n`; see [`super::compare`].
    fn compared(&mut self, op: IntegerOp, x: &[ValueId], scalar: Scalar) -> Vec<ValueId> {
        let n = x.len();
        let largest = Scalar([0xff; 32]).reduced(DIGIT_BITS.saturating_mul(n as u16));
        let one_bit = n == 1 && x.first().is_some_and(|block| self.get(*block).max <= 1);
        match op {
            IntegerOp::Lt if scalar.is_zero() => self.zeros(1),
            IntegerOp::Gt if scalar == largest => self.zeros(1),
            IntegerOp::Ge if scalar.is_zero() => self.constants(&[1]),
            IntegerOp::Le if scalar == largest => self.constants(&[1]),
            IntegerOp::Min if scalar.is_zero() => self.zeros(n),
            IntegerOp::Max if scalar == largest => self.constants(&largest.digits(n)),
            IntegerOp::Max if scalar.is_zero() => x.to_vec(),
            IntegerOp::Min if scalar == largest => x.to_vec(),
            // Of a bit, `x == 1` and `x != 0` are `x`; the other two are `1 - x`.
            IntegerOp::Eq | IntegerOp::Ne if one_bit && scalar.digit(0) <= 1 => {
                let same = (op == IntegerOp::Eq) == (scalar.digit(0) == 1);
                if same { x.to_vec() } else { x.iter().map(|x| self.linear(&[(*x, -1)], 1)).collect() }
            }
            IntegerOp::Min | IntegerOp::Max => self.bounded(op, x, scalar),
            _ => vec![self.compared_with(op, x, scalar)],
        }
    }
}

/// From which of `n` places the digit at `at` comes in a shift by whole digits, if from any.
fn source(op: IntegerOp, n: usize, at: usize, distance: usize) -> Option<usize> {
    match op {
        IntegerOp::Shl => at.checked_sub(distance),
        IntegerOp::Shr => at.checked_add(distance).filter(|from| *from < n),
        IntegerOp::Rotl => (at + 2 * n).checked_sub(distance)?.checked_rem(n),
        _ => at.checked_add(distance)?.checked_rem(n),
    }
}

/// The tables of a barrel shifter's stage that moves by one bit, on a digit and 4 if it is to move: what stays, and what
/// goes over to the neighbour.
fn within_tables(op: IntegerOp) -> [[u8; 8]; 2] {
    let left = matches!(op, IntegerOp::Shl | IntegerOp::Rotl);
    let moved = |x: u8| if left { [(x << 1) & 3, x >> 1] } else { [x >> 1, (x << 1) & 3] };
    let halves = |x: u8| if x < 4 { [x, 0] } else { moved(x & 3) };
    [std::array::from_fn(|x| halves(x as u8)[0]), std::array::from_fn(|x| halves(x as u8)[1])]
}
