//! The on-disk format: how rows are named in each column. Changing anything here needs a new [`FORMAT`].
//!
//! | column | row | content |
//! | --- | --- | --- |
//! | `Meta` | `state/format` | [`FORMAT`] |
//! | `Meta` | `state/head/` ns | [`Head`] |
//! | `Meta` | `state/root/` ns, version | [`RootRecord`] |
//! | `Nodes` | ns, version, nibbles | borsh of `jmt::storage::Node` |
//! | `Values` | ns, escaped key, version | borsh of `Option<Value>`; `None` is a tombstone |
//! | `Stale` | ns, since, kind, the row it names without ns | [`Replaced`] for values, else empty |
//! | `Blobs` | digest | packed bytes, see `blobs` |
//! | `BlobRefs` | digest | `u64`: how many rows of `Values` name it; no row means 0 |
//! | `Pins` | 0, length of holder, holder, digest | empty |
//! | `Pins` | 1, digest, holder | empty |
//!
//! Numbers in row names are big-endian, so that rows sort by them.

use crate::{Column, Namespace, StateError, Version};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Digest, decode};

/// The version of the on-disk format, checked at every open.
pub const FORMAT: u32 = 1;

/// Where the format version stands in [`Column::Meta`].
pub(crate) const FORMAT_ROW: &[u8] = b"state/format";
/// What begins every row of [`Column::Meta`] that belongs to this crate.
pub(crate) const META_PREFIX: &[u8] = b"state/";

const HEAD_PREFIX: &[u8] = b"state/head/";
const ROOT_PREFIX: &[u8] = b"state/root/";
/// Ends an escaped key; sorts before every continuation of it.
const END: [u8; 2] = [0, 1];
/// Stands for a zero byte inside a key.
const ZERO: [u8; 2] = [0, 0xff];
const VERSION_BYTES: usize = size_of::<Version>();

/// Where a tree stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Head {
    /// The last committed version.
    pub(crate) latest: Version,
    /// The first version that may be read.
    pub(crate) oldest: Version,
    /// Everything that was replaced at or before this version is gone from the disk.
    pub(crate) pruned: Version,
}

/// What one committed version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct RootRecord {
    pub(crate) root: Digest,
    /// The version at which the root node was written: earlier than this record's if the version changed nothing;
    /// `None` for an empty tree.
    pub(crate) node: Option<Version>,
}

/// What a replaced value row was, so that pruning need not read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Replaced {
    /// The blob that the replaced row names.
    pub(crate) cipher: Option<Digest>,
    /// Whether the replacing row is a tombstone: it goes together with what it hides.
    pub(crate) tombstone: bool,
}

/// What a row of [`Column::Stale`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaleKind {
    Node,
    Value,
    Root,
}

impl StaleKind {
    fn tag(self) -> u8 {
        match self {
            Self::Node => 0,
            Self::Value => 1,
            Self::Root => 2,
        }
    }
}

pub(crate) fn head(ns: &Namespace) -> Vec<u8> {
    [HEAD_PREFIX, &ns.prefix()].concat()
}

/// Every [`Head`] row.
pub(crate) fn heads() -> (Vec<u8>, Vec<u8>) {
    (HEAD_PREFIX.to_vec(), successor(HEAD_PREFIX))
}

/// The namespace of a [`Head`] row.
pub(crate) fn head_namespace(row: &[u8]) -> Result<Namespace, StateError> {
    let bytes = row.strip_prefix(HEAD_PREFIX).unwrap_or_default();
    decode("namespace", bytes, 64).map_err(|e| corrupt(Column::Meta, row, e))
}

pub(crate) fn root(ns: &Namespace, version: Version) -> Vec<u8> {
    [ROOT_PREFIX, &ns.prefix(), &version.to_be_bytes()].concat()
}

pub(crate) fn node(ns: &Namespace, version: Version, nibbles: &[u8]) -> Vec<u8> {
    [&ns.prefix()[..], &version.to_be_bytes(), nibbles].concat()
}

fn escape(key: &[u8], into: &mut Vec<u8>) {
    for &byte in key {
        match byte {
            0 => into.extend(ZERO),
            byte => into.push(byte),
        }
    }
}

/// Begins the rows of every key with this prefix, and no others.
pub(crate) fn values(ns: &Namespace, prefix: &[u8]) -> Vec<u8> {
    let mut row = ns.prefix();
    escape(prefix, &mut row);
    row
}

/// Begins the rows of exactly this key, one a version.
pub(crate) fn versions(ns: &Namespace, key: &[u8]) -> Vec<u8> {
    let mut row = values(ns, key);
    row.extend(END);
    row
}

pub(crate) fn value(ns: &Namespace, key: &[u8], version: Version) -> Vec<u8> {
    let mut row = versions(ns, key);
    row.extend(version.to_be_bytes());
    row
}

/// Splits the name of a value row into what begins all rows of its key, and its version.
pub(crate) fn split_value(row: &[u8]) -> Result<(&[u8], Version), StateError> {
    let at = row.len().saturating_sub(VERSION_BYTES);
    match (row.get(..at), row.get(at..).and_then(|v| <[u8; VERSION_BYTES]>::try_from(v).ok())) {
        (Some(versions), Some(version)) => Ok((versions, Version::from_be_bytes(version))),
        _ => Err(corrupt(Column::Values, row, "the row has no version")),
    }
}

/// The key of the rows that begin with `versions`, the inverse of [`versions`].
pub(crate) fn unescape(ns: &Namespace, versions: &[u8]) -> Result<Vec<u8>, StateError> {
    let bad = || corrupt(Column::Values, versions, "the key is not escaped as it should be");
    let escaped = versions.strip_prefix(&ns.prefix()[..]).and_then(|rest| rest.strip_suffix(&END)).ok_or_else(bad)?;
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        if byte == 0 && bytes.next() != Some(&ZERO[1]) {
            return Err(bad());
        }
        key.push(byte);
    }
    Ok(key)
}

