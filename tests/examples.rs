//! The examples in C, built by their Makefile against an installed library, and run in a small world.

#[allow(dead_code)]
#[path = "c/harness.rs"]
mod harness;
#[path = "c/installed.rs"]
mod installed;
#[path = "examples/mean.rs"]
mod mean;

use harness::{Host, Run, root};
use installed::{installed, is_there, library_directory, succeeds};
use mtasts_world::{Certificate, Smtp, Starttls};
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const MESSAGE: &str = "Subject: a test\n\n.a dot\nthe\rend\n";

/// The directory with the programs.
fn examples() -> Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let are_built = || {
        let tools = [
            (&["pkg-config", "--version"][..], "pkg-config"),
            (&["pkg-config", "--exists", "openssl"], "OpenSSL's headers"),
        ];
        tools.iter().all(|(command, what)| is_there(command, what)).then(build)
    };
    BUILT.get_or_init(are_built).clone()
}

fn build() -> PathBuf {
    let directory = installed().join("examples");
    fs::create_dir_all(&directory).unwrap();
    for entry in fs::read_dir(root().join("examples/c")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
    }
    succeeds(
        Command::new("make")
            .env("PKG_CONFIG_PATH", library_directory().join("pkgconfig"))
            .env("PKG_CONFIG_SYSROOT_DIR", installed())
            .env_remove("MAKEFLAGS")
            .current_dir(&directory),
    );
    directory
}

/// A host on which the examples are built.
fn host() -> Option<Host> {
    examples().map(|_| Host::new())
}

/// Runs an example behind a wrapper.
fn run(host: &Host, wrapper: &[&str], name: &str, arguments: &[&str]) -> Run {
    let program = examples().unwrap().join(name);
    let mut command = Command::new("timeout");
    command.arg("300").args(wrapper).arg(program).args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("LD_LIBRARY_PATH", library_directory());
    command.env("MTASTS_CONFIG", host.configuration()).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(MESSAGE.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Takes the message to a recipient, over these MX hosts.
fn deliver_behind(wrapper: &[&str], host: &Host, domain: &str, hosts: &[(&str, SocketAddr)]) -> Run {
    let recipient = format!("b@{domain}");
    let hosts: Vec<String> = hosts.iter().map(|(name, address)| format!("{name}={address}")).collect();
    let mut arguments = vec!["-t", "2", "a@client.test", &recipient];
    arguments.extend(hosts.iter().map(String::as_str));
    run(host, wrapper, "deliver", &arguments)
}

fn deliver(host: &Host, domain: &str, hosts: &[(&str, SocketAddr)]) -> Run {
    deliver_behind(&[], host, domain, hosts)
}

fn receiver(host: &Host, smtp: Smtp) -> SocketAddr {
    host.world.smtp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), smtp).unwrap()
}

fn with_certificate(name: &str, certificate: Certificate) -> Smtp {
    Smtp { certificate, ..Smtp::new(name) }
}

fn with_starttls(name: &str, starttls: Starttls) -> Smtp {
    Smtp { starttls, ..Smtp::new(name) }
}

/// The deliveries that the receivers have seen.
fn deliveries(host: &Host) -> Vec<String> {
    let log = host.world.smtp_log();
    log.iter().filter_map(|line| line.split_once(" delivered ")).map(|(_, rest)| rest.to_owned()).collect()
}

fn delivered(domain: &str, tls: &str) -> Vec<String> {
    vec![format!("from=<a@client.test> to=<b@{domain}> tls={tls}")]
}

/// The message is kept, no receiver has it, and each of these words is among what is said.
#[track_caller]
fn is_kept(host: &Host, run: &Run, words: &[&str]) {
    assert_eq!((run.status, run.stdout.as_str()), (Some(75), ""), "{}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "no `{word}` in\n{}", run.stderr);
    }
    assert!(deliveries(host).is_empty());
}

#[test]
fn mail_goes_over_verified_tls_to_a_listed_host() {
    let Some(host) = host() else { return };
    let mx = receiver(&host, Smtp::new("mx.good.test"));
    let run = deliver(&host, "good.test", &[("mx.good.test", mx)]);
    let right = Run { status: Some(0), stdout: "mx.good.test: sent over TLS\n".to_owned(), stderr: String::new() };
    assert_eq!(run, right);
    let log = host.world.smtp_log();
    assert!(log[1].ends_with("starttls sni=mx.good.test version=TLSv1.3"), "{log:?}");
    assert_eq!(deliveries(&host), delivered("good.test", "yes"));
    let mail = fs::read_to_string(host.world.directory().join("mail/0001.eml")).unwrap();
    assert!(mail.ends_with("\r\nSubject: a test\r\n\r\n.a dot\r\ntheend\r\n"), "{mail:?}");
}

