//! The common test vectors, as far as scenes play them.

use crate::grammar::{Act, Dns, Expect, Https, Scene};
use serde_json::Value;
use std::sync::LazyLock;

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../vectors/vectors.json")).unwrap());

fn rows(list: &str) -> &'static [Value] {
    VECTORS[list].as_array().unwrap()
}

fn name(row: &'static Value) -> &'static str {
    row["name"].as_str().unwrap()
}

pub fn flows() -> &'static [Value] {
    rows("flows")
}

/// The names of all policies that no reader may accept.
pub fn malformed() -> impl Iterator<Item = &'static str> {
    rows("policies").iter().filter(|row| row["expect"] == "invalid").map(name)
}

/// The body of a policy vector.
pub fn body(wanted: &str) -> Result<Vec<u8>, String> {
    let row = rows("policies").iter().find(|row| name(row) == wanted).ok_or(format!("no policy vector `{wanted}`"))?;
    if let Some(text) = row["body"].as_str() {
        return Ok(text.as_bytes().to_vec());
    }
    if let Some(hex) = row["body_hex"].as_str() {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        return Ok((0..hex.len()).step_by(2).map(byte).collect());
    }
    let part = |part: &Value| match part.as_str() {
        Some(text) => text.to_owned(),
        None => part["repeat"].as_str().unwrap().repeat(part["n"].as_u64().unwrap() as usize),
    };
    Ok(row["body_gen"].as_array().unwrap().iter().map(part).collect::<String>().into_bytes())
}

/// What a scene says otherwise than the flow vector that it claims to be.
pub fn differences(flow: &Value, scene: &Scene) -> Vec<String> {
    let mut faults = Vec::new();
    let mut want = |is_so: bool, what: String| {
        if !is_so {
            faults.push(format!("{}: not as its vector: {what}", scene.path));
        }
    };
    let cached = &flow["cached"];
    let count = if cached.is_null() { 1 } else { 2 };
    want(scene.steps.len() == count, format!("{count} steps"));
    let (Some(first), Some(last)) = (scene.steps.first(), scene.steps.last()) else { return faults };
    if !cached.is_null() {
        let (id, mode) = (cached["id"].as_str().unwrap(), cached["mode"].as_str().unwrap());
        want(first.times == [0] && has_id(&first.acts, id), format!("first the id {id} at 0"));
        let serves = |https: &Https| https.what == mode && cached["max_age"] == https.max_age;
        want(https(&first.acts).is_some_and(serves), format!("first {cached}"));
        let begins = [Expect::new("mode", mode), Expect::new("from", "https")];
        want(begins.iter().all(|expect| first.expect.contains(expect)), format!("first {mode} from https"));
    }
    let age = cached["age"].as_i64().unwrap_or(0);
    want(last.times == [age], format!("a question at {age}s"));
    let txt = flow["txt"].as_str().unwrap();
    let absent = |act: &Act| matches!(act, Act::Dns(Dns { failure: Some(word), .. }) if word == "nxdomain");
    want(if txt == "none" { last.acts.iter().any(absent) } else { has_id(&last.acts, txt) }, format!("TXT {txt}"));
    if let Some(fetch) = flow["fetch"].as_str() {
        let does = |https: &Https| match fetch.split_once(':') {
            Some((_, mode)) => https.what == mode,
            None if fetch == "timeout" => https.what == "silent",
            None if fetch == "tls-untrusted" => https.certificate == mtasts_world::Certificate::UnknownCa,
            None => fetch.strip_prefix("http-") == Some(&https.what),
        };
        want(https(&last.acts).is_some_and(does), format!("fetch {fetch}"));
    }
    let (mode, from) = match flow["expect_policy"].as_str() {
        Some("new") => (flow["fetch"].as_str().unwrap().trim_start_matches("ok:"), "https"),
        Some("cached") => (cached["mode"].as_str().unwrap(), "cache"),
        _ => ("none", "none"),
    };
    let report = flow["expect_report"].as_str().unwrap_or("none");
    for expect in [
        Expect::new("mode", mode),
        Expect::new("from", from),
        Expect::new("https", if flow["expect_fetch"] == true { "1" } else { "0" }),
        Expect::new("result", report),
    ] {
        want(last.expect.contains(&expect), format!("{expect:?}"));
    }
    faults
}

fn has_id(acts: &[Act], id: &str) -> bool {
    let record = format!("v=STSv1; id={id};").into_bytes();
    acts.iter().any(|act| matches!(act, Act::Dns(dns) if dns.failure.is_none() && dns.records == [&*record]))
}

fn https(acts: &[Act]) -> Option<&Https> {
    acts.iter().find_map(|act| if let Act::Https(https) = act { Some(https) } else { None })
}
