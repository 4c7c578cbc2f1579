//! What the policy host answers, and whether that is a policy (RFC 8461 sections 3.2 and 3.3).

use crate::stage::*;
use mtasts::config::Settings;
use mtasts::context::Context;
use mtasts::discovery::Effort;
use mtasts::reason::{Reason, ResultType};
use mtasts::syntax::Mode;
use mtasts_world::{Certificate, Response, Site, policy_body};
use rustls::ServerConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const PLAIN: &str = "Content-Type: text/plain";
const BODY: &[u8] = b"version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmax_age: 604800\r\n";

/// Head lines, without the empty line, and a body, as they go over the wire.
fn wire(lines: &[&str], body: &[u8]) -> Vec<u8> {
    [lines.join("\r\n").as_bytes(), b"\r\n\r\n", body].concat()
}

fn raw(lines: &[&str], body: &[u8]) -> Response {
    Response::Raw(wire(lines, body))
}

fn status(status: u16) -> Response {
    Response::with_status(status, &[PLAIN], BODY)
}

/// A policy of exactly so many bytes.
fn body_of(length: usize) -> Vec<u8> {
    let mut body = BODY.to_vec();
    while body.len() < length {
        let rest = length - body.len();
        // A line has at least six bytes: `k: v` and a line end; what is left over goes into the last one.
        let line = if rest < 200 { rest } else { 100 };
        body.extend_from_slice(b"k: ");
        body.extend(std::iter::repeat_n(b'v', line - 5));
        body.extend_from_slice(b"\r\n");
    }
    assert_eq!(body.len(), length);
    body
}

