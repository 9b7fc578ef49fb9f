//! What a run leaves behind: the audit hash, the counters, and, if wanted, the transcript.

use parallax_primitives::Digest;
use std::collections::BTreeMap;

/// How often each kind of thing happened.
pub type Coverage = BTreeMap<String, u64>;

/// One broken property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker's name, stable.
    pub checker: &'static str,
    /// What it found, where and when.
    pub what: String,
}

pub(crate) struct Log {
    audit: blake3::Hasher,
    lines: Option<Vec<String>>,
    pub(crate) coverage: Coverage,
    pub(crate) violations: Vec<Violation>,
}

impl Log {
    pub(crate) fn new(transcript: bool) -> Self {
        Self {
            audit: blake3::Hasher::new(),
            lines: transcript.then(Vec::new),
            coverage: Coverage::new(),
            violations: Vec::new(),
        }
    }

    /// Adds an event to the audit hash.
    pub(crate) fn audit(&mut self, now: u64, tag: u8, node: usize, content: &[u8]) {
        self.audit.update(&now.to_le_bytes());
        self.audit.update(&[tag, u8::try_from(node).unwrap_or(u8::MAX)]);
        self.audit.update(&(content.len() as u64).to_le_bytes());
        self.audit.update(content);
    }

    /// Adds a line to the transcript; the text is made only if there is one.
    pub(crate) fn say(&mut self, now: u64, height: u64, who: &str, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>7}.{:03}  h {height:<4} {who:<6} {}", now / 1_000, now % 1_000, text()));
        }
    }

    pub(crate) fn count(&mut self, what: &str) {
        match self.coverage.get_mut(what) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                self.coverage.insert(what.to_owned(), 1);
            }
        }
    }

    pub(crate) fn violation(&mut self, now: u64, height: u64, checker: &'static str, what: String) {
        self.say(now, height, "CHECK", || format!("{checker}: {what}"));
        // One broken thing often breaks others; the first ones tell.
        if self.violations.len() < 16 {
            self.violations.push(Violation { checker, what });
        }
    }

    pub(crate) fn finish(self) -> (Digest, Option<Vec<String>>, Coverage, Vec<Violation>) {
        (Digest(*self.audit.finalize().as_bytes()), self.lines, self.coverage, self.violations)
    }
}
