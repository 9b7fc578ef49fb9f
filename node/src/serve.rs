//! What peers may ask this node: for the workers of its ParaTimes, and for key managers.

use crate::chain::Chain;
use crate::paratime::ParaTimes;
use async_trait::async_trait;
use parallax_network::{PeerId, Request, RequestHandler, Response, limits};
use parallax_primitives::{ParaTimeId, Round, codec, encode};
use parallax_runtime::access;
use parallax_state::{Namespace, StateError};
use parallax_worker::PeerRequest;
use std::sync::{Arc, OnceLock};

/// Most keys in one answer.
const MAX_KEYS: usize = 1_000;

/// Answers requests from the database. Requests that come before the node is composed are answered with busy.
#[derive(Clone, Default)]
pub struct Server {
    inner: Arc<OnceLock<(Chain, ParaTimes)>>,
}

impl Server {
    /// Begins to serve.
    pub fn start(&self, chain: Chain, paratimes: ParaTimes) {
        // A second start would be a second composition of the same node; the first one stays.
        let _ = self.inner.set((chain, paratimes));
    }
}

#[async_trait]
impl RequestHandler for Server {
    async fn handle(&self, from: PeerId, request: Request) -> Response {
        let Some((chain, paratimes)) = self.inner.get() else { return Response::Busy };
        let (chain, paratimes, name) = (chain.clone(), paratimes.clone(), request.name());
        // Proofs and ciphertexts are read from disk.
        let answer = tokio::task::spawn_blocking(move || answer(&chain, &paratimes, request)).await;
        match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::warn!(%error, %from, request = name, "peer.request.failed");
                Response::NotFound
            }
            Err(error) => {
                tracing::error!(%error, %from, request = name, "peer.request.panicked");
                Response::NotFound
            }
        }
    }
}

fn answer(chain: &Chain, paratimes: &ParaTimes, request: Request) -> Result<Response, StateError> {
    Ok(match request {
        Request::Worker { paratime, body } => {
            let Some(host) = paratimes.get(&paratime) else { return Ok(Response::NotFound) };
            match codec::decode::<PeerRequest>("worker request", &body, limits::MAX_REQUEST_BYTES) {
                Ok(request) => Response::Worker(encode(&host.results.serve(&request)?)),
                Err(error) => Response::Refused(error.to_string()),
            }
        }
        Request::Blob { digest } => match chain.database.blobs().get(&digest)? {
            Some(bytes) => Response::Blob(bytes),
            None => Response::NotFound,
        },
        Request::Blobs { digests } => {
            let (mut blobs, mut size) = (Vec::new(), 0usize);
            for digest in &digests {
                let blob = chain.database.blobs().get(digest)?;
                size = size.saturating_add(blob.as_ref().map_or(0, Vec::len)).saturating_add(8);
                if size > limits::MAX_RESPONSE_BYTES {
                    break;
                }
                blobs.push(blob);
            }
            Response::Blobs(blobs)
        }
        Request::Proof { paratime, key, height } => {
            let bundle = match paratime {
                Some(id) => chain.paratime_proof(&id, &key, height.map(|h| Round(h.0))),
                None => chain.consensus_proof(&key, height),
            };
            match bundle {
                Ok(bundle) => Response::Proof(bundle.encode()),
                Err(error) => Response::Refused(error.to_string()),
            }
        }
        Request::Proofs { paratime, keys } => match chain.paratime_proofs(&paratime, &keys) {
            Ok(set) => Response::Proof(set.encode()),
            Err(error) => Response::Refused(error.to_string()),
        },
        // A node that does not run the ParaTime has an empty tree of it, and an empty list would pass for "nothing waits".
        Request::Keys { paratime, .. } if !paratimes.contains_key(&paratime) => Response::NotFound,
        Request::Keys { prefix, .. } if !prefix.starts_with(access::PUBLIC_PREFIX) => {
            Response::Refused("only the keys of public grants are listed; ask for a proof of the key".to_owned())
        }
        Request::Keys { paratime, prefix, after, limit } => keys(chain, &paratime, &prefix, &after, limit)?,
        // Key managers answer users over RPC; a compute node decrypts nothing.
        Request::Decryption(_) => Response::Refused("this node is no key manager".to_owned()),
    })
}

/// A page of keys of the newest state of a ParaTime that this node holds. Nothing proves the list: a key manager asks
/// for the proof of each key.
fn keys(chain: &Chain, id: &ParaTimeId, prefix: &[u8], after: &[u8], limit: u32) -> Result<Response, StateError> {
    let view = chain.database.tree(Namespace::ParaTime(*id)).latest_snapshot()?;
    let limit = usize::try_from(limit).unwrap_or(MAX_KEYS).min(MAX_KEYS);
    let page = view.scan_page(prefix, after, limit)?;
    Ok(Response::Keys(page.into_iter().map(|(key, _)| key).collect()))
}