fn chunked(pieces: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in pieces {
        body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    body
}

fn with_body(body: &[u8]) -> Response {
    Response::Policy(body.to_vec())
}

/// Plays answers of policy hosts; each host sees exactly one request.
fn play_responses(rows: Vec<(&str, Response, Want)>, limit: Duration) {
    let stage = Stage::new();
    let context = stage.context();
    play(&rows, |number, (scene, response, want)| {
        let domain = format!("scene-{number}.test");
        stage.publish(&domain);
        stage.world.site(&format!("mta-sts.{domain}"), Site::new(Certificate::Good, response.clone()));
        let (answer, mut faults) =
            timed(scene, limit, || context.query(domain.as_bytes(), Effort::default(), Some(limit)));
        faults.extend(want.faults(scene, &answer));
        if want.mode == Mode::None && !answer.text().contains(&format!("policy host mta-sts.{domain}")) {
            faults.push(format!("{scene}: `{}` does not name the policy host", answer.text()));
        }
        let reported = match want.reason {
            Reason::Fetched => ResultType::None,
            Reason::PolicyInvalid | Reason::PolicyTooLarge => ResultType::StsPolicyInvalid,
            _ => ResultType::StsPolicyFetchError,
        };
        if answer.result_type() != reported {
            faults.push(format!("{scene}: reported as {:?}, want {reported:?}", answer.result_type()));
        }
        let requests = stage.requests(&domain).len();
        if requests != usize::from(!matches!(response, Response::NoHandshake)) {
            faults.push(format!("{scene}: {requests} requests"));
        }
        faults
    });
}

// Conformance: S3.3-5, S6-1.
#[test]
fn only_status_200_is_a_policy() {
    let rows = [201, 203, 204, 206, 226, 300, 304, 400, 401, 403, 404, 407, 410, 429, 500, 503]
        .map(|code| ("a status other than 200", status(code), code));
    let mut rows: Vec<(&str, Response, Want)> = rows
        .into_iter()
        .map(|(scene, response, code)| {
            let text: &'static str = Box::leak(format!("status {code}, want 200").into_boxed_str());
            (scene, response, nothing(Reason::PolicyHostStatus, text))
        })
        .collect();
    rows.push(("status 200", status(200), POLICY));
    rows.push((
        "status 200 in other words",
        raw(&["HTTP/1.1 200 No Problem", PLAIN, "Content-Length: 66"], BODY),
        POLICY,
    ));
    rows.push(("no words", raw(&["HTTP/1.1 200", PLAIN, "Connection: close"], BODY), POLICY));
    play_responses(rows, Duration::from_secs(15));
}

// Conformance: S3.3-6.
#[test]
fn a_redirect_is_not_followed_not_even_to_the_same_host() {
    let stage = Stage::new();
    let context = stage.context();
    let port = stage.world.https_addr().port();
    let rows: Vec<(u16, &str)> =
        [301, 302, 303, 307, 308].into_iter().flat_map(|code| [(code, "elsewhere"), (code, "itself")]).collect();
    play(&rows, |_, (code, to)| {
        let (scene, domain) = (format!("{code} to {to}"), format!("redirect-{code}-to-{to}.test"));
        stage.publish(&domain);
        let target = if *to == "elsewhere" { format!("target-{code}.test") } else { domain.clone() };
        if target != domain {
            stage.publish(&target);
        }
        let location = format!("Location: https://mta-sts.{target}:{port}/.well-known/mta-sts.txt");
        let response = Response::with_status(*code, &[PLAIN, &location], BODY);
        stage.world.site(&format!("mta-sts.{domain}"), Site::new(Certificate::Good, response));
        let mut faults = nothing(Reason::PolicyHostStatus, "want 200").faults(&scene, &ask(&context, &domain));
        let at_target = if target == domain { 0 } else { stage.requests(&target).len() };
        if (stage.requests(&domain).len(), at_target) != (1, 0) {
            faults.push(format!("{scene}: {:?}", stage.requests(&domain)));
        }
        faults
    });
    assert!(!stage.world.dns_log().iter().any(|line| line.contains("target")), "{:?}", stage.world.dns_log());
}

// Conformance: S3.2-2, S3.3-10.
#[test]
fn only_text_plain_without_coding_is_a_policy() {
    use Reason::{PolicyHostContentEncoding, PolicyHostMediaType};
    let typed = |lines: &[&str]| Response::with_status(200, lines, BODY);
    let refused = |text| nothing(PolicyHostMediaType, text);
    let coded = |text| nothing(PolicyHostContentEncoding, text);
    let rows = vec![
        ("text/plain", typed(&["Content-Type: text/plain"]), POLICY),
        ("capitals and a charset", typed(&["Content-Type: Text/Plain; charset=x"]), POLICY),
        ("a parameter without blank", typed(&["content-type:TEXT/PLAIN;charset=utf-8"]), POLICY),
        ("a blank before the semicolon", typed(&["Content-Type: text/plain ; charset=utf-8"]), POLICY),
        ("a broken parameter", typed(&["Content-Type: text/plain; charset"]), POLICY),
        ("text/html", typed(&["Content-Type: text/html"]), refused("`text/html`, want text/plain")),
        ("text/plainx", typed(&["Content-Type: text/plainx"]), refused("`text/plainx`")),
        ("xtext/plain", typed(&["Content-Type: xtext/plain"]), refused("`xtext/plain`")),
        ("octets", typed(&["Content-Type: application/octet-stream"]), refused("octet-stream")),
        ("plain in a parameter", typed(&["Content-Type: text/html; text/plain"]), refused("text/html")),
        ("an empty type", typed(&["Content-Type:"]), refused("want text/plain")),
        ("no type", typed(&[]), refused("Content-Type is missing, want text/plain")),
        ("identity", typed(&[PLAIN, "Content-Encoding: identity"]), POLICY),
        ("gzip", typed(&[PLAIN, "Content-Encoding: gzip"]), coded("`gzip`")),
        ("GZIP", typed(&[PLAIN, "Content-Encoding: GZIP"]), coded("`GZIP`")),
        ("br", typed(&[PLAIN, "Content-Encoding: br"]), coded("`br`")),
        ("identity and gzip", typed(&[PLAIN, "Content-Encoding: identity, gzip"]), coded("gzip")),
        (
            "identity, and gzip on a line of its own",
            typed(&[PLAIN, "Content-Encoding: identity", "Content-Encoding: gzip"]),
            coded("gzip"),
        ),
    ];
    play_responses(rows, Duration::from_secs(15));
}

// Conformance: S3.3-19.
#[test]
fn a_body_must_be_complete() {
    use Reason::{PolicyHostIncompleteBody as Incomplete, PolicyHostProtocol as Protocol, PolicyInvalid};
    let ok = "HTTP/1.1 200 OK";
    let chunks = "Transfer-Encoding: chunked";
    let length = |length: usize| format!("Content-Length: {length}");
    let with_length = |announced: usize| wire(&[ok, PLAIN, &length(announced)], BODY);
    let (half, rest) = BODY.split_at(30);
    let last: &[u8] = b"0\r\n\r\n";
    let good_chunks = [&chunked(&[half, rest])[..], last].concat();
    let cut_chunks = chunked(&[half, rest]);
    let cut = |bytes: Vec<u8>| Response::RawThenCut(bytes);
    let rows = vec![
        ("the announced length", Response::Raw(with_length(BODY.len())), POLICY),
        ("the announced length, then a cut", cut(with_length(BODY.len())), POLICY),
        ("less than announced", Response::Raw(with_length(BODY.len() + 1)), nothing(Incomplete, "")),
        ("less than announced, then a cut", cut(with_length(BODY.len() + 1)), nothing(Incomplete, "")),
        (
            "more than announced: the announced part counts",
            Response::Raw(with_length(BODY.len() - 10)),
            nothing(PolicyInvalid, "max_age"),
        ),
        ("nothing announced and nothing sent", raw(&[ok, PLAIN, "Content-Length: 0"], b""), nothing(PolicyInvalid, "")),
        ("a length that is none", raw(&[ok, PLAIN, "Content-Length: x"], BODY), nothing(Protocol, "")),
        ("a negative length", raw(&[ok, PLAIN, "Content-Length: -1"], BODY), nothing(Protocol, "")),
        (
            "two lengths that differ",
            raw(&[ok, PLAIN, &length(BODY.len()), "Content-Length: 10"], BODY),
            nothing(Protocol, ""),
        ),
        ("chunks", raw(&[ok, PLAIN, chunks], &good_chunks), POLICY),
        ("chunks in capitals", raw(&[ok, PLAIN, "Transfer-Encoding: Chunked"], &good_chunks), POLICY),
        (
            "chunks with an extension and a trailer",
            raw(&[ok, PLAIN, chunks], &[b"42;a=b\r\n", BODY, b"\r\n0\r\nX: y\r\n\r\n"].concat()),
            POLICY,
        ),
        ("chunks without the last", raw(&[ok, PLAIN, chunks], &cut_chunks), nothing(Incomplete, "")),
        ("chunks without the last, then a cut", cut(wire(&[ok, PLAIN, chunks], &cut_chunks)), nothing(Incomplete, "")),
        ("a chunk that stops short", raw(&[ok, PLAIN, chunks], &[b"60\r\n", BODY].concat()), nothing(Incomplete, "")),
        ("a chunk size that is none", raw(&[ok, PLAIN, chunks], b"xyz\r\nabc\r\n0\r\n\r\n"), nothing(Protocol, "")),
        (
            "a chunk size that does not fit a number",
            raw(&[ok, PLAIN, chunks], b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            nothing(Protocol, ""),
        ),
        ("a body that ends with close_notify", raw(&[ok, PLAIN, "Connection: close"], BODY), POLICY),
        ("a body that a cut ends", cut(wire(&[ok, PLAIN, "Connection: close"], BODY)), nothing(Incomplete, "")),
        ("an answer of HTTP/1.0", raw(&["HTTP/1.0 200 OK", PLAIN], BODY), POLICY),
        (
            "an answer of HTTP/1.0 that a cut ends",
            cut(wire(&["HTTP/1.0 200 OK", PLAIN], BODY)),
            nothing(Incomplete, ""),
        ),
        ("an answer of HTTP/1.0 with a length", raw(&["HTTP/1.0 200 OK", PLAIN, &length(BODY.len())], BODY), POLICY),
        ("a head that stops short", Response::Raw(wire(&[ok, PLAIN], b"")[..30].to_vec()), nothing(Incomplete, "")),
    ];
    play_responses(rows, Duration::from_secs(15));
}

/// Serves one connection for a host: sends these bytes together with its own part of the handshake and closes with
/// the client's part unread, which makes the kernel reset the connection.
fn serve_then_reset(stage: &Stage, host: &str, bytes: Vec<u8>) -> SocketAddr {
    let (chain, key) = stage.world.certificate_chain(host, Certificate::Good);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.into_iter().map(CertificateDer::from).collect(),
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        )
        .unwrap();
    config.send_half_rtt_data = true;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        while !connection.wants_write() {
            connection.read_tls(&mut stream).unwrap();
            connection.process_new_packets().unwrap();
        }
        connection.writer().write_all(&bytes).unwrap();
        while connection.wants_write() {
            connection.write_tls(&mut stream).unwrap();
        }
        // The rest of the handshake has under 100 bytes: now the whole request has come too, and all stays unread.
        let (mut unread, end) = ([0; 150], Instant::now() + Duration::from_secs(10));
        while stream.peek(&mut unread).unwrap() < unread.len() && Instant::now() < end {
            thread::yield_now();
        }
    });
    address
}

