//! Native tokens: accounts, fees, and the stake of entities.
//!
//! An entity stakes its own tokens; delegation by others is not offered. A reclaimed part stays liable to slashing
//! until its debonding epoch has begun, so nobody escapes a verdict by reclaiming first. No operation makes or
//! destroys tokens, see [`crate::check_invariants`].

use crate::errors::{CallError, ModuleError};
use crate::genesis::{ConsensusParameters, GenesisAccount};
use crate::{keys, stored};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Amount, Epoch, Event, Nonce};
use parallax_state::{Overlay, StateError, StateView};
use serde::{Deserialize, Serialize};

/// Why a token operation is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the account {account} has {balance} base units free, {needed} are needed; send it tokens or lower the amount"
    )]
    InsufficientBalance { account: Address, balance: Amount, needed: Amount },
    #[error("the amount is 0; name at least 1 base unit")]
    ZeroAmount,
    #[error(
        "the entity {entity} has {active} base units of active stake, {needed} are to be reclaimed; lower the amount"
    )]
    InsufficientStake { entity: Address, active: Amount, needed: Amount },
    #[error(
        "the account {sender} may stake for and reclaim from its own entity only, not {entity}; use its own address"
    )]
    OtherEntity { sender: Address, entity: Address },
    #[error("the account {account} cannot hold that many tokens")]
    Overflow { account: Address },
}

impl ModuleError for Error {
    const MODULE: &'static str = "staking";

    fn code(&self) -> u32 {
        match self {
            Self::InsufficientBalance { .. } => 1,
            Self::ZeroAmount => 2,
            Self::InsufficientStake { .. } => 3,
            Self::OtherEntity { .. } => 4,
            Self::Overflow { .. } => 5,
        }
    }
}

/// An account. One that was never used is all zero and not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Account {
    /// Free tokens, in base units.
    pub balance: Amount,
    /// How many of its transactions were included; the nonce of its next one.
    pub nonce: Nonce,
}

/// Stake on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Debonding {
    /// The epoch at whose beginning it becomes free.
    pub free_at: Epoch,
    /// How much.
    pub amount: Amount,
}

/// The stake of an entity. All of it is liable; only the active part counts for elections.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Stake {
    /// In escrow.
    pub active: Amount,
    /// Reclaimed and not yet free, by epoch, at most one entry an epoch.
    pub debonding: Vec<Debonding>,
}

impl Stake {
    /// Everything that can be slashed.
    pub fn total(&self) -> Amount {
        self.debonding.iter().fold(self.active, |sum, part| sum.saturating_add(part.amount.0))
    }
}

/// `amount * permille / 1000`, rounded down, without overflow for up to 1000 thousandths.
pub(crate) fn permille_of(amount: Amount, permille: u32) -> Amount {
    let permille = u128::from(permille.min(1000));
    let (whole, rest) = (amount.0 / 1000, amount.0 % 1000);
    Amount(whole.saturating_mul(permille).saturating_add(rest.saturating_mul(permille) / 1000))
}

// Events.

fn transferred(from: &Address, to: &Address, amount: Amount) -> Event {
    Event::new("staking.transfer").with("from", from).with("to", to).with("amount", amount)
}

// Genesis.

/// Writes the accounts and stakes of genesis, and their sum as the supply.
pub(crate) fn genesis(overlay: &mut Overlay<'_>, accounts: &[GenesisAccount]) {
    let mut supply = Amount::ZERO;
    for entry in accounts {
        put_account(overlay, &entry.address, &Account { balance: entry.balance, nonce: Nonce::ZERO });
        put_stake(overlay, &entry.address, &Stake { active: entry.stake, debonding: Vec::new() });
        supply = supply.saturating_add(entry.balance.0).saturating_add(entry.stake.0);
    }
    stored::write(overlay, keys::supply(), &supply);
    stored::write(overlay, keys::common_pool(), &Amount::ZERO);
}

// Calls.

/// What [`crate::tx::Call::Transfer`], `Escrow` and `Reclaim` must be, whatever the state.
pub(crate) fn check_amount(amount: Amount) -> Result<(), Error> {
    if amount == Amount::ZERO { Err(Error::ZeroAmount) } else { Ok(()) }
}

/// Whether an account can spend an amount now.
pub(crate) fn check_spendable(view: &dyn StateView, from: &Address, needed: Amount) -> Result<(), CallError> {
    let balance = account(view, from)?.balance;
    if balance < needed {
        return Err(Error::InsufficientBalance { account: *from, balance, needed }.into());
    }
    Ok(())
}

