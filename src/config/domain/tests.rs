//! Tables of domains: what takes effect, and what is told of those that do not.

use super::*;
use crate::config::Settings;
use std::path::Path;

fn parse(text: &str) -> (Settings, Vec<String>) {
    let (settings, faults) = Settings::parse(text, Path::new("f"));
    (settings, faults.iter().map(ToString::to_string).collect())
}

fn get(settings: &Settings, domain: &str) -> Option<Override> {
    settings.domains.get(&PolicyDomain::parse(domain.as_bytes()).unwrap()).cloned()
}

const GOOD: &str = r#"
    syslog = false
    [domain."Broken.Example."]
    mode = "none"
    until = 2026-12-31
    why = "their certificate is expired, ticket 7"

    [domain."müller.example"]
    mode = "enforce"
    mx = ["MX.example.com", "*.example.net"]
    [domain.'later.example']
    mode = "testing"
    mx = [
        "mx.later.example", # the only one
    ]
    until = 2027-01-01T12:00:00+02:00
    why = "mandatory TLS"
"#;

#[test]
fn exceptions_and_pins_are_read_under_any_spelling_of_the_domain() {
    let (settings, faults) = parse(GOOD);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(settings.domains.len(), 3);
    let exception = Override {
        rule: Rule::Exempt,
        until: UnixTime::from_utc(2026, 12, 31, 23, 59, 59),
        why: "their certificate is expired, ticket 7".to_owned(),
        line: Some(3),
    };
    assert_eq!(get(&settings, "broken.example"), Some(exception));
    let pin = get(&settings, "xn--mller-kva.example").unwrap();
    let body = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmx: *.example.net\nmax_age: 31557600\n";
    let policy = Policy::parse(body.as_bytes()).unwrap();
    assert_eq!(policy.lints(), [""; 0]);
    assert_eq!(pin.rule, Rule::Pinned { policy, body: body.as_bytes().into() });
    assert_eq!((pin.until, &*pin.why, pin.line), (None, "", Some(8)));
    let later = get(&settings, "later.example").unwrap();
    assert_eq!(later.until, UnixTime::from_utc(2027, 1, 1, 10, 0, 0));
    assert!(matches!(later.rule, Rule::Pinned { policy, .. } if policy.mode() == Mode::Testing));
}

#[test]
fn a_decision_is_in_force_to_its_last_second() {
    let (settings, _) = parse(GOOD);
    let exception = get(&settings, "broken.example").unwrap();
    let last = exception.until.unwrap();
    assert!(exception.is_in_force(last));
    assert!(!exception.is_in_force(last.plus(1)));
    assert!(get(&settings, "müller.example").unwrap().is_in_force(UnixTime(i64::MAX)));
}

#[test]
fn an_end_may_be_a_date_or_a_moment_and_a_text_of_either() {
    for (until, want) in [
        ("2026-12-31", UnixTime::from_utc(2026, 12, 31, 23, 59, 59)),
        ("2028-02-29", UnixTime::from_utc(2028, 2, 29, 23, 59, 59)),
        ("2026-12-31T18:00:00Z", UnixTime::from_utc(2026, 12, 31, 18, 0, 0)),
        ("2026-12-31 18:00:00.9", UnixTime::from_utc(2026, 12, 31, 18, 0, 0)),
        ("2026-12-31T18:00", UnixTime::from_utc(2026, 12, 31, 18, 0, 0)),
        ("2026-12-31T23:30:00-00:45", UnixTime::from_utc(2027, 1, 1, 0, 15, 0)),
        ("2027-01-01T01:00:00+05:30", UnixTime::from_utc(2026, 12, 31, 19, 30, 0)),
        ("2026-12-31T23:59:60Z", UnixTime::from_utc(2026, 12, 31, 23, 59, 59)),
    ] {
        for quote in ["", "\"", "'"] {
            let (settings, faults) =
                parse(&format!("domain.a = {{ mode = 'none', why = 'x', until = {quote}{until}{quote} }}"));
            assert_eq!(faults, Vec::<String>::new());
            assert_eq!(get(&settings, "a").unwrap().until, want, "{until}");
        }
    }
}

