//! What a peer can be asked, and what it can answer.

use crate::limits;
use async_trait::async_trait;
use borsh::{BorshDeserialize, BorshSerialize};
use libp2p::PeerId;
use parallax_primitives::{DecodeError, Digest, Height, ParaTimeId, decode, encode};

/// A question to one peer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// What the worker of a ParaTime asks another: batches, results, ciphertexts, in the workers' own encoding. Answered
    /// by [`Response::Worker`].
    Worker {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// The encoded question.
        body: Vec<u8>,
    },
    /// One ciphertext. Answered by [`Response::Blob`].
    Blob {
        /// Its digest.
        digest: Digest,
    },
    /// Several ciphertexts. Answered by [`Response::Blobs`] with as many, from the first on, as fit a response.
    Blobs {
        /// At most [`limits::MAX_DIGESTS`].
        digests: Vec<Digest>,
    },
    /// A state value with the proof of it. Answered by [`Response::Proof`].
    Proof {
        /// The ParaTime; the consensus ledger if `None`.
        paratime: Option<ParaTimeId>,
        /// The state key.
        key: Vec<u8>,
        /// After which block; the latest provable one if `None`.
        height: Option<Height>,
    },
    /// State keys that begin with a prefix: how key managers find what waits for them. Answered by [`Response::Keys`].
    Keys {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// What the keys begin with.
        prefix: Vec<u8>,
        /// Only keys after this one.
        after: Vec<u8>,
        /// At most this many.
        limit: u32,
    },
    /// A decryption, in the key managers' own encoding. Answered by [`Response::Decryption`].
    Decryption(Vec<u8>),
    /// Several values of a ParaTime's newest state with the proof of them, all in one state. Answered by
    /// [`Response::Proof`] with an encoded proof set.
    Proofs {
        /// The ParaTime.
        paratime: ParaTimeId,
        /// The state keys: 1 to [`limits::MAX_PROOF_KEYS`].
        keys: Vec<Vec<u8>>,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Response {
    /// A worker's encoded answer.
    Worker(Vec<u8>),
    /// A ciphertext.
    Blob(Vec<u8>),
    /// Ciphertexts in the order asked for; shorter than asked for if they would not fit.
    Blobs(Vec<Option<Vec<u8>>>),
    /// An encoded proof bundle, or a set of proofs.
    Proof(Vec<u8>),
    /// Keys in order.
    Keys(Vec<Vec<u8>>),
    /// An encoded decryption answer.
    Decryption(Vec<u8>),
    /// The peer does not have it.
    NotFound,
    /// The peer serves too many requests at the moment.
    Busy,
    /// The peer refuses; the text says why.
    Refused(String),
}

#[derive(BorshSerialize, BorshDeserialize)]
enum RequestMessage {
    V1(Request),
}

#[derive(BorshSerialize, BorshDeserialize)]
enum ResponseMessage {
    V1(Response),
}

impl Request {
    /// Its name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Worker { .. } => "worker",
            Self::Blob { .. } => "blob",
            Self::Blobs { .. } => "blobs",
            Self::Proof { .. } => "proof",
            Self::Keys { .. } => "keys",
            Self::Decryption(_) => "decryption",
            Self::Proofs { .. } => "proofs",
        }
    }

    /// The wire bytes.
    pub fn encode(self) -> Vec<u8> {
        encode(&RequestMessage::V1(self))
    }

    /// From wire bytes.
    ///
    /// # Errors
    /// Oversize, malformed, trailing bytes, more digests than [`limits::MAX_DIGESTS`], or more state keys than
    /// [`limits::MAX_PROOF_KEYS`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let RequestMessage::V1(request) = decode("request", bytes, limits::MAX_REQUEST_BYTES)?;
        match &request {
            Self::Blobs { digests } if digests.len() > limits::MAX_DIGESTS => Err(DecodeError::TooLarge {
                what: "list of digests",
                actual: digests.len(),
                limit: limits::MAX_DIGESTS,
            }),
            Self::Proofs { keys, .. } if keys.len() > limits::MAX_PROOF_KEYS => Err(DecodeError::TooLarge {
                what: "list of state keys",
                actual: keys.len(),
                limit: limits::MAX_PROOF_KEYS,
            }),
            _ => Ok(request),
        }
    }

    /// Whether a response is of the kind that this request asks for. [`Response::NotFound`], [`Response::Busy`] and
    /// [`Response::Refused`] always are.
    pub fn accepts(&self, response: &Response) -> bool {
        match (self, response) {
            (_, Response::NotFound | Response::Busy | Response::Refused(_)) => true,
            (Self::Blobs { digests }, Response::Blobs(found)) => !found.is_empty() && found.len() <= digests.len(),
            (Self::Keys { prefix, limit, .. }, Response::Keys(keys)) => {
                u32::try_from(keys.len()).is_ok_and(|n| n <= *limit) && keys.iter().all(|k| k.starts_with(prefix))
            }
            (Self::Worker { .. }, Response::Worker(_))
            | (Self::Blob { .. }, Response::Blob(_))
            | (Self::Proof { .. } | Self::Proofs { .. }, Response::Proof(_))
            | (Self::Decryption(_), Response::Decryption(_)) => true,
            _ => false,
        }
    }
}