/// An entity's stake is its own.
pub(crate) fn check_own_entity(sender: &Address, entity: &Address) -> Result<(), Error> {
    if sender == entity { Ok(()) } else { Err(Error::OtherEntity { sender: *sender, entity: *entity }) }
}

/// Moves free tokens.
pub(crate) fn transfer(
    overlay: &mut Overlay<'_>,
    from: &Address,
    to: &Address,
    amount: Amount,
) -> Result<Event, CallError> {
    debit(overlay, from, amount)?;
    credit(overlay, to, amount)?;
    Ok(transferred(from, to, amount))
}

/// Moves free tokens of an entity into its stake.
pub(crate) fn escrow(overlay: &mut Overlay<'_>, entity: &Address, amount: Amount) -> Result<Event, CallError> {
    debit(overlay, entity, amount)?;
    let mut held = stake(overlay, entity)?;
    held.active = held.active.checked_add(amount.0).ok_or(Error::Overflow { account: *entity })?;
    put_stake(overlay, entity, &held);
    Ok(Event::new("staking.escrow").with("entity", entity).with("amount", amount))
}

/// Whether an entity has that much active stake.
pub(crate) fn check_reclaimable(view: &dyn StateView, entity: &Address, amount: Amount) -> Result<(), CallError> {
    let active = stake(view, entity)?.active;
    if active < amount {
        return Err(Error::InsufficientStake { entity: *entity, active, needed: amount }.into());
    }
    Ok(())
}

/// Starts the debonding of a part of an entity's stake.
pub(crate) fn reclaim(
    overlay: &mut Overlay<'_>,
    entity: &Address,
    amount: Amount,
    now: Epoch,
    parameters: &ConsensusParameters,
) -> Result<Event, CallError> {
    let mut held = stake(overlay, entity)?;
    held.active = held.active.checked_sub(amount.0).ok_or(Error::InsufficientStake {
        entity: *entity,
        active: held.active,
        needed: amount,
    })?;
    let free_at = now.saturating_add(parameters.debonding_epochs);
    match held.debonding.iter_mut().find(|part| part.free_at == free_at) {
        Some(part) => part.amount = part.amount.saturating_add(amount.0),
        None => held.debonding.push(Debonding { free_at, amount }),
    }
    put_stake(overlay, entity, &held);
    Ok(Event::new("staking.reclaim").with("entity", entity).with("amount", amount).with("free_at", free_at))
}

// Fees.

/// Takes the fee and counts the nonce up: all that an included transaction does whatever its result.
pub(crate) fn charge(overlay: &mut Overlay<'_>, sender: &Address, fee: Amount) -> Result<(), CallError> {
    let mut payer = account(overlay, sender)?;
    payer.balance = payer.balance.checked_sub(fee.0).ok_or(Error::InsufficientBalance {
        account: *sender,
        balance: payer.balance,
        needed: fee,
    })?;
    payer.nonce = payer.nonce.next();
    put_account(overlay, sender, &payer);
    let pool: Amount = stored::require(overlay, &keys::common_pool())?;
    stored::write(overlay, keys::common_pool(), &pool.saturating_add(fee.0));
    Ok(())
}

/// Pays the pool's fees to the proposer's entity; without one they stay in the pool.
pub(crate) fn pay_proposer(overlay: &mut Overlay<'_>, entity: Option<&Address>) -> Result<Vec<Event>, StateError> {
    let Some(entity) = entity else { return Ok(Vec::new()) };
    let pool: Amount = stored::require(overlay, &keys::common_pool())?;
    if pool == Amount::ZERO {
        return Ok(Vec::new());
    }
    grant(overlay, entity, pool)?;
    stored::write(overlay, keys::common_pool(), &Amount::ZERO);
    Ok(vec![Event::new("staking.fees").with("entity", entity).with("amount", pool)])
}

// Epochs and slashing.

/// Frees the stake whose debonding ends at the beginning of `epoch`.
pub(crate) fn release(overlay: &mut Overlay<'_>, epoch: Epoch) -> Result<Vec<Event>, StateError> {
    let mut events = Vec::new();
    for (entity, mut held) in stakes(overlay)? {
        let free = held
            .debonding
            .iter()
            .filter(|part| part.free_at <= epoch)
            .fold(Amount::ZERO, |sum, part| sum.saturating_add(part.amount.0));
        held.debonding.retain(|part| part.free_at > epoch);
        if free > Amount::ZERO {
            put_stake(overlay, &entity, &held);
            grant(overlay, &entity, free)?;
            events.push(Event::new("staking.released").with("entity", entity).with("amount", free));
        }
    }
    Ok(events)
}

