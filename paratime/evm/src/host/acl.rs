//! `ACL`: who may use, pass on and have decrypted which ciphertext, for a transaction or for good.

use super::abi::{self, Args, Out, bare, error, number, word};
use super::frame::{Fail, Frame, Outcome};
use super::{ACL, EXECUTOR, PAUSER_SET, pauser};
use revm::primitives::{Address, B256, Bytes, U256, b256, uint};

/// The first of the contract's own slots: allowed pairs, then allowed for decryption, delegations, the deny list.
const STORAGE: B256 = b256!("a688f31953c2015baaf8c0a488ee1ee22eb0e05273cc1fd31ea4cbee42febc00");
/// Slots of the OpenZeppelin contracts that it is built on: owner, owner-to-be, paused.
pub(super) const OWNER: B256 = b256!("9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300");
const PENDING_OWNER: B256 = b256!("237e158222e3e6968b72b9db0d8043aacf074ad9f650f0d1606b4d82ee432c00");
const PAUSED: B256 = b256!("cd5ed15c6e187e77e9aee88184c21f4f2182ab5827cb3b7e07fbedcd63f03300");
/// The least time that a delegation is made for, in seconds.
const LEAST_DELEGATION: u64 = 3_600;
/// Calls within calls of `multicall`. Solidity bounds them by gas.
const MAX_NESTED: u8 = 32;
/// Bits of a delegation's slot: expiry, last change and counter, 64 each.
pub(super) const DELEGATION_FIELD: U256 = uint!(0xffff_ffff_ffff_ffff_U256);

pub(super) fn field(index: u64) -> U256 {
    U256::from_be_bytes(STORAGE.0).saturating_add(U256::from(index))
}

/// The functions, by selector.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    AcceptOwnership,
    Allow,
    AllowForDecryption,
    AllowTransient,
    AllowedTransient,
    BlockAccount,
    CleanTransientStorage,
    Delegate,
    ExecutorAddress,
    PauserSetAddress,
    DelegationExpiry,
    Version,
    IsAccountDenied,
    IsAllowed,
    IsAllowedForDecryption,
    IsDelegated,
    IsPauser,
    Multicall,
    Owner,
    Pause,
    Paused,
    PendingOwner,
    PersistAllowed,
    RenounceOwnership,
    RevokeDelegation,
    TransferOwnership,
    UnblockAccount,
    Unpause,
}

/// Every function with its signature.
pub(super) fn functions() -> Vec<(String, Function)> {
    use Function as F;
    [
        ("acceptOwnership()", F::AcceptOwnership),
        ("allow(bytes32,address)", F::Allow),
        ("allowForDecryption(bytes32[])", F::AllowForDecryption),
        ("allowTransient(bytes32,address)", F::AllowTransient),
        ("allowedTransient(bytes32,address)", F::AllowedTransient),
        ("blockAccount(address)", F::BlockAccount),
        ("cleanTransientStorage()", F::CleanTransientStorage),
        ("delegateForUserDecryption(address,address,uint64)", F::Delegate),
        ("getFHEVMExecutorAddress()", F::ExecutorAddress),
        ("getPauserSetAddress()", F::PauserSetAddress),
        ("getUserDecryptionDelegationExpirationDate(address,address,address)", F::DelegationExpiry),
        ("getVersion()", F::Version),
        ("isAccountDenied(address)", F::IsAccountDenied),
        ("isAllowed(bytes32,address)", F::IsAllowed),
        ("isAllowedForDecryption(bytes32)", F::IsAllowedForDecryption),
        ("isHandleDelegatedForUserDecryption(address,address,address,bytes32)", F::IsDelegated),
        ("isPauser(address)", F::IsPauser),
        ("multicall(bytes[])", F::Multicall),
        ("owner()", F::Owner),
        ("pause()", F::Pause),
        ("paused()", F::Paused),
        ("pendingOwner()", F::PendingOwner),
        ("persistAllowed(bytes32,address)", F::PersistAllowed),
        ("renounceOwnership()", F::RenounceOwnership),
        ("revokeDelegationForUserDecryption(address,address)", F::RevokeDelegation),
        ("transferOwnership(address)", F::TransferOwnership),
        ("unblockAccount(address)", F::UnblockAccount),
        ("unpause()", F::Unpause),
    ]
    .map(|(signature, function)| (signature.to_owned(), function))
    .to_vec()
}

fn bool(value: bool) -> Bytes {
    abi::returns(&[Out::bool(value)])
}

