//! What each transaction checks and writes. Checks come in two strengths: with what admission knows, and with what a
//! round knows; writes happen in a round only.

use crate::anchors;
use crate::answers;
use crate::audit::CAPACITY_DIGITS;
use crate::audit::state as audit;
use crate::circuit::{LABEL_BLOCKS, NUMBER_BLOCKS, SCORE_BLOCKS, report_blocks};
use crate::costs::Programs;
use crate::error::{Code, refuse, refused_input};
use crate::keys;
use crate::messages;
use crate::model::{MAX_REPLICAS, Policy, RESOURCE_DIGITS, Replication};
use crate::params::Params;
use crate::policy::ClusterPolicy;
use crate::records::{self, Host, Job, Origin, ReportInfo, Status, get, put, put_account};
use crate::tx::{Call, EncryptedList, Purpose, SignedTx, metadata};
use parallax_primitives::{
    Address, Amount, ChainContext, Digest, Domain, Epoch, Event, KeyId, Nonce, ParaTimeId, encode,
};
use parallax_runtime::{Abort, Evaluator, FheBackend, FheError, RoundContext, TxError};
use parallax_state::{Overlay, StateError, StateView};

/// Why a call stops: refused, which its sender sees, or the machine failed, which ends the execution.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The sender sees it.
    Refused(TxError),
    /// The execution ends.
    Abort(Abort),
}

impl From<TxError> for Halt {
    fn from(e: TxError) -> Self {
        Self::Refused(e)
    }
}

impl From<Abort> for Halt {
    fn from(e: Abort) -> Self {
        Self::Abort(e)
    }
}

impl From<StateError> for Halt {
    fn from(e: StateError) -> Self {
        Self::Abort(e.into())
    }
}

impl From<FheError> for Halt {
    fn from(e: FheError) -> Self {
        match e {
            FheError::Refused(input) => Self::Refused(refused_input(&input)),
            other => Self::Abort(other.into()),
        }
    }
}

/// What a check knows besides the state.
pub(crate) struct Rules<'a> {
    pub(crate) params: &'a Params,
    pub(crate) policy: &'a ClusterPolicy,
    pub(crate) programs: &'a Programs,
    pub(crate) chain: ChainContext,
    pub(crate) paratime: ParaTimeId,
    /// The first and the last epoch to which a list may be bound; unknown before the first round.
    pub(crate) epochs: Option<(Epoch, Epoch)>,
    /// The keys accepted; unknown before the first round.
    pub(crate) keys: Option<&'a [KeyId]>,
    pub(crate) fhe: Option<&'a dyn FheBackend>,
}