impl Response {
    /// Its name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Worker(_) => "worker",
            Self::Blob(_) => "blob",
            Self::Blobs(_) => "blobs",
            Self::Proof(_) => "proof",
            Self::Keys(_) => "keys",
            Self::Decryption(_) => "decryption",
            Self::NotFound => "not-found",
            Self::Busy => "busy",
            Self::Refused(_) => "refused",
        }
    }

    /// The largest encoding of a response of this kind, in bytes.
    pub fn max_bytes(&self) -> usize {
        match self {
            // The result of a round with its batch: more than a single ciphertext.
            Self::Worker(_) => limits::MAX_RESULT_BYTES,
            _ => limits::MAX_RESPONSE_BYTES,
        }
    }

    /// The wire bytes.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] if no peer would accept it.
    pub fn encode(self) -> Result<Vec<u8>, DecodeError> {
        let limit = self.max_bytes();
        let bytes = encode(&ResponseMessage::V1(self));
        if bytes.len() > limit {
            return Err(DecodeError::TooLarge { what: "response", actual: bytes.len(), limit });
        }
        Ok(bytes)
    }

    /// From wire bytes.
    ///
    /// # Errors
    /// Oversize for its kind, malformed, or trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let ResponseMessage::V1(response) = decode("response", bytes, limits::MAX_RESULT_BYTES)?;
        let limit = response.max_bytes();
        if bytes.len() > limit {
            return Err(DecodeError::TooLarge { what: "response", actual: bytes.len(), limit });
        }
        Ok(response)
    }
}

/// Serves the requests of peers. The node supplies it.
#[async_trait]
pub trait RequestHandler: Send + Sync + 'static {
    /// Answers one request. It runs on a task of its own, at most [`limits::MAX_INBOUND_REQUESTS`] at once, and is
    /// dropped when the request's time is over. Blocking work belongs on another thread.
    async fn handle(&self, from: PeerId, request: Request) -> Response;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_and_responses_come_back_from_their_bytes() {
        let request = Request::Worker { paratime: ParaTimeId([1; 32]), body: vec![1, 2, 3] };
        assert_eq!(Request::decode(&request.clone().encode()), Ok(request));
        let response = Response::Blobs(vec![None, Some(vec![7])]);
        assert_eq!(Response::decode(&response.clone().encode().unwrap()), Ok(response));
    }

    #[test]
    fn the_first_format_is_frozen() {
        assert_eq!(Request::Decryption(vec![9]).encode(), [0, 5, 1, 0, 0, 0, 9]);
        let proofs = Request::Proofs { paratime: ParaTimeId([1; 32]), keys: vec![vec![9]] };
        assert_eq!(proofs.encode(), [[0, 6].as_slice(), &[1; 32], &[1, 0, 0, 0, 1, 0, 0, 0, 9]].concat());
        assert_eq!(Response::Busy.encode().unwrap(), [0, 7]);
    }

    #[test]
    fn a_list_of_too_many_digests_is_refused() {
        let bytes = Request::Blobs { digests: vec![Digest::ZERO; limits::MAX_DIGESTS + 1] }.encode();
        assert!(matches!(Request::decode(&bytes), Err(DecodeError::TooLarge { limit: limits::MAX_DIGESTS, .. })));
        let keys = vec![vec![]; limits::MAX_PROOF_KEYS + 1];
        let bytes = Request::Proofs { paratime: ParaTimeId([0; 32]), keys }.encode();
        assert!(matches!(Request::decode(&bytes), Err(DecodeError::TooLarge { limit: limits::MAX_PROOF_KEYS, .. })));
    }

    #[test]
    fn only_a_workers_answer_may_exceed_the_size_of_one_message() {
        let big = vec![0; limits::MAX_RESPONSE_BYTES];
        assert!(matches!(Response::Blob(big.clone()).encode(), Err(DecodeError::TooLarge { .. })));
        assert!(Response::Worker(big).encode().is_ok());
    }

    #[test]
    fn a_response_of_another_kind_or_count_is_not_accepted() {
        let request = Request::Blobs { digests: vec![Digest::ZERO] };
        assert!(request.accepts(&Response::NotFound));
        assert!(request.accepts(&Response::Blobs(vec![None])));
        assert!(!request.accepts(&Response::Blobs(vec![])));
        assert!(!request.accepts(&Response::Blob(vec![])));
        let keys = Request::Keys { paratime: ParaTimeId([0; 32]), prefix: b"acl/".to_vec(), after: vec![], limit: 1 };
        assert!(keys.accepts(&Response::Keys(vec![b"acl/public".to_vec()])));
        assert!(!keys.accepts(&Response::Keys(vec![b"job/".to_vec()])), "outside the prefix");
        assert!(!keys.accepts(&Response::Keys(vec![b"acl/1".to_vec(), b"acl/2".to_vec()])), "over the limit");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = Request::decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes.clone());
            }
            if let Ok(response) = Response::decode(&bytes) {
                prop_assert_eq!(response.encode().unwrap(), bytes);
            }
        }
    }
}