/// A call.
pub(super) fn dispatch(frame: &mut Frame<'_>, selector: [u8; 4], data: &[u8]) -> Outcome<Bytes> {
    let Some(function) = super::table().acl.get(&selector) else {
        return super::upgrade(selector, data, super::Behind::Twice);
    };
    match function {
        Function::Allow
        | Function::AllowForDecryption
        | Function::AllowTransient
        | Function::CleanTransientStorage
        | Function::Delegate
        | Function::RevokeDelegation
        | Function::Multicall => grants(frame, *function, data),
        Function::AcceptOwnership
        | Function::BlockAccount
        | Function::Pause
        | Function::RenounceOwnership
        | Function::TransferOwnership
        | Function::UnblockAccount
        | Function::Unpause => governance(frame, *function, data).map(|()| Bytes::new()),
        _ => questions(frame, *function, data),
    }
}

fn questions(frame: &mut Frame<'_>, function: Function, data: &[u8]) -> Outcome<Bytes> {
    Ok(match function {
        Function::AllowedTransient => {
            let args = Args::new(data, 2)?;
            bool(allowed_transient(frame, args.bytes32(0), args.address(1)?)?)
        }
        Function::IsAllowed => {
            let args = Args::new(data, 2)?;
            bool(is_allowed(frame, args.bytes32(0), args.address(1)?)?)
        }
        Function::PersistAllowed => {
            let args = Args::new(data, 2)?;
            bool(persist_allowed(frame, args.bytes32(0), args.address(1)?)?)
        }
        Function::IsAllowedForDecryption => {
            let slot = frame.entry(field(1), Args::new(data, 1)?.bytes32(0))?;
            bool(frame.flag(slot)?)
        }
        Function::IsAccountDenied => {
            let account = Args::new(data, 1)?.address(0)?;
            bool(is_denied(frame, account)?)
        }
        Function::IsDelegated => {
            let args = Args::new(data, 4)?;
            let (delegator, delegate, contract) = (args.address(0)?, args.address(1)?, args.address(2)?);
            let handle = args.bytes32(3);
            bool(is_delegated(frame, delegator, delegate, contract, handle)?)
        }
        Function::DelegationExpiry => {
            let args = Args::new(data, 3)?;
            let (slot, ..) = delegation(frame, args.address(0)?, args.address(1)?, args.address(2)?)?;
            abi::returns(&[Out::number(frame.sload(slot)? & DELEGATION_FIELD)])
        }
        Function::IsPauser => {
            let account = Args::new(data, 1)?.address(0)?;
            bool(frame.call(PAUSER_SET, |f| pauser::is_pauser(f, account))?)
        }
        Function::Owner => abi::returns(&[Out::address(owner(frame)?)]),
        Function::PendingOwner => abi::returns(&[Out::address(address_at(frame, PENDING_OWNER)?)]),
        Function::Paused => bool(frame.flag(PAUSED.into())?),
        Function::ExecutorAddress => abi::returns(&[Out::address(EXECUTOR)]),
        Function::PauserSetAddress => abi::returns(&[Out::address(PAUSER_SET)]),
        _ => abi::returns(&[Out::text("ACL v0.2.0")]),
    })
}

fn grants(frame: &mut Frame<'_>, function: Function, data: &[u8]) -> Outcome<Bytes> {
    match function {
        Function::Allow => {
            let args = Args::new(data, 2)?;
            allow(frame, args.bytes32(0), args.address(1)?)?;
        }
        Function::AllowForDecryption => {
            let handles = Args::new(data, 1)?.words(0)?;
            allow_for_decryption(frame, handles)?;
        }
        Function::AllowTransient => {
            let args = Args::new(data, 2)?;
            allow_transient(frame, args.bytes32(0), args.address(1)?)?;
        }
        Function::CleanTransientStorage => clean_transient(frame)?,
        Function::Delegate => {
            let args = Args::new(data, 3)?;
            delegate(frame, args.address(0)?, args.address(1)?, args.uint64(2)?)?;
        }
        Function::RevokeDelegation => {
            let args = Args::new(data, 2)?;
            revoke(frame, args.address(0)?, args.address(1)?)?;
        }
        _ => return multicall(frame, data),
    }
    Ok(Bytes::new())
}

/// `address` in a slot of its own.
fn address_at(frame: &mut Frame<'_>, slot: B256) -> Outcome<Address> {
    Ok(Address::from_word(B256::from(frame.sload(slot.into())?)))
}

