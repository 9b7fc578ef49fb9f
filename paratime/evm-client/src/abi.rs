//! The ABI of contracts: by a signature that a person writes, or by what a compiler wrote.
//!
//! A signature is `transfer(address,uint64)`, with what it returns `balanceOf(address)(uint64)` or
//! `function balanceOf(address) view returns (uint64)`. Encrypted types may be written as Solidity has them; in the ABI
//! they are `bytes32`: `confidentialTransfer(address,externalEuint64,bytes)`.
//!
//! Arguments are written as text. Beside what Solidity writes there are
//! - `dev-0` to `dev-9` for an address: the development accounts;
//! - `enc:u64:5`, or `enc:5` where the signature names the type, for a handle: the value is to be encrypted;
//! - `proof` for the `bytes` that prove the encrypted arguments of the same call.

use crate::error::{Error, argument};
use crate::value::{Value, type_named};
use crate::wallet::Wallet;
use alloy_dyn_abi::{DynSolType, DynSolValue, FunctionExt as _, JsonAbiExt as _, Specifier as _};
use alloy_json_abi::{
    Constructor, ContractObject, Error as AbiError, Function, InternalType, JsonAbi, Param, StateMutability,
};
use parallax_runtime::FheType;
use revm::primitives::{B256, Bytes, hex};
use serde_json::{Value as Json, json};
use std::path::Path;

/// Largest artifact, in bytes.
const MAX_ARTIFACT: u64 = 32 * 1024 * 1024;
/// What an argument that is to be encrypted begins with.
const ENCRYPTED: &str = "enc:";
/// The argument that stands for the proof of those.
const PROOF: &str = "proof";

/// Errors of the host contracts, of the Solidity library and of the tokens that are built on it, by which a revert is
/// explained when nobody says what the contract's own errors are.
const KNOWN_ERRORS: [&str; 34] = [
    "ACLNotAllowed(bytes32 handle, address account)",
    "AlreadyDelegatedOrRevokedInSameBlock(address delegator, address delegate, address contractAddress, uint256 block)",
    "DeserializingDecryptionProofFail()",
    "DeserializingInputProofFail()",
    "DivisionByZero()",
    "ECDSAInvalidSignature()",
    "EmptyDecryptionProof()",
    "EmptyInputProof()",
    "EnforcedPause()",
    "ERC7984InvalidReceiver(address receiver)",
    "ERC7984InvalidSender(address sender)",
    "ERC7984UnauthorizedCaller(address caller)",
    "ERC7984UnauthorizedSpender(address holder, address spender)",
    "ERC7984UnauthorizedUseOfEncryptedAmount(bytes32 amount, address user)",
    "ERC7984ZeroBalance(address holder)",
    "HandlesListIsEmpty()",
    "HCUTransactionDepthLimitExceeded()",
    "HCUTransactionLimitExceeded()",
    "IncompatibleTypes()",
    "InvalidChainId()",
    "InvalidIndex()",
    "InvalidInputHandle()",
    "InvalidKMSSignatures()",
    "InvalidSigner(address signer)",
    "InvalidType()",
    "KMSInvalidSigner(address signer)",
    "KMSSignatureThresholdNotReached(uint256 signatures)",
    "OwnableUnauthorizedAccount(address account)",
    "SenderNotAllowed(address sender)",
    "SenderNotAllowedToUseHandle(bytes32 handle, address sender)",
    "SignaturesVerificationFailed()",
    "SignatureThresholdNotReached(uint256 signatures)",
    "UnsupportedType()",
    "ZamaProtocolUnsupported()",
];

/// A contract as a compiler wrote it.
#[derive(Clone, Debug, Default)]
pub struct Artifact {
    /// Its functions, errors and events.
    pub abi: JsonAbi,
    /// The code that creates it; `None` if the file has no code, or code that still lacks a library's address.
    pub code: Option<Bytes>,
}

