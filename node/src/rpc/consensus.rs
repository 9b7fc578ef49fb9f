//! The `consensus` namespace.

use super::{Context, failed, reading, refuse};
use crate::chain::ProofError;
use jsonrpsee::core::async_trait;
use parallax_consensus_app::tx::{Transaction, tx_digest};
use parallax_consensus_app::{epoch, ledger, registry, staking, standing};
use parallax_primitives::{Address, Amount, Digest, Height};
use parallax_rpc::types::{AccountView, BlockView, NodeView, TxStatus, TxView, ValidatorsView};
use parallax_rpc::{ConsensusApiServer, ErrorCode, Hex, LightBlock, ProofBundle, RpcError, RpcResult};

impl From<ProofError> for RpcErrorOf {
    fn from(error: ProofError) -> Self {
        let code = match &error {
            ProofError::NotYet(_) => ErrorCode::Future,
            ProofError::NotKept(_) => ErrorCode::Pruned,
            ProofError::State(_) => return Self(failed(error)),
        };
        Self(RpcError::new(code, error.to_string()))
    }
}

/// A refusal made from an error of this crate.
pub(super) struct RpcErrorOf(pub(super) RpcError);

pub(super) fn proof(result: Result<ProofBundle, ProofError>) -> RpcResult<ProofBundle> {
    result.map_err(|e| RpcErrorOf::from(e).0.into())
}

/// Serves `consensus_*`.
pub(super) struct Consensus(pub(super) Context);

impl Consensus {
    fn committed(&self, height: Option<Height>) -> RpcResult<Height> {
        let tip = self.0.chain.height().map_err(refuse)?;
        let height = height.unwrap_or(tip);
        if height > tip {
            let text = format!("height {height} is not decided yet, the last one is {tip}");
            return Err(RpcError::new(ErrorCode::Future, text).into());
        }
        if height == Height::ZERO {
            return Err(RpcError::not_found("height 0 is genesis; it has no block").into());
        }
        Ok(height)
    }
}

#[async_trait]
impl ConsensusApiServer for Consensus {
    async fn submit(&self, tx: Hex) -> RpcResult<Digest> {
        let checked = self.0.submitter.submit(tx.0).await.map_err(|e| RpcError::rejected(&e))?;
        Ok(checked.digest)
    }

    async fn transaction(&self, digest: Digest) -> RpcResult<Option<TxStatus>> {
        let Some(at) = self.0.chain.blocks.transaction(&digest).map_err(refuse)? else { return Ok(None) };
        let result = self.0.chain.blocks.result(at.height).map_err(refuse)?;
        let receipt = usize::try_from(at.index).ok().and_then(|i| result?.receipts.into_iter().nth(i));
        let receipt = receipt.ok_or_else(|| refuse(format!("no receipt for {digest}")))?;
        Ok(Some(TxStatus { height: at.height, index: at.index, receipt }))
    }

    async fn block(&self, height: Option<Height>) -> RpcResult<BlockView> {
        let height = self.committed(height)?;
        let blocks = &self.0.chain.blocks;
        let missing = || RpcError::new(ErrorCode::Pruned, format!("block {height} is not kept by this node"));
        let block = blocks.block(height).map_err(refuse)?.ok_or_else(missing)?;
        let result = blocks.result(height).map_err(refuse)?.ok_or_else(missing)?;
        let transactions = block.transactions.into_iter().enumerate().map(|(i, bytes)| {
            let tx = Transaction::decode(&bytes).map_err(refuse)?;
            let tx = tx.signed();
            Ok(TxView {
                digest: tx_digest(&bytes),
                call: tx.body.call.name().to_owned(),
                signer: tx.signer,
                nonce: tx.body.nonce,
                fee: tx.body.fee,
                bytes: Hex(bytes),
                receipt: result.receipts.get(i).cloned(),
            })
        });
        Ok(BlockView {
            hash: block.header.hash(),
            app_hash: result.app_hash,
            transactions: transactions.collect::<RpcResult<_>>()?,
            events: result.events,
            certificate: blocks.certificate(height).map_err(refuse)?,
            header: block.header,
        })
    }

    async fn header(&self, height: Option<Height>) -> RpcResult<LightBlock> {
        let height = self.committed(height)?;
        let light = self.0.chain.light_block(height).map_err(refuse)?;
        Ok(light
            .ok_or_else(|| RpcError::new(ErrorCode::Pruned, format!("header {height} is not kept by this node")))?)
    }

    async fn account(&self, address: Address) -> RpcResult<AccountView> {
        let view = self.0.chain.view().map_err(refuse)?;
        let account = staking::account(&view, &address).map_err(refuse)?;
        let stake = staking::stake(&view, &address).map_err(refuse)?;
        let debonding = stake.total().0.saturating_sub(stake.active.0);
        Ok(AccountView {
            address,
            balance: account.balance,
            nonce: account.nonce,
            stake: stake.active,
            debonding: Amount(debonding),
            height: Height(view.version().unwrap_or_default()),
        })
    }

    async fn nodes(&self) -> RpcResult<Vec<NodeView>> {
        let view = self.0.chain.view().map_err(refuse)?;
        let next = epoch::current(&view).map_err(refuse)?.epoch.next();
        let least = ledger::parameters(&view).map_err(refuse)?.min_node_stake;
        let nodes = registry::nodes(&view).map_err(refuse)?;
        let views = nodes.into_iter().map(|descriptor| {
            let stake = staking::stake(&view, &descriptor.entity).map_err(refuse)?.active;
            // A compute node waits out the epoch after the one that registered it.
            let since = registry::node_since(&view, &descriptor.node).map_err(refuse)?;
            let waited = since.is_none_or(|epoch| epoch.next() < next);
            let standing = standing::standing(&view, &descriptor.node).map_err(refuse)?;
            let electable = descriptor.expires >= next && stake >= least && waited && standing.frozen.is_none();
            Ok(NodeView { descriptor, stake, electable, standing })
        });
        views.collect()
    }

    async fn validators(&self, height: Option<Height>) -> RpcResult<ValidatorsView> {
        let tip = self.0.chain.height().map_err(refuse)?;
        let height = height.unwrap_or(tip);
        if height > tip.saturating_add(2) {
            let text =
                format!("the validators of height {height} are not known yet; known up to {}", tip.saturating_add(2));
            return Err(RpcError::new(ErrorCode::Future, text).into());
        }
        let set = self.0.chain.ledger.validators(height).map_err(refuse)?;
        Ok(ValidatorsView { height, hash: set.hash(), validators: set.validators })
    }

    async fn proof(&self, key: Hex, height: Option<Height>) -> RpcResult<ProofBundle> {
        proof(reading(|| self.0.chain.consensus_proof(&key.0, height)))
    }
}