// Conformance: S3.3-19.
#[test]
fn a_body_that_a_reset_ends_is_no_policy() {
    let stage = Stage::new();
    for (domain, head) in [
        ("close.test", wire(&["HTTP/1.1 200 OK", PLAIN, "Connection: close"], b"")),
        ("length.test", wire(&["HTTP/1.1 200 OK", PLAIN, "Content-Length: 1000"], b"")),
        ("old.test", wire(&["HTTP/1.0 200 OK", PLAIN], b"")),
    ] {
        stage.publish(domain);
        let address = serve_then_reset(&stage, &format!("mta-sts.{domain}"), [&head[..], BODY].concat());
        let context = Context::with_settings(Settings { https_port: address.port(), ..stage.settings() });
        let answer = ask(&context, domain);
        assert_eq!(answer.mode(), Mode::None, "{domain}: {}", answer.text());
        assert_eq!(answer.result_type(), ResultType::StsPolicyFetchError, "{domain}: {}", answer.text());
    }
}

#[test]
fn what_is_not_http_is_no_policy() {
    use Reason::{PolicyHostIncompleteBody as Incomplete, PolicyHostProtocol as Protocol};
    // A host that took the connection and shook hands is not unreachable.
    let rows = vec![
        ("nothing at all", Response::Raw(Vec::new()), nothing(Incomplete, "")),
        ("nothing at all, then a cut", Response::RawThenCut(Vec::new()), nothing(Incomplete, "")),
        ("half a status line", Response::Raw(b"HTTP/1.1 20".to_vec()), nothing(Incomplete, "")),
        ("a greeting of SMTP", Response::Raw(b"220 mx.good.test ESMTP\r\n\r\n".to_vec()), nothing(Protocol, "")),
        ("a policy without head", Response::Raw(BODY.to_vec()), nothing(Protocol, "")),
        ("octets", Response::Raw(vec![0x15, 3, 1, 0, 2, 2, 70, 0xff, 0]), nothing(Protocol, "")),
        ("a header line without colon", raw(&["HTTP/1.1 200 OK", PLAIN, "oops"], BODY), nothing(Protocol, "")),
        ("a NUL in a header", raw(&["HTTP/1.1 200 OK", PLAIN, "X: a\0b"], BODY), nothing(Protocol, "")),
    ];
    play_responses(rows, Duration::from_secs(15));
}

