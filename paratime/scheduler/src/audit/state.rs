//! Capacities, the draw, and what follows from the bit.

use super::circuit::capacity_outputs;
use crate::answers;
use crate::calls::{Apply, Done, Halt, Rules, collect, credit, debit};
use crate::circuit::report_blocks;
use crate::costs::{Programs, fee};
use crate::decisions;
use crate::error::{Code, refuse};
use crate::keys;
use crate::params::Params;
use crate::records::{self, Host, get, put};
use crate::tx::EncryptedList;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Amount, Digest, Domain, Event, Gas, KeyId, Round};
use parallax_runtime::decryption::SignedAnswer;
use parallax_runtime::{Abort, Evaluator, RoundContext, access};
use parallax_state::{CipherRef, Overlay, StateError, StateView};
use serde::{Deserialize, Serialize};

/// Most audits that a ParaTime may make in a round.
pub(crate) const MAX_AUDITS_PER_ROUND: u16 = 16;

/// The rules of audits; without them there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRules {
    /// Most reports audited in a round, 1..=16.
    pub per_round: u16,
    /// There are audits in the rounds whose number is a multiple of it; at least 1.
    pub interval_rounds: u64,
    /// What a false report costs its host.
    pub penalty: Amount,
    /// The account that pays for audits and gets the penalties.
    pub treasury: Address,
}

impl AuditRules {
    /// Checks the ranges.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1..=MAX_AUDITS_PER_ROUND).contains(&self.per_round) {
            let given = self.per_round;
            return Err(format!(
                "scheduler parameter audits.per_round is {given}, it must be in 1..={MAX_AUDITS_PER_ROUND}"
            ));
        }
        if self.interval_rounds == 0 {
            return Err("scheduler parameter audits.interval_rounds is 0, it must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// What is public of a host's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CapacityInfo {
    /// The key that encrypts it.
    pub key_id: KeyId,
    /// The price of the policy COST: the one that is charged.
    pub price: u8,
    /// The round that took it.
    pub round: Round,
}

/// A host's standing with audits.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HostAudit {
    /// Its capacity.
    pub capacity: Option<CapacityInfo>,
    /// How many of its reports have been audited.
    pub audits: u64,
    /// How many of them were false.
    pub false_reports: u64,
    /// What that has cost it.
    pub slashed: Amount,
    /// The number of the last report drawn.
    pub drawn: Option<u64>,
    /// The bit that waits for its decryption.
    pub pending: Option<Digest>,
}

/// An audit that waits for the decryption of its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Pending {
    host: Address,
    report: u64,
    cipher: CipherRef,
}

/// A host's standing; one that was never audited has zeros.
pub(crate) fn standing(view: &dyn StateView, host: &Address) -> Result<HostAudit, StateError> {
    Ok(get(view, &keys::audit(host))?.unwrap_or_default())
}

fn rules(params: &Params) -> Result<&AuditRules, Halt> {
    let text = "this ParaTime has no audits, so it takes no capacities";
    Ok(params.audits.as_ref().ok_or_else(|| refuse(Code::NoAudits, text))?)
}

/// Whether the sender may register a capacity.
pub(crate) fn check_capacity(view: &dyn StateView, params: &Params, sender: &Address) -> Result<(), Halt> {
    rules(params)?;
    if view.get(&keys::host(sender))?.is_none() {
        let text = format!("{sender} is not a registered host; register it first");
        return Err(refuse(Code::NotAHost, text).into());
    }
    Ok(())
}

/// Whether a host may report under this key, as far as audits are concerned.
pub(crate) fn check_report(view: &dyn StateView, params: &Params, host: &Address, key: KeyId) -> Result<(), Halt> {
    if params.audits.is_none() {
        return Ok(());
    }
    match standing(view, host)?.capacity {
        Some(capacity) if capacity.key_id == key => {}
        _ => {
            let text = format!("{host} has no capacity under key {key}; register its capacity before it reports");
            return Err(refuse(Code::NoCapacity, text).into());
        }
    }
    let record: Option<Host> = get(view, &keys::host(host))?;
    if record.is_some_and(|r| r.stake == Amount::ZERO && params.host_stake > Amount::ZERO) {
        let text = format!("the stake of {host} is used up by false reports; it reports no more");
        return Err(refuse(Code::NoStake, text).into());
    }
    Ok(())
}

