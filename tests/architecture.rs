//! The layers: which part of the program may use which other part, and which crate.
//!
//! ```text
//! main → cli → app → http → { oauth, sessions, events, webhooks, media, verification, maintenance, backup } → { store, upstream } → { db, domain }
//!                    leaves, usable by all above domain: config, clock, secrets, fair_share, fetch, metrics, telemetry, lifecycle
//! ```
//!
//! Parts in the same braces may use each other in at most one direction; store and upstream must not use each other, nor
//! must db and domain. Only app names a concrete network.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom. Every file or folder of src/ except lib.rs is here or among the leaves.
const LAYERS: &[&[&str]] = &[
    &["db", "domain"],
    &["store", "upstream"],
    &["oauth", "sessions", "events", "webhooks", "media", "verification", "maintenance", "backup"],
    &["http"],
    &["app"],
    &["cli"],
    &["main"],
];
const LEAVES: &[&str] =
    &["config", "clock", "secrets", "fair_share", "fetch", "metrics", "telemetry", "lifecycle"];

/// The parts that may use a crate.
const CRATES: &[(&str, &[&str])] = &[
    ("sqlx", &["db", "store", "upstream/local/network"]),
    ("async_nats", &["events/broker"]),
    ("axum", &["http"]),
    ("axum_extra", &["http"]),
    ("tower_http", &["http"]),
    ("utoipa_axum", &["http"]),
    ("multer", &["http"]),
    ("tar", &["backup"]),
    ("object_store", &["media"]),
    ("oxide_auth", &["oauth"]),
    ("oxide_auth_async", &["oauth"]),
    ("reqwest", &["fetch"]),
    ("prometheus_client", &["metrics"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("procfs", &["metrics"]),
    ("tokio_xmpp", &["upstream/xmpp"]),
    ("xmpp_parsers", &["upstream/xmpp"]),
    ("image", &["media"]),
    ("image_webp", &["media"]),
    ("png", &["media"]),
    ("weezl", &["media"]),
    ("lofty", &["media"]),
    ("calcard", &["media"]),
    ("mail_parser", &["http", "media"]),
];

/// The concrete networks, which only app names.
const NETWORKS: &[&str] = &["local", "xmpp", "whatsapp"];

#[test]
fn no_part_uses_what_it_must_not() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    assert!(files.len() > 10, "the source was not found");
    let files: Vec<(String, String)> = files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&source).expect("below src").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("a source file"))
        })
        .collect();
    let found = check(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Words of a dialect that the code once had, beside the field's words, which lib.rs lists.
const BANNED: &[&str] = &[
    "attend",
    "attended",
    "attends",
    "gather",
    "gathered",
    "gathering",
    "gathers",
    "looker",
    "lookers",
    "patience",
    "shelf",
    "told",
    "twin",
    "twins",
    "whoever",
    "whomever",
    "wish",
    "wishes",
];
/// An operation of the API is an endpoint: a row is in a table of PostgreSQL.
const BANNED_PHRASES: &[&str] = &["each row of the contract", "every row of the api", "this row takes"];

#[test]
fn the_code_speaks_the_words_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root.join(folder), &mut files);
    }
    let mut found = Vec::new();
    for path in files.iter().filter(|path| !path.ends_with("tests/architecture.rs")) {
        let text = fs::read_to_string(path).expect("a source file");
        for (number, line) in (1..).zip(text.lines()) {
            found.extend(banned(line).map(|word| format!("{}:{number}: {word}", path.display())));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn banned_words_are_found() {
    for (line, count) in [
        ("fn attend(patience: Duration) {}", 2),
        ("/// What was told, a Twin.", 2),
        ("let is_told_twice = 1;", 1),
        ("let gatherer = folder.attendance();", 0),
        ("//! This row takes JSON only.", 1),
    ] {
        assert_eq!(banned(line).count(), count, "{line}");
    }
}

/// Names that programs of the previous version read and write, in the database and in commands.
const WIRE_NAMES: &[&str] = &["localnet_watch.told", "w.told", "set told", "told =", "told <>", "= \"wish\""];

/// The banned words in a line; the parts of an identifier count as words.
fn banned(line: &str) -> impl Iterator<Item = String> {
    let mut line = line.to_lowercase();
    for name in WIRE_NAMES {
        line = line.replace(name, "");
    }
    let words = line.split(|sign: char| !sign.is_ascii_alphabetic());
    let mut found: Vec<String> = words.filter(|word| BANNED.contains(word)).map(str::to_owned).collect();
    found.extend(
        BANNED_PHRASES.iter().filter(|phrase| line.contains(*phrase)).map(|phrase| (*phrase).to_owned()),
    );
    found.into_iter()
}

#[test]
fn planted_violations_are_found() {
    for (file, text) in [
        ("http/account.rs", "use sqlx::PgPool;"),
        ("http/account.rs", "fn f(pool: &::sqlx::PgPool) {}"),
        ("sessions/mod.rs", "use {anyhow::Result, axum::Json};"),
        ("http/token.rs", "use oxide_auth_async as oxide;"),
        ("verification/twilio.rs", "let client = reqwest::get(url);"),
        ("upstream/mod.rs", "use tokio_xmpp::Client;"),
        ("http/messages.rs", "let picture = image::open(path);"),
        ("store/message.rs", "use crate::http::ApiError;"),
        ("store/message.rs", "use crate::{domain::AccountId, sessions::Sessions};"),
        ("store/message.rs", "use crate::upstream::Event;"),
        ("store/mod.rs", "use super::app;"),
        ("db/cluster/mod.rs", "fn f() { super::super::http::serve() }"),
        ("upstream/mod.rs", "use crate::store::Store;"),
        ("upstream/local/mod.rs", "use crate::store::Store;"),
        ("upstream/local/network/mod.rs", "use crate::store::Store;"),
        ("upstream/local/reader.rs", "fn f(pool: &sqlx::PgPool) {}"),
        ("db/mod.rs", "use crate::domain::AccountId;"),
        ("domain/account.rs", "use crate::db::DbError;"),
        ("clock.rs", "use crate::db::Db;"),
        ("upstream/mod.rs", "use crate::upstream::local::Local;"),
        ("sessions/mod.rs", "use crate::upstream::{Connector, local::Local};"),
        ("domain/account.rs", "use crate::clock;"),
        ("secrets.rs", "use crate::store::Store;"),
        ("utilities.rs", "fn f() {}"),
    ] {
        assert_eq!(check([(file, text)]).len(), 1, "{file}: {text}");
    }
    let circle =
        [("oauth/mod.rs", "use crate::events::Event;"), ("events/mod.rs", "use crate::oauth::Token;")];
    assert_eq!(check(circle).len(), 1);
}

#[test]
fn what_is_allowed_is_not_taken_for_a_violation() {
    let allowed = [
        ("lib.rs", "pub mod store;"),
        ("main.rs", "use windu::cli;"),
        ("app.rs", "use crate::upstream::local::Local; use crate::http::server;"),
        ("http/mod.rs", "use axum::Json; use crate::store::StoreError; use self::super::http::error;"),
        ("store/mod.rs", "//! Not crate::http.\n/* nor axum::Json */ const TEXT: &str = \"use axum::Json\";"),
        (
            "store/mod.rs",
            "const RAW: &str = r#\"\"axum::Json\"#; const C: char = '\"'; use crate::domain::Id;",
        ),
        ("db/cluster/mod.rs", "use sqlx::PgPool; use super::error::DbError; use crate::config::Missing;"),
        ("upstream/local/network/mod.rs", "use crate::db::{Db, DbError}; use sqlx::PgExecutor;"),
        ("upstream/local/stanza.rs", "use crate::upstream::local::Local;"),
        ("upstream/mod.rs", "pub mod local; fn f<'a>(sqlx: &'a str) -> &'a str { sqlx }"),
        ("sessions/mod.rs", "use crate::events::Event; use crate::upstream::Connector;"),
        ("config/mod.rs", "use crate::secrets; use crate::domain::PhoneNumber;"),
    ];
    assert_eq!(check(allowed), Vec::<String>::new());
}

/// The violations in these files (path below src/, text), one sentence each.
fn check<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut found = Vec::new();
    let mut siblings = BTreeSet::new();
    for (file, text) in files {
        let part = part_of(file);
        if part != "lib" && level(part).is_none() && !LEAVES.contains(&part) {
            found.push(format!("src/{file}: {part} is in no layer; give it one in tests/architecture.rs"));
        }
        for path in paths(text) {
            let first = path[0].as_str();
            if let Some((_, homes)) = CRATES.iter().find(|(name, _)| *name == first)
                && !homes.iter().any(|home| is_below(file, home))
            {
                found.push(format!("src/{file} uses the crate {first}, which only {} may", homes.join(", ")));
            }
            let Some(inner) = within_the_crate(file, &path) else { continue };
            let Some(target) = inner.first().map(String::as_str) else { continue };
            let detail = inner.get(1).map_or("", String::as_str);
            if target == "upstream" && NETWORKS.contains(&detail) && part != "app" {
                let home = format!("upstream/{detail}");
                if !is_below(file, &home) {
                    found.push(format!("src/{file} names the network {detail}, which only app may"));
                    continue;
                }
            }
            match verdict(part, target) {
                Verdict::Allowed => {}
                Verdict::Sibling => {
                    siblings.insert((part.to_owned(), target.to_owned()));
                }
                Verdict::Forbidden => {
                    found.push(format!("src/{file} uses {}, against the layers", inner.join("::")));
                }
            }
        }
    }
    for (one, other) in &siblings {
        if one < other && siblings.contains(&(other.clone(), one.clone())) {
            found.push(format!("{one} and {other} use each other"));
        }
    }
    found
}

enum Verdict {
    Allowed,
    /// Allowed unless the other one uses this one too.
    Sibling,
    Forbidden,
}

fn verdict(part: &str, target: &str) -> Verdict {
    let is_leaf = |name| LEAVES.contains(&name);
    match (level(part), level(target)) {
        _ if part == target || part == "lib" => Verdict::Allowed,
        // Not a part, for example an item that lib.rs gives a name.
        (_, None) if !is_leaf(target) => Verdict::Allowed,
        (_, None) if part != "domain" => Verdict::Allowed,
        (None, Some(0)) if target == "domain" => Verdict::Allowed,
        (Some(from), Some(to)) if from > to => Verdict::Allowed,
        (Some(from), Some(to)) if from == to && from > 1 => Verdict::Sibling,
        _ => Verdict::Forbidden,
    }
}

fn level(part: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&part))
}

