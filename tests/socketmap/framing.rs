//! Frames: whole, in pieces, several at once, and none.

use super::*;

#[test]
fn a_frame_may_come_byte_by_byte_and_several_may_come_at_once() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut client = server.connect();
    for byte in b"13:sts good.test," {
        client.send(&[*byte]);
        thread::yield_now();
    }
    assert_eq!(client.reply().as_deref(), Some(GOOD));

    client.send(b"13:sts good.test,16:sts testing.test,0:,8:sts .dot,13:sts good");
    let replies: Vec<String> = (0..4).map(|_| client.reply().unwrap()).collect();
    assert_eq!((&*replies[0], &*replies[1], &*replies[3]), (GOOD, NOT_FOUND, NOT_FOUND));
    assert!(replies[2].starts_with("TEMP malformed request"), "{replies:?}");
    client.send(b".test,");
    assert_eq!(client.reply().as_deref(), Some(GOOD), "the frame that was begun");
}

#[test]
fn replies_come_in_the_order_of_the_requests() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    let server = stage.serve();
    let mut client = server.connect();
    assert_eq!(client.ask("sts good.test"), GOOD);
    client.send(b"13:sts slow.test,13:sts good.test,16:sts testing.test,");
    gate.wait_for(1);
    gate.open();
    assert_eq!(client.reply().as_deref(), Some("OK secure match=mx.slow.test servername=hostname"));
    assert_eq!(client.reply().as_deref(), Some(GOOD));
    assert_eq!(client.reply().as_deref(), Some(NOT_FOUND));
}

#[test]
fn what_is_no_frame_closes_the_connection_and_nothing_else() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut other = server.connect();
    assert_eq!(other.ask("sts good.test"), GOOD);
    let bad: [&[u8]; 9] = [
        b"sts good.test\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"013:sts good.test,",
        b"13:sts good.test;",
        b"-1:,",
        b"4097:",
        b"99999999999999999999:",
        b"13;sts good.test,",
        b"\0\xff\x1b[2J",
    ];
    for bytes in bad {
        let mut client = server.connect();
        client.send(bytes);
        assert!(client.is_closed(), "{}", bytes.escape_ascii());
        assert_eq!(other.ask("sts good.test"), GOOD, "after {}", bytes.escape_ascii());
    }
    let mut client = server.connect();
    client.send(b"13:sts good.test,nonsense");
    assert_eq!(client.reply().as_deref(), Some(GOOD), "what came before it is answered");
    assert!(client.is_closed());
    server.wait_for_line("a request does not begin with its length, the connection is closed");
}

#[test]
fn the_longest_request_is_taken_and_a_longer_one_is_not() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("sts {}", "x".repeat(4092))), NOT_FOUND);
    client.request(&format!("sts {}", "x".repeat(4093)));
    assert!(client.is_closed());
    assert!(!server.wait_for_line("a request is too long").contains("xxx"));
}

#[test]
fn lines_about_bad_clients_are_few_and_hold_nothing_that_they_wrote() {
    let stage = Stage::new();
    let server = stage.serve();
    for _ in 0..200 {
        let mut client = server.connect();
        client.send(b"\x1b[2Jnonsense");
        assert!(client.is_closed());
    }
    let mut client = server.connect();
    client.ask("sts \x1b[2J\n.test");
    let lines = server.stop();
    let about_bad = lines.iter().filter(|line| line.contains("the connection is closed")).count();
    assert!((1..=20).contains(&about_bad), "{about_bad} lines");
    assert!(lines.iter().any(|line| line.contains(": sts \\x1b[2J\\n.test: NOTFOUND")), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("nonsense") && !line.chars().any(char::is_control)), "{lines:#?}");
}
