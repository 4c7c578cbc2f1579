//! Scene files, and the command that serves them.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{get, over_udp, query};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use mtasts_world::{World, scene};

const PATH: &str = "/.well-known/mta-sts.txt";

fn apply(world: &World, text: &str) {
    scene::apply(world, "test.scene", text.as_bytes()).unwrap();
}

fn answers(world: &World, name: &str, record_type: RecordType) -> Vec<String> {
    over_udp(world, &query(name, record_type)).answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn every_kind_of_line_has_its_effect() {
    let world = World::start();
    apply(
        &world,
        r#"
# a scene
dns good.test MX 10 mx.good.test ttl=5   # with a comment
dns GOOD.test MX 20 mx2.good.test
dns mx.good.test A 127.0.0.2
dns mx.good.test AAAA ::1
dns www.good.test CNAME mx.good.test
dns two.test TXT "a b" c
dns _25._tcp.mx.good.test TLSA 3 1 1 00ff
dns _25._tcp.mx2.good.test TLSA 3 1 1 leaf
dns bad.test SERVFAIL
dns half.test A 127.0.0.1
dns half.test TXT REFUSED
authentic mx.good.test
policy good.test enforce mx=mx.good.test,*.mx.good.test max_age=7 id=42
policy none.test none address=127.0.0.9
body odd.test "version: STSv1\r\nx\x00\n" id=7
status gone.test 404 id=9
smtp 127.0.0.1:0 name=mx.good.test certificate=expired starttls=refused
"#,
    );
    assert_eq!(answers(&world, "good.test", RecordType::MX), ["10 mx.good.test.", "20 mx2.good.test."]);
    assert_eq!(over_udp(&world, &query("good.test", RecordType::MX)).answers[0].ttl, 5);
    assert_eq!(answers(&world, "www.good.test", RecordType::A), ["mx.good.test.", "127.0.0.2"]);
    assert_eq!(answers(&world, "mx.good.test", RecordType::AAAA), ["::1"]);
    assert_eq!(answers(&world, "two.test", RecordType::TXT), ["a bc"]);
    assert_eq!(answers(&world, "_25._tcp.mx.good.test", RecordType::TLSA).len(), 1);
    assert_eq!(answers(&world, "_25._tcp.mx2.good.test", RecordType::TLSA).len(), 1);
    for (name, code) in [("bad.test", ResponseCode::ServFail), ("half.test", ResponseCode::Refused)] {
        assert_eq!(over_udp(&world, &query(name, RecordType::TXT)).metadata.response_code, code);
    }
    assert_eq!(answers(&world, "half.test", RecordType::A), ["127.0.0.1"]);
    assert_eq!(answers(&world, "_mta-sts.good.test", RecordType::TXT), ["v=STSv1; id=42;"]);
    assert_eq!(answers(&world, "mta-sts.good.test", RecordType::A), ["127.0.0.1"]);
    assert_eq!(answers(&world, "mta-sts.none.test", RecordType::A), ["127.0.0.9"]);
    assert_eq!(answers(&world, "_mta-sts.gone.test", RecordType::TXT), ["v=STSv1; id=9;"]);
    let body = |domain: &str| get(&world, &format!("mta-sts.{domain}"), PATH).0;
    let policy = "version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmx: *.mx.good.test\r\nmax_age: 7\r\n";
    assert!(body("good.test").ends_with(&format!("\r\n\r\n{policy}")));
    assert!(body("none.test").ends_with("\r\n\r\nversion: STSv1\r\nmode: none\r\nmax_age: 86400\r\n"));
    assert!(body("odd.test").ends_with("\r\n\r\nversion: STSv1\r\nx\0\n"));
    assert!(body("gone.test").starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_later_scene_lies_on_top_and_status_keeps_what_it_does_not_name() {
    let world = World::start();
    apply(&world, "policy a.test enforce mx=m certificate=expired id=1 address=127.0.0.5\ndns x.test TXT a");
    apply(&world, "status a.test 500\ndns x.test TXT b");
    assert_eq!(answers(&world, "x.test", RecordType::TXT), ["b"]);
    assert_eq!(answers(&world, "mta-sts.a.test", RecordType::A), ["127.0.0.5"]);
    assert!(common::request(&world, "mta-sts.a.test", PATH).is_err());
    apply(&world, "status a.test 500 certificate=good id=2");
    assert!(get(&world, "mta-sts.a.test", PATH).0.starts_with("HTTP/1.1 500 "));
    assert_eq!(answers(&world, "_mta-sts.a.test", RecordType::TXT), ["v=STSv1; id=2;"]);
}

#[test]
fn answers_in_turn_have_a_line_or_more_each_and_the_last_stays() {
    let world = World::start();
    let text = r"
dns a.test MX 10 one.test turn=1
dns A.test MX 20 two.test ttl=5 turn=1
dns a.test MX SERVFAIL turn=2
dns a.test MX 30 a\032b.test turn=3
dns b.test A 127.0.0.1
dns b.test A 127.0.0.2 turn=2
";
    apply(&world, text);
    let ask = |name, record_type| {
        let reply = over_udp(&world, &query(name, record_type));
        (reply.metadata.response_code, reply.answers.len())
    };
    for found in [(ResponseCode::NoError, 2), (ResponseCode::ServFail, 0), (ResponseCode::NoError, 1)] {
        assert_eq!(ask("a.test", RecordType::MX), found);
    }
    assert_eq!(ask("a.test", RecordType::MX), (ResponseCode::NoError, 1));
    assert_eq!(answers(&world, "b.test", RecordType::A), ["127.0.0.1"]);
    assert_eq!(answers(&world, "b.test", RecordType::A), ["127.0.0.2"]);
    apply(&world, text);
    assert_eq!(ask("a.test", RecordType::MX), (ResponseCode::NoError, 2), "a scene that is loaded again starts again");
}

#[test]
fn a_bad_line_is_named_with_what_is_wrong_and_what_is_right_and_changes_nothing() {
    let world = World::start();
    for (line, wanted) in [
        ("polcy a.test", r#"unknown word "polcy", want dns, authentic, policy, body, status or smtp"#),
        ("dns", "no name, want dns NAME TYPE VALUE..."),
        ("dns a.test", "no type for a.test, want"),
        ("dns a.test SPF x", r#"unknown type "SPF", want TXT, MX"#),
        ("dns a.test SERVFAIL x", "words after SERVFAIL, want"),
        ("dns a.test A", "dns a.test A: 0 values, want one value"),
        ("dns a.test A ::1", r#"dns a.test A: "::1", want an IPv4 address"#),
        ("dns a.test MX mx.test", "dns a.test MX: 1 values, want PREFERENCE HOST"),
        ("dns a.test MX x mx.test", r#""x", want NUMBER"#),
        ("dns a.test TXT x ttl=soon", r#""ttl=soon", want ttl=NUMBER"#),
        ("dns a.test A 127.0.0.1 turn=0", "turn=0, want 1 or more"),
        ("dns a.test A 127.0.0.1 turn=2", "turn=2 of a.test, want turn=1 on a line before it"),
        ("dns a.test SERVFAIL turn=1", "turn= for every type of a.test, want a type before it"),
        (r"dns a\25.test TXT x", r"want \X or \DDD, decimal, after a backslash"),
        ("dns a.test TLSA 3 1 1 0ff", r#""0ff", want an even number of hex digits, or leaf"#),
        ("dns a..test TXT x", r#"name "a..test""#),
        ("authentic", "want authentic NAME"),
        ("policy a.test", "want policy DOMAIN enforce|testing|none mx=HOST,..."),
        ("policy a.test strict", r#"mode "strict", want enforce, testing or none"#),
        ("policy a.test enforce", "mode enforce without mx, want mx=HOST,..."),
        ("policy a.test enforce mx=a max_age=week", r#""week", want max_age in seconds"#),
        ("policy a.test enforce mx=a certificate=bad", "certificate=bad, want one of good, wrong-name"),
        ("body a.test \"x", "a quote is not closed on its line"),
        ("body a.test x max_age=1", r#""max_age" has no meaning here, want id=, certificate=, address="#),
        ("status a.test 99", r#"status "99", want 200 to 599, silent or no-handshake"#),
        ("smtp mx.test name=x", r#""mx.test", want ADDR:PORT"#),
        ("smtp 127.0.0.1:0", "smtp 127.0.0.1:0 without a name, want name=HOST"),
        ("smtp 127.0.0.1:0 name=x sni=maybe", "sni=maybe, want heeded or ignored"),
        ("smtp 127.0.0.1:0 name=x starttls=maybe", "starttls=maybe, want offered, absent, refused or broken"),
    ] {
        let text = format!("dns changed.test TXT x\n\n{line}\n");
        let error = scene::apply(&world, "test.scene", text.as_bytes()).unwrap_err();
        assert!(error.starts_with("test.scene:3: ") && error.contains(wanted), "{line}: {error}");
    }
    assert!(answers(&world, "changed.test", RecordType::TXT).is_empty());
}

#[test]
fn the_grammar_names_every_certificate() {
    for (name, _) in mtasts_world::Certificate::ALL {
        assert!(scene::GRAMMAR.contains(name), "{name}");
    }
}

#[test]
fn the_command_serves_a_scene_and_listens_to_its_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("one.scene"), "policy good.test enforce mx=mx.good.test\n").unwrap();
    std::fs::write(at("two.scene"), "status good.test 404\n").unwrap();
    std::fs::write(at("bad.scene"), "nonsense\n").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mtasts-world"))
        .arg("--dir")
        .arg(at("out"))
        .arg(at("one.scene"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "ready");
    let env = std::fs::read_to_string(at("out/world.env")).unwrap();
    assert!(env.starts_with("DNS=127.0.0.1:") && env.contains("\nHTTPS_PORT="), "{env}");
    assert!(at("out/ca.pem").exists() && at("out/mail").is_dir());

    let dns = env.lines().next().unwrap().strip_prefix("DNS=").unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&query("_mta-sts.good.test", RecordType::TXT).to_vec().unwrap(), dns).unwrap();
    socket.recv(&mut [0; 512]).unwrap();
    assert_eq!(std::fs::read_to_string(at("out/dns.log")).unwrap(), "TXT _mta-sts.good.test\n");

    let bad = at("bad.scene").display().to_string();
    let error = format!("error {bad}:1: unknown word \"nonsense\"");
    for (command, answer) in [
        (format!("load {}", at("two.scene").display()), "loaded"),
        (format!("load {bad}"), &error),
        ("off dns".into(), "done"),
        ("on dns".into(), "done"),
        ("off https".into(), "done"),
        ("clear".into(), "done"),
        ("dance".into(), "error command \"dance\", want load FILE"),
    ] {
        writeln!(input, "{command}").unwrap();
        let line = output.next().unwrap().unwrap();
        assert!(line.starts_with(answer), "{command}: {line}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_command_refuses_bad_arguments_and_bad_scenes() {
    let directory = tempfile::tempdir().unwrap();
    let scene = directory.path().join("bad.scene");
    std::fs::write(&scene, "dns\n").unwrap();
    let (directory, scene) = (directory.path().to_str().unwrap(), scene.to_str().unwrap());
    for (arguments, status, wanted) in [
        (vec![scene], 2, "no directory, want --dir DIR"),
        (vec!["--dir", directory], 2, "no scene file"),
        (vec!["--dir"], 2, "--dir without a value"),
        (vec!["--dir", directory, "--dns", "x", scene], 2, "address \"x\", want ADDR:PORT"),
        (vec!["--dir", directory, scene], 1, "bad.scene:1: no name, want dns NAME"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_mtasts-world")).args(&arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(error.starts_with("mtasts-world: ") && error.contains(wanted), "{arguments:?}: {error}");
    }
}