impl Artifact {
    /// Reads a compiler's JSON (Hardhat, Foundry, solc), a bare ABI, or creation code in hexadecimal.
    ///
    /// # Errors
    /// If the file cannot be read, or is none of these.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let fault = |what, reason: String| Error::File { what, path: path.to_owned(), reason };
        let about = std::fs::metadata(path).map_err(|e| fault("open", e.to_string()))?;
        if about.len() > MAX_ARTIFACT {
            return Err(fault("use", format!("it is larger than {MAX_ARTIFACT} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| fault("read", e.to_string()))?;
        Self::parse(&text).map_err(|reason| fault("use", reason))
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.starts_with(['{', '[']) {
            let code = hex::decode(text).map_err(|_| {
                "it is neither a compiler's JSON with `abi` and `bytecode` nor creation code in hexadecimal".to_owned()
            })?;
            return Ok(Self { abi: JsonAbi::new(), code: Some(code.into()) });
        }
        let found = ContractObject::from_json(text).map_err(|e| format!("it is no compiler's artifact: {e}"))?;
        let abi = found.abi.ok_or("it has no `abi`; give the artifact that the compiler wrote for one contract")?;
        Ok(Self { abi, code: found.bytecode.filter(|code| !code.is_empty()) })
    }

    /// The constructor; one without arguments if none is written.
    pub fn constructor(&self) -> Method {
        let inputs = self.abi.constructor.as_ref().map(|c| c.inputs.clone()).unwrap_or_default();
        Method::constructing(inputs, Vec::new())
    }

    /// The function of this name; of several, the one with so many arguments.
    ///
    /// # Errors
    /// If there is none, or several would do.
    pub fn function(&self, name: &str, arguments: usize) -> Result<Method, Error> {
        let all = self.abi.function(name).map(Vec::as_slice).unwrap_or_default();
        let fitting: Vec<&Function> = all.iter().filter(|f| f.inputs.len() == arguments).collect();
        let list = |functions: &[&Function]| {
            let signatures: Vec<String> = functions.iter().map(|f| f.signature()).collect();
            signatures.join(", ")
        };
        match (fitting.as_slice(), all) {
            ([one], _) => Ok(Method::calling((*one).clone(), Vec::new())),
            ([], []) => {
                let names: Vec<&str> = self.abi.functions.keys().map(String::as_str).collect();
                Err(argument(format!("the contract has no function {name}; it has {}", names.join(", "))))
            }
            ([], others) => {
                let others: Vec<&Function> = others.iter().collect();
                Err(argument(format!("{} given for {}", counted(arguments), list(&others))))
            }
            (several, _) => {
                let several = list(several);
                Err(argument(format!("several functions are called {name}: write which one, {several}")))
            }
        }
    }
}

/// So many arguments, and the verb.
fn counted(arguments: usize) -> String {
    match arguments {
        0 => "no argument is".to_owned(),
        1 => "1 argument is".to_owned(),
        many => format!("{many} arguments are"),
    }
}

/// A word of a signature.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The signature with encrypted types as the ABI has them.
fn plain(signature: &str) -> String {
    let mut out = String::with_capacity(signature.len());
    let mut rest = signature;
    while !rest.is_empty() {
        let (word, more) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        out.push_str(if encrypted_name(word).is_some() { "bytes32" } else { word });
        let next = more.find(is_word).unwrap_or(more.len());
        out.push_str(&more[..next]);
        rest = &more[next..];
    }
    out
}

/// The type that Solidity's name for an encrypted one means.
fn encrypted_name(word: &str) -> Option<FheType> {
    if word.starts_with("euint") || word.starts_with("external") || matches!(word, "ebool" | "eaddress") {
        type_named(word)
    } else {
        None
    }
}

/// The encrypted types of the parameters that a signature lists, by position.
fn encrypted_parameters(signature: &str) -> Vec<Option<FheType>> {
    let Some(open) = signature.find('(') else { return Vec::new() };
    let (mut depth, mut found, mut word) = (0u32, Vec::new(), String::new());
    let kind = |word: &str| word.split_whitespace().next().and_then(encrypted_name);
    for c in signature[open..].chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => break,
            ')' => depth -= 1,
            ',' if depth == 1 => found.push(kind(&std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    found.push(kind(&word));
    found
}

/// A function or constructor, ready to take arguments.
#[derive(Clone, Debug)]
pub struct Method {
    /// `None` for a constructor.
    function: Option<Function>,
    name: String,
    inputs: Vec<Param>,
    encrypted: Vec<Option<FheType>>,
}

impl Method {
    fn calling(function: Function, encrypted: Vec<Option<FheType>>) -> Self {
        let (name, inputs) = (function.signature(), function.inputs.clone());
        Self { function: Some(function), name, inputs, encrypted }
    }

    fn constructing(inputs: Vec<Param>, encrypted: Vec<Option<FheType>>) -> Self {
        let types: Vec<String> = inputs.iter().map(|p| p.selector_type().into_owned()).collect();
        Self { function: None, name: format!("constructor({})", types.join(",")), inputs, encrypted }
    }

    /// A function by its signature.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(signature: &str) -> Result<Self, Error> {
        let shape = "write one as transfer(address,uint64), or with what it returns balanceOf(address)(uint64)";
        if !signature.contains('(') {
            let text = format!("{signature:?} is a name without types: {shape}; or give the artifact with --abi");
            return Err(argument(text));
        }
        let mut text = plain(signature.trim());
        // The short form: a second list in parentheses is what it returns.
        if let Some(between) = text.find(")(") {
            text.replace_range(between..=between, ") returns ");
        }
        let function = Function::parse(&text)
            .map_err(|_| argument(format!("{signature:?} is no signature of a function; {shape}")))?;
        Ok(Self::calling(function, encrypted_parameters(signature)))
    }

    /// A constructor by the list of its types, for example `(uint256)` or `constructor(uint256)`.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse_constructor(types: &str) -> Result<Self, Error> {
        let bare = types.trim();
        let bare = bare.strip_prefix("constructor").unwrap_or(bare);
        let constructor = Constructor::parse(&format!("constructor{}", plain(bare)))
            .map_err(|_| argument(format!("{types:?} is no list of types; write it as (uint256,address)")))?;
        Ok(Self::constructing(constructor.inputs, encrypted_parameters(bare)))
    }

    /// Its signature without what it returns.
    pub fn signature(&self) -> &str {
        &self.name
    }

    /// What is encrypted in the position of an argument, if its declaration says so.
    fn declared(&self, index: usize) -> Option<FheType> {
        let by_signature = self.encrypted.get(index).copied().flatten();
        by_signature.or_else(|| match self.inputs.get(index)?.internal_type()? {
            InternalType::Other { ty, .. } => encrypted_name(ty),
            _ => None,
        })
    }

    /// Reads arguments.
    ///
    /// # Errors
    /// If their number is wrong, or one is none of its type; the text says which, and does not repeat what is to be
    /// encrypted.
    pub fn arguments(&self, given: &[String]) -> Result<Arguments<'_>, Error> {
        if given.len() != self.inputs.len() {
            let (wanted, plural) = (self.inputs.len(), if self.inputs.len() == 1 { "" } else { "s" });
            let text = format!("{} takes {wanted} argument{plural}, {} given", self.name, counted(given.len()));
            return Err(argument(text));
        }
        let mut slots = Vec::with_capacity(given.len());
        for (index, (text, param)) in given.iter().zip(&self.inputs).enumerate() {
            let place = || format!("argument {} of {}", index.saturating_add(1), self.name);
            slots.push(match text.strip_prefix(ENCRYPTED) {
                Some(value) if param.ty == "bytes32" => {
                    let parsed = match (value.contains(':'), self.declared(index)) {
                        (true, _) => Value::parse(value),
                        (false, Some(kind)) => Value::of_type(kind, value),
                        (false, None) => Err(argument("say which type to encrypt, for example enc:u64:5")),
                    };
                    let value = parsed.map_err(|e| argument(format!("{}: {e}", place())))?;
                    if let Some(kind) = self.declared(index).filter(|kind| *kind != value.kind()) {
                        let given = value.kind();
                        return Err(argument(format!("{} is to be {kind}, {given} is given", place())));
                    }
                    Slot::Encrypted(value)
                }
                _ if text == PROOF && param.ty == "bytes" => Slot::Proof,
                _ => Slot::Plain(coerce(param, text).map_err(|e| argument(format!("{} {e}", place())))?),
            });
        }
        let encrypted = slots.iter().any(|slot| matches!(slot, Slot::Encrypted(_)));
        let proven = slots.iter().any(|slot| matches!(slot, Slot::Proof));
        match (encrypted, proven) {
            (true, false) => Err(argument(format!(
                "{} has an encrypted argument and no proof; write `proof` for the argument that takes it",
                self.name
            ))),
            (false, true) => Err(argument("there is nothing to prove: no argument begins with enc:")),
            _ => Ok(Arguments { method: self, slots }),
        }
    }

    /// What a call returned, in the order of the signature; bytes alone if it says nothing about returns.
    ///
    /// # Errors
    /// If the bytes are not what the signature says.
    pub fn returned(&self, output: &[u8]) -> Result<Vec<DynSolValue>, Error> {
        match &self.function {
            Some(function) if !function.outputs.is_empty() => function
                .abi_decode_output(output)
                .map_err(|e| argument(format!("{} returned what its declared types do not fit: {e}", self.name))),
            _ => Ok(vec![DynSolValue::Bytes(output.to_vec())]),
        }
    }
}

/// A value of a parameter's type.
fn coerce(param: &Param, text: &str) -> Result<DynSolValue, String> {
    let kind: DynSolType = param.resolve().map_err(|e| format!("has a type that is not known: {e}"))?;
    if matches!(kind, DynSolType::Address)
        && let Some(wallet) = Wallet::named(text)
    {
        return Ok(DynSolValue::Address(wallet.map_err(|e| format!("cannot be used: {e}"))?.address()));
    }
    kind.coerce_str(text).map_err(|_| {
        let form = form(&kind).map_or_else(String::new, |form| format!(" ({form})"));
        format!("must be of type {}{form}, {text:?} is not", kind.sol_type_name())
    })
}

/// How a value of a type is written.
fn form(kind: &DynSolType) -> Option<String> {
    let power = |bits: usize| match 1u128.checked_shl(u32::try_from(bits).ok()?) {
        Some(power) if bits <= 64 => Some((power.to_string(), power.saturating_sub(1).to_string())),
        _ => Some((format!("2^{bits}"), format!("2^{bits}-1"))),
    };
    Some(match kind {
        DynSolType::Uint(bits) => format!("a whole number from 0 to {}", power(*bits)?.1),
        DynSolType::Int(bits) => {
            let (least, most) = power(bits.saturating_sub(1))?;
            format!("a whole number from -{least} to {most}")
        }
        DynSolType::Address => "0x and 40 hexadecimal digits, or dev-0 to dev-9".to_owned(),
        DynSolType::Bool => "true or false".to_owned(),
        DynSolType::Bytes => "0x and hexadecimal digits, two for each byte".to_owned(),
        DynSolType::FixedBytes(size) => format!("0x and {} hexadecimal digits", size.saturating_mul(2)),
        DynSolType::Array(_) | DynSolType::FixedArray(..) => "a list in brackets: [1,2]".to_owned(),
        DynSolType::Tuple(_) => "a tuple in parentheses: (1,2)".to_owned(),
        _ => return None,
    })
}

enum Slot {
    Plain(DynSolValue),
    Encrypted(Value),
    Proof,
}

/// Arguments of one call, of which some may still have to be encrypted.
pub struct Arguments<'a> {
    method: &'a Method,
    slots: Vec<Slot>,
}

impl Arguments<'_> {
    /// What is to be encrypted, in the order of the arguments.
    pub fn values(&self) -> Vec<Value> {
        let value = |slot: &Slot| match slot {
            Slot::Encrypted(value) => Some(value.clone()),
            _ => None,
        };
        self.slots.iter().filter_map(value).collect()
    }

