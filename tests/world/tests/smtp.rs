//! The SMTP receivers as a sending client sees them.

mod common;

use std::io::BufReader;
use std::net::TcpStream;

use common::{connect, eventually, smtp, tls};
use mtasts_world::{Certificate, Smtp, Starttls, World};

fn greet(world: &World, receiver: Smtp) -> (BufReader<TcpStream>, String) {
    let address = world.smtp("127.0.0.1:0".parse().unwrap(), receiver).unwrap();
    let mut stream = BufReader::new(connect(address));
    assert_eq!(smtp(&mut stream, ""), "220 mx.good.test ESMTP mtasts-world");
    assert!(smtp(&mut stream, "EHLO client.test").starts_with("250 "));
    (stream, address.to_string())
}

fn with(starttls: Starttls) -> Smtp {
    Smtp { starttls, ..Smtp::new("mx.good.test") }
}

#[test]
fn mail_arrives_over_tls_and_is_kept() {
    let world = World::start();
    let (mut stream, address) = greet(&world, Smtp::new("mx.good.test"));
    assert_eq!(smtp(&mut stream, "STARTTLS"), "220 go ahead");
    let mut stream = BufReader::new(tls(&world, "mx.other.test", stream.into_inner()).unwrap());
    assert!(smtp(&mut stream, "EHLO client.test").starts_with("250 "));
    assert!(smtp(&mut stream, "STARTTLS").starts_with("503 "));
    assert!(smtp(&mut stream, "DATA").starts_with("503 "));
    assert!(smtp(&mut stream, "MAIL FROM:<a@client.test> SIZE=9").starts_with("250 "));
    assert!(smtp(&mut stream, "rcpt to: <b@good.test>").starts_with("250 "));
    assert!(smtp(&mut stream, "RCPT TO:c@good.test").starts_with("501 "));
    assert!(smtp(&mut stream, "RCPT TO:<d@good.test>").starts_with("250 "));
    assert!(smtp(&mut stream, "DATA").starts_with("354 "));
    assert!(smtp(&mut stream, "Subject: x\r\n\r\n..dot\r\n.").starts_with("250 "));
    assert!(smtp(&mut stream, "QUIT").starts_with("221 "));
    assert_eq!(
        world.smtp_log(),
        [
            format!("{address} connect"),
            format!("{address} starttls sni=mx.other.test version=TLSv1.3"),
            format!("{address} delivered from=<a@client.test> to=<b@good.test>,<d@good.test> tls=yes"),
        ]
    );
    let mail = std::fs::read_to_string(world.directory().join("mail/0001.eml")).unwrap();
    let envelope = "Return-Path: <a@client.test>\r\nDelivered-To: <b@good.test>\r\nDelivered-To: <d@good.test>\r\n";
    assert_eq!(mail, format!("{envelope}Subject: x\r\n\r\n.dot\r\n"));
    let log = std::fs::read_to_string(world.directory().join("smtp.log")).unwrap();
    assert_eq!(log.lines().collect::<Vec<_>>(), world.smtp_log());
}

#[test]
fn mail_arrives_in_the_clear_where_starttls_is_absent() {
    let world = World::start();
    let (mut stream, address) = greet(&world, with(Starttls::NotOffered));
    assert!(smtp(&mut stream, "STARTTLS").starts_with("502 "));
    for command in ["MAIL FROM:<>", "RCPT TO:<b@good.test>", "DATA", "x\r\n."] {
        assert!(smtp(&mut stream, command).starts_with(['2', '3']), "{command}");
    }
    assert_eq!(world.smtp_log()[1], format!("{address} delivered from=<> to=<b@good.test> tls=no"));
}

#[test]
fn starttls_is_offered_only_where_it_says_so() {
    let world = World::start();
    for (starttls, offered) in
        [(Starttls::Offered, true), (Starttls::NotOffered, false), (Starttls::Refused, true), (Starttls::Broken, true)]
    {
        let (mut stream, _) = greet(&world, with(starttls));
        std::io::Write::write_all(stream.get_mut(), b"EHLO x\r\nQUIT\r\n").unwrap();
        let text = std::io::read_to_string(stream).unwrap();
        assert_eq!(text.contains("250-STARTTLS\r\n"), offered, "{starttls:?}: {text}");
    }
}

#[test]
fn starttls_fails_in_every_way() {
    let world = World::start();
    let (mut stream, _) = greet(&world, with(Starttls::Refused));
    assert!(smtp(&mut stream, "STARTTLS").starts_with("454 "));
    assert!(smtp(&mut stream, "NOOP").starts_with("250 "));

    let (mut stream, _) = greet(&world, with(Starttls::Broken));
    assert!(smtp(&mut stream, "STARTTLS").starts_with("220 "));
    assert!(tls(&world, "mx.good.test", stream.into_inner()).is_err());

    let (mut stream, address) = greet(&world, Smtp { certificate: Certificate::Expired, ..Smtp::new("mx.good.test") });
    assert!(smtp(&mut stream, "STARTTLS").starts_with("220 "));
    assert!(tls(&world, "mx.good.test", stream.into_inner()).is_err());
    let failed = format!("{address} handshake-failed sni=mx.good.test received fatal alert: CertificateExpired");
    eventually(|| world.smtp_log().last() == Some(&failed));
}

#[test]
fn a_second_receiver_on_an_address_replaces_the_first() {
    let world = World::start();
    let (_, address) = greet(&world, Smtp::new("mx.good.test"));
    let address = address.parse().unwrap();
    assert_eq!(world.smtp(address, Smtp::new("other.test")).unwrap(), address);
    assert_eq!(smtp(&mut BufReader::new(connect(address)), ""), "220 other.test ESMTP mtasts-world");
}

#[test]
fn the_certificate_is_for_the_name_that_is_asked_for_unless_that_is_ignored() {
    let world = World::start();
    for ignores_sni in [false, true] {
        let (mut stream, _) = greet(&world, Smtp { ignores_sni, ..Smtp::new("mx.good.test") });
        assert!(smtp(&mut stream, "STARTTLS").starts_with("220 "));
        assert_eq!(tls(&world, "mx.other.test", stream.into_inner()).is_ok(), !ignores_sni);
        let (mut stream, _) = greet(&world, Smtp { ignores_sni, ..Smtp::new("mx.good.test") });
        assert!(smtp(&mut stream, "STARTTLS").starts_with("220 "));
        assert!(tls(&world, "mx.good.test", stream.into_inner()).is_ok(), "ignores_sni: {ignores_sni}");
    }
}