#[test]
fn a_fault_names_key_and_line_and_what_would_be_right() {
    let date = "want a date such as 2026-12-31 (to the end of that day, UTC) or a moment such as \
                2026-12-31T18:00:00Z";
    let hosts = "want a list of host names in A-labels without a final dot, or `*.` and a domain";
    let table = "want a table such as `{ mode = \"enforce\", mx = [\"mx.example.com\"] }`";
    for (text, want) in [
        ("domain = 3", "line 1: key `domain`: 3, want tables such as `[domain.\"example.com\"]`".to_owned()),
        ("[[domain]]", "line 1: key `domain`: [a table], want tables such as `[domain.\"example.com\"]`".to_owned()),
        ("[domain]\nmode = 'none'", format!("line 2: key `domain.\"mode\"`: \"none\", {table}")),
        ("[[domain.x]]\nmode = 'none'", format!("line 1: key `domain.\"x\"`: [a table], {table}")),
        (
            "[domain.\"192.0.2.1\"]\nmx = ['a']\nmode = 'enforce'",
            "line 1: key `domain.\"192.0.2.1\"`: an IP address has no policy domain, want a domain as it stands \
             behind the @"
                .to_owned(),
        ),
        (
            "[domain.'x']\nwhy = 'x'",
            "line 1: key `domain.\"x\".mode` is missing, want \"none\", \"testing\" or \"enforce\"".to_owned(),
        ),
        (
            "[domain.x]\nmode = 'Enforce'",
            "line 2: key `domain.\"x\".mode`: \"Enforce\", want \"none\", \"testing\" or \"enforce\"".to_owned(),
        ),
        (
            "[domain.x]\nmode = 'none'\nwhy = 'x'",
            "line 1: key `domain.\"x\".until` is missing, want the date on which the exception ends, such as \
             2026-12-31"
                .to_owned(),
        ),
        (
            "[domain.x]\nmode = 'none'\nuntil = 2026-12-31",
            "line 1: key `domain.\"x\".why` is missing, want one line that explains the exception".to_owned(),
        ),
        (
            "[domain.x]\nmode = 'none'\nuntil = 2026-12-31\nwhy = 'x'\nmx = ['mx.a']",
            "line 5: key `domain.\"x\".mx` does not go with mode none, want no mx, or mode \"enforce\" or \
             \"testing\""
                .to_owned(),
        ),
        (
            "[domain.x]\nmode = 'enforce'",
            "line 1: key `domain.\"x\".mx` is missing, want a list of at least one host, such as \
             [\"mx.example.com\", \"*.example.net\"]"
                .to_owned(),
        ),
        ("[domain.x]\nmode = 'enforce'\nmx = []", format!("line 3: key `domain.\"x\".mx`: [], {hosts}")),
        ("[domain.x]\nmode = 'enforce'\nmx = 'a'", format!("line 3: key `domain.\"x\".mx`: \"a\", {hosts}")),
        (
            "[domain.x]\nmode = 'enforce'\nmx = ['a.b', 'a.b.']",
            format!(
                "line 3: key `domain.\"x\".mx`: [\"a.b\", \"a.b.\"], {hosts}; of `a.b.`, the name has an empty label, \
                 want no dot at the beginning and no two in a row"
            ),
        ),
        (
            "[domain.x]\nmode = 'enforce'\nmx = ['192.0.2.1']",
            format!("line 3: key `domain.\"x\".mx`: [\"192.0.2.1\"], {hosts}; no host matches `192.0.2.1`"),
        ),
        (
            "[domain.x]\nmode = 'enforce'\nmx = ['a']\nuntil = 12:00:00",
            format!("line 4: key `domain.\"x\".until`: 12:00:00, {date}"),
        ),
        (
            "[domain.x]\nmode = 'enforce'\nmx = ['a']\nuntil = 2026",
            format!("line 4: key `domain.\"x\".until`: 2026, {date}"),
        ),
        (
            "[domain.x]\nmode = 'enforce'\nmx = ['a']\nuntil = '2026-02-30'",
            format!("line 4: key `domain.\"x\".until`: \"2026-02-30\", {date}"),
        ),
        (
            "[domain.x]\nmode = 'enforce'\nmx = ['a']\nwhy = ' '",
            "line 4: key `domain.\"x\".why`: \" \", want one line of 1 to 200 bytes without control characters"
                .to_owned(),
        ),
        (
            "[domain.x]\nmodus = 'none'",
            "line 2: key `domain.\"x\".modus` is not known, want one of mode, mx, until, why".to_owned(),
        ),
        (
            "[domain.x]\nmode = 'enforce'\nmx = ['a']\nrefresh = false",
            "line 4: key `domain.\"x\".refresh` is no key of a domain, want it above the first table".to_owned(),
        ),
        (
            "[domain.mail.example.com]\nmode = 'enforce'\nmx = ['a']",
            "line 1: key `domain.\"mail\".example` is a table, want quotes around a name with dots: \
             `[domain.\"mail.example.com\"]`"
                .to_owned(),
        ),
    ] {
        let (settings, faults) = parse(&format!("{text}\n[domain.good]\nmode = 'enforce'\nmx = ['mx.good']\n"));
        assert_eq!(faults.first(), Some(&format!("f: {want}")), "{text}");
        assert_eq!(get(&settings, "x"), None, "{text}");
        let is_only_one = text.starts_with("[domain.") && text.contains("mode = ");
        assert!(!is_only_one || faults.len() == 1 || text.ends_with("'Enforce'"), "{text}: {faults:?}");
        if text.starts_with("[domain") {
            assert!(get(&settings, "good").is_some() || text == "[[domain]]", "{text}: the others take effect");
        }
    }
}