#[test]
fn an_interim_answer_is_skipped() {
    // RFC 9110 section 15.2: a client must be able to parse 1xx responses that it did not ask for.
    let then_good = |interim: &[&str]| {
        let good = wire(&["HTTP/1.1 200 OK", PLAIN, "Connection: close"], BODY);
        Response::Raw([wire(interim, b""), good].concat())
    };
    let rows = vec![
        ("100 Continue", then_good(&["HTTP/1.1 100 Continue"]), POLICY),
        ("102 Processing", then_good(&["HTTP/1.1 102 Processing"]), POLICY),
        ("103 Early Hints", then_good(&["HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload"]), POLICY),
    ];
    play_responses(rows, Duration::from_secs(15));
}

// Conformance: S3.3-10, S6-1.
#[test]
fn a_policy_of_65536_bytes_is_the_largest() {
    use Reason::{PolicyHostIncompleteBody as Incomplete, PolicyTooLarge as TooLarge};
    let (largest, too_large) = (body_of(65_536), body_of(65_537));
    let head = |line: &str| wire(&["HTTP/1.1 200 OK", PLAIN, line], b"");
    let close = head("Connection: close");
    let chunks = head("Transfer-Encoding: chunked");
    let in_chunks = |body: &[u8]| Response::Raw([&chunks[..], &chunked(&[body]), b"0\r\n\r\n"].concat());
    let rows = vec![
        ("65536 bytes", with_body(&largest), POLICY),
        ("65537 bytes", with_body(&too_large), nothing(TooLarge, "more than 65536 bytes")),
        ("65536 bytes until close", Response::Raw([&close[..], &largest].concat()), POLICY),
        ("65537 bytes until close", Response::Raw([&close[..], &too_large].concat()), nothing(TooLarge, "")),
        ("65536 bytes in chunks", in_chunks(&largest), POLICY),
        ("65537 bytes in chunks", in_chunks(&too_large), nothing(TooLarge, "")),
        (
            "an enormous length that is not kept",
            Response::Raw([head("Content-Length: 18446744073709551615"), BODY.to_vec()].concat()),
            nothing(Incomplete, ""),
        ),
    ];
    play_responses(rows, Duration::from_secs(15));
}

