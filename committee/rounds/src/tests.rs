//! One test a rule. Members are numbered: in `Fixture::new(2, 3, 0)` workers are 0 and 1, backups 2, 3 and 4.

mod boundaries;
mod exhaustive;
mod lessons;
mod messages;
mod properties;
mod rounds;
