//! The specification's rules, held against the model's own book: what the machine did is compared with what was said
//! and when, never with the machine's own fields.

use crate::explore::Action;
use crate::state::{Following, Live, Said, State};
use crate::world::{Value, World};
use parallax_primitives::message::OutMessage;
use parallax_primitives::{Epoch, Height, NodeId};
use parallax_rounds::{
    BlockKind, ChargeReason, DiscrepancyCause, Effect, FailReason, Finalized, Phase, RoundError, RoundEvent,
    RoundState, messages_hash,
};
use std::cell::RefCell;

/// How a round can end.
pub const AT_ONCE: &str = "finalised at once";
/// At its deadline, without stragglers.
pub const AT_DEADLINE: &str = "finalised at the deadline";
/// After a discrepancy.
pub const BY_BACKUPS: &str = "finalised by the backups";
/// Nobody scheduled.
pub const NO_PROPOSAL: &str = "failed: no proposal";
/// The backups say otherwise.
pub const SCHEDULER_WRONG: &str = "failed: scheduler wrong";
/// The backups cannot execute.
pub const FAILURES: &str = "failed: failures";
/// The backups differ too much.
pub const NO_MAJORITY: &str = "failed: no majority";
/// The backups are late.
pub const TIMEOUT: &str = "failed: timeout";
/// There are none.
pub const NO_BACKUPS: &str = "failed: no backups";
/// The accepted result consumes other messages.
pub const IN_MESSAGES: &str = "failed: incoming messages";
/// The epoch ended.
pub const EPOCH_TRANSITION: &str = "epoch transition";
/// Without a committee.
pub const SUSPENDED: &str = "suspended";

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One end.
    OneEnd,
    /// Announcements.
    OneProposal,
    /// What finalises.
    Quorum,
    /// Discrepancies.
    Sticky,
    /// What is due at once.
    Prompt,
    /// What is due at a height.
    Deadline,
    /// Votes.
    OneVote,
    /// What is refused.
    Refused,
    /// Stake.
    Slash,
    /// Liveness.
    Charge,
    /// Epochs.
    Boundary,
    /// The next round.
    Fresh,
    /// Queues.
    Messages,
    /// Failed rounds.
    Ends,
    /// The assumption.
    Honest,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::OneEnd,
        Self::OneProposal,
        Self::Quorum,
        Self::Sticky,
        Self::Prompt,
        Self::Deadline,
        Self::OneVote,
        Self::Refused,
        Self::Slash,
        Self::Charge,
        Self::Boundary,
        Self::Fresh,
        Self::Messages,
        Self::Ends,
        Self::Honest,
    ];

    /// It in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::OneEnd => "a round has at most one terminal effect, and only that advances it",
            Self::OneProposal => "one proposal lives, announced in its window and with room in the epoch",
            Self::Quorum => {
                "a result is accepted with its scheduler's commitment and W (W - S) equal votes, or a strict backup majority"
            }
            Self::Sticky => "a discrepancy never clears inside its round",
            Self::Prompt => "a round moves on as soon as its votes decide",
            Self::Deadline => "no phase outlives its deadline, and none is cut short",
            Self::OneVote => "every vote that was accepted counts once, in its roles",
            Self::Refused => "a commitment of a member with a seat is accepted while it counts, and only then",
            Self::Slash => "exactly those are slashed whose result the backups' majority contradicts",
            Self::Charge => "exactly those are charged or credited who were absent, failed or served",
            Self::Boundary => "an epoch's end or a suspension ends every round but one under resolution",
            Self::Fresh => "the next round begins afresh, and no timer of the last one fires in it",
            Self::Messages => "a result that consumes other messages than those offered is not accepted",
            Self::Ends => "a round fails for the reason that its votes give",
            Self::Honest => "under the assumption no wrong result is accepted and no honest node is slashed",
        }
    }
}

type Judged = Result<(), Rule>;

fn hold(condition: bool, rule: Rule) -> Judged {
    if condition { Ok(()) } else { Err(rule) }
}

fn after(height: Height, blocks: u64) -> Height {
    height.saturating_add(blocks)
}

