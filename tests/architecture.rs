//! The shape of the code, held by a test: imports run one way, and every dependency has one home.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Modules from the bottom up. Each may use itself and those before it, never those after it.
const ORDER: [&str; 20] = [
    "error",
    "proto",
    "feature",
    "event",
    "window",
    "clock",
    "random",
    "access",
    "telemetry",
    "store",
    "registry",
    "serving",
    "stream",
    "wire",
    "client",
    "api",
    "config",
    "app",
    "serve",
    "cli",
];

/// The only places where a dependency may be named, as prefixes of paths below `src`.
const HOMES: [(&str, &[&str]); 30] = [
    ("axum", &["api/"]),
    ("clap", &["cli/", "serve.rs"]),
    ("comfy_table", &["cli/"]),
    ("compact_str", &["window/"]),
    ("crc32fast", &["access/"]),
    ("datasketches", &["window/"]),
    ("getrandom", &["random.rs"]),
    ("hyper", &["api/"]),
    ("hyper_util", &["api/"]),
    ("indicatif", &["cli/"]),
    ("memmap2", &["store/embedded/"]),
    ("opentelemetry", &["telemetry/"]),
    ("opentelemetry_prometheus", &["telemetry/"]),
    ("opentelemetry_sdk", &["telemetry/"]),
    ("parquet", &["wire/", "cli/"]),
    ("percent_encoding", &["wire/"]),
    ("prometheus", &["telemetry/"]),
    ("prost_reflect", &["wire/", "api/verb.rs"]),
    ("redb", &["store/embedded/"]),
    ("schemars", &["wire/", "api/"]),
    ("serde_saphyr", &["config.rs", "cli/"]),
    ("slab", &["window/"]),
    ("tempfile", &["serving/training/", "cli/", "store/embedded/"]),
    ("tonic", &["api/", "client/", "proto/"]),
    ("tonic_health", &["api/"]),
    ("tonic_prost", &[]),
    ("tonic_reflection", &["api/"]),
    ("tonic_types", &["api/", "client/"]),
    ("tracing_subscriber", &["telemetry/"]),
    ("twox_hash", &["window/"]),
];

