//! Style as a test: what people would otherwise have to remember. It reads the sources, the lock file and cargo's
//! dependency graph, and starts nothing.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most lines of a source file. There are no exceptions.
const MAX_LINES: usize = 900;
/// The README's section that lists the path.
const PATH_HEADING: &str = "The path of one transaction";
/// How many files the path has, about.
const PATH_FILES: std::ops::RangeInclusive<usize> = 6..=12;
/// Crates that compile without any of [`HEAVY`].
const PURE: [&str; 11] = [
    "parallax-primitives",
    "parallax-state",
    "parallax-memory-store",
    "parallax-rounds",
    "parallax-consensus-app",
    "parallax-runtime",
    "parallax-scheduler",
    "parallax-placement",
    "parallax-evm",
    "parallax-genesis",
    "parallax-kms",
];
/// What protocol crates must not depend on, however far away.
const HEAVY: [&str; 6] = ["tokio", "tfhe", "rocksdb", "librocksdb-sys", "libp2p", "jsonrpsee"];
/// Packages of which two copies would mean two formats, two networks or twice the build.
const ONCE: [&str; 6] = ["libp2p", "tfhe", "borsh", "blake3", "rocksdb", "parallax-primitives"];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests' directory lies in the repository").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{} must be readable: {e}", path.display()))
}

/// Every file below a directory that is ours: no build output, nothing hidden but `.ci`.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the repository can be listed") {
        let path = entry.expect("the repository can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && (!name.starts_with('.') || name == ".ci") {
                files(&path, found);
            }
        } else if name != ".git" {
            // A worktree has a file of that name, which is not the repository's.
            found.push(path);
        }
    }
}

fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found.sort();
    assert!(found.len() > 50, "the walk found the repository");
    found
}

fn sources() -> Vec<PathBuf> {
    all_files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs")).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The dependency graph for this platform, from the lock file and without the network.
fn metadata() -> Value {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc is there");
    let text = String::from_utf8(rustc.stdout).expect("rustc prints UTF-8");
    let host = text.lines().find_map(|l| l.strip_prefix("host: ")).expect("rustc names its host").to_owned();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host])
        .current_dir(root())
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("cargo metadata has the text {field}"))
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("cargo metadata has the list {field}"))
}

/// Our own packages.
fn members(metadata: &Value) -> Vec<&Value> {
    let ids: BTreeSet<&str> = list(metadata, "workspace_members").iter().filter_map(Value::as_str).collect();
    list(metadata, "packages").iter().filter(|p| ids.contains(text(p, "id"))).collect()
}

fn fail_if_any(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn the_files_on_the_readmes_path_of_one_transaction_exist() {
    let readme = read(&root().join("README.md"));
    let mut lines = readme.lines().skip_while(|l| !(l.starts_with('#') && l.contains(PATH_HEADING)));
    assert!(lines.next().is_some(), "README.md has a section {PATH_HEADING:?}");
    let section: Vec<&str> = lines.take_while(|l| !l.starts_with('#')).collect();
    let numbered = |l: &&str| l.split_once(". ").is_some_and(|(n, _)| n.trim().parse::<u32>().is_ok());
    let steps = section.iter().filter(|l| numbered(l)).count();
    assert!(PATH_FILES.contains(&steps), "the path has {steps} numbered steps, about eight are wanted");
    let spans: Vec<&str> = section.iter().flat_map(|l| l.split('`').skip(1).step_by(2)).collect();
    let paths: Vec<&str> = spans.into_iter().filter(|s| s.ends_with(".rs")).collect();
    assert!(paths.len() >= steps, "each of the {steps} steps names a file; found {paths:?}");
    let missing: Vec<String> =
        paths.iter().filter(|p| !root().join(p).is_file()).map(|p| format!("`{p}` does not exist")).collect();
    fail_if_any(&missing, "README.md leads to files that are there");
}

#[test]
fn every_crate_is_named_in_the_architecture() {
    let (architecture, metadata) = (read(&root().join("ARCHITECTURE.md")), metadata());
    let missing: Vec<String> = members(&metadata)
        .into_iter()
        .map(|p| text(p, "name"))
        .filter(|name| !architecture.contains(&format!("`{name}`")))
        .map(|name| format!("`{name}` has no row in the table of crates"))
        .collect();
    fail_if_any(&missing, "ARCHITECTURE.md names every crate");
}

#[test]
fn no_source_file_is_longer_than_a_person_can_hold_in_mind() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|p| (read(&p).lines().count(), p))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, p)| format!("{} has {lines} lines", shown(&p)))
        .collect();
    fail_if_any(&long, &format!("at most {MAX_LINES} lines a file; split it by what its parts are for"));
}

#[test]
fn nothing_unfinished_is_left_in_the_sources() {
    // Put together here, so that this file does not find itself.
    let banned: Vec<String> = ["todo", "unimplemented", "dbg"].iter().map(|m| format!("{m}!(")).collect();
    let mut found = Vec::new();
    for path in sources() {
        for (i, line) in read(&path).lines().enumerate() {
            if let Some(name) = banned.iter().find(|b| line.contains(b.as_str())) {
                found.push(format!("{}:{} has {name}", shown(&path), i + 1));
            }
        }
    }
    fail_if_any(&found, "no placeholder and no debug output stays in the sources");
}

