//! Ethereum's JSON-RPC methods, as far as they are questions about the state.

mod support;

use parallax_evm::host::{ACL, EXECUTOR};
use revm::primitives::{Address, B256, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use support::wallet::Wallet;
use support::{Net, calldata, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");

struct Client {
    net: Net,
    alice: Wallet,
    purse: Address,
    mint: Vec<u8>,
}

impl Client {
    /// A contract in block 1, and one call of it in block 2.
    fn new() -> Self {
        let (mut net, alice) = (Net::default(), Wallet::development(0));
        let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
        let data = calldata("mint(address,uint64)", &[alice.address().into_word(), word(5)]);
        let mint = net.tx(&alice, TxKind::Call(purse), data);
        net.round(std::slice::from_ref(&mint));
        Self { net, alice, purse, mint }
    }

    fn ask(&self, method: &str, parameters: Json) -> Json {
        self.net.eth(method, parameters)
    }

    fn error(&self, method: &str, parameters: Json) -> Json {
        self.net.ask(method, parameters)["error"].clone()
    }
}

fn number(value: &Json) -> U256 {
    value.as_str().expect("it is text").parse().expect("it is a number")
}

#[test]
fn accounts_code_and_storage_are_those_of_the_newest_block() {
    let client = Client::new();
    let (alice, purse) = (client.alice.address().to_string(), client.purse.to_string());
    assert_eq!(client.ask("eth_chainId", json!([])), "0x7a69");
    assert_eq!(client.ask("net_version", json!([])), "31337");
    assert_eq!(client.ask("eth_blockNumber", json!([])), "0x2");
    assert_eq!(client.ask("eth_getTransactionCount", json!([alice, "latest"])), "0x2");
    assert_eq!(
        number(&client.ask("eth_getBalance", json!([alice, "0x2"]))),
        client.net.balance(client.alice.address())
    );
    assert!(client.ask("eth_getCode", json!([purse])).as_str().is_some_and(|code| code.len() > 1_000));
    assert_eq!(client.ask("eth_getCode", json!([ACL.to_string(), "pending"])), "0xfe", "host contracts have code");
    let owner = "0x9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300";
    let slot = client.ask("eth_getStorageAt", json!([ACL.to_string(), owner, "latest"]));
    assert_eq!(slot, client.alice.address().into_word().to_string());
    let past = client.error("eth_getBalance", json!([alice, "0x1"]));
    assert_eq!(past["code"], -32_000);
    assert_eq!(client.error("eth_getBalance", json!(["nobody"]))["code"], -32_602);
    assert_eq!(client.error("eth_mine", json!([]))["code"], -32_601);
}

#[test]
fn calls_return_data_and_reverts_carry_theirs() {
    let client = Client::new();
    let alice = client.alice.address();
    let call = |to: Address, data: Vec<u8>| json!([{ "from": alice.to_string(), "to": to.to_string(), "data": hex::encode_prefixed(data) }, "latest"]);
    let handle = client.ask("eth_call", call(client.purse, calldata("balanceOf(address)", &[alice.into_word()])));
    assert_eq!(
        client.net.decrypt(handle.as_str().expect("it is text").parse().expect("it is a handle")),
        U256::from(5)
    );
    let add = calldata("fheAdd(bytes32,bytes32,bytes1)", &[word(5 << 8), word(1), B256::right_padding_from(&[1])]);
    let error = client.error("eth_call", call(EXECUTOR, add));
    assert_eq!((error["code"].clone(), error["message"].clone()), (json!(3), json!("execution reverted")));
    let expected = hex::encode_prefixed(&keccak256("ACLNotAllowed(bytes32,address)")[..4]);
    assert!(error["data"].as_str().is_some_and(|data| data.starts_with(&expected)), "{error}");
}

#[test]
fn an_estimate_is_enough_and_not_much_more() {
    let mut client = Client::new();
    let alice = Wallet::development(0);
    let data = calldata("transfer(address,uint64)", &[Address::repeat_byte(7).into_word(), word(1)]);
    let request = json!([{ "from": alice.address().to_string(), "to": client.purse.to_string(), "input": hex::encode_prefixed(&data) }]);
    let estimate: u64 = number(&client.ask("eth_estimateGas", request)).to();
    let mut tx = client.net.unsigned(&alice, TxKind::Call(client.purse), data);
    tx.gas_limit = estimate;
    let tx = alice.transaction(&tx);
    client.net.round(std::slice::from_ref(&tx));
    let receipt = client.ask("eth_getTransactionReceipt", json!([keccak256(&tx).to_string()]));
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let used: u64 = number(&receipt["gasUsed"]).to();
    assert!(estimate >= used && estimate < used * 2, "{used} used, {estimate} estimated");
    let plain =
        json!([{ "from": alice.address().to_string(), "to": Address::repeat_byte(9).to_string(), "value": "0x1" }]);
    assert_eq!(client.ask("eth_estimateGas", plain), "0x5208");
}

#[test]
fn blocks_transactions_and_receipts_name_each_other() {
    let client = Client::new();
    let hash = keccak256(&client.mint).to_string();
    let block = client.ask("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(block["number"], "0x2");
    assert_eq!(block["transactions"], json!([hash]));
    assert_eq!(client.ask("eth_getBlockByHash", json!([block["hash"], false])), block);
    let before = client.ask("eth_getBlockByNumber", json!(["0x1", true]));
    assert_eq!(before["hash"], block["parentHash"]);
    assert_eq!(before["transactions"][0]["to"], Json::Null, "it made the contract");
    assert_eq!(client.ask("eth_getBlockByNumber", json!(["earliest", false]))["hash"], before["parentHash"]);
    assert_eq!(client.ask("eth_getBlockByNumber", json!(["0x3", false])), Json::Null);
    let tx = client.ask("eth_getTransactionByHash", json!([hash]));
    assert_eq!(tx["blockHash"], block["hash"]);
    assert_eq!(
        (tx["type"].clone(), tx["nonce"].clone(), tx["from"].clone()),
        (json!("0x2"), json!("0x1"), json!(client.alice.address().to_string()))
    );
    assert_eq!(client.ask("eth_getBlockByNumber", json!(["latest", true]))["transactions"][0], tx);
    let receipt = client.ask("eth_getTransactionReceipt", json!([hash]));
    assert_eq!(
        (receipt["blockHash"].clone(), receipt["transactionHash"].clone()),
        (block["hash"].clone(), json!(hash))
    );
    assert_eq!(client.ask("eth_getBlockReceipts", json!(["latest"])), json!([receipt]));
    assert_eq!(block["gasUsed"], receipt["gasUsed"]);
    assert_eq!(client.ask("eth_getTransactionReceipt", json!([word(1).to_string()])), Json::Null);
    let history = client.ask("eth_feeHistory", json!(["0x2", "latest", [50]]));
    assert_eq!(history["oldestBlock"], "0x1");
    assert_eq!(history["baseFeePerGas"].as_array().map(Vec::len), Some(3));
    assert_eq!(history["gasUsedRatio"].as_array().map(Vec::len), Some(2));
}

#[test]
fn logs_are_found_by_block_address_and_topic() {
    let client = Client::new();
    let allowed = keccak256("Allowed(address,address,bytes32)").to_string();
    let all = client.ask("eth_getLogs", json!([{ "fromBlock": "earliest", "toBlock": "latest" }]));
    let receipt = client.ask("eth_getTransactionReceipt", json!([keccak256(&client.mint).to_string()]));
    assert_eq!(all, receipt["logs"], "all logs are of the one call");
    let of = |filter: Json| client.ask("eth_getLogs", json!([filter])).as_array().map(Vec::len);
    assert_eq!(of(json!({ "fromBlock": "0x0", "topics": [allowed] })), Some(2), "to the contract and to the account");
    let account = client.alice.address().into_word().to_string();
    assert_eq!(of(json!({ "fromBlock": "0x0", "topics": [allowed, null, [account]] })), Some(1));
    assert_eq!(of(json!({ "fromBlock": "0x0", "address": ACL.to_string() })), Some(2));
    assert_eq!(of(json!({ "fromBlock": "0x0", "address": [client.purse.to_string()] })), Some(0));
    assert_eq!(
        of(json!({ "blockHash": receipt["blockHash"], "address": EXECUTOR.to_string() })),
        all.as_array().map(|l| l.len() - 2)
    );
    assert_eq!(of(json!({ "fromBlock": "0x0", "toBlock": "0x1" })), Some(0));
    let far = client.error("eth_getLogs", json!([{ "blockHash": word(9).to_string() }]));
    assert_eq!(far["code"], -32_000);
}