/// Who owns the host contracts.
pub(super) fn owner(frame: &mut Frame<'_>) -> Outcome<Address> {
    address_at(frame, OWNER)
}

fn not_paused(frame: &mut Frame<'_>) -> Outcome<()> {
    if frame.flag(PAUSED.into())? { Err(error("EnforcedPause()", &[])) } else { Ok(()) }
}

fn pair(frame: &mut Frame<'_>, handle: B256, account: Address) -> Outcome<U256> {
    let inner = frame.entry(field(0), handle)?;
    frame.entry(inner, word(account))
}

fn persist_allowed(frame: &mut Frame<'_>, handle: B256, account: Address) -> Outcome<bool> {
    let slot = pair(frame, handle, account)?;
    frame.flag(slot)
}

fn transient_key(frame: &mut Frame<'_>, handle: B256, account: Address) -> Outcome<U256> {
    Ok(frame.keccak(&[handle.as_slice(), account.as_slice()].concat())?.into())
}

fn allowed_transient(frame: &mut Frame<'_>, handle: B256, account: Address) -> Outcome<bool> {
    let key = transient_key(frame, handle, account)?;
    Ok(!frame.tload(key)?.is_zero())
}

/// Whether the account may use the handle now.
pub(super) fn is_allowed(frame: &mut Frame<'_>, handle: B256, account: Address) -> Outcome<bool> {
    Ok(allowed_transient(frame, handle, account)? || persist_allowed(frame, handle, account)?)
}

fn is_denied(frame: &mut Frame<'_>, account: Address) -> Outcome<bool> {
    let slot = frame.entry(field(3), word(account))?;
    frame.flag(slot)
}

fn not_denied(frame: &mut Frame<'_>) -> Outcome<()> {
    let sender = frame.caller;
    if is_denied(frame, sender)? { Err(error("SenderDenied(address)", &[word(sender)])) } else { Ok(()) }
}

fn may_pass_on(frame: &mut Frame<'_>, handle: B256) -> Outcome<()> {
    let sender = frame.caller;
    if is_allowed(frame, handle, sender)? {
        return Ok(());
    }
    Err(error("SenderNotAllowed(address)", &[word(sender)]))
}

fn allow(frame: &mut Frame<'_>, handle: B256, account: Address) -> Outcome<()> {
    not_paused(frame)?;
    not_denied(frame)?;
    may_pass_on(frame, handle)?;
    let slot = pair(frame, handle, account)?;
    frame.set_flag(slot, true)?;
    let topics = [word(frame.caller), word(account)];
    frame.emit("Allowed(address,address,bytes32)", &topics, handle.to_vec())
}

fn allow_for_decryption(frame: &mut Frame<'_>, handles: Vec<B256>) -> Outcome<()> {
    not_paused(frame)?;
    if handles.is_empty() {
        return Err(error("HandlesListIsEmpty()", &[]));
    }
    not_denied(frame)?;
    for handle in &handles {
        may_pass_on(frame, *handle)?;
        let slot = frame.entry(field(1), *handle)?;
        frame.set_flag(slot, true)?;
    }
    let topics = [word(frame.caller)];
    frame.emit("AllowedForDecryption(address,bytes32[])", &topics, abi::encode(&[Out::Words(handles)]))
}

/// Lets an account use a handle until the transaction ends. The executor may always do that.
pub(super) fn allow_transient(frame: &mut Frame<'_>, handle: B256, account: Address) -> Outcome<()> {
    not_paused(frame)?;
    if frame.caller != EXECUTOR {
        not_denied(frame)?;
        may_pass_on(frame, handle)?;
    }
    let key = transient_key(frame, handle, account)?;
    remember(frame, key)
}

/// Sets a transient flag and lists it, so that it can be cleaned: the count lies in slot 0, the list from 1 on.
pub(super) fn remember(frame: &mut Frame<'_>, key: U256) -> Outcome<()> {
    frame.tstore(key, U256::ONE)?;
    let next = frame.tload(U256::ZERO)?.wrapping_add(U256::ONE);
    frame.tstore(next, key)?;
    frame.tstore(U256::ZERO, next)
}

/// Takes every listed transient flag back.
pub(super) fn clean_transient(frame: &mut Frame<'_>) -> Outcome<()> {
    let length = frame.tload(U256::ZERO)?;
    frame.tstore(U256::ZERO, U256::ZERO)?;
    let (mut at, end) = (U256::ONE, length.wrapping_add(U256::ONE));
    while at < end {
        let key = frame.tload(at)?;
        frame.tstore(at, U256::ZERO)?;
        frame.tstore(key, U256::ZERO)?;
        at = at.wrapping_add(U256::ONE);
    }
    Ok(())
}

