//! How RocksDB is set up: what is compressed, and how much memory it may take.

use parallax_state::Column;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options};

/// Cache of blocks, filters and indexes that all columns share, in bytes.
pub const BLOCK_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Rows of all columns that wait in memory to be written to files, in bytes.
pub const ALL_WRITE_BUFFERS_BYTES: usize = 32 * 1024 * 1024;
/// Rows of one column that wait in memory, in bytes.
pub const WRITE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// The same for ciphertexts, the largest of which has this size.
pub const BLOB_WRITE_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// Largest write-ahead log, in bytes: what a start may have to replay.
pub const MAX_WAL_BYTES: u64 = 64 * 1024 * 1024;
/// Values at least this long, in bytes, go to files of their own, so that compactions do not copy ciphertexts.
pub const SEPARATE_FROM_BYTES: u64 = 4 * 1024;
/// Files that one database keeps open.
pub const MAX_OPEN_FILES: i32 = 256;
/// Bits a key for the filters that answer most look-ups of absent rows without a disk read.
const FILTER_BITS: f64 = 10.0;
/// RocksDB's own diary, in bytes a file, and how many such files stay.
const LOG_FILE_BYTES: usize = 1024 * 1024;
const LOG_FILES: usize = 2;

pub(crate) fn all() -> (Options, Vec<ColumnFamilyDescriptor>) {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let columns = Column::ALL.iter().map(|&c| ColumnFamilyDescriptor::new(c.name(), column(c, &cache))).collect();
    (database(), columns)
}

fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(ALL_WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(MAX_WAL_BYTES);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_max_log_file_size(LOG_FILE_BYTES);
    options.set_log_level(LogLevel::Warn);
    // Every write is synced, so only a write that never returned can be torn, and only at the end of the log. RocksDB's
    // default would also pass over damage further up and lose committed writes without a word.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

fn column(column: Column, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    if looked_up_by_whole_key(column) {
        blocks.set_bloom_filter(FILTER_BITS, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_max_write_buffer_number(2);
    if column == Column::Blobs {
        options.set_write_buffer_size(BLOB_WRITE_BUFFER_BYTES);
        // Packed before they come here, and ciphertexts do not shrink.
        options.set_compression_type(DBCompressionType::None);
        options.set_enable_blob_files(true);
        options.set_min_blob_size(SEPARATE_FROM_BYTES);
        options.set_enable_blob_gc(true);
    } else {
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_compression_type(DBCompressionType::Lz4);
    }
    options
}

/// The columns that are read by key rather than by range: a filter helps only there.
fn looked_up_by_whole_key(column: Column) -> bool {
    match column {
        Column::Nodes | Column::Blobs | Column::BlobRefs | Column::Meta => true,
        Column::Values | Column::Stale | Column::Pins | Column::Blocks | Column::Rounds | Column::Journal => false,
    }
}