/// What follows a state; `None` if the machine rightly refuses the action.
pub fn step(world: &World, state: &State, action: Action) -> Option<State> {
    let mut next = state.clone();
    let (event, expected) = event(world, state, action);
    let result = next.round.apply(state.now, event);
    let judged = match (result, expected) {
        (Err(_), false) if next.round == state.round => return None,
        (Err(_), _) | (Ok(_), false) => {
            Err(if matches!(action, Action::Announce(_)) { Rule::OneProposal } else { Rule::Refused })
        }
        (Ok(effects), true) => Step { world, before: state, action, effects: &effects }.judge(&mut next),
    };
    if let Err(rule) = judged {
        next.broken = Some(rule);
    }
    if action == Action::EndBlock {
        next.now = next.now.next();
    }
    next.identify(world);
    Some(next)
}

/// The event of an action, and whether the rules allow it.
fn event(world: &World, state: &State, action: Action) -> (RoundEvent, bool) {
    match action {
        Action::Announce(rank) => {
            let event = RoundEvent::Announcement(world.batches[usize::from(rank)].announced.clone());
            (event, state.live.is_none() && may_announce(world, state, rank))
        }
        Action::Say(node, value) => {
            let Some(live) = state.live else { return (RoundEvent::Height, false) };
            let seated = if live.disputed { world.is_backup(node) } else { true };
            let scheduler = world.ranked(live.rank) == node;
            let allowed = seated && state.said[node].is_none() && !(scheduler && value == Value::Failure);
            (RoundEvent::Commitment(world.vote(live.rank, node, value).clone()), allowed)
        }
        Action::EndBlock => (RoundEvent::Height, true),
        Action::QueueWork => (RoundEvent::WorkQueued, true),
        Action::EndEpoch(seated) => {
            let committee = seated.then(|| world.next.clone());
            (RoundEvent::EpochEnded { committee, epoch: Epoch(1), epoch_end: Height(2_000) }, true)
        }
        Action::Suspend => (RoundEvent::Suspended, true),
    }
}

/// Whether a rank's window is open, and its round fits into the epoch.
fn may_announce(world: &World, state: &State, rank: u16) -> bool {
    let Some(ahead) = rank.checked_sub(state.next_rank) else { return false };
    let open = after(state.opened, u64::from(ahead) * world.setup.window);
    let (detect, resolve) = world.timeouts(rank);
    state.now >= open && after(state.now, detect + resolve) < state.round.epoch_end()
}

/// Whether an empty batch announced at this height fits into the epoch.
fn room(state: &State, height: Height) -> bool {
    after(height, 1 + 2) < state.round.epoch_end()
}

/// From which height on nobody can schedule this round any more.
fn windows_over(world: &World, state: &State) -> Height {
    let left = world.setup.workers as u64 - u64::from(state.next_rank);
    let over = |since: Height| after(since, left * world.setup.window);
    let interval = after(state.round.last_block().height, world.parameters.max_round_interval).max(over(state.opened));
    state.work.map_or(interval, |work| interval.min(over(work.max(state.opened))))
}

struct Step<'a> {
    world: &'a World,
    before: &'a State,
    action: Action,
    effects: &'a [Effect],
}

/// What effects say of stake and liveness, in order of nodes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Consequences {
    charged: Vec<(NodeId, ChargeReason)>,
    slashed: Vec<NodeId>,
    rewarded: Vec<NodeId>,
    credited: Vec<NodeId>,
}

impl Consequences {
    fn of(effects: &[Effect]) -> Self {
        let mut all = Self::default();
        for effect in effects {
            match effect {
                Effect::ChargeLiveness { node, reason } => all.charged.push((*node, *reason)),
                Effect::SlashWrongResult { nodes, agreed } => {
                    all.slashed.extend(nodes);
                    all.rewarded.extend(agreed);
                }
                Effect::LivenessCredit { nodes } => all.credited.extend(nodes),
                _ => {}
            }
        }
        all.sorted()
    }

    fn sorted(mut self) -> Self {
        self.charged.sort_unstable();
        self.slashed.sort_unstable();
        self.rewarded.sort_unstable();
        self.credited.sort_unstable();
        self
    }
}

