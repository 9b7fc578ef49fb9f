//! The interface as others see it: names, codes, texts; and a client against a server.

use crate::types::{ChainEvent, Health, Status};
use crate::{
    Client, ConsensusApiServer, ErrorCode, Hex, KmsApiServer, NodeApiClient as _, NodeApiServer, ParaTimeApiServer,
    RpcError, error_code, limits,
};
use jsonrpsee::core::{RpcResult, async_trait};
use jsonrpsee::server::{Server, ServerConfig, ServerHandle};
use parallax_consensus_app::TxError;
use parallax_primitives::{Amount, Height};

/// The methods that a trait registers.
fn methods(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut all: Vec<&str> = names.collect();
    all.sort_unstable();
    all
}

struct Nothing;

fn unsupported<T>() -> RpcResult<T> {
    Err(RpcError::new(ErrorCode::Unsupported, "this server answers nothing").into())
}

mod nothing {
    //! Every method of the other namespaces, refused.

    use super::{Nothing, unsupported};
    use crate::types::*;
    use crate::{ConsensusApiServer, Hex, KmsApiServer, LightBlock, ParaTimeApiServer, ProofBundle};
    use jsonrpsee::core::{RpcResult, async_trait};
    use parallax_primitives::{Address, Digest, Height, NodeId, ParaTimeId, Round};
    use parallax_rounds::ParaTimeBlock;
    use parallax_runtime::ProvenLeaf;
    use parallax_runtime::decryption::{SignedAnswer, SignedPermit};
    use serde_json::Value;

    #[async_trait]
    impl ConsensusApiServer for Nothing {
        async fn submit(&self, _: Hex) -> RpcResult<Digest> {
            unsupported()
        }
        async fn transaction(&self, _: Digest) -> RpcResult<Option<TxStatus>> {
            unsupported()
        }
        async fn block(&self, _: Option<Height>) -> RpcResult<BlockView> {
            unsupported()
        }
        async fn header(&self, _: Option<Height>) -> RpcResult<LightBlock> {
            unsupported()
        }
        async fn account(&self, _: Address) -> RpcResult<AccountView> {
            unsupported()
        }
        async fn nodes(&self) -> RpcResult<Vec<NodeView>> {
            unsupported()
        }
        async fn validators(&self, _: Option<Height>) -> RpcResult<ValidatorsView> {
            unsupported()
        }
        async fn proof(&self, _: Hex, _: Option<Height>) -> RpcResult<ProofBundle> {
            unsupported()
        }
    }

    #[async_trait]
    impl ParaTimeApiServer for Nothing {
        async fn list(&self) -> RpcResult<Vec<ParaTimeView>> {
            unsupported()
        }
        async fn submit(&self, _: ParaTimeId, _: Hex) -> RpcResult<Digest> {
            unsupported()
        }
        async fn result(&self, _: ParaTimeId, _: Digest) -> RpcResult<Option<ResultView>> {
            unsupported()
        }
        async fn block(&self, _: ParaTimeId, _: Option<Round>) -> RpcResult<ParaTimeBlock> {
            unsupported()
        }
        async fn round(&self, _: ParaTimeId) -> RpcResult<RoundView> {
            unsupported()
        }
        async fn round_report(&self, _: ParaTimeId, _: Round) -> RpcResult<RoundReport> {
            unsupported()
        }
        async fn trace_digests(
            &self,
            _: ParaTimeId,
            _: Round,
            _: Digest,
            _: NodeId,
            _: u64,
        ) -> RpcResult<Option<TraceDigestsView>> {
            unsupported()
        }
        async fn trace_leaf(
            &self,
            _: ParaTimeId,
            _: Round,
            _: Digest,
            _: NodeId,
            _: u64,
        ) -> RpcResult<Option<ProvenLeaf>> {
            unsupported()
        }
        async fn dispute(&self, _: ParaTimeId, _: Round, _: Digest) -> RpcResult<DisputeView> {
            unsupported()
        }
        async fn query(&self, _: ParaTimeId, _: String, _: Value) -> RpcResult<Value> {
            unsupported()
        }
        async fn simulate(&self, _: ParaTimeId, _: Hex) -> RpcResult<Value> {
            unsupported()
        }
        async fn proof(&self, _: ParaTimeId, _: Hex, _: Option<Round>) -> RpcResult<ProofBundle> {
            unsupported()
        }
        async fn blob(&self, _: Digest) -> RpcResult<Option<Hex>> {
            unsupported()
        }
        async fn events(&self, _: ParaTimeId, _: Round, _: Option<Round>) -> RpcResult<Vec<RoundEvent>> {
            unsupported()
        }
        async fn public_key(&self, _: ParaTimeId) -> RpcResult<PublicKeyInfo> {
            unsupported()
        }
    }

    #[async_trait]
    impl KmsApiServer for Nothing {
        async fn user_decrypt(&self, _: SignedPermit) -> RpcResult<SignedAnswer> {
            unsupported()
        }
        async fn attest_input(&self, _: ParaTimeId, _: Digest) -> RpcResult<InputAttestation> {
            unsupported()
        }
        async fn public_decrypt(&self, _: ParaTimeId, _: Vec<Digest>) -> RpcResult<PublicValues> {
            unsupported()
        }
        async fn user_decrypt_for(
            &self,
            _: ParaTimeId,
            _: parallax_evm::permit::SignedPermit,
        ) -> RpcResult<Vec<SignedAnswer>> {
            unsupported()
        }
        async fn status(&self) -> RpcResult<KmsStatus> {
            unsupported()
        }
    }
}

