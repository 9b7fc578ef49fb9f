// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {FHE, ebool, eaddress, euint64, externalEuint64} from "@fhevm/solidity/lib/FHE.sol";
import {ZamaEthereumConfig} from "@fhevm/solidity/config/ZamaConfig.sol";

/// A sealed-bid auction: bids stay encrypted for good, and only who won is ever decrypted.
contract Auction is ZamaEthereumConfig {
    address public immutable seller;
    uint256 public immutable lastBlock;
    address public winner;
    bool public closed;

    euint64 private highest;
    eaddress private leader;
    mapping(address => euint64) private bids;

    error TooLate();
    error TooEarly();
    error AlreadyBid();

    constructor(uint256 blocks) {
        seller = msg.sender;
        lastBlock = block.number + blocks;
        highest = FHE.asEuint64(0);
        leader = FHE.asEaddress(msg.sender);
        FHE.allowThis(highest);
        FHE.allowThis(leader);
    }

    /// One bid an account. The first of equal bids wins.
    function bid(externalEuint64 amount, bytes calldata proof) external {
        if (block.number > lastBlock) revert TooLate();
        if (FHE.isInitialized(bids[msg.sender])) revert AlreadyBid();
        euint64 value = FHE.fromExternal(amount, proof);
        bids[msg.sender] = value;
        FHE.allowThis(value);
        FHE.allow(value, msg.sender);
        ebool leads = FHE.gt(value, highest);
        highest = FHE.select(leads, value, highest);
        leader = FHE.select(leads, FHE.asEaddress(msg.sender), leader);
        FHE.allowThis(highest);
        FHE.allowThis(leader);
    }

    /// Ends the auction: from here on everyone may have the winner decrypted, and nothing else.
    function close() external {
        if (block.number <= lastBlock) revert TooEarly();
        closed = true;
        FHE.makePubliclyDecryptable(leader);
    }

    /// The handle of the winner.
    function leaderHandle() external view returns (eaddress) {
        return leader;
    }

    /// The handle of a bid.
    function bidOf(address account) external view returns (euint64) {
        return bids[account];
    }

    /// Takes the decrypted winner, if the key managers signed it.
    function settle(address decrypted, bytes calldata proof) external {
        bytes32[] memory handles = new bytes32[](1);
        handles[0] = FHE.toBytes32(leader);
        FHE.checkSignatures(handles, abi.encode(decrypted), proof);
        winner = decrypted;
    }
}