impl Rules<'_> {
    /// What the sender must have beyond the fee.
    pub(crate) fn locked(&self, tx: &SignedTx) -> Result<Amount, Halt> {
        match &tx.body.call {
            Call::Transfer { amount, .. } => Ok(*amount),
            Call::RegisterHost { .. } => Ok(self.params.host_stake),
            Call::SubmitJob { .. } => self.escrow(&tx.body.call, tx.body.gas_price),
            Call::ReportTelemetry(_)
            | Call::DeliverAnswer { .. }
            | Call::SetPolicy(_)
            | Call::AnchorDeployment { .. }
            | Call::UpdateStatus { .. }
            | Call::OpenAnchor(_)
            | Call::RegisterCapacity { .. } => Ok(Amount::ZERO),
        }
    }

    /// What a job locks at this gas price.
    pub(crate) fn escrow(&self, call: &Call, gas_price: Amount) -> Result<Amount, Halt> {
        let Call::SubmitJob { policy, replication, .. } = call else { return Ok(Amount::ZERO) };
        let escrow = self.programs.escrow(self.params, *policy, *replication, gas_price)?;
        let too_much = || refuse(Code::Unaffordable, "the price of the job's attempts overflows; lower the gas price");
        Ok(escrow.ok_or_else(too_much)?)
    }

    /// Checks a call against the state and its public fields; the encrypted list is left to [`Rules::check_list`].
    pub(crate) fn check_call(&self, view: &dyn StateView, sender: &Address, call: &Call) -> Result<(), Halt> {
        match call {
            Call::Transfer { .. } => Ok(()),
            Call::RegisterHost { .. } => {
                if view.get(&keys::host(sender))?.is_some() {
                    let text = format!("{sender} is a host already; register another account for another host");
                    return Err(refuse(Code::HostExists, text).into());
                }
                self.not_full(view, "hosts", keys::HOSTS, self.params.max_hosts)
            }
            Call::ReportTelemetry(list) => {
                if view.get(&keys::host(sender))?.is_none() {
                    let text = format!("{sender} is not a registered host; register it first");
                    return Err(refuse(Code::NotAHost, text).into());
                }
                audit::check_report(view, self.params, sender, list.key_id)?;
                self.check_binding(list)
            }
            Call::RegisterCapacity { capacity, .. } => {
                audit::check_capacity(view, self.params, sender)?;
                self.check_binding(capacity)
            }
            Call::SubmitJob { request, policy, tier, replication, image } => {
                self.policy.admits(sender, image.as_ref())?;
                if !self.params.policies.contains(policy) {
                    let enabled: Vec<&str> = self.params.policies.iter().map(|p| p.name()).collect();
                    let (name, enabled) = (policy.name(), enabled.join(", "));
                    let text = format!("policy {name} is not enabled here; this ParaTime has {enabled}");
                    return Err(refuse(Code::PolicyNotEnabled, text).into());
                }
                if *tier >= self.params.tiers {
                    let text = format!("tier {tier} does not exist; use 0..={}", self.params.tiers.saturating_sub(1));
                    return Err(refuse(Code::BadField, text).into());
                }
                self.check_replication(*policy, *replication)?;
                self.check_binding(request)?;
                self.not_full(view, "waiting jobs", keys::PENDING, self.params.max_pending_jobs)
            }
            Call::DeliverAnswer { answers } => {
                if let Some(waiting) = audit::pending(view, answers)? {
                    return audit::check_answer(self, &waiting, answers).map(|_| ());
                }
                answers::check(view, self.params, self.chain, self.paratime, answers).map(|_| ())
            }
            Call::SetPolicy(change) => change.check(self, sender),
            Call::AnchorDeployment { job, replica, .. } => anchors::check_anchor(view, sender, (job, *replica)),
            Call::UpdateStatus { job, replica, status } => {
                anchors::check_update(view, sender, (job, *replica), *status)
            }
            Call::OpenAnchor(shown) => anchors::check_open(self, view, sender, shown),
        }
    }

    /// A job that no decision of this ParaTime could place, or for which a round has no room, would wait for ever.
    fn check_replication(&self, policy: Policy, replication: Replication) -> Result<(), Halt> {
        let (count, candidates) = (replication.count, self.params.candidates_per_decision);
        if replication.least_candidates() > usize::from(candidates) {
            let text = format!("a gang of {count} does not fit a decision among {candidates} candidates; split it");
            return Err(refuse(Code::BadField, text).into());
        }
        let (gas, limit) = (self.programs.decision_gas(candidates, policy, replication)?, self.params.max_decision_gas);
        if gas > limit {
            let text = format!(
                "a decision on {count} of at most {MAX_REPLICAS} replicas may take {gas} FHE gas, a round of this \
                 ParaTime has {limit}; ask for fewer replicas"
            );
            return Err(refuse(Code::BadField, text).into());
        }
        Ok(())
    }

    fn not_full(&self, view: &dyn StateView, what: &str, prefix: &[u8], limit: u32) -> Result<(), Halt> {
        if view.scan(prefix)?.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(
                refuse(Code::Full, format!("there are {limit} {what}, the most allowed; try again later")).into()
            );
        }
        Ok(())
    }

    /// The key and the epoch of a list.
    fn check_binding(&self, list: &EncryptedList) -> Result<(), Halt> {
        if let Some(accepted) = self.keys.filter(|accepted| !accepted.contains(&list.key_id)) {
            let current = accepted.first().copied().unwrap_or_default();
            let text = format!("encrypted under key {}; fetch the current public key {current}", list.key_id);
            return Err(refuse(Code::UnknownKey, text).into());
        }
        if let Some((first, last)) = self.epochs.filter(|(first, last)| !(*first..=*last).contains(&list.epoch)) {
            let text = format!("bound to epoch {}, accepted are {first} to {last}; encrypt it anew", list.epoch);
            return Err(refuse(Code::WrongEpoch, text).into());
        }
        Ok(())
    }

    /// The list of a call, with its purpose and number of blocks.
    pub(crate) fn list_of<'c>(&self, call: &'c Call) -> Option<(&'c EncryptedList, Purpose, u16)> {
        match call {
            Call::ReportTelemetry(list) => Some((list, Purpose::Telemetry, report_blocks(self.params.scores()))),
            Call::SubmitJob { request, .. } => Some((request, Purpose::Job, RESOURCE_DIGITS)),
            Call::RegisterCapacity { capacity, .. } => Some((capacity, Purpose::Capacity, CAPACITY_DIGITS)),
            Call::Transfer { .. }
            | Call::RegisterHost { .. }
            | Call::DeliverAnswer { .. }
            | Call::SetPolicy(_)
            | Call::AnchorDeployment { .. }
            | Call::UpdateStatus { .. }
            | Call::OpenAnchor(_) => None,
        }
    }

    /// Verifies an encrypted list and its proof, where there is a backend.
    pub(crate) fn check_list(
        &self,
        sender: &Address,
        (list, purpose, blocks): (&EncryptedList, Purpose, u16),
    ) -> Result<(), TxError> {
        let Some(fhe) = self.fhe else { return Ok(()) };
        let bound = metadata(self.chain, self.paratime, purpose, *sender, list.key_id, list.epoch);
        fhe.verify_input(list.key_id, &list.bytes, blocks, &bound).map_err(|e| refused_input(&e))
    }
}

