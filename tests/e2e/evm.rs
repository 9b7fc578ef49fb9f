//! The confidential EVM as Ethereum's tools see it: JSON-RPC over HTTP and WebSocket.

use crate::network::Net;
use crate::turn;
use jsonrpsee::core::client::{ClientT as _, Error, Subscription, SubscriptionClientT as _};
use jsonrpsee::core::params::ArrayParams;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee::rpc_params;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use parallax_consensus_app::tx::Role;
use parallax_evm::params::{CREATE2_DEPLOYER, DEVELOPMENT_ACCOUNTS};
use parallax_evm_client::Wallet;
use parallax_evm_client::transaction::{Fee, Unsigned};
use parallax_localnet::Plan;
use parallax_rpc::{Client, NodeApiClient as _, ParaTimeApiClient as _};
use revm::primitives::{Address, Bytes, TxKind, U256, keccak256};
use serde_json::{Value as Json, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a transaction may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Open subscriptions.
const SUBSCRIPTIONS: usize = 1_000;
const CHAIN: u64 = 31_337;
const GWEI: u128 = 1_000_000_000;
const PURSE: &str = include_str!("../../paratime/evm/contracts/Purse.hex");

/// The Ethereum servers of a localnet's compute nodes.
struct Chain {
    nodes: Vec<HttpClient>,
    urls: Vec<String>,
}

impl Chain {
    fn new(plan: &Plan) -> Self {
        let compute = plan.nodes.iter().filter(|n| n.role == Role::Compute);
        let urls: Vec<String> = compute.map(|n| n.ethereum_url().unwrap()).collect();
        let client = |url: &String| HttpClientBuilder::default().build(url).unwrap();
        Self { nodes: urls.iter().map(client).collect(), urls }
    }

    async fn ask(&self, method: &str, parameters: ArrayParams) -> Json {
        self.nodes[0].request(method, parameters).await.unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    async fn refusal(&self, method: &str, parameters: ArrayParams) -> (i32, String) {
        match self.nodes[0].request::<Json, _>(method, parameters).await {
            Err(Error::Call(error)) => (error.code(), error.message().to_owned()),
            other => panic!("{method} must be refused, not {other:?}"),
        }
    }

    /// The receipt of a transaction as a node has it, when it has it.
    async fn receipt(&self, node: usize, hash: &Json) -> Json {
        let begun = Instant::now();
        loop {
            let receipt: Json = self.nodes[node].request("eth_getTransactionReceipt", rpc_params![hash]).await.unwrap();
            if !receipt.is_null() {
                return receipt;
            }
            assert!(begun.elapsed() < PATIENCE, "no receipt of {hash} at node {node}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn web_socket(&self) -> WsClient {
        WsClientBuilder::default().build(self.urls[0].replace("http", "ws")).await.unwrap()
    }
}

fn transfer(key: &Wallet, nonce: u64, to: Address, value: u64) -> Vec<u8> {
    let (value, input) = (U256::from(value), Bytes::new());
    let fee = Fee::Dynamic { priority: 0, most: 2 * GWEI };
    let tx = Unsigned { chain_id: CHAIN, nonce, fee, gas_limit: 21_000, to: TxKind::Call(to), value, input };
    tx.sign(key).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Calldata: the selector of a signature, and words.
fn calldata(signature: &str, words: &[U256]) -> String {
    let mut out = keccak256(signature)[..4].to_vec();
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes::<32>()));
    hexadecimal(&out)
}

fn account(n: usize) -> Address {
    DEVELOPMENT_ACCOUNTS[n].parse().unwrap()
}

#[test]
fn ethereums_tools_find_a_node_whose_contracts_compute_on_ciphertexts_and_that_bears_a_thousand_subscriptions() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let small = ["--validators", "2", "--compute", "3", "--backups", "1", "--accounts", "2"];
    let (_net, shown) = Net::up_with(dir.path(), "evm", &small);
    assert!(shown.contains("chain id 31337"), "{shown}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let plan = Plan::load(&dir.path().join("net")).unwrap().unwrap();
        let chain = Chain::new(&plan);
        first_questions(&chain).await;
        let socket = chain.web_socket().await;
        plain_transfer(&chain, &socket).await;
        encrypted_operation(&chain, &socket, &plan).await;
        sent_again_after_going_back(&chain).await;
        malformed_requests(&chain).await;
        many_subscriptions(&chain, &socket).await;
        for node in plan.nodes.iter().filter(|n| n.role == Role::Compute) {
            let health = Client::connect(&node.rpc_url()).await.unwrap().health().await.unwrap();
            assert!(health.ready, "{}: {:?}", node.name, health.reason);
        }
    });
}

async fn first_questions(chain: &Chain) {
    assert_eq!(chain.ask("eth_chainId", rpc_params![]).await, json!("0x7a69"));
    assert_eq!(chain.ask("net_version", rpc_params![]).await, json!("31337"));
    assert_eq!(chain.ask("eth_blockNumber", rpc_params![]).await, json!("0x0"));
    assert_eq!(chain.ask("eth_accounts", rpc_params![]).await, json!(DEVELOPMENT_ACCOUNTS));
    // 10,000 tokens of 18 decimals.
    let balance = chain.ask("eth_getBalance", rpc_params![DEVELOPMENT_ACCOUNTS[9], "latest"]).await;
    assert_eq!(balance, json!("0x21e19e0c9bab2400000"));
    assert_eq!(chain.ask("hardhat_metadata", rpc_params![]).await["chainId"], json!(CHAIN));
    assert_eq!(chain.ask("anvil_nodeInfo", rpc_params![]).await["environment"]["chainId"], json!(CHAIN));
    let none = json!({ "pending": "0x0", "queued": "0x0" });
    assert_eq!(chain.ask("txpool_status", rpc_params![]).await, none);
    assert_eq!(chain.ask("eth_pendingTransactions", rpc_params![]).await, json!([]));
    let (code, message) = chain.refusal("hardhat_dropTransaction", rpc_params![format!("0x{:064x}", 1)]).await;
    assert!(code == -32_000 && message.contains("same nonce that pays more"), "{message}");
    // Foundry's scripts deploy through it.
    let proxy = chain.ask("eth_getCode", rpc_params![CREATE2_DEPLOYER, "latest"]).await;
    assert!(proxy.as_str().unwrap().len() > 2, "{proxy}");
}

async fn plain_transfer(chain: &Chain, socket: &WsClient) {
    let mut heads: Subscription<Json> =
        socket.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.unwrap();
    let mut arrivals: Subscription<Json> =
        socket.subscribe("eth_subscribe", rpc_params!["newPendingTransactions"], "eth_unsubscribe").await.unwrap();
    let filter = chain.ask("eth_newBlockFilter", rpc_params![]).await;
    let key = Wallet::development(0).unwrap();
    let to = Address::repeat_byte(0x77);
    let raw = hexadecimal(&transfer(&key, 0, to, 5));

    let hash = chain.ask("eth_sendRawTransaction", rpc_params![&raw]).await;
    assert_eq!(arrivals.next().await.unwrap().unwrap(), hash);
    let receipt = chain.receipt(0, &hash).await;
    assert_eq!((&receipt["status"], &receipt["gasUsed"]), (&json!("0x1"), &json!("0x5208")), "{receipt}");
    assert_eq!(chain.ask("eth_getBalance", rpc_params![to, "latest"]).await, json!("0x5"));
    assert_eq!(chain.ask("eth_getBalance", rpc_params![to, "0x0"]).await, json!("0x0"), "before that block");
    let head = heads.next().await.unwrap().unwrap();
    assert_eq!((&head["hash"], &head["number"]), (&receipt["blockHash"], &receipt["blockNumber"]));
    let seen = chain.ask("eth_getFilterChanges", rpc_params![&filter]).await;
    assert_eq!(seen, json!([receipt["blockHash"]]));
    assert_eq!(chain.ask("eth_getFilterChanges", rpc_params![&filter]).await, json!([]));

    // Refusals in the words that libraries look for.
    let (code, message) = chain.refusal("eth_sendRawTransaction", rpc_params![&raw]).await;
    assert!(code == -32_000 && message.starts_with("nonce too low"), "{message}");
    let poor = transfer(&Wallet::generate(), 0, to, 5);
    let (_, message) = chain.refusal("eth_sendRawTransaction", rpc_params![hexadecimal(&poor)]).await;
    assert!(message.starts_with("insufficient funds"), "{message}");
    // A gap: it waits, counts for nothing yet, and is known.
    let ahead = hexadecimal(&transfer(&key, 2, to, 5));
    let waiting = chain.ask("eth_sendRawTransaction", rpc_params![&ahead]).await;
    let (_, message) = chain.refusal("eth_sendRawTransaction", rpc_params![&ahead]).await;
    assert!(message.starts_with("already known"), "{message}");
    let found = chain.ask("eth_getTransactionByHash", rpc_params![&waiting]).await;
    assert_eq!((&found["blockNumber"], &found["nonce"]), (&Json::Null, &json!("0x2")), "{found}");
    let pool = chain.ask("txpool_status", rpc_params![]).await;
    assert_eq!(pool, json!({ "pending": "0x0", "queued": "0x1" }));
    assert_eq!(chain.ask("eth_pendingTransactions", rpc_params![]).await, json!([found]));
    let count = chain.ask("eth_getTransactionCount", rpc_params![account(0), "pending"]).await;
    assert_eq!(count, json!("0x1"));
    let closing = chain.ask("eth_sendRawTransaction", rpc_params![hexadecimal(&transfer(&key, 1, to, 5))]).await;
    assert_eq!(chain.receipt(0, &closing).await["status"], json!("0x1"));
    assert_eq!(chain.receipt(0, &waiting).await["status"], json!("0x1"));
    heads.unsubscribe().await.unwrap();
}

/// What a fixture of a test suite does: it goes back to a snapshot, and the next test sends the very same bytes.
async fn sent_again_after_going_back(chain: &Chain) {
    let other = WsClientBuilder::default().build(chain.urls[1].replace("http", "ws")).await.unwrap();
    let mut arrivals: Subscription<Json> =
        other.subscribe("eth_subscribe", rpc_params!["newPendingTransactions"], "eth_unsubscribe").await.unwrap();
    let to = Address::repeat_byte(0x55);
    let raw = hexadecimal(&transfer(&Wallet::development(5).unwrap(), 0, to, 7));
    let mut blocks = Vec::new();
    for _ in 0..2 {
        let snapshot = chain.ask("evm_snapshot", rpc_params![]).await;
        let hash = chain.ask("eth_sendRawTransaction", rpc_params![&raw]).await;
        // The node that it was sent to shares it with the others each time.
        let told = async { while arrivals.next().await.unwrap().unwrap() != hash {} };
        tokio::time::timeout(PATIENCE, told).await.expect("the other node hears of it");
        let receipt = chain.receipt(0, &hash).await;
        assert_eq!(receipt["status"], json!("0x1"), "{receipt}");
        blocks.push(receipt["blockNumber"].clone());
        assert_eq!(chain.ask("evm_revert", rpc_params![snapshot]).await, json!(true));
        let gone = chain.ask("eth_getTransactionReceipt", rpc_params![&hash]).await;
        assert_eq!(gone, Json::Null, "the snapshot was before it");
    }
    assert_eq!(blocks[0], blocks[1]);
}

/// A contract's encrypted balance rises by a number, which costs some hundred bootstraps at each replica.
async fn encrypted_operation(chain: &Chain, socket: &WsClient, plan: &Plan) {
    let code = format!("0x{}", PURSE.trim().trim_start_matches("0x"));
    let deployed = chain.ask("eth_sendTransaction", rpc_params![json!({ "from": account(1), "data": code })]).await;
    let receipt = chain.receipt(0, &deployed).await;
    let purse = receipt["contractAddress"].as_str().unwrap_or_else(|| panic!("{receipt}")).to_owned();
    let filter = json!({ "address": DEVELOPMENT_ACCOUNTS[9] });
    let mut others: Subscription<Json> =
        socket.subscribe("eth_subscribe", rpc_params!["logs", filter], "eth_unsubscribe").await.unwrap();
    let mut logs: Subscription<Json> =
        socket.subscribe("eth_subscribe", rpc_params!["logs", json!({})], "eth_unsubscribe").await.unwrap();

    let owner = U256::from_be_slice(account(1).as_slice());
    let data = calldata("mint(address,uint64)", &[owner, U256::from(1_000)]);
    let call = json!({ "from": account(1), "to": purse, "data": data });
    let minted = chain.ask("eth_sendTransaction", rpc_params![call]).await;
    let receipt = chain.receipt(0, &minted).await;
    assert_eq!(receipt["status"], json!("0x1"), "{receipt}");
    let log = logs.next().await.unwrap().unwrap();
    assert_eq!(log, receipt["logs"][0]);

    // Every replica has the same block, receipt, and ciphertext under the handle.
    let balance = json!({ "to": purse, "data": calldata("balanceOf(address)", &[owner]) });
    let mut seen = Vec::new();
    for (node, planned) in plan.nodes.iter().filter(|n| n.role == Role::Compute).enumerate() {
        let receipt = chain.receipt(node, &minted).await;
        let client = &chain.nodes[node];
        let number = receipt["blockNumber"].clone();
        let block: Json = client.request("eth_getBlockByNumber", rpc_params![&number, true]).await.unwrap();
        let handle: Json = client.request("eth_call", rpc_params![&balance, &number]).await.unwrap();
        let rpc = Client::connect(&planned.rpc_url()).await.unwrap();
        let asked = rpc.query(plan.evm().unwrap(), "handle".to_owned(), json!({ "handle": handle })).await.unwrap();
        assert!(asked["cipher"].is_string(), "{asked}");
        seen.push((receipt, block, asked));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    assert_eq!(seen[0].1["transactions"][0]["hash"], minted);
    // What is about another address was not told of.
    let quiet = tokio::time::timeout(Duration::from_millis(200), others.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

/// Posts a body and reads status and answer, as a client that knows nothing of JSON would.
fn post(url: &str, body: &[u8]) -> (u16, String) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has had enough may close before it has read all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

async fn malformed_requests(chain: &Chain) {
    let request = |method: &str, parameters: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{parameters}}}"#)
    };
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let many = format!("[{}]", vec![request("eth_chainId", "[]"); 101].join(","));
    let rows: Vec<(&str, String, i64)> = vec![
        ("no JSON", "{".to_owned(), -32_700),
        ("nothing", String::new(), -32_700),
        ("bytes", "\u{0}\u{1}".to_owned(), -32_700),
        ("no method", r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), -32_600),
        ("an empty batch", "[]".to_owned(), -32_600),
        ("too large a batch", many, -32_010),
        ("an unknown method", request("eth_coffee", "[]"), -32_601),
        ("an address that is none", request("eth_getBalance", r#"["0x12","latest"]"#), -32_602),
        ("parameters that are missing", request("eth_getBalance", "[]"), -32_602),
        ("parameters by name", request("eth_getBalance", r#"{"address":"0x12"}"#), -32_602),
        ("parameters too deep", request("eth_call", &deep), -32_602),
        ("a block that is none", request("eth_getBlockByNumber", r#"["0xzz",false]"#), -32_602),
        ("a transaction that is none", request("eth_sendRawTransaction", r#"["0x02c0"]"#), -32_000),
        ("a transaction without bytes", request("eth_sendRawTransaction", r#"["0x"]"#), -32_000),
        ("no hexadecimal", request("eth_sendRawTransaction", r#"["bytes"]"#), -32_602),
        ("a filter that is none", request("eth_getFilterChanges", r#"["0x1"]"#), -32_000),
        ("topics that are none", request("eth_newFilter", r#"[{"topics":7}]"#), -32_602),
        (
            "an account that is not held",
            request("personal_sign", r#"["0x00","0x0000000000000000000000000000000000000001"]"#),
            -32_000,
        ),
        ("typed data that are none", request("eth_signTypedData_v4", r#"["0x00",{}]"#), -32_602),
        ("a subscription without a socket", request("eth_subscribe", r#"["newHeads"]"#), -32_603),
    ];
    for (what, body, code) in rows {
        let (status, answer) = post(&chain.urls[0], body.as_bytes());
        let answer: Json = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{what}: {status}: {e}: {answer}"));
        assert_eq!(answer["error"]["code"], json!(code), "{what}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {answer}");
    }
    // More bytes than any transaction needs.
    let (status, _) = post(&chain.urls[0], &vec![b' '; 16 << 20]);
    assert!(status == 413 || status == 0, "status {status}");
    assert_eq!(chain.ask("eth_chainId", rpc_params![]).await, json!("0x7a69"));
}

async fn many_subscriptions(chain: &Chain, socket: &WsClient) {
    let mut open: Vec<Subscription<Json>> = Vec::new();
    for _ in 0..SUBSCRIPTIONS {
        open.push(socket.subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe").await.unwrap());
    }
    let unknown = socket.subscribe::<Json, _>("eth_subscribe", rpc_params!["tea"], "eth_unsubscribe").await;
    assert!(unknown.is_err_and(|e| e.to_string().contains("newHeads")), "it names what there is");
    let value = json!({ "from": account(2), "to": account(3), "value": "0x1" });
    let hash = chain.ask("eth_sendTransaction", rpc_params![value]).await;
    let receipt = chain.receipt(0, &hash).await;
    for subscription in &mut open {
        let head = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(head["hash"], receipt["blockHash"]);
    }
    let begun = Instant::now();
    assert_eq!(chain.ask("eth_blockNumber", rpc_params![]).await, receipt["blockNumber"]);
    println!("{SUBSCRIPTIONS} subscriptions open, one question answered in {:?}", begun.elapsed());
}