#[async_trait]
impl NodeApiServer for Nothing {
    async fn health(&self) -> RpcResult<Health> {
        Ok(Health {
            ready: false,
            reason: Some("it is a test".to_owned()),
            height: Height(7),
            peers: 3,
            roles: vec![],
            catching_up: true,
            paratimes: vec![],
        })
    }

    async fn status(&self) -> RpcResult<Status> {
        let error = TxError { module: "staking".to_owned(), code: 4, message: "the balance is 3".to_owned() };
        Err(RpcError::rejected(&error).into())
    }

    async fn events(&self, _: Height, _: Option<Height>, prefix: Option<String>) -> RpcResult<Vec<ChainEvent>> {
        Err(RpcError::new(ErrorCode::TooMuch, format!("prefix of {} bytes", prefix.unwrap_or_default().len())).into())
    }
}

async fn serve() -> (String, ServerHandle) {
    let config = ServerConfig::builder()
        .max_request_body_size(limits::MAX_REQUEST_BYTES)
        .max_response_body_size(limits::MAX_RESPONSE_BYTES)
        .build();
    let server = Server::builder().set_config(config).build("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", server.local_addr().expect("it is bound"));
    (url, server.start(NodeApiServer::into_rpc(Nothing)))
}

#[test]
fn the_methods_and_codes_of_the_interface_are_pinned() {
    let node = NodeApiServer::into_rpc(Nothing);
    assert_eq!(methods(node.method_names()), ["node_events", "node_health", "node_status"]);
    let consensus = ConsensusApiServer::into_rpc(Nothing);
    let expected = ["account", "block", "header", "nodes", "proof", "submit", "transaction", "validators"];
    assert_eq!(methods(consensus.method_names()), expected.map(|m| format!("consensus_{m}")));
    let paratime = ParaTimeApiServer::into_rpc(Nothing);
    let expected = [
        "blob",
        "block",
        "dispute",
        "events",
        "list",
        "proof",
        "public_key",
        "query",
        "result",
        "round",
        "round_report",
        "simulate",
        "submit",
        "trace_digests",
        "trace_leaf",
    ];
    assert_eq!(methods(paratime.method_names()), expected.map(|m| format!("paratime_{m}")));
    let kms = KmsApiServer::into_rpc(Nothing);
    let expected = ["attest_input", "public_decrypt", "status", "user_decrypt", "user_decrypt_for"];
    assert_eq!(methods(kms.method_names()), expected.map(|m| format!("kms_{m}")));
    let numbers: Vec<i32> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    assert_eq!(ErrorCode::from_number(ErrorCode::Denied.number()), Some(ErrorCode::Denied));
    assert_eq!(ErrorCode::from_number(-32_602), None);
}

#[test]
fn bytes_and_amounts_are_text() {
    let bytes = Hex(vec![0, 0xab]);
    assert_eq!(serde_json::to_string(&bytes).expect("text"), "\"0x00ab\"");
    for text in ["\"0x00ab\"", "\"00AB\""] {
        assert_eq!(serde_json::from_str::<Hex>(text).expect("hexadecimal"), bytes);
    }
    for text in ["\"0x0\"", "\"0xzz\"", "7"] {
        assert!(serde_json::from_str::<Hex>(text).is_err(), "{text}");
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Purse {
        #[serde(with = "crate::types::decimal")]
        holds: Amount,
    }
    let full = serde_json::to_string(&Purse { holds: Amount::MAX }).expect("text");
    assert_eq!(full, "{\"holds\":\"340282366920938463463374607431768211455\"}");
    assert_eq!(serde_json::from_str::<Purse>(&full).expect("the same text").holds, Amount::MAX);
    assert!(serde_json::from_str::<Purse>("{\"holds\":\"1e3\"}").is_err());
}

#[tokio::test]
async fn a_client_gets_answers_and_refusals_with_their_codes() {
    let (url, _server) = serve().await;
    let client = Client::connect(&url).await.expect("it answers, ready or not");
    assert_eq!(client.health().await.expect("it answers").height, Height(7));
    let refused = client.status().await.expect_err("it is refused");
    assert_eq!(error_code(&refused), Some(ErrorCode::Rejected));
    let jsonrpsee::core::client::Error::Call(object) = refused else { panic!("a refusal stays a refusal") };
    assert_eq!(object.message(), "staking/4: the balance is 3");
    let data: TxError =
        serde_json::from_str(object.data().expect("it has data").get()).expect("the data is the module's error");
    assert_eq!((data.module.as_str(), data.code), ("staking", 4));
}

#[tokio::test]
async fn a_dead_endpoint_is_named_with_the_method() {
    let (url, server) = serve().await;
    let client = Client::connect(&url).await.expect("it answers");
    server.stop().expect("it runs");
    server.stopped().await;
    let error = client.health().await.expect_err("nobody is there").to_string();
    assert!(error.starts_with(&format!("{url} did not answer node_health: ")), "{error}");
    let error = Client::connect("ftp://nowhere").await.expect_err("no HTTP").to_string();
    assert!(error.contains("ftp://nowhere"), "{error}");
}

#[tokio::test]
async fn a_request_over_the_limit_is_not_taken() {
    let (url, _server) = serve().await;
    let client = Client::connect(&url).await.expect("it answers");
    let prefix = |bytes: u32| Some("x".repeat(bytes as usize));
    let answered = client.events(Height(1), None, prefix(limits::MAX_REQUEST_BYTES - 1_000)).await;
    assert_eq!(error_code(&answered.expect_err("it is refused by the method")), Some(ErrorCode::TooMuch));
    let refused = client.events(Height(1), None, prefix(limits::MAX_REQUEST_BYTES)).await.expect_err("too large");
    assert_eq!(error_code(&refused), None, "it never reached the method: {refused}");
}
