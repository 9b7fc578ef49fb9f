//! A block's bytes on the way: an announcement signed by the proposer, then pieces of bounded size.
//!
//! The announcement ([`InitV1`]) carries the digest of every piece, so each piece is judged alone, whoever relays it
//! and in whatever order it comes: one that no announcement asked for is dropped, and nothing is buffered on the word
//! of a peer who is not the round's proposer. Pieces that overtake their announcement wait in a small buffer.

use super::context::Consensus;
use super::signing::init_bytes;
use crate::blocks::MAX_ENCODED_BLOCK;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{ChainContext, Digest, Domain, NodeId, SecretKey, Signature};
use std::collections::BTreeMap;

/// Largest piece, in bytes.
pub(crate) const PART_BYTES: usize = 64 * 1024;
/// Most pieces of a block.
pub(crate) const MAX_PARTS: usize = MAX_ENCODED_BLOCK.div_ceil(PART_BYTES);
/// Most pieces that wait for their announcement: two blocks of one publisher, four of all.
const MAX_EARLY_PER_PUBLISHER: usize = 2 * MAX_PARTS;
const MAX_EARLY: usize = 4 * MAX_PARTS;
/// Most blocks that are being assembled. Only proposers open one, and at most two for a round.
const MAX_OPEN: usize = 64;

/// What a proposer signs about a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct InitV1 {
    /// The height.
    pub(crate) height: u64,
    /// The round in which it is proposed.
    pub(crate) round: u32,
    /// The earlier round in which it gathered a polka, if it is proposed again.
    pub(crate) valid_round: Option<u32>,
    /// Who proposes it in this round; the header names who built it.
    pub(crate) proposer: NodeId,
    /// The header's hash.
    pub(crate) value: Digest,
    /// Length of the encoded block, in bytes.
    pub(crate) length: u32,
    /// Digests of the pieces, in order.
    pub(crate) pieces: Vec<Digest>,
}

/// An announcement with its signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct SignedInit {
    pub(crate) init: InitV1,
    pub(crate) signature: Signature,
}

/// One piece of a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Piece {
    pub(crate) height: u64,
    pub(crate) value: Digest,
    pub(crate) index: u16,
    pub(crate) last: bool,
    pub(crate) bytes: Vec<u8>,
}

/// What goes over the proposal topic.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Part {
    Init(SignedInit),
    Piece(Piece),
}

impl malachite_core::ProposalPart<Consensus> for Part {
    fn is_first(&self) -> bool {
        matches!(self, Self::Init(_))
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::Piece(piece) if piece.last)
    }
}

fn piece_digest(bytes: &[u8]) -> Digest {
    Digest::of_bytes(Domain::BlockProposal, bytes)
}

impl SignedInit {
    /// Announces a block's bytes. `None` if there are more than a block may have.
    pub(crate) fn sign(
        chain: ChainContext,
        key: &SecretKey,
        (height, round, valid_round): (u64, u32, Option<u32>),
        value: Digest,
        bytes: &[u8],
    ) -> Option<Self> {
        if bytes.len() > MAX_ENCODED_BLOCK {
            return None;
        }
        let length = u32::try_from(bytes.len()).ok()?;
        let pieces = bytes.chunks(PART_BYTES).map(piece_digest).collect();
        let init = InitV1 { height, round, valid_round, proposer: key.public(), value, length, pieces };
        let signature = key.sign_raw(&init_bytes(chain, &init));
        Some(Self { init, signature })
    }

    /// Why it is refused whoever sent it, or nothing.
    pub(crate) fn refuse(&self, chain: ChainContext) -> Option<&'static str> {
        let init = &self.init;
        let length = usize::try_from(init.length).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_ENCODED_BLOCK {
            Some("its length is zero or past the limit")
        } else if init.pieces.len() != length.div_ceil(PART_BYTES) {
            Some("its number of pieces does not fit its length")
        } else if init.valid_round.is_some_and(|valid| valid >= init.round) {
            Some("its valid round is not before its round")
        } else if !init.proposer.verify_raw(&init_bytes(chain, init), &self.signature) {
            Some("its signature is not the proposer's")
        } else {
            None
        }
    }

    /// The announcement and the pieces, in order.
    pub(crate) fn parts(&self, bytes: &[u8]) -> Vec<Part> {
        let init = &self.init;
        let count = init.pieces.len();
        let pieces = bytes.chunks(PART_BYTES).enumerate().map(|(at, chunk)| {
            Part::Piece(Piece {
                height: init.height,
                value: init.value,
                index: u16::try_from(at).unwrap_or(u16::MAX),
                last: at + 1 == count,
                bytes: chunk.to_vec(),
            })
        });
        std::iter::once(Part::Init(self.clone())).chain(pieces).collect()
    }
}