/// What a call returns: its output, and what it tells the world.
pub(crate) type Done = (Vec<u8>, Vec<Event>);

/// What a job has beside its call.
pub(crate) struct Terms {
    /// Its number among the jobs and transactions of its owner.
    pub(crate) number: Nonce,
    /// What is paid for a unit of FHE gas.
    pub(crate) gas_price: Amount,
    /// What was taken in advance for its attempts.
    pub(crate) escrow: Amount,
    /// The contract that it is for.
    pub(crate) origin: Option<Origin>,
}

/// Applies checked calls.
pub(crate) struct Apply<'a, 'e> {
    pub(crate) rules: &'a Rules<'a>,
    pub(crate) context: &'a RoundContext,
    pub(crate) evaluator: &'a mut Evaluator<'e>,
    /// Position in the batch.
    pub(crate) index: u64,
}

impl Apply<'_, '_> {
    /// Writes what the call says. The fee is paid and every check passed.
    pub(crate) fn call(&mut self, state: &mut Overlay<'_>, tx: &SignedTx) -> Result<Done, Halt> {
        let sender = tx.sender();
        match &tx.body.call {
            Call::Transfer { to, amount } => {
                debit(state, &sender, *amount)?;
                credit(state, to, *amount)?;
                let event =
                    Event::new("scheduler.transferred").with("from", sender).with("to", to).with("amount", amount);
                Ok((Vec::new(), vec![event]))
            }
            Call::RegisterHost { name, organisation, zone, peer_id } => {
                let stake = self.rules.params.host_stake;
                debit(state, &sender, stake)?;
                let host = Host {
                    name: name.clone(),
                    organisation: organisation.clone(),
                    zone: *zone,
                    peer_id: peer_id.clone(),
                    stake,
                    report: None,
                };
                put(state, keys::host(&sender), &host);
                let event = Event::new("scheduler.host_registered").with("host", sender).with("name", name);
                Ok((Vec::new(), vec![event]))
            }
            Call::ReportTelemetry(list) => self.report(state, &sender, list),
            Call::SubmitJob { .. } => {
                let escrow = self.rules.locked(tx)?;
                debit(state, &sender, escrow)?;
                let terms = Terms { number: tx.body.nonce, gas_price: tx.body.gas_price, escrow, origin: None };
                let (id, events) = self.job(state, &sender, &tx.body.call, terms)?;
                Ok((encode(&id), events))
            }
            Call::DeliverAnswer { answers } => {
                let rules = self.rules;
                if let Some(waiting) = audit::pending(state, answers)? {
                    let consistent = audit::check_answer(rules, &waiting, answers)?;
                    return audit::conclude(state, rules.params, &waiting, consistent);
                }
                let answer = answers::check(state, rules.params, rules.chain, rules.paratime, answers)?;
                answers::apply(state, rules.params, self.context.round, answer)
            }
            Call::SetPolicy(change) => change.apply(state),
            Call::AnchorDeployment { job, replica, anchor } => {
                let done = anchors::anchor(state, self.context.round, (job, *replica), *anchor)?;
                self.told(state, &sender, (job, *replica), done)
            }
            Call::UpdateStatus { job, replica, status } => {
                let done = anchors::update(state, self.context.round, (job, *replica), *status)?;
                self.told(state, &sender, (job, *replica), done)
            }
            Call::OpenAnchor(shown) => {
                let said = &shown.host.acknowledgement;
                let done = anchors::open(state, self.context.round, sender, shown)?;
                self.told(state, &sender, (&said.job, said.replica), done)
            }
            Call::RegisterCapacity { capacity, price } => audit::register(self, state, &sender, capacity, *price),
        }
    }