#[test]
fn under_an_enforced_policy_no_weaker_session_gets_the_mail() {
    let Some(host) = host() else { return };
    let name = "mx.good.test";
    for (smtp, words) in [
        (with_starttls(name, Starttls::NotOffered), "STARTTLS"),
        (with_starttls(name, Starttls::Refused), "STARTTLS"),
        (with_starttls(name, Starttls::Broken), "handshake"),
        (with_certificate(name, Certificate::WrongName), "is for another name: elsewhere.test"),
        (with_certificate(name, Certificate::CnOnly), "no subjectAltName"),
        (with_certificate(name, Certificate::Expired), "has expired"),
        (with_certificate(name, Certificate::UnknownCa), "does not lead to a trusted root"),
        (with_certificate(name, Certificate::SelfSigned), "does not lead to a trusted root"),
        (with_certificate(name, Certificate::ClientOnlyEku), "not acceptable"),
    ] {
        let mx = receiver(&host, smtp);
        is_kept(&host, &deliver(&host, "good.test", &[(name, mx)]), &["mx.good.test: 4.7.", words]);
    }
}

#[test]
fn a_host_that_the_policy_does_not_list_is_not_even_asked() {
    let Some(host) = host() else { return };
    let mx = receiver(&host, Smtp::new("mx.evil.test"));
    is_kept(&host, &deliver(&host, "good.test", &[("mx.evil.test", mx)]), &["mx.evil.test: 4.7.", "not list"]);
    assert!(host.world.smtp_log().is_empty());
}

#[test]
fn the_next_host_gets_the_mail_that_the_first_may_not_have() {
    let Some(host) = host() else { return };
    let evil = receiver(&host, Smtp::new("mx.evil.test"));
    let bad = receiver(&host, with_certificate("mx.good.test", Certificate::WrongName));
    let good = receiver(&host, Smtp::new("b.backup.test"));
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let hosts = [("mx.evil.test", evil), ("a.backup.test", closed), ("mx.good.test", bad), ("b.backup.test", good)];
    let run = deliver(&host, "good.test", &hosts);
    assert_eq!((run.status, run.stdout.as_str()), (Some(0), "b.backup.test: sent over TLS\n"), "{}", run.stderr);
    assert_eq!(deliveries(&host), delivered("good.test", "yes"));
}

#[test]
fn in_testing_mail_goes_and_what_is_wrong_is_told() {
    let Some(host) = host() else { return };
    let name = "mx.testing.test";
    for (smtp, how, words) in [
        (Smtp::new(name), "over TLS", None),
        (with_certificate(name, Certificate::WrongName), "over TLS", Some("is for another name")),
        (with_starttls(name, Starttls::NotOffered), "in the clear", Some("STARTTLS")),
        (with_starttls(name, Starttls::Broken), "in the clear", Some("handshake")),
    ] {
        let mx = receiver(&host, smtp);
        let run = deliver(&host, "testing.test", &[(name, mx)]);
        assert_eq!((run.status, run.stdout), (Some(0), format!("{name}: sent {how}\n")), "{}", run.stderr);
        match words {
            Some(words) => {
                assert!(run.stderr.contains("to be reported: ") && run.stderr.contains(words), "{}", run.stderr)
            }
            None => assert_eq!(run.stderr, ""),
        }
    }
    let run = deliver(&host, "testing.test", &[("mx.other.test", receiver(&host, Smtp::new("mx.other.test")))]);
    assert!(run.status == Some(0) && run.stderr.contains("to be reported: "), "{}", run.stderr);
}

#[test]
fn without_a_policy_mail_goes_as_it_always_did() {
    let Some(host) = host() else { return };
    let name = "mx.absent.test";
    for (smtp, how) in [
        (Smtp::new(name), "over TLS"),
        (with_certificate(name, Certificate::SelfSigned), "over TLS"),
        (with_starttls(name, Starttls::NotOffered), "in the clear"),
        (with_starttls(name, Starttls::Refused), "in the clear"),
        (with_starttls(name, Starttls::Broken), "in the clear"),
    ] {
        let mx = receiver(&host, smtp);
        let run = deliver(&host, "absent.test", &[(name, mx)]);
        assert_eq!((run.status, run.stdout), (Some(0), format!("{name}: sent {how}\n")), "{}", run.stderr);
        assert!(!run.stderr.contains("to be reported"), "{}", run.stderr);
    }
}

