"""What domains have, and what may be done with their MX hosts."""

import copy
import dataclasses
import pickle

import pytest

import mtasts
from mtasts import Action, Dane, Flags, Mode, Reason, ResultType, Status, TlsState

BODY = "version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmx: *.backup.test\r\nmax_age: 86400\r\n"


def test_one_call_tells_mode_and_patterns():
    found = mtasts.lookup("good.test")
    assert found == mtasts.Lookup(Mode.ENFORCE, ("mx.good.test", "*.backup.test"))
    assert found.allows_mx("MX.good.test.") and found.allows_mx(b"a.backup.test") and not found.allows_mx("evil.test")
    assert mtasts.lookup("testing.test").mode is Mode.TESTING
    assert mtasts.lookup("b\u00fccher.test").mx == ("mx.xn--bcher-kva.test",)
    for domain in ["absent.test", "malformed.test", "servfail.test", "none.test", "not a domain", "", b"\xff", "\udcff"]:
        assert mtasts.lookup(domain) == mtasts.Lookup(Mode.NONE, ()), domain
    mtasts.cleanup()
    assert mtasts.lookup("good.test") == found


def test_an_answer_has_everything_that_the_library_knows(context):
    policy = context.query("GOOD.test.")
    assert (policy.mode, policy.domain, policy.id) == (Mode.ENFORCE, "good.test", "20260101")
    assert policy.mx == ("mx.good.test", "*.backup.test")
    assert policy.max_age == 86400 and policy.expires_at == policy.fetched_at + 86400
    assert policy.body == BODY.encode()
    assert policy.source in ("https", "cache") and policy.reason in (Reason.FETCHED, Reason.CACHED, Reason.CONFIRMED)
    assert policy.reason_text and policy.result_type is ResultType.NONE
    assert policy.allows_mx("a.backup.test") and not policy.allows_mx("a.b.backup.test")
    assert context.query("good.test", flags=Flags.REFRESH).reason is Reason.FETCHED


def test_no_policy_is_an_answer_with_a_reason(context):
    absent = context.query("absent.test")
    assert (absent.mode, absent.reason, absent.mx, absent.body) == (Mode.NONE, Reason.NO_RECORD, (), b"")
    assert (absent.max_age, absent.fetched_at, absent.expires_at, absent.source) == (0, 0, 0, "none")
    malformed = context.query("malformed.test")
    assert malformed.reason in (Reason.POLICY_INVALID, Reason.BACKING_OFF)
    assert malformed.result_type is ResultType.STS_POLICY_INVALID
    assert context.query("192.0.2.1").reason is Reason.ADDRESS_LITERAL
    assert context.query("not cached.test").reason is Reason.INVALID_DOMAIN
    assert context.query("never.test", flags=Flags.CACHE_ONLY).reason is Reason.NOT_CACHED


def test_a_call_ends_at_its_timeout(context):
    assert context.query("silent.test", timeout_ms=100).reason is Reason.DNS_FAILED


def test_what_is_odd_is_a_lint():
    lints = mtasts.parse_policy(BODY.replace("86400", "1")).lints
    assert lints and all(isinstance(lint, str) for lint in lints)


def test_decisions_follow_the_policy(context):
    hosts = ["mx.good.test", "mx.evil.test", "x.backup.test"]
    listed, evil, backup = context.decide("good.test", hosts)
    assert [decision.mx_host for decision in (listed, evil, backup)] == hosts
    assert (listed.action, listed.reason, listed.sni) == (Action.REQUIRE_TLS, Reason.MX_LISTED, "mx.good.test")
    assert listed.may_deliver and listed.enhanced_status == "" and backup.action is Action.REQUIRE_TLS
    assert (evil.action, evil.reason) == (Action.SKIP_HOST, Reason.MX_NOT_LISTED)
    assert not evil.may_deliver and evil.enhanced_status.startswith("4.7.") and "evil" in evil.reason_text
    (free,) = context.decide("absent.test", ("mx.absent.test" for _ in "x"))
    assert free.action is Action.DELIVER
    (testing,) = context.decide("testing.test", ["evil.test"])
    assert testing.action is Action.DELIVER_REPORT and testing.result_type is not ResultType.NONE


def test_dane_counts_for_all_hosts_or_for_each(context):
    hosts = ["mx.good.test", b"x.backup.test"]
    states = {Dane.ABSENT: Action.REQUIRE_TLS, Dane.USABLE: Action.REQUIRE_TLS, Dane.FAILED: Action.SKIP_HOST}
    for state, action in states.items():
        if state is not Dane.USABLE:
            assert {decision.action for decision in context.decide("good.test", hosts, state)} == {action}
    first, second = context.decide("good.test", hosts, {"mx.good.test": Dane.FAILED})
    assert (first.action, first.reason, second.action) == (Action.SKIP_HOST, Reason.DANE_FAILED, Action.REQUIRE_TLS)