/// A row of [`Column::Stale`]; `target` is the full name of the row that was replaced at `since`.
pub(crate) fn stale(ns: &Namespace, since: Version, kind: StaleKind, target: &[u8]) -> Vec<u8> {
    let start = match kind {
        StaleKind::Root => ROOT_PREFIX.len().saturating_add(ns.prefix().len()),
        StaleKind::Node | StaleKind::Value => ns.prefix().len(),
    };
    let rest = target.get(start..).unwrap_or_default();
    [&ns.prefix()[..], &since.to_be_bytes(), &[kind.tag()], rest].concat()
}

/// The rows of [`Column::Stale`] of what was replaced at versions in `from..=to`.
pub(crate) fn stale_range(ns: &Namespace, from: Version, to: Version) -> (Vec<u8>, Vec<u8>) {
    let bound = |version: Version| [&ns.prefix()[..], &version.to_be_bytes()].concat();
    (bound(from), successor(&bound(to)))
}

/// The inverse of [`stale`]: since when, of what kind, and the full name of the replaced row.
pub(crate) fn split_stale(ns: &Namespace, row: &[u8]) -> Result<(Version, StaleKind, Vec<u8>), StateError> {
    let bad = || corrupt(Column::Stale, row, "the row names nothing that can be replaced");
    let prefix = ns.prefix();
    let rest = row.strip_prefix(&prefix[..]).ok_or_else(bad)?;
    let (since, rest) = rest.split_first_chunk::<VERSION_BYTES>().ok_or_else(bad)?;
    let (tag, rest) = rest.split_first().ok_or_else(bad)?;
    let since = Version::from_be_bytes(*since);
    match tag {
        0 => Ok((since, StaleKind::Node, [&prefix[..], rest].concat())),
        1 => Ok((since, StaleKind::Value, [&prefix[..], rest].concat())),
        2 => Ok((since, StaleKind::Root, [ROOT_PREFIX, &prefix, rest].concat())),
        _ => Err(bad()),
    }
}

/// Begins the pins of a holder. Holders are at most `MAX_KEY_BYTES` long, so that the length fits two bytes.
pub(crate) fn pins_of(holder: &[u8]) -> Vec<u8> {
    let length = u16::try_from(holder.len()).unwrap_or(u16::MAX);
    [&[0], &length.to_be_bytes()[..], holder].concat()
}

/// Begins the pins on a blob.
pub(crate) fn pins_on(digest: &Digest) -> Vec<u8> {
    [&[1], &digest.0[..]].concat()
}

/// The two rows of one pin.
pub(crate) fn pin(holder: &[u8], digest: &Digest) -> [Vec<u8>; 2] {
    [[&pins_of(holder)[..], &digest.0].concat(), [&pins_on(digest)[..], holder].concat()]
}

/// The smallest byte string above every string that begins with `prefix`. Every prefix here begins with a tag or a
/// letter, so there is always one.
pub(crate) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

/// Names a row that cannot be what this program wrote.
pub(crate) fn corrupt(column: Column, row: &[u8], reason: impl ToString) -> StateError {
    StateError::Corrupt { what: format!("{} row 0x{}", column.name(), hex::encode(row)), reason: reason.to_string() }
}

/// Decodes the content of a row.
pub(crate) fn content<T: BorshDeserialize>(column: Column, row: &[u8], bytes: &[u8]) -> Result<T, StateError> {
    decode("the row", bytes, usize::MAX).map_err(|e| corrupt(column, row, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::ParaTimeId;
    use proptest::prelude::*;

    const NS: Namespace = Namespace::ParaTime(ParaTimeId([0xff; 32]));

    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..6)
    }

    proptest! {
        #[test]
        fn value_rows_sort_like_their_keys_and_then_versions(a in key(), b in key(), v in 0..3u64, w in 0..3u64) {
            prop_assert_eq!((&a, v).cmp(&(&b, w)), value(&NS, &a, v).cmp(&value(&NS, &b, w)));
        }

        #[test]
        fn a_scan_covers_exactly_the_keys_with_its_prefix(prefix in key(), k in key(), v in any::<u64>()) {
            let start = values(&NS, &prefix);
            let row = value(&NS, &k, v);
            prop_assert_eq!(k.starts_with(&prefix), row >= start && row < successor(&start));
        }

        #[test]
        fn rows_split_into_what_made_them(k in key(), v in any::<u64>(), since in any::<u64>()) {
            let row = value(&NS, &k, v);
            let (versions, version) = split_value(&row).unwrap();
            prop_assert_eq!((unescape(&NS, versions).unwrap(), version), (k.clone(), v));
            for (kind, target) in
                [(StaleKind::Value, row.clone()), (StaleKind::Node, node(&NS, v, &[1, 2])), (StaleKind::Root, root(&NS, v))]
            {
                let stale = stale(&NS, since, kind, &target);
                prop_assert_eq!(split_stale(&NS, &stale).unwrap(), (since, kind, target));
            }
        }
    }

    #[test]
    fn prefixes_of_namespaces_and_holders_do_not_run_into_each_other() {
        assert!(!NS.prefix().starts_with(&Namespace::Consensus.prefix()));
        assert!(!pins_of(b"ab").starts_with(&pins_of(b"a")));
        assert_eq!(successor(&NS.prefix()), [2]);
        assert_eq!(successor(b"a\xff"), b"b");
    }
}