/// The slot of a delegation.
fn delegation(
    frame: &mut Frame<'_>,
    delegator: Address,
    delegate: Address,
    contract: Address,
) -> Outcome<(U256, [Address; 3])> {
    let outer = frame.entry(field(2), word(delegator))?;
    let inner = frame.entry(outer, word(delegate))?;
    Ok((frame.entry(inner, word(contract))?, [delegator, delegate, contract]))
}

fn is_delegated(
    frame: &mut Frame<'_>,
    delegator: Address,
    delegate: Address,
    contract: Address,
    handle: B256,
) -> Outcome<bool> {
    let (slot, _) = delegation(frame, delegator, delegate, contract)?;
    Ok(persist_allowed(frame, handle, delegator)?
        && persist_allowed(frame, handle, contract)?
        && (frame.sload(slot)? & DELEGATION_FIELD) >= frame.journal.timestamp())
}

/// A delegation as it is stored.
struct Delegation {
    expiry: U256,
    changed: U256,
    counter: U256,
}

impl Delegation {
    fn load(frame: &mut Frame<'_>, slot: U256) -> Outcome<Self> {
        let packed = frame.sload(slot)?;
        Ok(Self {
            expiry: packed & DELEGATION_FIELD,
            changed: (packed >> 64) & DELEGATION_FIELD,
            counter: (packed >> 128) & DELEGATION_FIELD,
        })
    }

    /// Notes that it changes in this block: once at most.
    fn change(&mut self, frame: &Frame<'_>, who: [Address; 3]) -> Outcome<()> {
        let block = frame.journal.block_number();
        if self.changed == block {
            let words = [word(who[0]), word(who[1]), word(who[2]), number(block)];
            return Err(error("AlreadyDelegatedOrRevokedInSameBlock(address,address,address,uint256)", &words));
        }
        self.changed = block & DELEGATION_FIELD;
        frame.writable()
    }

    fn store(&self, frame: &mut Frame<'_>, slot: U256) -> Outcome<()> {
        frame.sstore(slot, self.expiry | (self.changed << 64) | (self.counter << 128))
    }

    fn count(&mut self) -> Outcome<()> {
        if self.counter == DELEGATION_FIELD {
            return Err(abi::panic(abi::Panic::Arithmetic));
        }
        self.counter = self.counter.wrapping_add(U256::ONE);
        Ok(())
    }
}

fn delegate(frame: &mut Frame<'_>, delegate: Address, contract: Address, expiry: u64) -> Outcome<()> {
    not_paused(frame)?;
    let least = frame.journal.timestamp().checked_add(U256::from(LEAST_DELEGATION));
    if U256::from(expiry) < least.ok_or_else(|| abi::panic(abi::Panic::Arithmetic))? {
        return Err(error("ExpirationDateBeforeOneHour()", &[]));
    }
    let sender = frame.caller;
    let (slot, who) = delegation(frame, sender, delegate, contract)?;
    let mut found = Delegation::load(frame, slot)?;
    found.change(frame, who)?;
    if contract == sender {
        return Err(error("SenderCannotBeContractAddress(address)", &[word(contract)]));
    }
    if delegate == sender {
        return Err(error("SenderCannotBeDelegate(address)", &[word(delegate)]));
    }
    if delegate == contract {
        return Err(error("DelegateCannotBeContractAddress(address)", &[word(contract)]));
    }
    let (old, new) = (found.expiry, U256::from(expiry));
    if old == new {
        let words = [word(sender), word(delegate), word(contract), number(old)];
        return Err(error("ExpirationDateAlreadySetToSameValue(address,address,address,uint256)", &words));
    }
    found.expiry = new;
    found.count()?;
    found.store(frame, slot)?;
    let data = [Out::address(contract), Out::number(found.counter), Out::number(old), Out::number(new)];
    let signature = "DelegatedForUserDecryption(address,address,address,uint64,uint64,uint64)";
    frame.emit(signature, &[word(sender), word(delegate)], abi::encode(&data))
}

