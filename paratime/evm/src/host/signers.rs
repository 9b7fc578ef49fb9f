//! What both verifiers share: the set of signers with its threshold, and typed data by EIP-712 for another chain.

use super::abi::{self, Args, Out, error, number, word};
use super::frame::{Frame, Outcome};
use super::only_host_owner;
use crate::signature::{HALF_ORDER, recover};
use revm::primitives::{Address, B256, Bytes, U256, b256, keccak256};

/// The domain's storage: two hashes that stay zero, name, version, then contract and chain in one slot.
pub(super) const DOMAIN: B256 = b256!("e910845fd818f61127c84f3586776436a37dead33625056c65162537e3373600");

/// How a verifier names its errors, and where its signers lie.
pub(super) struct Names {
    /// The slot of the mapping of signers; the list and the threshold follow.
    pub(super) storage: B256,
    pub(super) null: &'static str,
    pub(super) already: &'static str,
    pub(super) invalid: &'static str,
    pub(super) too_few: &'static str,
    pub(super) none: &'static str,
}

impl Names {
    fn slot(&self, index: u64) -> U256 {
        U256::from_be_bytes(self.storage.0).saturating_add(U256::from(index))
    }
}

/// What both verifiers can be asked about their signers and their domain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Define,
    Domain,
    IsSigner,
    SetThreshold,
    Signers,
    Threshold,
}

/// The functions of both, by signature; `list` is the name of the one that lists all signers.
pub(super) fn functions(list: &'static str) -> [(&'static str, Function); 6] {
    [
        ("defineNewContext(address[],uint256)", Function::Define),
        ("eip712Domain()", Function::Domain),
        (list, Function::Signers),
        ("getThreshold()", Function::Threshold),
        ("isSigner(address)", Function::IsSigner),
        ("setThreshold(uint256)", Function::SetThreshold),
    ]
}

/// A call of one of them.
pub(super) fn dispatch(frame: &mut Frame<'_>, names: &Names, function: Function, data: &[u8]) -> Outcome<Bytes> {
    Ok(match function {
        Function::Define => {
            define(frame, names, Args::new(data, 2)?)?;
            Bytes::new()
        }
        Function::Domain => domain(frame)?,
        Function::IsSigner => {
            let account = Args::new(data, 1)?.address(0)?;
            abi::returns(&[Out::bool(is_signer(frame, names, account)?)])
        }
        Function::SetThreshold => {
            set_threshold(frame, names, Args::new(data, 1)?)?;
            Bytes::new()
        }
        Function::Signers => abi::returns(&[Out::addresses(&signers(frame, names)?)]),
        Function::Threshold => abi::returns(&[Out::number(threshold(frame, names)?)]),
    })
}

fn element(frame: &mut Frame<'_>, names: &Names, index: u64) -> Outcome<U256> {
    let first: U256 = frame.keccak(&names.slot(1).to_be_bytes::<32>())?.into();
    Ok(first.wrapping_add(U256::from(index)))
}

/// All signers.
pub(super) fn signers(frame: &mut Frame<'_>, names: &Names) -> Outcome<Vec<Address>> {
    let length = u64::try_from(frame.sload(names.slot(1))?).unwrap_or(u64::MAX);
    let mut out = Vec::new();
    for index in 0..length {
        let slot = element(frame, names, index)?;
        out.push(Address::from_word(B256::from(frame.sload(slot)?)));
    }
    Ok(out)
}

/// How many signatures are needed.
pub(super) fn threshold(frame: &mut Frame<'_>, names: &Names) -> Outcome<U256> {
    frame.sload(names.slot(2))
}

/// Whether the account is a signer.
pub(super) fn is_signer(frame: &mut Frame<'_>, names: &Names, account: Address) -> Outcome<bool> {
    let slot = frame.entry(names.slot(0), word(account))?;
    frame.flag(slot)
}

fn set_signer(frame: &mut Frame<'_>, names: &Names, account: Address, value: bool) -> Outcome<()> {
    let slot = frame.entry(names.slot(0), word(account))?;
    frame.set_flag(slot, value)
}

