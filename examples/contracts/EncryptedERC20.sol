// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {FHE, ebool, euint64, externalEuint64} from "@fhevm/solidity/lib/FHE.sol";
import {ZamaEthereumConfig} from "@fhevm/solidity/config/ZamaConfig.sol";

/// An ERC-20 token whose amounts are encrypted: who pays whom is public, how much is not.
///
/// A transfer of more than there is moves nothing and looks like any other: a revert would say something about a balance.
contract EncryptedERC20 is ZamaEthereumConfig {
    string public name;
    string public symbol;
    uint8 public constant decimals = 6;
    address public immutable owner;
    /// What was minted, once its decryption has been published.
    uint64 public publishedSupply;

    euint64 private supply;
    mapping(address => euint64) private balances;
    mapping(address => mapping(address => euint64)) private allowances;

    event Transfer(address indexed from, address indexed to);
    event Approval(address indexed holder, address indexed spender);

    error NotTheOwner(address sender);

    constructor(string memory name_, string memory symbol_) {
        name = name_;
        symbol = symbol_;
        owner = msg.sender;
    }

    /// The handle of what was minted.
    function totalSupply() external view returns (euint64) {
        return supply;
    }

    /// The handle of a balance; its account may have it decrypted.
    function balanceOf(address account) external view returns (euint64) {
        return balances[account];
    }

    /// The handle of what a spender may spend; both sides may have it decrypted.
    function allowance(address holder, address spender) external view returns (euint64) {
        return allowances[holder][spender];
    }

    /// Creates an encrypted amount. Nothing is created if the supply would leave its 64 bits.
    function mint(address to, externalEuint64 amount, bytes calldata proof) external {
        if (msg.sender != owner) revert NotTheOwner(msg.sender);
        euint64 more = FHE.add(supply, FHE.fromExternal(amount, proof));
        ebool fits = FHE.ge(more, supply);
        euint64 minted = FHE.select(fits, FHE.sub(more, supply), FHE.asEuint64(0));
        supply = FHE.select(fits, more, supply);
        FHE.allowThis(supply);
        FHE.allow(supply, owner);
        keep(to, FHE.add(balances[to], minted));
        emit Transfer(address(0), to);
    }

    /// Moves an encrypted amount.
    function transfer(address to, externalEuint64 amount, bytes calldata proof) external {
        euint64 value = FHE.fromExternal(amount, proof);
        move(msg.sender, to, value, FHE.le(value, balances[msg.sender]));
    }

    /// Lets a spender move up to an encrypted amount.
    function approve(address spender, externalEuint64 amount, bytes calldata proof) external {
        grant(msg.sender, spender, FHE.fromExternal(amount, proof));
        emit Approval(msg.sender, spender);
    }

    /// Moves an encrypted amount that its holder approved.
    function transferFrom(address from, address to, externalEuint64 amount, bytes calldata proof) external {
        euint64 value = FHE.fromExternal(amount, proof);
        euint64 allowed = allowances[from][msg.sender];
        ebool enough = FHE.and(FHE.le(value, allowed), FHE.le(value, balances[from]));
        grant(from, msg.sender, FHE.select(enough, FHE.sub(allowed, value), allowed));
        move(from, to, value, enough);
    }

    /// Lets everyone have the supply decrypted.
    function disclose() external {
        if (msg.sender != owner) revert NotTheOwner(msg.sender);
        FHE.makePubliclyDecryptable(supply);
    }

    /// Takes the decrypted supply, if the key managers signed it.
    function publish(uint64 decrypted, bytes calldata proof) external {
        bytes32[] memory handles = new bytes32[](1);
        handles[0] = FHE.toBytes32(supply);
        FHE.checkSignatures(handles, abi.encode(decrypted), proof);
        publishedSupply = decrypted;
    }

    function move(address from, address to, euint64 value, ebool possible) private {
        euint64 moved = FHE.select(possible, value, FHE.asEuint64(0));
        keep(from, FHE.sub(balances[from], moved));
        keep(to, FHE.add(balances[to], moved));
        emit Transfer(from, to);
    }

    function keep(address account, euint64 value) private {
        balances[account] = value;
        FHE.allowThis(value);
        FHE.allow(value, account);
    }

    function grant(address holder, address spender, euint64 value) private {
        allowances[holder][spender] = value;
        FHE.allowThis(value);
        FHE.allow(value, holder);
        FHE.allow(value, spender);
    }
}
