//! `PauserSet`: who may stop the access control list.

use super::abi::{self, Args, Out, bare, error, word};
use super::frame::{Frame, Outcome};
use super::only_host_owner;
use revm::primitives::{Address, Bytes, U256};

/// The functions, by selector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Add,
    Remove,
    Swap,
    Is,
    Version,
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    [
        ("addPauser(address)", Function::Add),
        ("removePauser(address)", Function::Remove),
        ("swapPauser(address,address)", Function::Swap),
        ("isPauser(address)", Function::Is),
        ("getVersion()", Function::Version),
    ]
    .map(|(signature, function)| (signature.to_owned(), function))
    .to_vec()
}

/// Whether the account may pause.
pub(super) fn is_pauser(frame: &mut Frame<'_>, account: Address) -> Outcome<bool> {
    let slot = frame.entry(U256::ZERO, word(account))?;
    frame.flag(slot)
}

fn set(frame: &mut Frame<'_>, account: Address, value: bool) -> Outcome<()> {
    let slot = frame.entry(U256::ZERO, word(account))?;
    frame.set_flag(slot, value)
}

fn known(frame: &mut Frame<'_>, account: Address, expected: bool) -> Outcome<()> {
    match is_pauser(frame, account)? {
        is if is == expected => Ok(()),
        true => Err(error("AccountAlreadyPauser(address)", &[word(account)])),
        false => Err(error("AccountNotPauser(address)", &[word(account)])),
    }
}

/// A call.
pub(super) fn dispatch(frame: &mut Frame<'_>, selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    let Some(function) = super::table().pauser.get(&selector) else { return Err(bare()) };
    let null = |account: Address| {
        if account.is_zero() { Err(error("InvalidNullPauser()", &[])) } else { Ok(()) }
    };
    match function {
        Function::Version => return Ok(abi::returns(&[Out::text("PauserSet v0.1.0")])),
        Function::Is => {
            let account = Args::new(data, 1)?.address(0)?;
            return Ok(abi::returns(&[Out::bool(is_pauser(frame, account)?)]));
        }
        Function::Add | Function::Remove => {
            let account = Args::new(data, 1)?.address(0)?;
            let add = matches!(function, Function::Add);
            only_host_owner(frame)?;
            null(account)?;
            known(frame, account, !add)?;
            set(frame, account, add)?;
            let event = if add { "AddPauser(address)" } else { "RemovePauser(address)" };
            frame.emit(event, &[], word(account).to_vec())?;
        }
        Function::Swap => {
            let args = Args::new(data, 2)?;
            let (old, new) = (args.address(0)?, args.address(1)?);
            only_host_owner(frame)?;
            null(old)?;
            null(new)?;
            known(frame, old, true)?;
            known(frame, new, false)?;
            set(frame, old, false)?;
            set(frame, new, true)?;
            frame.emit("SwapPauser(address,address)", &[], abi::encode(&[Out::address(old), Out::address(new)]))?;
        }
    }
    Ok(Bytes::new())
}