#[test]
fn every_fault_of_a_table_is_told() {
    let (_, faults) = parse("[domain.x]\nmode = 'none'\nuntil = true\nwhy = \"a\\nb\"\nmx = 1\nx = 1\n");
    let lines: Vec<&str> = faults.iter().map(|fault| fault.split(": ").nth(1).unwrap()).collect();
    assert_eq!(lines, ["line 3", "line 4", "line 5", "line 5", "line 6"], "{faults:?}");
    let why = |why: &str| parse(&format!("domain.x = {{ mode='none', until=2026-12-31, why=\"{why}\" }}")).1.len();
    assert_eq!(why(&"a".repeat(200)), 0);
    assert_eq!(why("für später"), 0);
    for wrong in ["", "a\\tb", "a\\u2028b", "\\u0085b", &"a".repeat(201)] {
        assert_eq!(why(wrong), 1, "{wrong}");
    }
}

#[test]
fn of_two_tables_for_one_domain_none_takes_effect() {
    let pin = "mode = 'enforce'\nmx = ['a']\n";
    let (settings, faults) =
        parse(&format!("[domain.'Z.example']\n{pin}[domain.b]\n{pin}[domain.'z.example.']\n{pin}"));
    let want = "f: line 7: key `domain.\"z.example.\"`: the domain of line 1 again, want one table; none takes effect";
    assert_eq!(faults, [want]);
    assert_eq!((get(&settings, "z.example"), get(&settings, "b").is_some()), (None, true));
    // The same spelling is not even TOML.
    let (settings, faults) = parse(&format!("[domain.a]\n{pin}[domain.b]\n{pin}[domain.a]\n{pin}"));
    assert_eq!(faults[0], "f: line 7: not TOML: duplicate key");
    assert!(faults.iter().any(|fault| fault.contains("`domain.\"a\"`: not TOML in line 7, the whole table")));
    assert_eq!((get(&settings, "a"), get(&settings, "b").is_some()), (None, true));
}

#[test]
fn a_pin_is_no_larger_than_a_policy_can_be() {
    let many = |count: usize| {
        let hosts: Vec<String> = (0..count).map(|number| format!("'mx{number:05}.example.com'")).collect();
        parse(&format!("domain.a = {{ mode = 'enforce', mx = [{}] }}", hosts.join(","))).1
    };
    assert_eq!(many(2_700), Vec::<String>::new());
    let faults = many(2_800);
    assert!(faults[0].ends_with("bytes, want at most 65536"), "{faults:?}");
}

#[test]
fn a_date_that_does_not_exist_costs_the_table_and_names_it() {
    let (settings, faults) = parse("syslog = false\n[domain.x]\nmode='none'\nuntil = 2026-02-30\nwhy='x'\n");
    assert!(!settings.syslog);
    assert_eq!(settings.domains.len(), 0);
    assert_eq!(
        faults,
        [
            "f: line 2: key `domain.\"x\"`: not TOML in line 4, the whole table takes no effect",
            "f: line 4: not TOML: invalid date, expected day between 01 and 28",
        ]
    );
}