struct Assembly {
    inits: Vec<SignedInit>,
    pieces: Vec<Option<Vec<u8>>>,
}

impl Assembly {
    /// Whether the piece is one that is asked for; it is kept then.
    fn take(&mut self, piece: &Piece) -> bool {
        let at = usize::from(piece.index);
        let Some(init) = self.inits.first().map(|signed| &signed.init) else { return false };
        let (Some(digest), Some(slot)) = (init.pieces.get(at), self.pieces.get_mut(at)) else { return false };
        if *digest != piece_digest(&piece.bytes) {
            return false;
        }
        *slot = Some(piece.bytes.clone());
        true
    }

    fn complete(&self) -> bool {
        self.pieces.iter().all(Option::is_some)
    }
}

/// A block whose pieces are all here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assembled {
    pub(crate) inits: Vec<SignedInit>,
    pub(crate) bytes: Vec<u8>,
}

/// Puts blocks together. Bounded, whatever peers send.
#[derive(Default)]
pub(crate) struct Assembler {
    /// By height, value and digest of the list of pieces: a proposer that announces false pieces for a value does not
    /// get in the way of one that announces the true ones.
    open: BTreeMap<(u64, Digest, Digest), Assembly>,
    early: Vec<(Vec<u8>, Piece)>,
}

impl Assembler {
    /// Takes an announcement that has been verified.
    pub(crate) fn announce(&mut self, signed: SignedInit) -> Option<Assembled> {
        let init = &signed.init;
        let key = (init.height, init.value, Digest::of_value(Domain::BlockProposal, &init.pieces));
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(&key) {
            tracing::debug!(height = init.height, "too many blocks are being assembled, dropping an announcement");
            return None;
        }
        let assembly = self
            .open
            .entry(key)
            .or_insert_with(|| Assembly { pieces: vec![None; init.pieces.len()], inits: Vec::new() });
        if !assembly.inits.contains(&signed) {
            assembly.inits.push(signed);
        }
        self.early.retain(|(_, piece)| !((piece.height, piece.value) == (key.0, key.1) && assembly.take(piece)));
        self.finish(key)
    }

    /// Takes a piece; `publisher` names who sent it first.
    pub(crate) fn piece(&mut self, publisher: &[u8], piece: Piece) -> Option<Assembled> {
        if piece.bytes.is_empty() || piece.bytes.len() > PART_BYTES || usize::from(piece.index) >= MAX_PARTS {
            return None;
        }
        let (first, last) = (Digest::ZERO, Digest([0xff; 32]));
        let range = (piece.height, piece.value, first)..=(piece.height, piece.value, last);
        let mut announced = false;
        let mut taken = Vec::new();
        for (key, assembly) in self.open.range_mut(range) {
            announced = true;
            if assembly.take(&piece) {
                taken.push(*key);
            }
        }
        if !announced {
            let ours = self.early.iter().filter(|(from, _)| from == publisher).count();
            if ours < MAX_EARLY_PER_PUBLISHER && self.early.len() < MAX_EARLY {
                self.early.push((publisher.to_vec(), piece));
            }
        }
        taken.into_iter().find_map(|key| self.finish(key))
    }

    fn finish(&mut self, key: (u64, Digest, Digest)) -> Option<Assembled> {
        if !self.open.get(&key)?.complete() {
            return None;
        }
        let assembly = self.open.remove(&key)?;
        let bytes = assembly.pieces.into_iter().flatten().flatten().collect();
        Some(Assembled { inits: assembly.inits, bytes })
    }

