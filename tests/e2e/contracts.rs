//! The guides to confidential contracts and to their jobs, line by line: what a newcomer types, and what they then see.

use crate::{program, turn};
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long all of the guide may take: keys may have to be made first.
const LIMIT: Duration = Duration::from_secs(1_500);
/// What separates the outputs of the commands.
const MARK: &str = "@@@ exit ";

/// A command of the guide with what it shows; no lines if it shows nothing of it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    shown: Vec<String>,
}

/// The commands of the blocks marked `console`: a line beginning with `$ ` and what follows it up to the next one.
fn steps(guide: &str) -> Vec<Step> {
    let (mut steps, mut inside) = (Vec::<Step>::new(), false);
    for (at, line) in guide.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (false, _) => {}
            (true, line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { line: at + 1, command: command.to_owned(), shown: vec![] }),
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => panic!("line {}: a block begins with a command", at + 1),
            },
        }
    }
    steps
}

/// Whether a command printed what the guide shows. A line `...` stands for anything, and so does showing nothing.
fn as_shown(step: &Step, printed: &str) -> bool {
    step.shown.is_empty() || step.shown == ["..."] || printed.lines().eq(step.shown.iter().map(String::as_str))
}

/// Ends the localnet of a directory, if a test ended before the guide did.
struct Ending(PathBuf);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = Command::new(program()).args(["localnet", "stop"]).current_dir(&self.0).output();
    }
}

/// Runs all commands in one shell, in a directory where the guide's relative paths lead to the repository's files.
fn run(steps: &[Step], dir: &Path) -> (Vec<(String, i32)>, String) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    symlink(repository.join("examples"), dir.join("examples")).unwrap();
    let script: String = steps.iter().map(|s| format!("{}\necho \"{MARK}$?\"\n", s.command)).collect();
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let notes = dir.join("stderr");
    let mut shell = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir)
        .env("PATH", path)
        .env_remove("PARALLAX_RPC")
        .env_remove("PARALLAX_ETHEREUM")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&notes).unwrap())
        .spawn()
        .unwrap();
    let mut output = shell.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let begun = Instant::now();
    while shell.try_wait().unwrap().is_none() {
        if begun.elapsed() > LIMIT {
            let _ = shell.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = shell.wait();
    let text = reader.join().unwrap().unwrap();
    let (mut done, mut rest) = (Vec::new(), text.as_str());
    while let Some((printed, after)) = rest.split_once(MARK) {
        let (code, more) = after.split_once('\n').unwrap_or((after, ""));
        done.push((printed.to_owned(), code.parse().unwrap()));
        rest = more;
    }
    (done, std::fs::read_to_string(notes).unwrap())
}

/// Runs a guide of the documentation and compares what it prints.
fn follow(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let steps = steps(&std::fs::read_to_string(path).unwrap());
    assert!(steps.len() > 10, "the guide has commands: {steps:?}");
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let _ending = Ending(dir.path().to_owned());
    let (done, notes) = run(&steps, dir.path());
    let all = || {
        let lines = steps.iter().zip(&done).map(|(step, (printed, _))| format!("$ {}\n{printed}", step.command));
        format!("{}\nstandard error:\n{notes}", lines.collect::<String>())
    };
    for (step, (printed, code)) in steps.iter().zip(&done) {
        assert_eq!(*code, 0, "docs/{name}, line {}: {} failed\n{}", step.line, step.command, all());
        assert!(
            as_shown(step, printed),
            "docs/{name}, line {}: {} printed\n{printed}instead of\n{}\n{}",
            step.line,
            step.command,
            step.shown.join("\n"),
            all()
        );
    }
    assert_eq!(done.len(), steps.len(), "every command ended within {LIMIT:?}\n{}", all());
}

#[test]
fn the_guide_to_a_confidential_token_works_as_it_is_written() {
    follow("contracts.md");
}

#[test]
fn the_guide_to_a_job_of_a_contract_works_as_it_is_written() {
    follow("contract-jobs.md");
}

#[test]
fn a_guide_is_read_as_commands_with_what_they_show() {
    let guide =
        "text\n```sh\n$ not this\n```\n```console\n$ a b\none\ntwo\n$ c\n```\nmore\n```console\n$ d\n...\n```\n";
    let step = |line, command: &str, shown: &[&str]| Step {
        line,
        command: command.to_owned(),
        shown: shown.iter().map(|s| (*s).to_owned()).collect(),
    };
    let read = steps(guide);
    assert_eq!(read, [step(6, "a b", &["one", "two"]), step(9, "c", &[]), step(13, "d", &["..."])]);
    assert!(
        as_shown(&read[0], "one\ntwo\n") && !as_shown(&read[0], "one\n") && !as_shown(&read[0], "one\ntwo\nthree\n")
    );
    assert!(as_shown(&read[1], "anything\n") && as_shown(&read[2], "anything\n"));
}