def test_the_decision_after_the_handshake_follows_from_it():
    decision = mtasts.parse_policy(BODY).decide("mx.good.test")
    after = decision.after_tls(TlsState.OK)
    assert (after.action, after.reason) == (Action.DELIVER, Reason.TLS_VERIFIED)
    for state in set(TlsState) - {TlsState.OK}:
        after = decision.after_tls(state)
        assert after.action is Action.SKIP_HOST and not after.may_deliver and after.result_type is not ResultType.NONE
    with pytest.raises(mtasts.InvalidArgument):
        decision.after_tls(0)


def test_chains_verify_or_have_a_tls_state(context, chain):
    (decision,) = context.decide("good.test", ["mx.good.test"])
    for name in ["good", "wildcard", "with-strangers"]:
        decision.verify(chain(name))
    for name, state in [
        ("wrong-name", TlsState.HOST_MISMATCH),
        ("cn-only", TlsState.HOST_MISMATCH),
        ("expired", TlsState.EXPIRED),
        ("unknown-ca", TlsState.NOT_TRUSTED),
        ("garbage", TlsState.CERTIFICATE_INVALID),
        ("empty", TlsState.CERTIFICATE_INVALID),
    ]:
        with pytest.raises(mtasts.NotVerified, match="mx.good.test") as caught:
            decision.verify(chain(name))
        assert caught.value.tls_state is state, name
        assert decision.after_tls(caught.value.tls_state).action is Action.SKIP_HOST


def test_without_roots_there_is_no_tls_state(context, chain):
    context.query("good.test")
    context.set("ca_file", "/nowhere/ca.pem")
    (decision,) = context.decide("good.test", ["mx.good.test"])
    with pytest.raises(mtasts.NotVerified, match="/nowhere/ca.pem") as caught:
        decision.verify(chain("good"))
    assert caught.value.tls_state is None and caught.value.result_type is ResultType.NONE


def test_patterns_match_one_by_one_or_joined():
    assert mtasts.match_mx("mx.a.test:*.b.test", "x.b.test") and mtasts.match_mx(["*.b.test"], "x.b.test")
    assert not mtasts.match_mx("", "x.b.test") and not mtasts.match_mx([], "x.b.test")


def test_sendmail_and_postfix_are_told_in_their_dialects(context):
    classic = "OK secure match=mx.good.test:.backup.test servername=hostname"
    assert context.socketmap("sts good.test") == context.socketmap(b"postfix good.test", timeout_ms=9000) == classic
    assert context.socketmap("postfix .good.test") == "NOTFOUND "
    assert context.socketmap("QUERY good.test").startswith("TEMP ")
    policy = context.query("good.test")
    assert policy.socketmap_reply(mtasts.Dialect.SENDMAIL) == classic
    assert policy.socketmap_reply(mtasts.Dialect.POSTFIX_TLSRPT).startswith(classic + " policy_type=sts ")
    with pytest.raises(mtasts.InvalidArgument, match="dialect"):
        policy.socketmap_reply(0)


def test_records_are_selected():
    assert mtasts.select_record(["v=spf1 -all", b"v=STSv1; id=abc123;"]) == "abc123"
    with pytest.raises(mtasts.NoRecord):
        mtasts.select_record([])
    for several in [["v=STSv1; id=1;", "v=STSv1; id=2;"], ["v=STSv1; id=\0;"]]:
        with pytest.raises(mtasts.InvalidRecord):
            mtasts.select_record(several)


def test_a_malformed_policy_names_its_line():
    with pytest.raises(mtasts.InvalidPolicy, match="line 2") as caught:
        mtasts.parse_policy("version: STSv1\nmode: strict\n")
    assert caught.value.status is Status.INVALID_POLICY
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (mtasts.InvalidPolicy, str(caught.value))
    not_verified = mtasts.NotVerified(Status.NOT_VERIFIED, "x", ResultType.CERTIFICATE_EXPIRED)
    assert pickle.loads(pickle.dumps(not_verified)).tls_state is TlsState.EXPIRED


def test_answers_do_not_change_and_can_be_copied_but_not_pickled():
    policy = mtasts.parse_policy(BODY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.mode = Mode.NONE
    copied = copy.copy(policy)
    assert copied == policy
    del policy
    assert copied.decide("mx.good.test").action is Action.REQUIRE_TLS
    assert "_native" not in repr(copied) and "body" not in repr(copied)
    for answer in (copied, copied.decide("mx.good.test")):
        for give_away in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="ask again"):
                give_away(answer)


def test_status_has_a_name():
    assert mtasts.status_text(Status.OK) and mtasts.status_text(12345)