fn announce(frame: &mut Frame<'_>, signers: &[Address], threshold: U256) -> Outcome<()> {
    let data = abi::encode(&[Out::addresses(signers), Out::number(threshold)]);
    frame.emit("NewContextSet(address[],uint256)", &[], data)
}

fn put_threshold(frame: &mut Frame<'_>, names: &Names, threshold: U256, signers: usize) -> Outcome<()> {
    if threshold.is_zero() {
        return Err(error("ThresholdIsNull()", &[]));
    }
    if threshold > U256::from(signers) {
        return Err(error("ThresholdIsAboveNumberOfSigners()", &[]));
    }
    frame.sstore(names.slot(2), threshold)
}

/// `defineNewContext`: other signers, another threshold.
fn define(frame: &mut Frame<'_>, names: &Names, args: Args<'_>) -> Outcome<()> {
    let (new, threshold) = (args.addresses(0)?, args.uint256(1));
    only_host_owner(frame)?;
    if new.is_empty() {
        return Err(error("SignersSetIsEmpty()", &[]));
    }
    for (index, signer) in (0u64..).zip(signers(frame, names)?) {
        set_signer(frame, names, signer, false)?;
        let slot = element(frame, names, index)?;
        frame.sstore(slot, U256::ZERO)?;
    }
    for (index, signer) in (0u64..).zip(&new) {
        if signer.is_zero() {
            return Err(error(names.null, &[]));
        }
        if is_signer(frame, names, *signer)? {
            return Err(error(names.already, &[]));
        }
        set_signer(frame, names, *signer, true)?;
        let slot = element(frame, names, index)?;
        frame.sstore(slot, word(*signer).into())?;
    }
    frame.sstore(names.slot(1), U256::from(new.len()))?;
    put_threshold(frame, names, threshold, new.len())?;
    announce(frame, &new, threshold)
}

/// `setThreshold`.
fn set_threshold(frame: &mut Frame<'_>, names: &Names, args: Args<'_>) -> Outcome<()> {
    let threshold = args.uint256(0);
    only_host_owner(frame)?;
    let signers = signers(frame, names)?;
    put_threshold(frame, names, threshold, signers.len())?;
    announce(frame, &signers, threshold)
}

/// Storage of a new verifier: its domain, its signers.
pub(crate) fn genesis(
    storage: B256,
    name: &str,
    (contract, chain): (Address, u64),
    signers: &[Address],
    threshold: u64,
) -> Vec<(U256, U256)> {
    let domain = |index: u64| U256::from_be_bytes(DOMAIN.0).saturating_add(U256::from(index));
    let base = |index: u64| U256::from_be_bytes(storage.0).saturating_add(U256::from(index));
    let text = |text: &str| {
        let mut word = B256::right_padding_from(text.as_bytes());
        word[31] = u8::try_from(text.len().saturating_mul(2)).unwrap_or(u8::MAX);
        U256::from_be_bytes(word.0)
    };
    let packed = U256::from_be_bytes(word(contract).0) | (U256::from(chain) << 160);
    let mut out = vec![
        (domain(2), text(name)),
        (domain(3), text("1")),
        (domain(4), packed),
        (base(1), U256::from(signers.len())),
        (base(2), U256::from(threshold)),
    ];
    let first: U256 = keccak256(base(1).to_be_bytes::<32>()).into();
    for (index, signer) in (0u64..).zip(signers) {
        let entry = keccak256([word(*signer).0, base(0).to_be_bytes()].concat());
        out.push((entry.into(), U256::ONE));
        out.push((first.wrapping_add(U256::from(index)), word(*signer).into()));
    }
    out
}

fn text_at(frame: &mut Frame<'_>, index: u64) -> Outcome<Vec<u8>> {
    let slot = U256::from_be_bytes(DOMAIN.0).saturating_add(U256::from(index));
    let packed = B256::from(frame.sload(slot)?);
    Ok(packed.get(..usize::from(packed[31] / 2)).unwrap_or_default().to_vec())
}