/// Writes a capacity. The report before it is taken back: it was made for another one.
pub(crate) fn register(
    apply: &mut Apply<'_, '_>,
    state: &mut Overlay<'_>,
    sender: &Address,
    list: &EncryptedList,
    price: u8,
) -> Result<Done, Halt> {
    let params = apply.rules.params;
    let program = apply.rules.programs.capacity(params)?;
    let outputs = apply.evaluator.evaluate(apply.index, list.key_id, program, &[&list.bytes])?;
    for ((at, kind), bytes) in (0u8..).zip(capacity_outputs(&params.policies)).zip(outputs) {
        state.put_cipher(keys::audit_capacity(sender, at), list.key_id, kind.blocks(), bytes);
    }
    let mut standing = standing(state, sender)?;
    standing.capacity = Some(CapacityInfo { key_id: list.key_id, price, round: apply.context.round });
    put(state, keys::audit(sender), &standing);
    withdraw(state, sender)?;
    let event = Event::new("scheduler.capacity_registered").with("host", sender).with("price", price);
    Ok((Vec::new(), vec![event]))
}

/// Takes a host's report back: it is no candidate until it reports anew. The number goes on.
fn withdraw(state: &mut Overlay<'_>, host: &Address) -> Result<(), Halt> {
    let mut record: Host = records::need(state, &keys::host(host))?;
    if let Some(report) = &mut record.report {
        // A report under no key is fresh for no job; its number must not come again.
        report.key_id = KeyId::default();
        put(state, keys::host(host), &record);
    }
    state.delete(keys::audit_report(host));
    Ok(())
}

/// Keeps a report as it came, for an audit.
pub(crate) fn keep_report(state: &mut Overlay<'_>, params: &Params, host: &Address, list: &EncryptedList) {
    if params.audits.is_some() {
        let blocks = report_blocks(params.scores());
        state.put_cipher(keys::audit_report(host), list.key_id, blocks, list.bytes.clone());
    }
}

