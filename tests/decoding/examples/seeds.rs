//! Writes the seed corpus: `cargo run -p parallax-decoding --example seeds -- fuzz/corpus`. Files of the same name are
//! overwritten, others stay.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let Some(corpus) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("name the folder of the corpora, for example fuzz/corpus"));
    };
    for (target, name, bytes) in parallax_decoding::seeds::all() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{name}")), bytes)?;
    }
    Ok(())
}
