//! What is replied, when, and at whose cost.

use super::*;
use mtasts_world::Answer;

#[test]
fn each_map_is_answered_in_its_dialect() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut client = server.connect();
    assert_eq!(client.ask("sts good.test"), GOOD);
    assert_eq!(client.ask("postfix good.test"), GOOD);
    assert_eq!(
        client.ask("postfix-tlsrpt GOOD.test."),
        format!(
            "{GOOD} policy_type=sts policy_domain=good.test mx_host_pattern=mx.good.test mx_host_pattern=*.good.test \
             {{ policy_string = version: STSv1 }} {{ policy_string = mode: enforce }} \
             {{ policy_string = mx: mx.good.test }} {{ policy_string = mx: *.good.test }} \
             {{ policy_string = max_age: 604800 }}"
        )
    );
    assert!(client.ask("STS good.test").starts_with("TEMP unknown map"));
    assert!(client.ask("good.test").starts_with("TEMP malformed request"));
    assert_eq!(stage.fetches("good.test"), 1);
}

#[test]
fn what_has_no_enforced_policy_is_not_found() {
    let stage = Stage::new();
    stage.world.publish("malformed.test", "a1", "version: STSv1\r\nmode: Enforce\r\n");
    stage.configure("[domain.\"exempt.test\"]\nmode = \"none\"\nuntil = 2099-12-31\nwhy = \"a test\"\n");
    let server = stage.serve();
    let mut client = server.connect();
    for domain in ["testing.test", "none.test", "absent.test", "malformed.test", "exempt.test"] {
        for _ in 0..2 {
            assert_eq!(client.ask(&format!("sts {domain}")), NOT_FOUND, "{domain}");
        }
    }
    stage.world.clear_logs();
    for key in [".good.test", "[192.0.2.1]", "192.0.2.1", "[good.test]", "good.test:25", "good test", ""] {
        assert_eq!(client.ask(&format!("postfix {key}")), NOT_FOUND, "{key}");
    }
    assert_eq!(stage.world.dns_log(), Vec::<String>::new(), "nobody is asked about them");
}

#[test]
fn a_policy_host_that_is_late_means_temp_in_time_and_the_retry_has_the_policy() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    let server = stage.serve();
    let (mut first, mut second) = (server.connect(), server.connect());
    let began = Instant::now();
    let told = first.ask("sts slow.test");
    assert_eq!(told, "TEMP the policy of slow.test is still being looked for, try again later");
    assert!(began.elapsed() < PATIENCE_OF_SENDMAIL, "{:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
    second.request("postfix slow.test");
    gate.open();
    let wanted = "OK secure match=mx.slow.test servername=hostname";
    assert_eq!(second.reply().as_deref(), Some(wanted));
    assert_eq!(first.ask("sts slow.test"), wanted);
    assert_eq!(stage.fetches("slow.test"), 1, "the fetch has gone on");
    server.wait_for_line("sts slow.test: TEMP the policy of slow.test is still being looked for, try again later; 4");
}

#[test]
fn two_hundred_clients_for_one_domain_make_one_fetch() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "crowd.test");
    let server = stage.serve();
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.request("postfix crowd.test");
    }
    gate.wait_for(1);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply().as_deref(), Some("OK secure match=mx.crowd.test servername=hostname"));
    }
    assert_eq!(stage.fetches("crowd.test"), 1);
}

#[test]
fn policy_hosts_that_never_answer_delay_nobody_whose_policy_is_known() {
    const TRAPS: usize = 80;
    let stage = Stage::new();
    for trap in 0..TRAPS {
        let domain = format!("trap{trap}.test");
        stage.world.publish(&domain, "1", "");
        stage.world.site(&format!("mta-sts.{domain}"), Site::new(Certificate::Good, Response::Silent));
    }
    let server = stage.serve();
    let mut warm = server.connect();
    for domain in ["good.test", "testing.test"] {
        warm.ask(&format!("sts {domain}"));
    }
    let mut trapped: Vec<Client> = (0..TRAPS).map(|_| server.connect()).collect();
    let began = Instant::now();
    for (trap, client) in trapped.iter_mut().enumerate() {
        client.request(&format!("sts trap{trap}.test"));
    }
    let mut longest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(warm.ask("sts good.test"), GOOD);
        assert_eq!(server.connect().ask("sts testing.test"), NOT_FOUND);
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < Duration::from_secs(1), "a warm domain has waited for {longest:?}");
    for client in &mut trapped {
        assert!(client.reply().unwrap().starts_with("TEMP the policy of trap"));
    }
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    server.stop();
}

#[test]
fn a_nameserver_that_never_answers_holds_no_mail_for_ever() {
    let stage = Stage::new();
    stage.world.dns("_mta-sts.silent.test", Answer::Silent);
    stage.configure("dns_timeout_seconds = 5\n");
    let server = stage.serve();
    let mut client = server.connect();
    assert!(client.ask("sts silent.test").starts_with("TEMP the policy of silent.test is still being looked for"));
    // The search that has begun ends in its own time, which is nobody else's matter.
    eventually("the search is given up", || client.ask("sts silent.test") == NOT_FOUND);
    let began = Instant::now();
    assert_eq!(client.ask("sts silent.test"), NOT_FOUND, "as the key on_dns_error says");
    assert!(began.elapsed() < PATIENCE_OF_SENDMAIL);

    stage.configure("dns_timeout_seconds = 5\non_dns_error = \"defer\"\n");
    server.tell(Signal::HUP);
    server.wait_for_line("the configuration was read again");
    let replied = client.ask("sts silent.test");
    assert!(replied.starts_with("TEMP "), "{replied}");
}

#[test]
fn without_a_cache_that_can_be_written_policies_are_found_all_the_same() {
    let stage = Stage::new();
    let server = stage.serve_with(&["--set", "cache=/dev/null/cache.db"]);
    let mut client = server.connect();
    assert_eq!(client.ask("sts good.test"), GOOD);
    assert_eq!(client.ask("sts good.test"), GOOD);
}
