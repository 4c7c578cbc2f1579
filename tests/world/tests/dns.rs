//! The DNS server as a client sees it.

mod common;

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use common::{is_silent_over_udp, over_tcp, over_udp, query, with_edns};
use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use mtasts_world::{Answer, Record, World};

#[test]
fn every_kind_of_record_arrives() {
    let world = World::start();
    let name = "All.good.test";
    let records = vec![
        Record::Txt(vec![b"v=STSv1; ".to_vec(), b"id=\xff;".to_vec()]),
        Record::Mx(10, "mx.good.test".into()),
        Record::A([127, 0, 0, 2].into()),
        Record::Aaaa(Ipv6Addr::LOCALHOST),
        Record::Tlsa(3, 1, 1, vec![7; 32]),
    ];
    world.dns(name, Answer::Records { ttl: 77, records });
    for (record_type, data) in [
        (RecordType::TXT, "\"v=STSv1; id=\\255;\""),
        (RecordType::MX, "10 mx.good.test."),
        (RecordType::A, "127.0.0.2"),
        (RecordType::AAAA, "::1"),
        (RecordType::TLSA, ""),
    ] {
        let reply = over_udp(&world, &query("aLL.good.test.", record_type));
        assert_eq!(reply.answers.len(), 1, "{record_type}");
        assert_eq!(reply.answers[0].ttl, 77);
        assert!(reply.answers[0].name.eq_case(&reply.queries[0].name().clone()), "the name comes back as it was asked");
        assert!(reply.metadata.recursion_available && !reply.metadata.authentic_data);
        match &reply.answers[0].data {
            RData::TXT(txt) => assert_eq!(txt.txt_data.concat(), b"v=STSv1; id=\xff;"),
            RData::TLSA(tlsa) => assert_eq!((u8::from(tlsa.cert_usage), tlsa.cert_data.len()), (3, 32)),
            other => assert_eq!(other.to_string(), data),
        }
    }
    assert_eq!(world.dns_log()[0], "TXT all.good.test");
    world.clear_logs();
    assert!(world.dns_log().is_empty());
}

#[test]
fn negative_answers_carry_the_soa_record_that_was_asked_for() {
    let world = World::start();
    world.dns("gone.test", Answer::NxDomain { negative_ttl: Some(7) });
    world.dns("empty.test", Answer::NoData { negative_ttl: None });
    world.txt("other.test", "x");
    for (name, code, ttl) in [
        ("unknown.test", ResponseCode::NXDomain, Some(60)),
        ("gone.test", ResponseCode::NXDomain, Some(7)),
        ("empty.test", ResponseCode::NoError, None),
        ("other.test", ResponseCode::NoError, Some(60)),
    ] {
        let reply = over_udp(&world, &query(name, RecordType::A));
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (code, 0), "{name}");
        let minimum = reply.authorities.first().map(|record| match &record.data {
            RData::SOA(soa) => (record.ttl, soa.minimum),
            other => panic!("{other}"),
        });
        assert_eq!(minimum, ttl.map(|ttl| (ttl, ttl)), "{name}");
    }
}

#[test]
fn failures_and_silence() {
    let world = World::start();
    world.dns("bad.test", Answer::ServFail);
    world.dns_type("bad.test", RecordType::MX, Answer::Refused);
    world.dns("quiet.test", Answer::Silent);
    assert_eq!(over_udp(&world, &query("bad.test", RecordType::TXT)).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(over_udp(&world, &query("bad.test", RecordType::MX)).metadata.response_code, ResponseCode::Refused);
    assert!(is_silent_over_udp(&world, &query("quiet.test", RecordType::TXT)));
    world.dns_off(true);
    assert!(is_silent_over_udp(&world, &query("bad.test", RecordType::TXT)));
    world.dns_off(false);
    over_udp(&world, &query("bad.test", RecordType::TXT));
    world.remove("bad.test");
    assert_eq!(over_udp(&world, &query("bad.test", RecordType::TXT)).metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(world.dns_log().len(), 6, "silence is logged too");
}

#[test]
fn what_is_cut_over_udp_is_whole_over_tcp() {
    let world = World::start();
    let ten = Answer::records((0..10).map(|_| Record::txt(&"x".repeat(100))).collect());
    world.dns("big.test", ten);
    world.dns("cut.test", Answer::Truncated(Box::new(Answer::record(Record::txt("x")))));
    for (name, records, size) in [("big.test", 10, None), ("big.test", 10, Some(900)), ("cut.test", 1, Some(4096))] {
        let plain = query(name, RecordType::TXT);
        let query = match size {
            Some(size) => with_edns(plain, size, false),
            None => plain,
        };
        let reply = over_udp(&world, &query);
        assert!(reply.metadata.truncation && reply.answers.is_empty(), "{name}");
        assert_eq!(reply.edns.is_some(), size.is_some());
        let reply = over_tcp(&world, &query);
        assert!(!reply.metadata.truncation, "{name}");
        assert_eq!(reply.answers.len(), records);
    }
    let reply = over_udp(&world, &with_edns(query("big.test", RecordType::TXT), 4096, false));
    assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, 10));
}

#[test]
fn the_ad_flag_is_for_authentic_names_and_clients_that_understand_it() {
    let world = World::start();
    world.dns("alias.test", Answer::record(Record::Cname("signed.test".into())));
    world.txt("signed.test", "x");
    world.dns_authentic("Signed.test");
    let authentic = |query| over_udp(&world, &query).metadata.authentic_data;
    let mut with_ad = query("signed.test", RecordType::TXT);
    with_ad.metadata.authentic_data = true;
    assert!(authentic(with_ad));
    assert!(authentic(with_edns(query("signed.test", RecordType::TXT), 1232, true)));
    assert!(!authentic(with_edns(query("signed.test", RecordType::TXT), 1232, false)));
    assert!(!authentic(with_edns(query("alias.test", RecordType::TXT), 1232, true)));
    world.dns_authentic("alias.test");
    assert!(authentic(with_edns(query("alias.test", RecordType::TXT), 1232, true)));
}

#[test]
fn what_is_no_question_gets_an_error_or_nothing() {
    let world = World::start();
    let mut notify = query("a.test", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(over_udp(&world, &notify).metadata.response_code, ResponseCode::NotImp);
    let broken = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63];
    let reply = common::udp(&world, &broken, Duration::from_secs(10)).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::FormErr));
    assert!(common::udp(&world, b"short", Duration::from_millis(100)).is_err());
    over_udp(&world, &query("still.alive.test", RecordType::A));
}

#[test]
fn a_world_on_ipv6_answers() {
    let any_port = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let world = match World::start_on(any_port, &[any_port]) {
        Ok(world) => world,
        Err(error) => return eprintln!("SKIPPED: no IPv6 loopback: {error}"),
    };
    world.publish("good.test", "1", "body");
    let reply = over_udp(&world, &query("mta-sts.good.test", RecordType::AAAA));
    assert_eq!(reply.answers[0].data.to_string(), "::1");
    assert_eq!(over_tcp(&world, &query("mta-sts.good.test", RecordType::A)).answers.len(), 0);
    assert!(common::get(&world, "mta-sts.good.test", "/.well-known/mta-sts.txt").0.ends_with("\r\n\r\nbody"));
}