/// Names of the packages that a build of `id` links, itself included: normal and build dependencies.
fn closure(metadata: &Value, id: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> =
        list(metadata, "packages").iter().map(|p| (text(p, "id"), text(p, "name"))).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes").iter().map(|n| (text(n, "id"), n)).collect();
    let (mut seen, mut queue) = (BTreeSet::from([id]), vec![id]);
    while let Some(id) = queue.pop() {
        for dep in nodes.get(id).map_or(&[][..], |n| list(n, "deps")) {
            let linked = list(dep, "dep_kinds").iter().any(|k| k["kind"].is_null() || k["kind"] == "build");
            let id = text(dep, "pkg");
            if linked && seen.insert(id) {
                queue.push(id);
            }
        }
    }
    seen.into_iter().filter_map(|id| names.get(id)).map(|name| (*name).to_owned()).collect()
}

#[test]
fn protocol_crates_compile_without_network_disk_and_fhe_libraries() {
    let metadata = metadata();
    let members = members(&metadata);
    let mut found = Vec::new();
    for name in PURE {
        let package = members.iter().find(|p| text(p, "name") == name);
        let package = package.unwrap_or_else(|| panic!("{name} is a crate of this workspace"));
        let linked = closure(&metadata, text(package, "id"));
        found.extend(HEAVY.iter().filter(|h| linked.contains(**h)).map(|h| format!("{name} depends on {h}")));
    }
    fail_if_any(&found, "protocol crates stay pure");
    // The same walk must find what is there, or it would find nothing anywhere.
    let node = members.iter().find(|p| text(p, "name") == "parallax-node").expect("the node is a crate");
    let linked = closure(&metadata, text(node, "id"));
    assert!(HEAVY.iter().all(|h| linked.contains(*h)), "the node links every heavy library: {linked:?}");
}

/// The versions of each package in the lock file.
fn locked() -> BTreeMap<String, Vec<String>> {
    let lock = read(&root().join("Cargo.lock"));
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
        } else if let Some(value) = line.strip_prefix("version = ")
            && !name.is_empty()
        {
            versions.entry(name.to_owned()).or_default().push(value.trim_matches('"').to_owned());
            name = "";
        }
    }
    versions
}

/// Packages with their features, one line each, as building these kinds of dependencies selects them.
fn features(kinds: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--format",
            "{p} [{f}]",
            "-e",
            kinds,
        ])
        .current_dir(root())
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    text.lines().filter(|l| !l.is_empty()).map(|l| l.trim_end_matches(" (*)").to_owned()).collect()
}

#[test]
fn testing_selects_no_other_features_than_building_so_nothing_is_compiled_twice() {
    let (building, testing) = (features("normal,build"), features("normal,build,dev"));
    let package = |line: &str| line.split_once(" [").map_or(line, |(package, _)| package).to_owned();
    let built: BTreeSet<String> = building.iter().map(|l| package(l)).collect();
    assert!(built.len() > 100, "the tree is there");
    let twice: Vec<String> = testing.difference(&building).filter(|l| built.contains(&package(l))).cloned().collect();
    fail_if_any(&twice, "a dependency of tests alone changes features; make it a normal one of parallax-tests");
}

#[test]
fn there_is_one_version_of_what_must_not_come_twice() {
    let versions = locked();
    let wrong: Vec<String> = ONCE
        .iter()
        .map(|once| (once, versions.get(*once).cloned().unwrap_or_default()))
        .filter(|(_, found)| found.len() != 1)
        .map(|(once, found)| format!("{once}: {found:?}"))
        .collect();
    fail_if_any(&wrong, "Cargo.lock holds exactly one version");
}

#[test]
fn every_crate_states_its_licence_and_takes_part_in_the_lints() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        let name = text(package, "name");
        if package["license"] != "Apache-2.0" {
            wrong.push(format!("{name}: license is {}", package["license"]));
        }
        let manifest = read(Path::new(text(package, "manifest_path")));
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{name}: the manifest has no `[lints] workspace = true`"));
        }
    }
    fail_if_any(&wrong, "every manifest states the licence and the workspace's lints");
    let notice = read(&root().join("NOTICE"));
    for word in ["BSD 3-Clause Clear", "PATENT LICENCE FROM ZAMA", "openb"] {
        assert!(notice.contains(word), "NOTICE speaks of {word}");
    }
    assert!(read(&root().join("LICENSE")).contains("Apache License"), "LICENSE is the full text");
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    // Put together here, so that this file does not find itself.
    let places: Vec<String> = ["root", "work", "Users"].iter().map(|d| format!("/{d}/")).collect();
    let readable = ["rs", "md", "toml", "sh", "json", "csv", "txt", "yml", "yaml", ""];
    let mut found = Vec::new();
    for path in all_files() {
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        if !readable.contains(&extension.as_str()) {
            continue;
        }
        let Ok(content) = fs::read_to_string(&path) else { continue };
        for (i, line) in content.lines().enumerate() {
            let begins = |place: &String| {
                line.match_indices(place.as_str()).any(|(at, _)| {
                    // A path of its own, not the middle of another such as `acl/root/`.
                    line[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || "\"'`(=:".contains(c))
                })
            };
            if let Some(place) = places.iter().find(|p| begins(p)) {
                found.push(format!("{}:{} names {place}", shown(&path), i + 1));
            }
        }
    }
    fail_if_any(&found, "paths are relative, or below HOME");
}