/// Whose reports this round audits: fixed by the state at its start, so the work is known before.
pub(crate) fn select(
    view: &dyn StateView,
    params: &Params,
    programs: &Programs,
    context: &RoundContext,
) -> Result<Vec<Address>, Abort> {
    let Some(rules) = params.audits.filter(|r| context.round.0.is_multiple_of(r.interval_rounds.max(1))) else {
        return Ok(Vec::new());
    };
    let price = price(programs, params)?;
    let affordable = match records::account(view, &rules.treasury)?.balance.0.checked_div(price.0) {
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let mut open = Vec::new();
    for (address, host) in decisions::hosts(view)? {
        let Some(report) = host.report.filter(|r| context.key_ids.contains(&r.key_id)) else { continue };
        let standing = standing(view, &address)?;
        let is_new = standing.pending.is_none() && standing.drawn != Some(report.number);
        if is_new && standing.capacity.is_some_and(|c| c.key_id == report.key_id) {
            open.push(address);
        }
    }
    let seed = Digest::of_value(Domain::AuditEntropy, &(context.beacon, context.anchor, context.round));
    Ok(decisions::sample(&open, &seed, affordable.min(rules.per_round.into())))
}

/// What the treasury pays for one audit.
fn price(programs: &Programs, params: &Params) -> Result<Amount, Abort> {
    let overflow = || Abort::Local("the price of an audit overflows".to_owned());
    fee(programs.audit_gas(params)?, params.min_gas_price).ok_or_else(overflow)
}

/// The FHE gas of these audits.
pub(crate) fn planned_gas(programs: &Programs, params: &Params, hosts: &[Address]) -> Result<Gas, Abort> {
    if hosts.is_empty() {
        return Ok(Gas::ZERO);
    }
    Ok(Gas(programs.audit_gas(params)?.0.saturating_mul(hosts.len() as u64)))
}

/// What a verdict's grant says it belongs to.
fn subject(host: &Address, report: u64) -> Digest {
    Digest::of_value(Domain::AuditEntropy, &(host, report))
}

/// Audits one host's report and grants the bit to everyone. `index` makes its re-randomisation unique in the round.
pub(crate) fn audit(
    state: &mut Overlay<'_>,
    (params, programs): (&Params, &Programs),
    context: &RoundContext,
    evaluator: &mut Evaluator<'_>,
    index: u64,
    address: &Address,
) -> Result<(Gas, Vec<Event>), Halt> {
    let mut standing = standing(state, address)?;
    let host: Host = records::need(state, &keys::host(address))?;
    let (Some(rules), Some(capacity), Some(report)) = (params.audits, standing.capacity, host.report) else {
        return Err(Abort::Local(format!("{address} was drawn for an audit without a report or a capacity")).into());
    };
    let program = programs.audit(params, capacity.price)?;
    let mut inputs = vec![records::cipher(state, &keys::audit_report(address))?.1];
    for (at, _) in (0u8..).zip(capacity_outputs(&params.policies)) {
        inputs.push(records::cipher(state, &keys::audit_capacity(address, at))?.1);
    }
    let views: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let outputs = evaluator.evaluate(index, report.key_id, &program, &views)?;
    let bit = outputs.into_iter().next().ok_or_else(|| Abort::Local("an audit's circuit lacks its bit".to_owned()))?;
    let cipher = state.put_cipher(keys::audit_verdict(address), report.key_id, 1, bit);
    access::allow_public(state, cipher, context.round, subject(address, report.number));
    put(state, keys::audit_awaiting(&cipher.digest), &Pending { host: *address, report: report.number, cipher });
    (standing.drawn, standing.pending) = (Some(report.number), Some(cipher.digest));
    put(state, keys::audit(address), &standing);
    let paid = price(programs, params)?;
    debit(state, &rules.treasury, paid)?;
    collect(state, paid)?;
    let event = Event::new("scheduler.report_audited")
        .with("host", address)
        .with("report", report.number)
        .with("gas", program.gas())
        .with("verdict", cipher.digest);
    Ok((program.gas(), vec![event]))
}

/// The audit that these answers are about, if it is one.
pub(crate) fn pending(view: &dyn StateView, answers: &[SignedAnswer]) -> Result<Option<Pending>, StateError> {
    let Some(first) = answers.first() else { return Ok(None) };
    get(view, &keys::audit_awaiting(&first.answer.cipher))
}

/// Whether the report was consistent, as the key managers signed it.
pub(crate) fn check_answer(rules: &Rules<'_>, waiting: &Pending, answers: &[SignedAnswer]) -> Result<bool, Halt> {
    Ok(answers::public_bit(rules.params, (rules.chain, rules.paratime), &waiting.cipher, answers)?)
}

/// Writes what follows.
pub(crate) fn conclude(
    state: &mut Overlay<'_>,
    params: &Params,
    waiting: &Pending,
    consistent: bool,
) -> Result<Done, Halt> {
    let (address, cipher) = (&waiting.host, &waiting.cipher.digest);
    state.delete(keys::audit_awaiting(cipher));
    state.delete(keys::audit_verdict(address));
    access::clear_public(state, cipher);
    let mut standing = standing(state, address)?;
    standing.pending = None;
    standing.audits = standing.audits.saturating_add(1);
    let mut event = Event::new(if consistent { "scheduler.report_consistent" } else { "scheduler.report_false" })
        .with("host", address)
        .with("report", waiting.report);
    if !consistent {
        let rules = rules(params)?;
        let mut host: Host = records::need(state, &keys::host(address))?;
        let taken = rules.penalty.min(host.stake);
        host.stake = Amount(host.stake.0.saturating_sub(taken.0));
        standing.false_reports = standing.false_reports.saturating_add(1);
        standing.slashed = Amount(standing.slashed.0.saturating_add(taken.0));
        let still = host.report.is_some_and(|r| r.number == waiting.report);
        put(state, keys::host(address), &host);
        credit(state, &rules.treasury, taken)?;
        if still {
            withdraw(state, address)?;
        }
        event = event.with("slashed", taken);
    }
    put(state, keys::audit(address), &standing);
    Ok((Vec::new(), vec![event]))
}