    fn report(&mut self, state: &mut Overlay<'_>, sender: &Address, list: &EncryptedList) -> Result<Done, Halt> {
        let mut host: Host = records::need(state, &keys::host(sender))?;
        let program = self.rules.programs.report(self.rules.params)?;
        let mut outputs = self.evaluator.evaluate(self.index, list.key_id, program, &[&list.bytes])?.into_iter();
        let mut next = || outputs.next().ok_or_else(|| Abort::Local("a report's circuit lacks an output".to_owned()));
        state.put_cipher(keys::host_numbers(sender), list.key_id, NUMBER_BLOCKS, next()?);
        state.put_cipher(keys::host_labels(sender), list.key_id, LABEL_BLOCKS, next()?);
        for policy in self.rules.params.policies.iter().filter(|p| p.is_scored()) {
            state.put_cipher(keys::host_score(sender, *policy), list.key_id, SCORE_BLOCKS, next()?);
        }
        state.put_cipher(keys::host_flag(sender, 0), list.key_id, 1, next()?);
        for flag in 1..host.report.map_or(1, |r| r.flags) {
            state.delete(keys::host_flag(sender, flag));
        }
        audit::keep_report(state, self.rules.params, sender, list);
        let number = host.report.map_or(0, |r| r.number).saturating_add(1);
        host.report = Some(ReportInfo { number, round: self.context.round, key_id: list.key_id, flags: 1 });
        put(state, keys::host(sender), &host);
        let event = Event::new("scheduler.telemetry_reported").with("host", sender).with("report", number);
        Ok((encode(&number), vec![event]))
    }

    /// Tells the contract that a job is for, if it is for one.
    fn told(
        &self,
        state: &mut Overlay<'_>,
        sender: &Address,
        replica: (&Digest, u8),
        done: Done,
    ) -> Result<Done, Halt> {
        let job: Job = records::need(state, &keys::job(replica.0))?;
        messages::deployed(state, self.context.round, sender, replica, (done, &job))
    }

    /// Makes a job of a checked [`Call::SubmitJob`] and queues it.
    pub(crate) fn job(
        &mut self,
        state: &mut Overlay<'_>,
        owner: &Address,
        call: &Call,
        terms: Terms,
    ) -> Result<(Digest, Vec<Event>), Halt> {
        let Call::SubmitJob { request, policy, tier, replication, image } = call else {
            return Err(Abort::Local("a job is made of another call".to_owned()).into());
        };
        let job = Job {
            owner: *owner,
            origin: terms.origin,
            key_id: request.key_id,
            policy: *policy,
            tier: *tier,
            replication: *replication,
            image: image.as_ref().map(|claim| claim.image),
            submitted: self.context.round,
            height: self.context.height,
            index: self.index,
            anchor: None,
            attempts: 0,
            gas_price: terms.gas_price,
            escrow: terms.escrow,
            status: Status::Pending { not_before: self.context.round.next() },
            decision: None,
        };
        let id = job_id(self.rules.chain, self.rules.paratime, *owner, terms.number.0);
        let program = self.rules.programs.job()?;
        let mut outputs = self.evaluator.evaluate(self.index, job.key_id, program, &[&request.bytes])?.into_iter();
        let mut next = || outputs.next().ok_or_else(|| Abort::Local("a job's circuit lacks an output".to_owned()));
        state.put_cipher(keys::job_numbers(&id), job.key_id, NUMBER_BLOCKS, next()?);
        state.put_cipher(keys::job_labels(&id), job.key_id, LABEL_BLOCKS, next()?);
        put(state, keys::job(&id), &job);
        put(state, keys::pending(job.tier, job.submitted, job.index), &id);
        let event = Event::new("scheduler.job_submitted").with("job", id).with("owner", job.owner);
        Ok((id, vec![event]))
    }
}

/// The id of the job that a sender submits with this nonce.
pub fn job_id(chain: ChainContext, paratime: ParaTimeId, owner: Address, nonce: u64) -> Digest {
    Digest::of_value(Domain::JobId, &(chain, paratime, owner, nonce))
}

/// Takes tokens from an account.
pub(crate) fn debit(state: &mut Overlay<'_>, address: &Address, amount: Amount) -> Result<(), Halt> {
    let mut account = records::account(state, address)?;
    account.balance = account.balance.checked_sub(amount.0).ok_or_else(|| {
        refuse(Code::Unaffordable, format!("{address} has {}, {amount} are needed; add funds", account.balance))
    })?;
    put_account(state, address, &account);
    Ok(())
}

/// Gives tokens to an account. All tokens together fit the type, so this cannot overflow but by a fault.
pub(crate) fn credit(state: &mut Overlay<'_>, address: &Address, amount: Amount) -> Result<(), Halt> {
    let mut account = records::account(state, address)?;
    let sum = account.balance.checked_add(amount.0);
    account.balance = sum.ok_or_else(|| Abort::Local(format!("the balance of {address} overflows")))?;
    put_account(state, address, &account);
    Ok(())
}

/// Adds to the fees collected.
pub(crate) fn collect(state: &mut Overlay<'_>, amount: Amount) -> Result<(), Halt> {
    let fees: Amount = get(state, &keys::fees())?.unwrap_or_default();
    let sum = fees.checked_add(amount.0).ok_or_else(|| Abort::Local("the fees collected overflow".to_owned()))?;
    put(state, keys::fees(), &sum);
    Ok(())
}