    /// Drops everything up to a height.
    pub(crate) fn forget(&mut self, height: u64) {
        self.open.retain(|(h, _, _), _| *h > height);
        // Early pieces name a height of their sender's choice; none survives a block.
        self.early.retain(|(_, piece)| piece.height > height && piece.height <= height.saturating_add(2));
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.open.len(), self.early.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
    const VALUE: Digest = Digest([1; 32]);

    fn block(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect()
    }

    fn announced(bytes: &[u8]) -> (SignedInit, Vec<Piece>) {
        let key = SecretKey::from_seed([3; 32]);
        let signed = SignedInit::sign(CHAIN, &key, (5, 0, None), VALUE, bytes).expect("within the limit");
        let pieces = signed.parts(bytes).into_iter().filter_map(|part| match part {
            Part::Piece(piece) => Some(piece),
            Part::Init(_) => None,
        });
        (signed.clone(), pieces.collect())
    }

    #[test]
    fn pieces_in_any_order_and_before_their_announcement_make_the_block() {
        let bytes = block(3 * PART_BYTES + 17);
        let (signed, mut pieces) = announced(&bytes);
        assert_eq!((pieces.len(), signed.refuse(CHAIN)), (4, None));
        pieces.reverse();
        let last = pieces.pop().expect("there are four");
        let mut assembler = Assembler::default();
        for piece in pieces {
            assert_eq!(assembler.piece(b"peer", piece), None);
        }
        assert_eq!(assembler.announce(signed.clone()), None);
        let done = assembler.piece(b"peer", last).expect("complete");
        assert_eq!(done, Assembled { inits: vec![signed], bytes });
        assert_eq!(assembler.held(), (0, 0));
    }

    #[test]
    fn a_changed_misplaced_or_oversize_piece_is_not_taken() {
        let bytes = block(2 * PART_BYTES);
        let (signed, pieces) = announced(&bytes);
        let mut assembler = Assembler::default();
        assert_eq!(assembler.announce(signed), None);
        let mut changed = pieces[0].clone();
        changed.bytes[9] ^= 1;
        let moved = Piece { index: 1, ..pieces[0].clone() };
        let far = Piece { index: u16::MAX, ..pieces[0].clone() };
        let oversize = Piece { bytes: block(PART_BYTES + 1), ..pieces[0].clone() };
        for bad in [changed, moved, far, oversize] {
            assert_eq!(assembler.piece(b"peer", bad), None);
        }
        assert_eq!(assembler.piece(b"peer", pieces[0].clone()), None);
        assert!(assembler.piece(b"peer", pieces[1].clone()).is_some(), "the true pieces complete it");
    }

    #[test]
    fn an_announcement_of_another_chain_signer_or_shape_is_refused() {
        let (signed, _) = announced(&block(PART_BYTES + 1));
        assert!(signed.refuse(ChainContext(Digest([8; 32]))).is_some());
        let with = |change: fn(&mut InitV1)| {
            let mut other = signed.clone();
            change(&mut other.init);
            other.refuse(CHAIN)
        };
        assert!(with(|i| i.round = 1).is_some_and(|why| why.contains("signature")));
        assert!(with(|i| i.length = u32::MAX).is_some_and(|why| why.contains("length")));
        assert!(with(|i| i.pieces.clear()).is_some_and(|why| why.contains("pieces")));
        assert!(with(|i| i.valid_round = Some(0)).is_some_and(|why| why.contains("round")));
    }

    #[test]
    fn a_flood_of_pieces_nobody_announced_stays_within_its_bounds() {
        let mut assembler = Assembler::default();
        for at in 0..u16::MAX {
            let value = Digest::of_value(Domain::Simulation, &at);
            let piece = Piece { height: 6, value, index: at % 17, last: false, bytes: vec![1] };
            assembler.piece(&at.to_be_bytes()[..1], piece);
        }
        assert_eq!(assembler.held(), (0, MAX_EARLY));
        assembler.forget(6);
        assert_eq!(assembler.held(), (0, 0));
    }

    #[test]
    fn false_pieces_for_a_value_do_not_hide_the_true_ones() {
        let (honest, pieces) = announced(&block(PART_BYTES));
        let (liar, _) = announced(&block(PART_BYTES - 1));
        let mut assembler = Assembler::default();
        assert_eq!(assembler.announce(liar), None);
        assert_eq!(assembler.announce(honest), None);
        assert!(assembler.piece(b"peer", pieces[0].clone()).is_some());
    }
}