impl Step<'_> {
    /// Brings the book up to date and holds every rule against the effects.
    fn judge(&self, next: &mut State) -> Judged {
        let before = self.before;
        let ends: Vec<&Effect> = self.effects.iter().filter(|e| e.is_terminal()).collect();
        hold(ends.len() <= 1, Rule::OneEnd)?;
        let rounds = before.round.round().0 + ends.len() as u64;
        hold(next.round.round().0 == rounds, Rule::OneEnd)?;
        match self.action {
            Action::Announce(rank) => self.announced(rank, next)?,
            Action::Say(node, value) => {
                let late = before.live.is_some_and(|live| live.disputed);
                next.said[node] = Some(Said { value, late });
            }
            Action::QueueWork => next.work = before.work.or(Some(before.now)),
            Action::EndEpoch(_) | Action::Suspend => return self.boundary(ends.first().copied(), next),
            Action::EndBlock => {}
        }
        let mut expected = Consequences::default();
        self.dropped(next, &mut expected)?;
        self.discrepancy(next, &mut expected)?;
        match ends.first() {
            Some(Effect::Finalize(done)) => self.finalized(done, next, &mut expected)?,
            Some(Effect::Fail { reason, .. }) => self.failed(*reason, next, &mut expected)?,
            Some(_) => return Err(Rule::Boundary),
            None => self.goes_on(next)?,
        }
        let (expected, found) = (expected.sorted(), Consequences::of(self.effects));
        hold((&expected.slashed, &expected.rewarded) == (&found.slashed, &found.rewarded), Rule::Slash)?;
        hold(found.slashed.iter().all(|node| !found.rewarded.contains(node)), Rule::Slash)?;
        hold((&expected.charged, &expected.credited) == (&found.charged, &found.credited), Rule::Charge)?;
        if self.assumed(next) {
            hold(!next.wrong, Rule::Honest)?;
            let wrong = self.saying(next, |value| value.is_wrong());
            hold(found.slashed.iter().all(|node| wrong.contains(node)), Rule::Honest)?;
        }
        match ends.first() {
            Some(end) => self.fresh(end, next),
            None => self.keeps_book(next),
        }
        .and_then(|()| {
            let stays = ends.is_empty() || before.following.is_none();
            let settled = self.effects.iter().any(|e| matches!(e, Effect::EpochSettled { .. }));
            let advanced = before.following.is_some_and(|f| f.epoch > 0);
            hold(if stays { !settled } else { settled == advanced }, Rule::Boundary)
        })
    }

    fn announced(&self, rank: u16, next: &mut State) -> Judged {
        let (detect, _) = self.world.timeouts(rank);
        let deadline = after(self.before.now, detect);
        next.live = Some(Live { rank, deadline, disputed: false });
        let node = self.world.nodes[self.world.ranked(rank)];
        let told = [Effect::Announced {
            proposal: self.world.batches[usize::from(rank)].announced.get().proposal.digest(),
            scheduler: node,
            rank,
            deadline,
        }];
        hold(self.effects == told, Rule::OneProposal)
    }

    /// A proposal whose scheduler stayed silent.
    fn dropped(&self, next: &mut State, expected: &mut Consequences) -> Judged {
        let told = self.effects.iter().find_map(|e| match e {
            Effect::ProposalDropped { next_rank, .. } => Some(*next_rank),
            _ => None,
        });
        let due = match self.before.live {
            Some(live) => {
                let silent = self.before.claimed(self.world).is_none();
                self.action == Action::EndBlock && silent && self.before.now >= live.deadline
            }
            None => false,
        };
        hold(told.is_some() == due, Rule::Deadline)?;
        let (Some(next_rank), Some(live)) = (told, self.before.live) else { return Ok(()) };
        hold(next_rank == live.rank + 1, Rule::Deadline)?;
        let scheduler = self.world.nodes[self.world.ranked(live.rank)];
        expected.charged.push((scheduler, ChargeReason::SchedulerSilent));
        next.live = None;
        next.said.fill(None);
        (next.next_rank, next.opened) = (next_rank, self.before.now);
        Ok(())
    }

    /// The backups are called.
    fn discrepancy(&self, next: &mut State, expected: &mut Consequences) -> Judged {
        let told: Vec<(DiscrepancyCause, Height)> = self
            .effects
            .iter()
            .filter_map(|e| match e {
                Effect::Discrepancy { cause, deadline, .. } => Some((*cause, *deadline)),
                _ => None,
            })
            .collect();
        let [(cause, deadline)] = told[..] else { return hold(told.is_empty(), Rule::Sticky) };
        let Some(live) = next.live else { return Err(Rule::Prompt) };
        hold(!live.disputed && next.claimed(self.world).is_some(), Rule::Prompt)?;
        let said: Vec<Value> = next.of_workers(self.world).collect();
        let failures = said.iter().filter(|v| **v == Value::Failure).count();
        let equal = most(&said);
        match cause {
            DiscrepancyCause::Votes => hold(differ(&said), Rule::Prompt)?,
            DiscrepancyCause::Failures => hold(failures > self.world.setup.stragglers, Rule::Prompt)?,
            DiscrepancyCause::Timeout => {
                hold(self.at_deadline() && equal < self.world.quorum(), Rule::Deadline)?;
                expected.charged.extend(self.absent_workers(next));
            }
        }
        let (_, resolve) = self.world.timeouts(live.rank);
        hold(deadline == after(self.before.now, resolve), Rule::Deadline)?;
        next.live = Some(Live { deadline, disputed: true, ..live });
        Ok(())
    }

    fn finalized(&self, done: &Finalized, next: &mut State, expected: &mut Consequences) -> Judged {
        let world = self.world;
        let (Some(live), Some(claimed)) = (next.live, next.claimed(world)) else { return Err(Rule::Quorum) };
        let scheduler = world.ranked(live.rank);
        let vote = world.vote(live.rank, scheduler, claimed).get();
        hold(done.commitment == *vote && done.discrepancy == live.disputed, Rule::Quorum)?;
        hold(done.proposal == *world.batches[usize::from(live.rank)].announced.get(), Rule::Quorum)?;
        let parallax_rounds::Outcome::Success { state_root, io_root, trace_root, .. } = vote.commitment.outcome else {
            return Err(Rule::Quorum);
        };
        let block = &done.block;
        hold((block.state_root, block.io_root, block.trace_root) == (state_root, io_root, trace_root), Rule::Quorum)?;
        hold(block.kind == BlockKind::Normal, Rule::Quorum)?;
        hold(claimed != Value::Phantom, Rule::Messages)?;
        let offered = usize::from(world.setup.inbox);
        hold(done.consumed.len() == offered, Rule::Messages)?;
        next.end = Some(match self.accepted_by(next) {
            Some(end) => end,
            None => return Err(Rule::Quorum),
        });
        next.wrong = claimed.is_wrong();
        let agreed = self.saying(next, |value| value == claimed);
        hold(done.agreed == sorted(agreed.clone()), Rule::Quorum)?;
        expected.credited.extend(&agreed);
        if next.end == Some(AT_DEADLINE) {
            expected.charged.extend(self.absent_workers(next));
        }
        let failed = self.saying(next, |value| value == Value::Failure);
        expected.charged.extend(failed.iter().map(|node| (*node, ChargeReason::Failure)));
        if live.disputed {
            let wrong = self.saying(next, |value| value != claimed && value != Value::Failure);
            self.punished(wrong, agreed, expected);
        }
        Ok(())
    }

    /// How the scheduler's result was accepted by what was said; `None` if it may not be.
    fn accepted_by(&self, next: &State) -> Option<&'static str> {
        let (world, claimed) = (self.world, next.claimed(self.world)?);
        let equal = |said: &[Value]| said.iter().filter(|v| **v == claimed).count();
        if next.live?.disputed {
            let said: Vec<Value> = next.of_backups(world).collect();
            return (2 * equal(&said) > world.setup.backups).then_some(BY_BACKUPS);
        }
        let said: Vec<Value> = next.of_workers(world).collect();
        let failures = said.iter().filter(|v| **v == Value::Failure).count();
        if equal(&said) == world.setup.workers {
            return Some(AT_ONCE);
        }
        let enough = !differ(&said) && failures <= world.setup.stragglers && equal(&said) >= world.quorum();
        (self.at_deadline() && enough).then_some(AT_DEADLINE)
    }

    fn failed(&self, reason: FailReason, next: &mut State, expected: &mut Consequences) -> Judged {
        let world = self.world;
        if reason == FailReason::NoProposal {
            next.end = Some(NO_PROPOSAL);
            hold(next.live.is_none() && self.action == Action::EndBlock, Rule::Ends)?;
            let over = usize::from(next.next_rank) == world.setup.workers;
            hold(over || self.before.now >= windows_over(world, self.before), Rule::Ends)?;
            hold(over || room(self.before, self.before.now), Rule::Ends)?;
            let workers = u16::try_from(world.setup.workers).unwrap_or(u16::MAX);
            let late =
                (next.next_rank..workers).map(|rank| (world.nodes[world.ranked(rank)], ChargeReason::NoProposal));
            expected.charged.extend(late);
            return Ok(());
        }
        let (Some(live), Some(claimed)) = (next.live, next.claimed(world)) else { return Err(Rule::Ends) };
        if reason == FailReason::InMessages {
            next.end = Some(IN_MESSAGES);
            hold(claimed == Value::Phantom && self.accepted_by(next).is_some(), Rule::Messages)?;
            hold(next.round.queued_in_messages() == self.before.round.queued_in_messages(), Rule::Messages)?;
            // Nothing of the round has been counted; what a deadline found a moment ago stands.
            // An epoch that ended meanwhile has taken its records with it.
            let late = self.effects.iter().any(|e| matches!(e, Effect::Discrepancy { .. }));
            let settled = self.before.following.is_some_and(|f| f.epoch > 0);
            return hold(late || settled || next.round.records() == self.before.round.records(), Rule::Messages);
        }
        hold(live.disputed, Rule::Ends)?;
        let said: Vec<Value> = next.of_backups(world).collect();
        let (seats, failures) = (world.setup.backups, said.iter().filter(|v| **v == Value::Failure).count());
        let results: Vec<Value> = said.iter().copied().filter(|v| *v != Value::Failure).collect();
        let majority = results.iter().copied().find(|v| 2 * results.iter().filter(|o| *o == v).count() > seats);
        match reason {
            FailReason::NoBackups => {
                next.end = Some(NO_BACKUPS);
                hold(seats == 0, Rule::Ends)
            }
            FailReason::SchedulerWrong => {
                next.end = Some(SCHEDULER_WRONG);
                let Some(right) = majority.filter(|v| *v != claimed) else { return Err(Rule::Ends) };
                let with = self.saying(next, |value| value == claimed);
                let against = self.saying(next, |value| value == right);
                self.punished(with, against, expected);
                Ok(())
            }
            FailReason::Failures => {
                next.end = Some(FAILURES);
                expected.charged.push((world.nodes[world.ranked(live.rank)], ChargeReason::BatchRefused));
                hold(2 * failures > seats, Rule::Ends)
            }
            FailReason::NoMajority => {
                next.end = Some(NO_MAJORITY);
                hold(seats > 0 && 2 * (most(&said) + seats - said.len()) <= seats && 2 * failures <= seats, Rule::Ends)
            }
            FailReason::Timeout => {
                next.end = Some(TIMEOUT);
                let absent = (0..world.nodes.len()).filter(|n| world.is_backup(*n) && next.said[*n].is_none());
                expected.charged.extend(absent.map(|n| (world.nodes[n], ChargeReason::BackupAbsent)));
                hold(self.at_deadline() && majority.is_none(), Rule::Deadline)
            }
            FailReason::NoProposal | FailReason::InMessages => Err(Rule::Ends),
        }
    }

    /// The round goes on: rightly?
    fn goes_on(&self, next: &State) -> Judged {
        let world = self.world;
        let now = self.before.now;
        let ended = self.action == Action::EndBlock;
        let Some(live) = next.live else {
            hold(usize::from(next.next_rank) < world.setup.workers, Rule::Deadline)?;
            let over = ended && now >= windows_over(world, next) && room(next, windows_over(world, next).max(now));
            return hold(!over, Rule::Deadline);
        };
        hold(!ended || now < live.deadline, Rule::Deadline)?;
        let Some(claimed) = next.claimed(world) else { return Ok(()) };
        if !live.disputed {
            let said: Vec<Value> = next.of_workers(world).collect();
            let failures = said.iter().filter(|v| **v == Value::Failure).count();
            let equal = said.iter().filter(|v| **v == claimed).count();
            let open = !differ(&said) && failures <= world.setup.stragglers && equal < world.setup.workers;
            return hold(open, Rule::Prompt);
        }
        let said: Vec<Value> = next.of_backups(world).collect();
        let seats = world.setup.backups;
        let failures = said.iter().filter(|v| **v == Value::Failure).count();
        let open = seats - said.len();
        let undecided = 2 * most(&said) <= seats && 2 * failures <= seats && 2 * (most(&said) + open) > seats;
        hold(undecided, Rule::Prompt)
    }

    /// While a round goes on, the machine holds what the book says.
    fn keeps_book(&self, next: &State) -> Judged {
        let world = self.world;
        let disputed = next.live.is_some_and(|live| live.disputed);
        match next.round.phase() {
            Phase::Resolve { .. } => hold(disputed, Rule::Sticky)?,
            _ => hold(!disputed, Rule::Sticky)?,
        }
        let claimed = next.claimed(world).is_some();
        let fits = match next.round.phase() {
            Phase::Suspended => false,
            Phase::Idle { .. } => next.live.is_none(),
            Phase::Announced { .. } => next.live.is_some() && !claimed,
            Phase::Detect { .. } | Phase::Resolve { .. } => claimed,
        };
        hold(fits, Rule::Prompt)?;
        if let Some(live) = next.live {
            hold(next.round.due() == Some(live.deadline), Rule::Deadline)?;
        }
        let held = next.round.live().map_or(0, |live| live.votes.len());
        hold(held == next.said.iter().flatten().count(), Rule::OneVote)?;
        for (node, said) in next.said.iter().enumerate() {
            let Some(said) = said else { continue };
            let cast = next.round.live().and_then(|live| live.votes.get(&world.nodes[node]));
            let (Some(cast), Some(live)) = (cast, next.live) else { return Err(Rule::OneVote) };
            hold(cast.commitment == *world.vote(live.rank, node, said.value).get(), Rule::OneVote)?;
            hold(cast.as_worker == (world.is_worker(node) && !said.late), Rule::OneVote)?;
            hold(cast.as_backup == world.is_backup(node), Rule::OneVote)?;
        }
        hold(next.round.committee() == self.before.round.committee(), Rule::Boundary)
    }

    /// An epoch's end, or a suspension.
    fn boundary(&self, end: Option<&Effect>, next: &mut State) -> Judged {
        let before = self.before;
        let (seated, epoch) = match self.action {
            Action::EndEpoch(seated) => (seated, 1),
            _ => (false, before.following.map_or(0, |f| f.epoch)),
        };
        if before.live.is_some_and(|live| live.disputed) {
            next.following = Some(Following { seated, epoch });
            hold(self.effects.is_empty(), Rule::Boundary)?;
            return self.keeps_book(next);
        }
        let proposal = before.round.live().map(|live| &live.signed);
        let (was_seated, ended) = (before.round.committee().is_some(), matches!(self.action, Action::EndEpoch(_)));
        match end {
            Some(Effect::EpochTransition { proposal: dropped, .. }) => {
                hold(seated && dropped.as_ref() == proposal, Rule::Boundary)?;
                next.end = Some(EPOCH_TRANSITION);
            }
            Some(Effect::Suspend { proposal: dropped, .. }) => {
                hold(was_seated && !seated && dropped.as_ref() == proposal, Rule::Boundary)?;
                next.end = Some(SUSPENDED);
            }
            Some(_) => return Err(Rule::Boundary),
            None => hold(!was_seated && !seated, Rule::Boundary)?,
        }
        let settled = self.effects.iter().filter(|e| matches!(e, Effect::EpochSettled { .. })).count();
        hold(settled == usize::from(ended), Rule::Boundary)?;
        hold(Consequences::of(self.effects) == Consequences::default(), Rule::Charge)?;
        next.following = Some(Following { seated, epoch });
        match end {
            Some(end) => self.fresh(end, next),
            None => {
                // An epoch without a committee follows another.
                next.following = None;
                next.end = Some(SUSPENDED);
                hold(matches!(next.round.phase(), Phase::Suspended) && next.round.due().is_none(), Rule::Boundary)
            }
        }
    }

    /// The next round is like a first one.
    fn fresh(&self, end: &Effect, next: &State) -> Judged {
        let (world, before, now) = (self.world, self.before, self.before.now);
        let round = &next.round;
        let Some(block) = end.block() else { return Err(Rule::OneEnd) };
        hold(block == round.last_block() && block.hash() == round.last_hash(), Rule::Fresh)?;
        hold(block.round == before.round.round() && block.previous_hash == before.round.last_hash(), Rule::Fresh)?;
        hold(block.height == now, Rule::Fresh)?;
        let accepted = matches!(end, Effect::Finalize(_));
        hold((block.kind == BlockKind::Normal) == accepted, Rule::Fresh)?;
        let height = if accepted { now } else { before.round.accepted_height() };
        hold(round.accepted_height() == height, Rule::Fresh)?;
        if !accepted {
            hold(block.state_root == before.round.last_block().state_root, Rule::Fresh)?;
            hold(block.messages_hash == messages_hash::<OutMessage>(&[]), Rule::Fresh)?;
        }
        let following = next.following.or(before.following);
        let committee = match following {
            None => Some(&world.committee),
            Some(Following { seated: false, .. }) => None,
            Some(Following { seated: true, .. }) => Some(&world.next),
        };
        hold(round.committee() == committee, Rule::Boundary)?;
        hold(round.epoch().0 == following.map_or(0, |f| f.epoch), Rule::Boundary)?;
        match round.phase() {
            Phase::Suspended => hold(committee.is_none() && round.due().is_none(), Rule::Fresh)?,
            Phase::Idle { from_rank, since } => {
                hold(committee.is_some() && (*from_rank, *since) == (0, now), Rule::Fresh)?;
                hold(round.due().is_some_and(|due| due > now), Rule::Fresh)?;
            }
            _ => return Err(Rule::Fresh),
        }
        hold(round.offered_in_messages().len() == round.queued_in_messages(), Rule::Fresh)?;
        let waits = !accepted && before.work.is_some() || round.queued_in_messages() > 0;
        hold(round.has_work() == waits, Rule::Fresh)?;
        // Whatever was due in the round that ended is due no more.
        let mut later = round.clone();
        let quiet = later.apply(now, RoundEvent::Height);
        hold(quiet.is_ok_and(|effects| effects.is_empty()) && later.phase() == round.phase(), Rule::Fresh)
    }

    fn punished(&self, wrong: Vec<NodeId>, right: Vec<NodeId>, expected: &mut Consequences) {
        for node in wrong {
            let before = self.before.round.records().get(&node).map_or(0, |record| record.wrong_results);
            if before + 1 >= self.world.setup.slash_from {
                expected.slashed.push(node);
            } else {
                expected.charged.push((node, ChargeReason::WrongResult));
            }
        }
        if !expected.slashed.is_empty() {
            expected.rewarded = right;
        }
    }

    fn at_deadline(&self) -> bool {
        self.action == Action::EndBlock && self.before.live.is_some_and(|live| self.before.now >= live.deadline)
    }

    fn absent_workers(&self, next: &State) -> Vec<(NodeId, ChargeReason)> {
        let absent = (0..self.world.setup.workers).filter(|node| next.said[*node].is_none());
        absent.map(|node| (self.world.nodes[node], ChargeReason::WorkerAbsent)).collect()
    }

    fn saying(&self, next: &State, which: impl Fn(Value) -> bool) -> Vec<NodeId> {
        let nodes = next.said.iter().enumerate().filter(|(_, said)| said.is_some_and(|s| which(s.value)));
        nodes.map(|(node, _)| self.world.nodes[node]).collect()
    }

    /// Whether fewer than `W - S` workers and fewer than half of the backups said something wrong.
    fn assumed(&self, next: &State) -> bool {
        let wrong = |node: usize| next.said[node].is_some_and(|said| said.value.is_wrong());
        let workers = (0..next.said.len()).filter(|n| self.world.is_worker(*n) && wrong(*n)).count();
        let backups = (0..next.said.len()).filter(|n| self.world.is_backup(*n) && wrong(*n)).count();
        workers < self.world.quorum() && (2 * backups < self.world.setup.backups || self.world.setup.backups == 0)
    }
}