// Conformance: S3.2-10.
#[test]
fn octets_that_no_policy_has_make_it_malformed() {
    let with = |line: &[u8]| with_body(&[BODY, line, b"\r\n"].concat());
    let invalid = || nothing(Reason::PolicyInvalid, "the policy is malformed");
    let rows = vec![
        ("a NUL at the end", with_body(&[BODY, b"\0"].concat()), invalid()),
        ("a NUL in a value", with(b"x: a\0b"), invalid()),
        ("a NUL in an mx pattern", with(b"mx: mx.good.test\0.evil.test"), invalid()),
        ("invalid UTF-8", with(b"x: a\xffb"), invalid()),
        ("a mark of byte order", with_body(&[b"\xef\xbb\xbf", BODY].concat()), invalid()),
        ("UTF-16", with_body(&BODY.iter().flat_map(|&byte| [byte, 0]).collect::<Vec<_>>()), invalid()),
        ("HTML", with_body(b"<!doctype html>\n<title>404</title>\n"), invalid()),
        ("UTF-8 in an extension", with("x: gr\u{fc}n".as_bytes()), POLICY),
    ];
    play_responses(rows, Duration::from_secs(15));
}

// Conformance: S3.3-9, S3.3-10.
#[test]
fn a_host_that_keeps_us_waiting_or_never_ends_costs_the_deadline_at_most() {
    use Reason::{PolicyHostProtocol as Protocol, PolicyHostTimedOut as TimedOut, PolicyTooLarge as TooLarge};
    let drip = |bytes: Vec<u8>| Response::Drip { bytes, pause: Duration::from_secs(1) };
    // Fast enough for the head to arrive, and ten minutes long.
    let drip_fast = |bytes: Vec<u8>| Response::Drip { bytes, pause: Duration::from_millis(10) };
    let endless = |head: &[u8], chunk: &[u8]| Response::Endless { head: head.to_vec(), chunk: chunk.to_vec() };
    let ok = wire(&["HTTP/1.1 200 OK", PLAIN, "Transfer-Encoding: chunked"], b"");
    let long = |byte: u8| vec![byte; 4096];
    let rows = vec![
        ("no handshake", Response::NoHandshake, nothing(TimedOut, "")),
        ("silence after the handshake", Response::Silent, nothing(TimedOut, "")),
        ("a byte a second", drip(wire(&["HTTP/1.1 200 OK", PLAIN], BODY)), nothing(TimedOut, "")),
        (
            "a body byte by byte",
            drip_fast([wire(&["HTTP/1.1 200 OK", PLAIN], b""), body_of(60_000)].concat()),
            nothing(TimedOut, ""),
        ),
        ("endless header lines", endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), nothing(Protocol, "")),
        ("an endless header line", endless(b"HTTP/1.1 200 OK\r\nX: ", &long(b'x')), nothing(Protocol, "")),
        ("an endless status line", endless(b"HTTP/1.1 200 ", &long(b'x')), nothing(Protocol, "")),
        ("endless text", endless(&wire(&["HTTP/1.1 200 OK", PLAIN], b""), b"a: b\r\n"), nothing(TooLarge, "")),
        ("endless chunks", endless(&ok, b"1\r\nx\r\n"), nothing(TooLarge, "")),
    ];
    play_responses(rows, Duration::from_secs(3));
}