    /// Calldata, or what follows the code of a constructor.
    ///
    /// # Errors
    /// If there are not as many handles as encrypted values.
    pub fn encode(&self, handles: &[B256], proof: &[u8]) -> Result<Vec<u8>, Error> {
        let mut rest = handles.iter();
        let mut values = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            values.push(match slot {
                Slot::Plain(value) => value.clone(),
                Slot::Proof => DynSolValue::Bytes(proof.to_vec()),
                Slot::Encrypted(_) => {
                    let handle =
                        rest.next().ok_or_else(|| argument("there are fewer handles than encrypted values"))?;
                    DynSolValue::FixedBytes(*handle, 32)
                }
            });
        }
        let coded = match &self.method.function {
            Some(function) => function.abi_encode_input(&values),
            None => {
                let (inputs, state_mutability) = (self.method.inputs.clone(), StateMutability::NonPayable);
                Constructor { inputs, state_mutability }.abi_encode_input(&values)
            }
        };
        coded.map_err(|e| argument(format!("the arguments of {} cannot be encoded: {e}", self.method.name)))
    }
}

/// The handle that a value of the ABI may be: a word.
pub fn handle(value: &DynSolValue) -> Option<B256> {
    match value {
        DynSolValue::FixedBytes(word, 32) => Some(*word),
        _ => None,
    }
}