fn source(frame: &mut Frame<'_>) -> Outcome<(Address, u64)> {
    let packed = frame.sload(U256::from_be_bytes(DOMAIN.0).saturating_add(U256::from(4)))?;
    let chain = (packed >> 160) & U256::from(u64::MAX);
    let contract = B256::from(packed & ((U256::ONE << 160) - U256::ONE));
    Ok((Address::from_word(contract), u64::try_from(chain).unwrap_or(0)))
}

/// `eip712Domain`.
fn domain(frame: &mut Frame<'_>) -> Outcome<Bytes> {
    let (name, version) = (text_at(frame, 2)?, text_at(frame, 3)?);
    let (contract, chain) = source(frame)?;
    Ok(abi::returns(&[
        Out::Word(B256::right_padding_from(&[0x0f])),
        Out::Bytes(name),
        Out::Bytes(version),
        Out::number(U256::from(chain)),
        Out::address(contract),
        Out::Word(B256::ZERO),
        Out::Words(Vec::new()),
    ]))
}

/// The digest that is signed for a structure, by EIP-712.
pub(super) fn typed_data(frame: &mut Frame<'_>, structure: B256) -> Outcome<B256> {
    let (name, version) = (text_at(frame, 2)?, text_at(frame, 3)?);
    let (contract, chain) = source(frame)?;
    frame.keccak(&[0; 160])?;
    frame.keccak(&[0; 66])?;
    Ok(typed_data_digest(&name, &version, chain, contract, structure))
}

/// The digest of EIP-712 for a domain of four fields.
pub(crate) fn typed_data_digest(name: &[u8], version: &[u8], chain: u64, contract: Address, structure: B256) -> B256 {
    let kind = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    let fields = [kind, keccak256(name), keccak256(version), number(U256::from(chain)), word(contract)];
    let separator = keccak256(fields.map(|f| f.0).concat());
    keccak256([&[0x19, 0x01], separator.as_slice(), structure.as_slice()].concat())
}

/// Whether enough different signers signed the digest. A signature by anyone else is an error.
pub(super) fn verify(frame: &mut Frame<'_>, names: &Names, digest: B256, signatures: &[&[u8]]) -> Outcome<bool> {
    if signatures.is_empty() {
        return Err(error(names.none, &[]));
    }
    let threshold = threshold(frame, names)?;
    if U256::from(signatures.len()) < threshold {
        return Err(error(names.too_few, &[number(U256::from(signatures.len()))]));
    }
    let mut seen: Vec<U256> = Vec::new();
    let mut enough = false;
    for signature in signatures {
        let signer = recovered(frame, digest, signature)?;
        if !is_signer(frame, names, signer)? {
            return Err(error(names.invalid, &[word(signer)]));
        }
        let slot: U256 = word(signer).into();
        if frame.tload(slot)?.is_zero() {
            frame.tstore(slot, U256::ONE)?;
            seen.push(slot);
        }
        if U256::from(seen.len()) >= threshold {
            enough = true;
            break;
        }
    }
    for slot in seen {
        frame.tstore(slot, U256::ZERO)?;
    }
    Ok(enough)
}

/// Who signed, with the errors of OpenZeppelin's `ECDSA`.
fn recovered(frame: &mut Frame<'_>, digest: B256, signature: &[u8]) -> Outcome<Address> {
    frame.recovery()?;
    let (Some(r), Some(s), Some(v)) = (signature.get(..32), signature.get(32..64), signature.get(64)) else {
        let length = number(U256::from(signature.len()));
        return Err(error("ECDSAInvalidSignatureLength(uint256)", &[length]));
    };
    let s = B256::from_slice(s);
    if U256::from_be_bytes(s.0) > HALF_ORDER {
        return Err(error("ECDSAInvalidSignatureS(bytes32)", &[s]));
    }
    let parity = v.checked_sub(27).filter(|parity| *parity < 2);
    parity
        .and_then(|parity| recover(&digest, &B256::from_slice(r), &s, parity == 1))
        .ok_or_else(|| error("ECDSAInvalidSignature()", &[]))
}