fn sorted(mut nodes: Vec<NodeId>) -> Vec<NodeId> {
    nodes.sort_unstable();
    nodes
}

/// Whether two different results are among these.
fn differ(said: &[Value]) -> bool {
    let mut results = said.iter().filter(|v| **v != Value::Failure);
    let first = results.next();
    results.any(|value| Some(value) != first)
}

/// How many say the most frequent result.
fn most(said: &[Value]) -> usize {
    let count = |value: &Value| said.iter().filter(|other| *other == value).count();
    said.iter().filter(|v| **v != Value::Failure).map(count).max().unwrap_or(0)
}

/// Whether heights alone end the round from this state.
pub fn ends(world: &World, state: &State) -> bool {
    if state.end.is_some() || state.broken.is_some() {
        return true;
    }
    let (mut round, mut now) = (state.round.clone(), state.now);
    // Each worker's turn takes a window and a deadline at most, and one discrepancy a resolution.
    for _ in 0..2 * world.setup.workers + 2 {
        let Some(due) = round.due() else { return round.committee().is_none() };
        now = now.max(due);
        let over = now >= round.epoch_end() && !matches!(round.phase(), Phase::Resolve { .. });
        let event = match over {
            true => RoundEvent::EpochEnded { committee: None, epoch: Epoch(9), epoch_end: Height(9_000) },
            false => RoundEvent::Height,
        };
        match round.apply(now, event) {
            Ok(effects) if effects.iter().any(Effect::is_terminal) => return true,
            Ok(_) => now = now.next(),
            Err(_) => return false,
        }
    }
    false
}