/// A value as a person reads it.
pub fn text(value: &DynSolValue) -> String {
    match json(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// A value as JSON: numbers as decimal text, because readers of JSON lose digits past 2^53.
pub fn json(value: &DynSolValue) -> Json {
    match value {
        DynSolValue::Bool(b) => json!(b),
        DynSolValue::Int(n, _) => json!(n.to_string()),
        DynSolValue::Uint(n, _) => json!(n.to_string()),
        DynSolValue::FixedBytes(word, size) => json!(hex::encode_prefixed(&word[..(*size).min(32)])),
        DynSolValue::Address(address) => json!(address.to_string()),
        DynSolValue::Function(function) => json!(hex::encode_prefixed(function)),
        DynSolValue::Bytes(bytes) => json!(hex::encode_prefixed(bytes)),
        DynSolValue::String(text) => json!(text),
        DynSolValue::Array(list)
        | DynSolValue::FixedArray(list)
        | DynSolValue::Tuple(list)
        | DynSolValue::CustomStruct { tuple: list, .. } => list.iter().map(json).collect(),
    }
}

/// Why a contract reverted, in words: by the errors of its artifact, and by those that are known anyway.
pub fn revert_reason(data: &[u8], abi: Option<&JsonAbi>) -> String {
    let Some((selector, arguments)) = data.split_first_chunk::<4>() else {
        return "it reverted without saying why".to_owned();
    };
    match *selector {
        // Error(string)
        [0x08, 0xc3, 0x79, 0xa0] => match DynSolType::String.abi_decode(arguments) {
            Ok(DynSolValue::String(text)) => return text,
            _ => return format!("it reverted with {}", hex::encode_prefixed(data)),
        },
        // Panic(uint256)
        [0x4e, 0x48, 0x7b, 0x71] => return panic_reason(arguments),
        _ => {}
    }
    let known = KNOWN_ERRORS.iter().filter_map(|text| AbiError::parse(text).ok());
    let own = abi.into_iter().flat_map(JsonAbi::errors).cloned();
    let found = own.chain(known).find(|error| error.selector() == *selector);
    let decoded = found.as_ref().and_then(|error| Some((error, error.abi_decode_input(arguments).ok()?)));
    match decoded {
        Some((error, values)) => {
            let named = error.inputs.iter().zip(&values).map(|(param, value)| match param.name.as_str() {
                "" => text(value),
                name => format!("{name} {}", text(value)),
            });
            format!("{}({})", error.name, named.collect::<Vec<_>>().join(", "))
        }
        None => format!(
            "it reverted with {}, which is no error of its ABI; give the contract's artifact with --abi",
            hex::encode_prefixed(data)
        ),
    }
}

/// Solidity's own panics.
fn panic_reason(arguments: &[u8]) -> String {
    let code = arguments.last().copied().unwrap_or_default();
    let why = match code {
        0x01 => "an assertion does not hold",
        0x11 => "arithmetic left its range",
        0x12 => "division by zero",
        0x21 => "a number is no member of the enum",
        0x32 => "an index is out of bounds",
        0x41 => "too much memory is asked for",
        _ => "the compiler's check failed",
    };
    format!("{why} (Panic 0x{code:02x})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(given: &[&str]) -> Vec<String> {
        given.iter().map(|text| (*text).to_owned()).collect()
    }

    fn refused(signature: &str, given: &[&str]) -> String {
        let method = Method::parse(signature).unwrap();
        method.arguments(&strings(given)).err().expect("these arguments are refused").to_string()
    }

    #[test]
    fn calldata_is_what_an_independent_library_encodes() {
        // `encodeFunctionData` of viem 2.57.20 for the same signature and values.
        let method = Method::parse("f(address,uint64,bytes,(uint8,string)[],bytes32[2],int16,bool)").unwrap();
        let ones = "11".repeat(32);
        let words = format!("[0x{ones},0x{}]", "22".repeat(32));
        let given = ["dev-1", "5", "0x0102", "[(1,\"a\"),(2,\"two words\")]", &words, "-3", "true"];
        let calldata = method.arguments(&strings(&given)).unwrap().encode(&[], &[]).unwrap();
        assert_eq!(hex::encode_prefixed(calldata), include_str!("../vectors/calldata.hex").trim());
    }

    #[test]
    fn encrypted_types_are_words_in_the_abi() {
        let method = Method::parse("confidentialTransfer(address to, externalEuint64 amount, bytes proof)").unwrap();
        assert_eq!(method.signature(), "confidentialTransfer(address,bytes32,bytes)");
        let method = Method::parse("f((euint8,ebool)[],eaddress)(euint64)").unwrap();
        assert_eq!(method.signature(), "f((bytes32,bytes32)[],bytes32)");
        let returned = method.returned(&[7; 32]).unwrap();
        assert_eq!(returned.iter().map(text).collect::<Vec<_>>(), [format!("0x{}", "07".repeat(32))]);
    }

    #[test]
    fn encrypted_arguments_take_the_places_of_their_handles() {
        let method = Method::parse("confidentialTransfer(address,externalEuint64,bytes)").unwrap();
        let arguments = method.arguments(&strings(&["dev-2", "enc:5", "proof"])).unwrap();
        assert_eq!(arguments.values(), [Value::parse("u64:5").unwrap()]);
        let handle = B256::repeat_byte(0x17);
        let encoded = arguments.encode(&[handle], &[1, 2, 3]).unwrap();
        let same = ["dev-2", &handle.to_string(), "0x010203"];
        assert_eq!(encoded, method.arguments(&strings(&same)).unwrap().encode(&[], &[]).unwrap());
        assert!(arguments.encode(&[], &[]).is_err(), "a handle is missing");
        // Where the signature does not say the type, the argument does.
        let method = Method::parse("f(bytes32,bytes32,bytes)").unwrap();
        let arguments = method.arguments(&strings(&["enc:u8:7", "enc:bool:true", "proof"])).unwrap();
        let kinds: Vec<FheType> = arguments.values().iter().map(Value::kind).collect();
        assert_eq!(kinds, [FheType::Uint8, FheType::Bool]);
    }

    #[test]
    fn wrong_arguments_get_a_sentence_that_says_which_and_why() {
        let transfer = "transfer(address,uint64)";
        let error = refused(transfer, &["dev-1"]);
        assert_eq!(error, "transfer(address,uint64) takes 2 arguments, 1 argument is given");
        assert_eq!(refused("f(bool)", &[]), "f(bool) takes 1 argument, no argument is given");
        assert_eq!(refused("f()", &["1", "2"]), "f() takes 0 arguments, 2 arguments are given");
        let error = refused("f(address,uint8)", &["dev-1", "256"]);
        let expected =
            "argument 2 of f(address,uint8) must be of type uint8 (a whole number from 0 to 255), \"256\" is not";
        assert_eq!(error, expected);
        for (kind, given, form) in [
            ("uint64", "many", "from 0 to 18446744073709551615"),
            ("uint256", "-1", "from 0 to 2^256-1"),
            ("int8", "128", "from -128 to 127"),
            ("int128", "x", "from -2^127 to 2^127-1"),
            ("address", "0x12", "0x and 40 hexadecimal digits, or dev-0 to dev-9"),
            ("bool", "yes please", "true or false"),
            ("bytes32", "0x12", "0x and 64 hexadecimal digits"),
            ("bytes", "12x", "two for each byte"),
            ("uint8[]", "1", "a list in brackets"),
            ("(uint8,bool)", "1", "a tuple in parentheses"),
        ] {
            let error = refused(&format!("f({kind})"), &[given]);
            assert!(error.contains(form) && error.contains(given), "{kind}: {error}");
        }
        assert!(refused(transfer, &["dev-12", "1"]).contains("dev-0 to dev-9"));
        let encrypted = "f(externalEuint64,bytes)";
        assert!(refused(encrypted, &["enc:u8:5", "proof"]).contains("is to be euint64, euint8 is given"));
        assert!(refused(encrypted, &["enc:u64:5", "0x"]).contains("write `proof`"));
        assert!(refused("f(bytes)", &["proof"]).contains("nothing to prove"));
        assert!(refused("f(bytes32,bytes)", &["enc:5", "proof"]).contains("enc:u64:5"));
        let error = refused(encrypted, &["enc:u64:123456789012345678901234567890", "proof"]);
        assert!(error.contains("argument 1 of f(bytes32,bytes)") && !error.contains("12345678901234567890"), "{error}");
        for (signature, expected) in [("transfer", "a name without types"), ("transfer(address", "no signature")] {
            assert!(Method::parse(signature).unwrap_err().to_string().contains(expected), "{signature}");
        }
    }

    #[test]
    fn a_string_may_be_anything_also_what_has_a_meaning_elsewhere() {
        let method = Method::parse("f(string)").unwrap();
        for given in ["proof", "enc:u64:5", "dev-0"] {
            let encoded = method.arguments(&strings(&[given])).unwrap().encode(&[], &[]).unwrap();
            let data = &encoded[4 + 64..];
            assert_eq!(&data[..given.len()], given.as_bytes());
        }
    }

    #[test]
    fn artifacts_of_hardhat_and_foundry_are_read() {
        let abi = r#"[{"type":"constructor","inputs":[{"name":"blocks","type":"uint256","internalType":"uint256"}],
            "stateMutability":"nonpayable"},{"type":"function","name":"bid","inputs":[{"name":"amount","type":"bytes32",
            "internalType":"externalEuint64"},{"name":"proof","type":"bytes","internalType":"bytes"}],"outputs":[],
            "stateMutability":"nonpayable"},{"type":"error","name":"TooLate","inputs":[]}]"#;
        for artifact in [
            format!("{{\"contractName\":\"A\",\"abi\":{abi},\"bytecode\":\"0x6001\"}}"),
            format!("{{\"abi\":{abi},\"bytecode\":{{\"object\":\"0x6001\",\"linkReferences\":{{}}}}}}"),
        ] {
            let artifact = Artifact::parse(&artifact).unwrap();
            assert_eq!(artifact.code, Some(vec![0x60, 0x01].into()));
            let arguments = artifact.constructor();
            let arguments = arguments.arguments(&strings(&["10"])).unwrap().encode(&[], &[]).unwrap();
            assert_eq!((arguments.len(), arguments[31]), (32, 10));
            let bid = artifact.function("bid", 2).unwrap();
            let arguments = bid.arguments(&strings(&["enc:700", "proof"])).unwrap();
            assert_eq!(arguments.values(), [Value::parse("u64:700").unwrap()], "the type is the declaration's");
            assert!(artifact.function("bid", 1).unwrap_err().to_string().contains("bid(bytes32,bytes)"));
            assert!(artifact.function("sell", 1).unwrap_err().to_string().contains("it has bid"));
            let selector = Method::parse("TooLate()").unwrap();
            let data = selector.arguments(&[]).unwrap().encode(&[], &[]).unwrap();
            assert_eq!(revert_reason(&data, Some(&artifact.abi)), "TooLate()");
            assert!(revert_reason(&data, None).contains("--abi"));
        }
        assert_eq!(Artifact::parse("0x6001\n").unwrap().code, Some(vec![0x60, 0x01].into()));
        assert!(Artifact::parse("contract A {}").unwrap_err().contains("hexadecimal"));
        assert!(Artifact::parse("{}").unwrap_err().contains("`abi`"));
    }

    #[test]
    fn reverts_are_explained() {
        for (data, expected) in [
            ("", "it reverted without saying why"),
            (
                // `encodeErrorResult` of viem 2.57.20.
                "9de3392cabababababababababababababababababababababababababababababababab00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c8",
                "ACLNotAllowed(handle 0xabababababababababababababababababababababababababababababababab, account 0x70997970C51812dc3A010C7d01b50e0d17dc79C8)",
            ),
            (
                "08c379a0000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000026e6f000000000000000000000000000000000000000000000000000000000000",
                "no",
            ),
            (
                "4e487b710000000000000000000000000000000000000000000000000000000000000011",
                "arithmetic left its range (Panic 0x11)",
            ),
        ] {
            assert_eq!(revert_reason(&hex::decode(data).unwrap(), None), expected);
        }
        assert!(KNOWN_ERRORS.iter().all(|text| AbiError::parse(text).is_ok()), "each of them is one");
        assert!(revert_reason(&[1, 2, 3, 4, 5], None).contains("0x0102030405"));
        assert_eq!(revert_reason(&[8, 0xc3, 0x79, 0xa0, 1], None), "it reverted with 0x08c379a001");
    }
}