fn part_of(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn is_below(file: &str, folder: &str) -> bool {
    file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

/// A path of this crate from its root, if it is one: `crate::..`, or `super::..` as far up as the root.
fn within_the_crate(file: &str, path: &[String]) -> Option<Vec<String>> {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if module.last() == Some(&"mod") {
        module.pop();
    }
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" => module.clear(),
            "super" => drop(module.pop()),
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    (rest.len() < path.len() && module.is_empty()).then(|| rest.to_vec())
}

/// Every path in the text that begins with `crate`, `super`, `self` or a crate of the table; groups are taken apart.
fn paths(text: &str) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let previous = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].as_str());
        // `a::sqlx` is no crate, `::sqlx` is.
        if previous(1) == "::" && (is_word(previous(2)) && previous(2) != "use" || previous(2) == ">") {
            continue;
        }
        let next = tokens.get(at + 1).map_or("", String::as_str);
        let begins = match token.as_str() {
            "crate" | "super" | "self" => next == "::",
            name if CRATES.iter().any(|(known, _)| *known == name) => next == "::" || previous(1) == "use",
            _ => false,
        };
        if begins {
            follow(&tokens, at, &[], &mut found);
        }
    }
    found
}

/// Reads one path or group from `at` on; returns its end.
fn follow(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        if token == "{" && (path.len() > prefix.len() || !prefix.is_empty()) {
            at += 1;
            while tokens.get(at).is_some_and(|token| token != "}") {
                let end = follow(tokens, at, &path, found);
                at = end.max(at + 1);
            }
            return at + 1;
        }
        if !is_word(token) {
            break;
        }
        path.push(token.clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    if path.len() > prefix.len() {
        found.push(path);
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|sign: char| sign.is_alphabetic() || sign == '_')
}

/// Words, `::` and single signs, without comments, texts and characters.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_text(rest) {
            length
        } else if sign == '"' {
            quoted(rest, '"')
        } else if sign == '\'' {
            character(rest)
        } else if is_word(rest) {
            let end = rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else {
            let length = if rest.starts_with("::") { 2 } else { sign.len_utf8() };
            if !sign.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a raw text, such as `r#".."#`.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = rest.len() - after.len() + hashes + 1;
    Some(rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len()))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        if sign == quote && !escaped {
            return at + 1;
        }
        escaped = sign == '\\' && !escaped;
    }
    rest.len()
}

/// The length of a character, or of the sign that begins a lifetime.
fn character(rest: &str) -> usize {
    let mut signs = rest.chars().skip(1);
    match (signs.next(), signs.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, '\''),
        _ => 1,
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