#[test]
fn no_single_wrong_character_leaves_half_a_table_in_force() {
    let (whole, _) = parse(GOOD);
    let without_lines = |settings: &Settings| -> Vec<(PolicyDomain, Override)> {
        let table =
            |(domain, table): (&PolicyDomain, &Override)| (domain.clone(), Override { line: None, ..table.clone() });
        settings.domains.iter().map(table).collect()
    };
    let good = without_lines(&whole);
    let mut broken = 0;
    let check = |text: &str, broken: &mut u32| {
        let (settings, faults) = parse(text);
        if faults.iter().any(|fault| fault.contains("not TOML")) {
            *broken += 1;
            for table in without_lines(&settings) {
                assert!(good.contains(&table), "{table:?} of {text}\n{faults:?}");
            }
        }
    };
    let places: Vec<usize> = GOOD.char_indices().map(|(at, _)| at).collect();
    for (&at, end) in places.iter().zip(places.iter().skip(1)) {
        check(&format!("{}{}", &GOOD[..at], &GOOD[*end..]), &mut broken);
        for wrong in ["\"", "'", "[", "]", "{", "}", "=", ",", ".", "#", "\n", "a", "\u{1}"] {
            check(&format!("{}{wrong}{}", &GOOD[..at], &GOOD[at..]), &mut broken);
            check(&format!("{}{wrong}{}", &GOOD[..at], &GOOD[*end..]), &mut broken);
        }
        check(&GOOD[..at], &mut broken);
    }
    assert!(broken > 1_000, "{broken}");
}

#[test]
fn the_key_of_one_domain_is_set_replaced_and_removed() {
    let (mut settings, _) = parse(GOOD);
    let before = settings.clone();
    settings.set("domain.\"NEW.example\"", " { mode = \"enforce\", mx = [\"mx.new.example\"] } ").unwrap();
    assert!(get(&settings, "new.example").is_some());
    settings.set("domain.müller.example.", "{ mode = 'none', until = 2026-12-31, why = 'moved' }").unwrap();
    assert_eq!(get(&settings, "müller.example").unwrap().rule, Rule::Exempt);
    for spelling in ["domain.new.example", "domain.'müller.example'", "domain.unknown.example"] {
        settings.set(spelling, "").unwrap();
    }
    assert_eq!(get(&settings, "new.example"), None);
    assert_eq!(settings.domains.len(), 2);
    assert_eq!(before, parse(GOOD).0, "a clone has its own");
    let before = settings.clone();
    let missing = "` is missing, want the date on which the exception ends, such as 2026-12-31; \
                   key `domain.\"broken.example\".why` is missing, want one line that explains the exception";
    for (key, value, want) in [
        ("domain.broken.example", "{ mode = 'none' }", &*format!("key `domain.\"broken.example\".until{missing}")),
        (
            "domain.a",
            "{ mode = 'none'",
            &*format!("key `domain.\"a\"`: not TOML: unclosed inline table, expected `}}`, want {WANTED_TABLE}"),
        ),
        ("domain.a", "'none'", &*format!("key `domain.\"a\"`: \"none\", want {WANTED_TABLE}")),
        (
            "domain.\"a",
            "",
            "key `domain.\"\\\"a\"`: the name has a character other than letters, digits, hyphens and dots, want a \
             domain as it stands behind the @",
        ),
        ("domain.", "", "key `domain.\"\"`: the name is empty, want a domain as it stands behind the @"),
    ] {
        assert_eq!(settings.set(key, value).unwrap_err().to_string(), want);
    }
    let fault = settings.set("domain", "{}").unwrap_err().to_string();
    assert!(fault.starts_with("key `domain` is not known") && fault.ends_with("syslog, domain.\"NAME\""), "{fault}");
    assert_eq!(settings, before);
}

#[test]
fn the_sample_of_the_readme_has_no_fault() {
    let sample = include_str!("../../../README.md").split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let (settings, faults) = parse(sample);
    assert_eq!((settings.domains.len(), faults), (2, vec![]));
}