fn revoke(frame: &mut Frame<'_>, delegate: Address, contract: Address) -> Outcome<()> {
    not_paused(frame)?;
    let sender = frame.caller;
    let (slot, who) = delegation(frame, sender, delegate, contract)?;
    let mut found = Delegation::load(frame, slot)?;
    found.change(frame, who)?;
    let old = found.expiry;
    if old.is_zero() {
        let words = [word(sender), word(delegate), word(contract)];
        return Err(error("NotDelegatedYet(address,address,address)", &words));
    }
    found.expiry = U256::ZERO;
    found.count()?;
    found.store(frame, slot)?;
    let data = [Out::address(contract), Out::number(found.counter), Out::number(old)];
    let signature = "RevokedDelegationForUserDecryption(address,address,address,uint64,uint64)";
    frame.emit(signature, &[word(sender), word(delegate)], abi::encode(&data))
}

/// Several calls of this contract in one, by the same sender. All or none.
fn multicall(frame: &mut Frame<'_>, data: &[u8]) -> Outcome<Bytes> {
    let list = Args::new(data, 1)?.calldata_list(0)?;
    let failed = || error("FailedCall()", &[]);
    if frame.depth >= MAX_NESTED {
        return Err(failed());
    }
    let mut results = Vec::new();
    for index in 0..list.length {
        let call = list.get(index)?;
        frame.enter(call.len())?;
        frame.depth = frame.depth.saturating_add(1);
        let result = super::call(frame, ACL, call);
        frame.depth = frame.depth.saturating_sub(1);
        match result {
            Ok(output) => results.push(output.to_vec()),
            Err(Fail::Revert(reason)) if reason.is_empty() => return Err(failed()),
            Err(Fail::Static) => return Err(failed()),
            Err(other) => return Err(other),
        }
    }
    Ok(abi::returns(&[Out::List(results)]))
}

fn only_owner(frame: &mut Frame<'_>) -> Outcome<()> {
    let sender = frame.caller;
    if owner(frame)? == sender { Ok(()) } else { Err(error("OwnableUnauthorizedAccount(address)", &[word(sender)])) }
}

fn set_owner(frame: &mut Frame<'_>, new: Address) -> Outcome<()> {
    let old = owner(frame)?;
    frame.sstore(PENDING_OWNER.into(), U256::ZERO)?;
    frame.sstore(OWNER.into(), word(new).into())?;
    frame.emit("OwnershipTransferred(address,address)", &[word(old), word(new)], Vec::new())
}

fn set_denied(frame: &mut Frame<'_>, account: Address, denied: bool) -> Outcome<()> {
    only_owner(frame)?;
    let slot = frame.entry(field(3), word(account))?;
    if frame.flag(slot)? == denied {
        let name = if denied { "AccountAlreadyBlocked(address)" } else { "AccountNotBlocked(address)" };
        return Err(error(name, &[word(account)]));
    }
    frame.set_flag(slot, denied)?;
    let event = if denied { "BlockedAccount(address)" } else { "UnblockedAccount(address)" };
    frame.emit(event, &[word(account)], Vec::new())
}

fn governance(frame: &mut Frame<'_>, function: Function, data: &[u8]) -> Outcome<()> {
    let sender = frame.caller;
    match function {
        Function::BlockAccount => set_denied(frame, Args::new(data, 1)?.address(0)?, true),
        Function::UnblockAccount => set_denied(frame, Args::new(data, 1)?.address(0)?, false),
        Function::Pause => {
            if !frame.call(PAUSER_SET, |f| pauser::is_pauser(f, sender))? {
                return Err(error("NotPauser(address)", &[word(sender)]));
            }
            not_paused(frame)?;
            frame.set_flag(PAUSED.into(), true)?;
            frame.emit("Paused(address)", &[], word(sender).to_vec())
        }
        Function::Unpause => {
            only_owner(frame)?;
            if !frame.flag(PAUSED.into())? {
                return Err(error("ExpectedPause()", &[]));
            }
            frame.set_flag(PAUSED.into(), false)?;
            frame.emit("Unpaused(address)", &[], word(sender).to_vec())
        }
        Function::TransferOwnership => {
            let new = Args::new(data, 1)?.address(0)?;
            only_owner(frame)?;
            frame.sstore(PENDING_OWNER.into(), word(new).into())?;
            let old = owner(frame)?;
            frame.emit("OwnershipTransferStarted(address,address)", &[word(old), word(new)], Vec::new())
        }
        Function::AcceptOwnership => {
            if address_at(frame, PENDING_OWNER)? != sender {
                return Err(error("OwnableUnauthorizedAccount(address)", &[word(sender)]));
            }
            set_owner(frame, sender)
        }
        Function::RenounceOwnership => {
            only_owner(frame)?;
            set_owner(frame, Address::ZERO)
        }
        _ => Err(bare()),
    }
}