/// Takes a part of everything an entity has at stake. The caller gives it to others.
pub(crate) fn take_stake(overlay: &mut Overlay<'_>, entity: &Address, permille: u32) -> Result<Amount, StateError> {
    let mut held = stake(overlay, entity)?;
    let before = held.total();
    held.active = held.active.saturating_sub(permille_of(held.active, permille).0);
    for part in &mut held.debonding {
        part.amount = part.amount.saturating_sub(permille_of(part.amount, permille).0);
    }
    let taken = before.saturating_sub(held.total().0);
    put_stake(overlay, entity, &held);
    Ok(taken)
}

/// Gives tokens that were taken elsewhere. Overflow would need more tokens than the supply and is a fault of the
/// state.
pub(crate) fn grant(overlay: &mut Overlay<'_>, to: &Address, amount: Amount) -> Result<(), StateError> {
    match credit(overlay, to, amount) {
        Ok(()) => Ok(()),
        Err(CallError::State(error)) => Err(error),
        Err(CallError::Refused(error)) => {
            Err(StateError::Corrupt { what: format!("the account {to}"), reason: error.message })
        }
    }
}

// State.

fn debit(overlay: &mut Overlay<'_>, from: &Address, amount: Amount) -> Result<(), CallError> {
    let mut payer = account(overlay, from)?;
    payer.balance = payer.balance.checked_sub(amount.0).ok_or(Error::InsufficientBalance {
        account: *from,
        balance: payer.balance,
        needed: amount,
    })?;
    put_account(overlay, from, &payer);
    Ok(())
}

fn credit(overlay: &mut Overlay<'_>, to: &Address, amount: Amount) -> Result<(), CallError> {
    let mut payee = account(overlay, to)?;
    payee.balance = payee.balance.checked_add(amount.0).ok_or(Error::Overflow { account: *to })?;
    put_account(overlay, to, &payee);
    Ok(())
}

fn put_account(overlay: &mut Overlay<'_>, address: &Address, value: &Account) {
    if *value == Account::default() {
        overlay.delete(keys::account(address));
    } else {
        stored::write(overlay, keys::account(address), value);
    }
}

fn put_stake(overlay: &mut Overlay<'_>, entity: &Address, value: &Stake) {
    if value.total() == Amount::ZERO {
        overlay.delete(keys::stake(entity));
    } else {
        stored::write(overlay, keys::stake(entity), value);
    }
}

/// An account; all zero if it was never used.
///
/// # Errors
/// If the state cannot be read.
pub fn account(view: &dyn StateView, address: &Address) -> Result<Account, StateError> {
    Ok(stored::read(view, &keys::account(address))?.unwrap_or_default())
}

/// The stake of an entity; nothing if it has none.
///
/// # Errors
/// If the state cannot be read.
pub fn stake(view: &dyn StateView, entity: &Address) -> Result<Stake, StateError> {
    Ok(stored::read(view, &keys::stake(entity))?.unwrap_or_default())
}

/// Every entity with stake, in the order of addresses.
///
/// # Errors
/// If the state cannot be read.
pub fn stakes(view: &dyn StateView) -> Result<Vec<(Address, Stake)>, StateError> {
    stored::scan(view, keys::STAKES)?.into_iter().map(|(key, value)| Ok((address_in(&key)?, value))).collect()
}

/// Every account, in the order of addresses.
///
/// # Errors
/// If the state cannot be read.
pub fn accounts(view: &dyn StateView) -> Result<Vec<(Address, Account)>, StateError> {
    stored::scan(view, keys::ACCOUNTS)?.into_iter().map(|(key, value)| Ok((address_in(&key)?, value))).collect()
}

/// All tokens that exist, in base units.
///
/// # Errors
/// If the state cannot be read.
pub fn supply(view: &dyn StateView) -> Result<Amount, StateError> {
    stored::require(view, &keys::supply())
}

/// Fees not yet paid out.
///
/// # Errors
/// If the state cannot be read.
pub fn common_pool(view: &dyn StateView) -> Result<Amount, StateError> {
    stored::require(view, &keys::common_pool())
}

fn address_in(key: &[u8]) -> Result<Address, StateError> {
    <[u8; 20]>::try_from(key).map(Address).map_err(|_| StateError::Corrupt {
        what: "an account's key".to_owned(),
        reason: format!("it ends in {} bytes, an address has 20", key.len()),
    })
}
