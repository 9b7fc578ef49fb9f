//! A state of the model: the real machine, and the book that the model keeps beside it.

use crate::rules::Rule;
use crate::world::{Value, World};
use parallax_primitives::Height;
use parallax_rounds::RoundState;
use std::hash::{Hash, Hasher};

/// What a member said of the live proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// What.
    pub value: Value,
    /// Whether it came in the resolution: then it counts among the backups only.
    pub late: bool,
}

/// A live proposal, by the model's own book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its rank.
    pub rank: u16,
    /// The last height of the phase.
    pub deadline: Height,
    /// Whether the backups decide.
    pub disputed: bool,
}

/// What follows a resolution: whether there is a committee, and in which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// Whether a committee was elected.
    pub seated: bool,
    /// The epoch.
    pub epoch: u64,
}

/// One state.
#[derive(Clone, Debug)]
pub struct State {
    /// The machine itself.
    pub round: RoundState,
    /// The height of the block that is being filled.
    pub now: Height,
    /// The live proposal.
    pub live: Option<Live>,
    /// By node.
    pub said: Vec<Option<Said>>,
    /// The lowest rank that may announce.
    pub next_rank: u16,
    /// Since when it may.
    pub opened: Height,
    /// Since when work waits.
    pub work: Option<Height>,
    /// What follows the resolution under way.
    pub following: Option<Following>,
    /// How the round ended.
    pub end: Option<&'static str>,
    /// Whether a wrong result was accepted.
    pub wrong: bool,
    /// The rule that the last step broke.
    pub broken: Option<Rule>,
    /// What identifies it.
    pub key: Vec<u8>,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key.hash(hasher);
    }
}

impl State {
    /// The beginning of a round.
    pub fn beginning(world: &World, round: &RoundState) -> Self {
        let mut state = Self {
            round: round.clone(),
            now: Height(1),
            live: None,
            said: vec![None; world.nodes.len()],
            next_rank: 0,
            opened: Height(0),
            work: round.has_work().then_some(Height(0)),
            following: None,
            end: None,
            wrong: false,
            broken: None,
            key: Vec::new(),
        };
        state.identify(world);
        state
    }

    /// The scheduler of the live proposal.
    pub fn scheduler(&self, world: &World) -> Option<usize> {
        self.live.map(|live| world.ranked(live.rank))
    }

    /// What the scheduler said.
    pub fn claimed(&self, world: &World) -> Option<Value> {
        self.said[self.scheduler(world)?].map(|said| said.value)
    }

    /// What each worker said while workers counted.
    pub fn of_workers<'a>(&'a self, world: &'a World) -> impl Iterator<Item = Value> + 'a {
        let counts = |(node, said): &(usize, &Option<Said>)| world.is_worker(*node) && said.is_some_and(|s| !s.late);
        self.said.iter().enumerate().filter(counts).filter_map(|(_, said)| said.map(|s| s.value))
    }

    /// What each backup said, early or not.
    pub fn of_backups<'a>(&'a self, world: &'a World) -> impl Iterator<Item = Value> + 'a {
        self.said.iter().enumerate().filter(|(node, _)| world.is_backup(*node)).filter_map(|(_, s)| s.map(|s| s.value))
    }

    /// Fixes what identifies the state. Called once it will not change any more.
    pub fn identify(&mut self, world: &World) {
        self.key = match world.setup.reduced {
            true => self.canonical(world),
            false => self.full(),
        };
    }

    /// The same for states that run alike; see the module's text for why.
    pub fn canonical(&self, world: &World) -> Vec<u8> {
        if let Some(rule) = self.broken {
            return vec![1, rule as u8];
        }
        if let Some(end) = self.end {
            return [&[2, u8::from(self.wrong)], end.as_bytes()].concat();
        }
        let until = |height: Height| u8::try_from(height.0.saturating_sub(self.now.0).min(200)).unwrap_or(u8::MAX);
        let Some(live) = self.live else {
            // Idle or suspended: ranks and heights matter, votes there are none.
            let mut key = vec![3, u8::from(self.round.committee().is_some()), until(self.round.epoch_end())];
            key.extend([self.next_rank.to_le_bytes()[0], self.now.0.to_le_bytes()[0], self.opened.0.to_le_bytes()[0]]);
            key.push(self.work.map_or(u8::MAX, |height| height.0.to_le_bytes()[0]));
            return key;
        };
        let scheduler = world.ranked(live.rank);
        let mut key = vec![4, live.rank.to_le_bytes()[0], until(live.deadline), u8::from(live.disputed)];
        key.push(u8::from(self.work.is_some()));
        if self.said[scheduler].is_none() {
            // It may become idle again, and is so in the same round with the same epoch's end.
            key.extend([self.now.0.to_le_bytes()[0], until(self.round.epoch_end())]);
            key.push(self.work.map_or(u8::MAX, |height| height.0.to_le_bytes()[0]));
        } else {
            // What is compared now ends by the last deadline that can follow: later ends of the epoch are all alike.
            let resolve = if live.disputed { 0 } else { world.timeouts(live.rank).1 };
            let horizon = until(live.deadline).saturating_add(u8::try_from(resolve + 1).unwrap_or(u8::MAX));
            key.push(until(self.round.epoch_end()).min(horizon));
        }
        key.push(self.following.map_or(0, |f| 1 + u8::from(f.seated) + 2 * u8::from(f.epoch > 0)));
        let votes = |swap: bool| {
            let mut votes: Vec<[u8; 4]> = (0..self.said.len())
                .map(|node| {
                    let seat = u8::from(world.is_worker(node)) + 2 * u8::from(world.is_backup(node));
                    let said = self.said[node].map_or([0, 0], |said| [value(said.value, swap), u8::from(said.late)]);
                    [u8::from(node == scheduler), seat, said[0], said[1]]
                })
                .collect();
            votes.sort_unstable();
            votes.concat()
        };
        key.extend(votes(false).min(votes(true)));
        key
    }

    /// Everything.
    fn full(&self) -> Vec<u8> {
        let book = format!(
            "{} {:?} {:?} {} {} {:?} {:?} {:?} {} {:?}",
            self.now,
            self.live,
            self.said,
            self.next_rank,
            self.opened,
            self.work,
            self.following,
            self.end,
            self.wrong,
            self.broken
        );
        [book.into_bytes(), self.round.encode()].concat()
    }
}

/// A number for a value; `swap` exchanges the wrong ones.
fn value(value: Value, swap: bool) -> u8 {
    match (value, swap) {
        (Value::Honest, _) => 1,
        (Value::WrongA, false) | (Value::WrongB, true) => 2,
        (Value::WrongB, false) | (Value::WrongA, true) => 3,
        (Value::Phantom, _) => 4,
        (Value::Failure, _) => 5,
    }
}
