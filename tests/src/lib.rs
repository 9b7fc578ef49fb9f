//! Tests of the whole: on real processes, and of the repository itself (`tidy.rs`). This library holds nothing; each
//! test is a file beside `src/`, listed in the manifest.
