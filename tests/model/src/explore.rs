//! The model as stateright sees it.

use crate::rules::{self, Rule};
use crate::state::State;
use crate::world::{Setup, World};
use parallax_rounds::Phase;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use std::fmt::Write as _;

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The worker of a rank announces its batch.
    Announce(u16),
    /// A node says something of the live proposal.
    Say(usize, crate::world::Value),
    /// The block ends: what is due at its height happens, and the next one is filled.
    EndBlock,
    /// Work is queued on chain.
    QueueWork,
    /// The epoch ends; whether a committee is elected.
    EndEpoch(bool),
    /// The ledger suspends the ParaTime.
    Suspend,
}

/// One round of a committee.
#[derive(Debug)]
pub struct Round {
    /// Its members.
    pub world: World,
}

/// Ends that a run of this setup must be able to reach; a model that cannot would prove nothing about them.
fn reachable(setup: &Setup) -> Vec<&'static str> {
    let mut ends = vec![rules::AT_ONCE, rules::NO_PROPOSAL];
    if setup.stragglers > 0 {
        ends.push(rules::AT_DEADLINE);
    }
    if setup.backups == 0 {
        ends.push(rules::NO_BACKUPS);
    } else {
        ends.extend([rules::BY_BACKUPS, rules::SCHEDULER_WRONG, rules::TIMEOUT]);
    }
    if setup.backups > 1 {
        ends.push(rules::NO_MAJORITY);
    }
    if setup.backups > 0 && setup.values.contains(&crate::world::Value::Failure) {
        ends.push(rules::FAILURES);
    }
    if setup.disturbed {
        ends.extend([rules::EPOCH_TRANSITION, rules::SUSPENDED]);
    }
    if setup.values.contains(&crate::world::Value::Phantom) {
        ends.push(rules::IN_MESSAGES);
    }
    ends
}

macro_rules! ends {
    ($($end:ident),* $(,)?) => {
        fn reaches(end: &'static str) -> fn(&Round, &State) -> bool {
            match end {
                $(rules::$end => |_, state| state.end == Some(rules::$end),)*
                _ => |_, _| false,
            }
        }
    };
}
ends!(
    AT_ONCE,
    AT_DEADLINE,
    BY_BACKUPS,
    NO_PROPOSAL,
    SCHEDULER_WRONG,
    FAILURES,
    NO_MAJORITY,
    TIMEOUT,
    NO_BACKUPS,
    IN_MESSAGES,
    EPOCH_TRANSITION,
    SUSPENDED,
);

macro_rules! keeps {
    ($($rule:ident),* $(,)?) => {
        fn keeps(rule: Rule) -> fn(&Round, &State) -> bool {
            match rule {
                $(Rule::$rule => |_, state| state.broken != Some(Rule::$rule),)*
            }
        }
    };
}
keeps!(
    OneEnd,
    OneProposal,
    Quorum,
    Sticky,
    Prompt,
    Deadline,
    OneVote,
    Refused,
    Slash,
    Charge,
    Boundary,
    Fresh,
    Messages,
    Ends,
    Honest,
);

impl Model for Round {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.world.beginnings.iter().map(|round| State::beginning(&self.world, round)).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.end.is_some() || state.broken.is_some() {
            return;
        }
        let setup = &self.world.setup;
        let suspended = matches!(state.round.phase(), Phase::Suspended);
        let disputed = state.live.is_some_and(|live| live.disputed);
        if state.now >= state.round.epoch_end() && !disputed {
            // The ledger ends the epoch before this block's transactions.
            actions.extend([Action::EndEpoch(true), Action::EndEpoch(false)]);
            return;
        }
        if state.live.is_some() {
            for node in 0..self.world.nodes.len() {
                if state.said[node].is_none() {
                    actions.extend(setup.values.iter().map(|value| Action::Say(node, *value)));
                }
            }
        } else if !suspended {
            actions.extend((0..setup.ranks).map(Action::Announce));
            if state.work.is_none() {
                actions.push(Action::QueueWork);
            }
        }
        if !suspended {
            actions.push(Action::EndBlock);
        }
        let advanced = state.following.is_some_and(|f| f.epoch > 0);
        if (setup.disturbed || suspended) && !advanced {
            actions.extend([Action::EndEpoch(true), Action::EndEpoch(false)]);
        }
        if setup.disturbed && state.following.is_none_or(|f| f.seated) {
            actions.push(Action::Suspend);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        rules::step(&self.world, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all: Vec<Property<Self>> =
            Rule::ALL.iter().map(|rule| Property::always(rule.text(), keeps(*rule))).collect();
        all.push(Property::always(
            "what a round refuses it refuses in every state, and changes nothing",
            |model, state| rules::refuses(&model.world, state),
        ));
        all.push(Property::always("from every state heights alone end the round", |model, state| {
            rules::ends(&model.world, state)
        }));
        all.push(Property::eventually("every path ends the round", |_: &Self, state: &State| {
            state.end.is_some() || matches!(state.round.phase(), Phase::Suspended)
        }));
        all.extend(reachable(&self.world.setup).into_iter().map(|end| Property::sometimes(end, reaches(end))));
        if self.world.setup.backups > 0 {
            let beyond = "beyond the assumption a wrong result is accepted";
            all.push(Property::sometimes(beyond, |_, state: &State| state.wrong));
        }
        all
    }
}

/// Stands for the path to what no path leads to.
const UNREACHED: &str = "it is never reached";

/// What an exploration found.
#[derive(Debug)]
pub struct Report {
    /// States, each counted once.
    pub states: usize,
    /// Steps taken, states reached twice included.
    pub steps: usize,
    /// Properties that hold, of how many.
    pub properties: usize,
    /// The longest shortest path.
    pub depth: usize,
    /// For each property that does not hold: its text, and a path to the proof.
    pub violations: Vec<(String, String)>,
}

/// Explores everything.
pub fn explore(setup: &Setup, threads: usize) -> Report {
    let model = Round { world: World::new(setup.clone()) };
    let properties = model.properties().len();
    let checker = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut violations = Vec::new();
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        let path = match (&property.expectation, found) {
            (Expectation::Sometimes, None) => UNREACHED.to_owned(),
            (Expectation::Sometimes, Some(_)) | (_, None) => continue,
            (_, Some(path)) => {
                let mut text = String::new();
                for action in path.into_actions() {
                    let _ = write!(text, "{action:?}; ");
                }
                text
            }
        };
        violations.push((property.name.to_owned(), path));
    }
    // The first broken rule ends the exploration; what was not reached by then says nothing.
    if violations.iter().any(|(_, path)| path != UNREACHED) {
        violations.retain(|(_, path)| path != UNREACHED);
    }
    Report {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        properties,
        depth: checker.max_depth(),
        violations,
    }
}