/// Whether everything that must be refused in this state is refused, for the right reason, and changes nothing.
pub fn refuses(world: &World, state: &State) -> bool {
    if state.end.is_some() || state.broken.is_some() {
        return true;
    }
    let round: RefCell<RoundState> = RefCell::new(state.round.clone());
    let refused = |event: RoundEvent, right: &dyn Fn(&RoundError) -> bool| {
        let mut round = round.borrow_mut();
        round.apply(state.now, event).is_err_and(|error| right(&error)) && *round == state.round
    };
    let batch = |rank: usize| &world.batches[rank];
    let Some(live) = state.live else {
        let vote = RoundEvent::Commitment(world.vote(0, world.ranked(0), Value::Honest).clone());
        if state.round.committee().is_none() {
            let announcement = RoundEvent::Announcement(batch(0).announced.clone());
            let vacant = |e: &RoundError| {
                matches!(e, RoundError::Suspended | RoundError::WrongParent { .. } | RoundError::WrongRound { .. })
            };
            return refused(vote, &vacant) && refused(announcement, &vacant);
        }
        return refused(vote, &|e| matches!(e, RoundError::NoProposal { .. }))
            && (0..world.setup.workers).all(|at| {
                let rank = u16::try_from(at).unwrap_or(u16::MAX);
                let may = may_announce(world, state, rank);
                let ill = |e: &RoundError| !may || matches!(e, RoundError::BadBatchRoot { .. });
                let fat = |e: &RoundError| !may || matches!(e, RoundError::BatchTooLarge { .. });
                refused(RoundEvent::Announcement(batch(at).false_root.clone()), &ill)
                    && refused(RoundEvent::Announcement(batch(at).oversize.clone()), &fat)
            });
    };
    let rank = usize::from(live.rank);
    let scheduler = world.ranked(live.rank);
    let is_live = |e: &RoundError| matches!(e, RoundError::ProposalLive { .. });
    let another = (rank + 1) % world.setup.workers;
    let announcements = [&batch(rank).announced, &batch(rank).other, &batch(another).announced];
    if !announcements.into_iter().all(|a| refused(RoundEvent::Announcement(a.clone()), &is_live)) {
        return false;
    }
    (0..world.nodes.len()).all(|node| {
        let say = |value| RoundEvent::Commitment(world.vote(live.rank, node, value).clone());
        match state.said[node] {
            Some(said) => {
                let other = if said.value == Value::WrongA { Value::Honest } else { Value::WrongA };
                let again = |e: &RoundError| matches!(e, RoundError::Duplicate { .. });
                refused(say(said.value), &again) && refused(say(other), &again)
            }
            None if live.disputed && !world.is_backup(node) => {
                refused(say(Value::Honest), &|e| matches!(e, RoundError::OnlyBackups { .. }))
            }
            None => {
                let commit = |of: &[parallax_rounds::Verified<parallax_rounds::SignedCommitment>]| {
                    RoundEvent::Commitment(of[node].clone())
                };
                let foreign = world.vote(u16::try_from(another).unwrap_or(0), node, Value::Honest).clone();
                refused(commit(&batch(rank).on_other_parent), &|e| matches!(e, RoundError::WrongParent { .. }))
                    && refused(commit(&batch(rank).in_other_round), &|e| matches!(e, RoundError::WrongRound { .. }))
                    && refused(RoundEvent::Commitment(foreign), &|e| matches!(e, RoundError::OtherProposal { .. }))
                    && refused(commit(&batch(rank).with_message), &|e| match node == scheduler {
                        true => matches!(e, RoundError::BadMessages { .. }),
                        false => matches!(e, RoundError::UnexpectedMessages { .. }),
                    })
                    && (node != scheduler
                        || refused(say(Value::Failure), &|e| matches!(e, RoundError::SchedulerFailure { .. })))
            }
        }
    })
}