#[test]
fn an_answer_that_never_gets_anywhere_ends() {
    let endless = |head: &[u8], chunk: &[u8]| Response::Endless { head: head.to_vec(), chunk: chunk.to_vec() };
    let ok = wire(&["HTTP/1.1 200 OK", PLAIN, "Transfer-Encoding: chunked"], b"");
    let rows = [
        ("an endless extension of a chunk", endless(&[&ok[..], b"1;"].concat(), &[b'x'; 4096])),
        ("an endless chunk size", endless(&ok, &[b'0'; 4096])),
        ("endless trailers", endless(&[&ok[..], b"0\r\n"].concat(), b"X: y\r\n")),
        ("endless interim answers", endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")),
        ("endless empty lines", endless(b"", b"\r\n")),
    ];
    let (stage, limit) = (Stage::new(), Duration::from_secs(3));
    let context = stage.context();
    play(&rows, |number, (scene, response)| {
        let domain = format!("scene-{number}.test");
        stage.publish(&domain);
        stage.world.site(&format!("mta-sts.{domain}"), Site::new(Certificate::Good, response.clone()));
        let (answer, mut faults) =
            timed(scene, limit, || context.query(domain.as_bytes(), Effort::default(), Some(limit)));
        let is_right = matches!(answer.reason, Reason::PolicyHostProtocol | Reason::PolicyHostTimedOut);
        if answer.mode() != Mode::None || !is_right {
            faults.push(format!("{scene}: {} {:?} {}", answer.mode(), answer.reason, answer.text()));
        }
        faults
    });
}

// Conformance: S3.2-1, S3.3-7, S3.3-17.
#[test]
fn a_request_says_what_is_needed_and_nothing_of_us() {
    let stage = Stage::new();
    stage.publish("good.test");
    let answer = policy_body("enforce", &["mx.good.test"], 7 * DAY);
    let headers =
        [PLAIN, "ETag: \"1\"", "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", "Set-Cookie: a=b; Path=/", "Expires: 0"];
    let response = Response::with_status(200, &headers, answer.as_bytes());
    stage.world.site("mta-sts.good.test", Site::new(Certificate::Good, response));
    let context = stage.context();
    for _ in 0..2 {
        POLICY.check("good.test", &context.query(b"good.test", REFRESH, None));
    }
    let requests = stage.world.https_log();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let mut lines = request.head.lines();
        assert_eq!(lines.next(), Some("GET /.well-known/mta-sts.txt HTTP/1.1"));
        let headers: Vec<(String, &str)> = lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let values = |name: &str| headers.iter().filter(|(is, _)| is == name).map(|(_, is)| *is).collect::<Vec<_>>();
        assert_eq!(values("host"), [format!("mta-sts.good.test:{}", stage.world.https_addr().port())]);
        assert_eq!(values("accept-encoding"), ["identity"]);
        let known = ["host", "accept", "accept-encoding", "user-agent", "connection"];
        let unwanted: Vec<_> = headers.iter().filter(|(name, _)| !known.contains(&&**name)).collect();
        assert!(unwanted.is_empty(), "{unwanted:?}");
    }
    assert_eq!(stage.world.https_connections(), 2, "a connection for each fetch");
    assert_eq!(Settings::default().https_port, 443);
}