#[test]
fn mail_is_kept_where_nothing_can_be_known() {
    let Some(host) = host() else { return };
    let mx = [("mx.good.test", receiver(&host, Smtp::new("mx.good.test")))];
    let configuration = fs::read_to_string(host.configuration()).unwrap();
    fs::write(host.configuration(), "nonsense = 1\n").unwrap();
    is_kept(&host, &deliver(&host, "good.test", &mx), &["deliver: ", "line 1: key `nonsense` is not known"]);
    fs::write(host.configuration(), format!("{configuration}on_dns_error = \"defer\"\n")).unwrap();
    is_kept(&host, &deliver(&host, "servfail.test", &mx), &["mx.good.test: 4.7."]);

    fs::write(host.configuration(), &configuration).unwrap();
    assert_eq!(deliver(&host, "good.test", &mx).status, Some(0));
    host.world.clear_logs();
    let ca_file = host.world.ca_file().to_str().unwrap();
    let empty = host.path("empty.pem");
    fs::write(&empty, "").unwrap();
    fs::write(host.configuration(), configuration.replace(ca_file, empty.to_str().unwrap())).unwrap();
    is_kept(&host, &deliver(&host, "good.test", &mx), &["empty.pem"]);
}

#[test]
fn a_host_that_misbehaves_gets_nothing_and_ends_in_time() {
    let Some(host) = host() else { return };
    for (mean, words) in mean::HOSTS {
        let address = mean::start(mean);
        let began = Instant::now();
        let run = deliver(&host, "good.test", &[("mx.good.test", address)]);
        is_kept(&host, &run, &[words]);
        assert!(began.elapsed() < Duration::from_secs(30), "{words}");
        assert!(!run.stderr.trim_end().contains(|c: char| c.is_control() && c != '\n'), "{:?}", run.stderr);
    }
}

#[test]
fn a_recipient_that_the_host_does_not_know_bounces() {
    let Some(host) = host() else { return };
    let run = deliver(&host, "absent.test", &[("mx.absent.test", mean::start(mean::STRICT))]);
    let right = Run { status: Some(69), stdout: String::new(), stderr: "mx.absent.test: 550 5.1.1 ?who?\n".to_owned() };
    assert_eq!(run, right);
}

#[test]
fn a_reply_to_data_that_asks_for_nothing_is_no_success() {
    let Some(host) = host() else { return };
    is_kept(&host, &deliver(&host, "absent.test", &[("mx.absent.test", mean::start(mean::HASTY))]), &["250 2.0.0 ok"]);
}

#[test]
fn arguments_that_would_break_the_conversation_are_refused() {
    let Some(host) = host() else { return };
    for arguments in [
        &["a@client.test", "b@good.test"][..],
        &["a@client.test", "nobody", "mx.good.test"],
        &["a@client.test", "b@good.test>\r\nRCPT TO:<c@good.test", "mx.good.test"],
        &["a@client.test> SIZE=1", "b@good.test", "mx.good.test"],
        &["-t", "0", "a@client.test", "b@good.test", "mx.good.test"],
    ] {
        let run = run(&host, &[], "deliver", arguments);
        assert!(run.status == Some(64) && run.stderr.starts_with("usage: "), "{arguments:?}: {run:?}");
    }
}

const SAME_FROM_ALL: &str = "good.test: enforce, say 8 of 8 threads\ntesting.test: testing, say 8 of 8 threads\n\
                             absent.test: none, say 8 of 8 threads\n";

#[test]
fn threads_share_a_context_and_one_fetch() {
    let Some(host) = host() else { return };
    let run = run(&host, &[], "threads", &["8", "good.test", "testing.test", "absent.test"]);
    assert_eq!(run, Run { status: Some(0), stdout: SAME_FROM_ALL.to_owned(), stderr: String::new() });
    assert_eq!(host.world.https_log().len(), 2, "each of the two policies is fetched once");
}

#[test]
fn valgrind_finds_no_fault_and_no_leak_in_the_examples() {
    let Some(host) = host() else { return };
    if !is_there(&["valgrind", "--version"], "valgrind") {
        return;
    }
    // valgrind does not follow which bytes the assembler of TLS libraries defines.
    let valgrind = [
        "valgrind",
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,indirect",
        "--show-leak-kinds=definite,indirect",
        "--undef-value-errors=no",
    ];
    let good = receiver(&host, Smtp::new("b.backup.test"));
    let bad = receiver(&host, with_certificate("mx.good.test", Certificate::WrongName));
    let clear = receiver(&host, with_starttls("a.backup.test", Starttls::NotOffered));
    let broken = receiver(&host, with_starttls("c.backup.test", Starttls::Broken));
    let hosts = [
        ("mx.evil.test", good),
        ("mx.good.test", bad),
        ("a.backup.test", clear),
        ("c.backup.test", broken),
        ("b.backup.test", good),
    ];
    let mail = deliver_behind(&valgrind, &host, "good.test", &hosts);
    assert_eq!((mail.status, mail.stdout.as_str()), (Some(0), "b.backup.test: sent over TLS\n"), "{}", mail.stderr);
    assert!(!mail.stderr.contains("=="), "{}", mail.stderr);
    for (name, arguments) in
        [("threads", &["8", "good.test", "testing.test", "absent.test"][..]), ("lookup", &["good.test", "absent.test"])]
    {
        let run = run(&host, &valgrind, name, arguments);
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{name}");
    }
}