#[test]
fn imports_run_one_way() {
    let rank = |module: &str| ORDER.iter().position(|known| *known == module);
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = rank(source.module()) else {
            assert!(["lib", "main"].contains(&source.module()), "{} has no place in ORDER", source.path);
            continue;
        };
        for used in source.used_modules() {
            match rank(&used) {
                Some(used_rank) if used_rank <= own => {}
                Some(_) => wrong.push(format!("{} uses crate::{used}", source.path)),
                None => {
                    wrong.push(format!("{} uses crate::{used}, which has no place in ORDER", source.path))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "lower modules never import higher ones:\n{}", wrong.join("\n"));
}

#[test]
fn dependencies_stay_at_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (dependency, homes) in HOMES {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            if !at_home && source.names(dependency) {
                wrong.push(format!("{} names {dependency}, whose home is {homes:?}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An id that is made of a number is a right to read somebody's rows.
#[test]
fn only_stores_and_the_registry_make_ids() {
    let ids = ["TenantId", "EntityTypeId", "RowId", "FeatureId"].map(|id| format!("{id}::from_stored"));
    let made = sources().into_iter().filter(|source| {
        let at_home = ["store/", "registry/"].iter().any(|home| source.path.starts_with(home));
        let is_test = source.path.contains("tests/") || source.path.ends_with("tests.rs");
        !at_home && !is_test && ids.iter().any(|id| source.code.contains(id))
    });
    let made: Vec<_> = made.map(|source| source.path).collect();
    assert!(made.is_empty(), "these make ids of numbers: {made:?}");
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> =
        sources().into_iter().filter(|source| !source.starts_with_doc).map(|source| source.path).collect();
    assert!(silent.is_empty(), "no module documentation: {silent:?}");
}

/// The forms that values take, a file each: what a new dtype touches.
const FORMS: [&str; 8] = [
    "feature/columns.rs",
    "feature/dtype.rs",
    "feature/row.rs",
    "feature/value.rs",
    "wire/json/value.rs",
    "wire/online/array.rs",
    "wire/value.rs",
    // Windows give some dtypes only: whether a new one is among them is decided here.
    "window/layout.rs",
];

#[test]
fn dtypes_are_told_apart_in_one_file_for_each_form() {
    let lint = "#![deny(clippy::wildcard_enum_match_arm)]";
    let is_test = |source: &Source| source.path.ends_with("tests.rs") || source.path.contains("/tests/");
    let matching = sources().into_iter().filter(|source| source.matches_over_dtypes() && !is_test(source));
    let matching: Vec<Source> = matching.collect();
    let paths: BTreeSet<&str> = matching.iter().map(|source| &*source.path).collect();
    assert_eq!(paths, BTreeSet::from(FORMS));
    let lax: Vec<_> =
        matching.iter().filter(|source| !source.code.contains(lint)).map(|source| &source.path).collect();
    assert!(lax.is_empty(), "a `_` arm would take a new dtype in silence; add {lint} to {lax:?}");
}

/// A file below `src` without its comments and its tests.
struct Source {
    /// Below `src`.
    path: String,
    code: String,
    starts_with_doc: bool,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    collect(&root, &mut files);
    assert!(files.len() > 30, "only {} files found", files.len());
    files
        .into_iter()
        .map(|(path, text)| {
            let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            // Tests may stand a whole server up from below.
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code.lines().map(|line| line.split("//").next().unwrap());
            let code = lines.collect::<Vec<_>>().join("\n");
            Source { path, code, starts_with_doc: text.starts_with("//!") }
        })
        .collect()
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            files.insert(path, text);
        }
    }
}

impl Source {
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    /// Every `x` of `crate::x` and of `crate::{x, …}`.
    fn used_modules(&self) -> Vec<String> {
        let uses = self.code.split("crate::").skip(1);
        uses.flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => heads(list),
            None => vec![word(rest).to_owned()],
        })
        .collect()
    }

    /// Whether a dtype, or a value by its dtype, stands in a pattern: before `=>`, in `let` or in `matches!`.
    fn matches_over_dtypes(&self) -> bool {
        self.code.lines().any(|line| {
            let pattern = match (line.split_once("=>"), line.split_once("let "), line.split_once("matches!("))
            {
                (Some((pattern, _)), ..) => pattern,
                (_, Some((_, pattern)), _) => pattern.split(['=', ';']).next().unwrap_or_default(),
                (.., Some((_, pattern))) => pattern,
                _ => return false,
            };
            // `serde_json` has a `Value` of its own.
            let value = if self.names("serde_json") { "ValueRef::" } else { "Value::" };
            let names = ["Dtype::", "ValueRef::", value];
            names.iter().flat_map(|name| pattern.match_indices(name)).any(|(at, name)| {
                let before = pattern[..at].chars().next_back();
                let variant = pattern[at + name.len()..].starts_with(|char: char| char.is_ascii_uppercase());
                variant && before.is_none_or(|char| !char.is_alphanumeric() && char != ':')
            })
        })
    }

    /// Whether the code names a crate: `name::`, not as the end of a longer word or path.
    fn names(&self, dependency: &str) -> bool {
        let path = format!("{dependency}::");
        self.code.match_indices(&path).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            !before.is_some_and(|char| char.is_alphanumeric() || char == '_' || char == ':')
        })
    }
}

/// The first word of each member of a list in braces, whose opening one is gone already.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut heads, mut member) = (0, Vec::new(), String::new());
    for char in list.chars() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut member)),
            _ => {}
        }
        if depth == 0 && char != ',' {
            member.push(char);
        }
    }
    heads.push(member);
    heads.iter().map(|member| word(member.trim()).to_owned()).filter(|head| !head.is_empty()).collect()
}

fn word(text: &str) -> &str {
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
    &text[..end]
}

#[test]
fn the_reader_of_imports_sees_them_all() {
    let code =
        "use crate::error::Error;\nuse crate::{\n a::{b, c},\n d,\n};\nfn f(x: crate::e::X) { axum::f() }";
    let source = Source { path: "feature/x.rs".into(), code: code.into(), starts_with_doc: true };
    assert_eq!(source.module(), "feature");
    assert_eq!(source.used_modules(), ["error", "a", "d", "e"]);
    assert!(source.names("axum") && !source.names("xum"));
    let matches = |code: &str| {
        let path = "feature/x.rs".into();
        Source { path, code: code.into(), starts_with_doc: true }.matches_over_dtypes()
    };
    for pattern in ["    Dtype::Int64 => 1,", "(2, Dtype::Bool) => 1", "if let Dtype::List(_) = dtype {"] {
        assert!(matches(pattern), "{pattern}");
    }
    for other in
        ["let dtype = Dtype::Int64;", "x => Dtype::Int64,", "proto::Dtype::Bool => 1", "let x: Dtype;"]
    {
        assert!(!matches(other), "{other}");
    }
}
