"""Contexts: settings, log lines, threads, forks, and the ends of all of them."""

import gc
import logging
import os
import subprocess
import sys
import threading
import weakref

import pytest

import mtasts
from mtasts import Action, Mode, Reason


def run(program, **environment):
    """Runs a program in an interpreter of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout


def test_a_broken_configuration_is_named(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("nonsense = 1\n")
    for path in (broken, str(broken), os.fsencode(broken)):
        with pytest.raises(mtasts.InvalidConfig, match="broken.toml: line 1: key `nonsense` is not known"):
            mtasts.Context(path)
    with pytest.raises(mtasts.InvalidConfig, match="no-such-key"):
        mtasts.Context(settings={"no-such-key": 1})


def test_settings_win_over_the_file_and_act_on_later_calls(context):
    pinned = {"domain.\"absent.test\"": '{ mode = "enforce", mx = ["mx.absent.test"] }', "dane_wins": True, "memory_entries": 7}
    with mtasts.Context(settings=pinned) as other:
        policy = other.query("absent.test")
        assert (policy.reason, policy.source, policy.mx) == (Reason.PINNED, "configuration", ("mx.absent.test",))
        (decision,) = other.decide("absent.test", ["evil.test"], mtasts.Dane.USABLE)
        assert decision.reason is Reason.DANE_GOVERNS
        other.set("domain.\"absent.test\"", "")
        assert other.query("absent.test").mode is Mode.NONE
    assert context.query("absent.test").mode is Mode.NONE


def test_arguments_of_a_wrong_kind_are_refused(context):
    for call in (
        lambda: context.query(None),
        lambda: context.query(7),
        lambda: context.query("good.test", "mx.good.test"),
        lambda: context.decide("good.test", b"mx.good.test"),
        lambda: context.query("good.test", [None]),
        lambda: mtasts.select_record("v=STSv1; id=1;"),
        lambda: mtasts.parse_policy(9),
    ):
        with pytest.raises(TypeError):
            call()
    for call in (
        lambda: mtasts.lookup("good.test\0evil.test"),
        lambda: context.query("good.test", ["mx\0"]),
        lambda: context.query("good.test", timeout_ms=2**32),
        lambda: context.query("good.test", flags=-1),
        lambda: context.refresh(2**32),
        lambda: mtasts.parse_policy("version: STSv1\nmode: none\nmax_age: 1\n").decide("x.test", 2**32),
    ):
        with pytest.raises(ValueError):
            call()
    for call in (
        lambda: context.query("good.test", timeout_ms=-1),
        lambda: context.query("good.test", flags=mtasts.Flags.CACHE_ONLY | mtasts.Flags.REFRESH),
        lambda: context.query("good.test", flags=64),
        lambda: context.refresh(timeout_ms=-1),
    ):
        with pytest.raises(mtasts.InvalidArgument):
            call()


def test_log_lines_go_to_a_logger_with_their_level(caplog):
    caplog.set_level(logging.DEBUG)
    with mtasts.Context(settings={"cache": "/proc/cache.db"}) as context:
        context.query("good.test")
    assert [(line.name, line.levelno) for line in caplog.records][0] == ("mtasts", logging.ERROR)
    assert "/proc/cache.db" in caplog.text
    caplog.clear()
    own = logging.getLogger("own")
    gc.collect()
    with mtasts.Context(settings={"observe": True}, logger=own) as context:
        (decision,) = context.decide("good.test", ["evil.test"])
    del context
    assert decision.action is Action.DELIVER_REPORT
    assert {(line.name, line.levelno) for line in caplog.records} == {("own", logging.WARNING)}
    assert "evil.test" in caplog.text


def test_a_handler_may_ask_again_and_fail(capsys, monkeypatch):
    class Curious(logging.Handler):
        def emit(self, record):
            seen.append(context.query("testing.test").mode)
            raise RuntimeError("a handler's own fault")

    seen, logger, unraisable = [], logging.getLogger("curious"), []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    logger.addHandler(Curious())
    logger.propagate = False
    context = mtasts.Context(settings={"observe": True}, logger=logger)
    (decision,) = context.decide("good.test", ["evil.test"])
    assert decision.action is Action.DELIVER_REPORT and set(seen) == {Mode.TESTING}
    assert {type(fault.exc_value) for fault in unraisable} == {RuntimeError}


def test_answers_outlive_their_context_and_nothing_else_does():
    context = mtasts.Context(settings={"observe": True}, logger=logging.getLogger("silent"))
    native = weakref.ref(context._native)
    policy = context.query("good.test")
    context.close()
    context.close()
    with pytest.raises(ValueError, match="closed"):
        context.query("good.test")
    decision = policy.decide("evil.test")
    del context, policy
    gc.collect()
    assert native() is not None and decision.after_tls(mtasts.TlsState.OK).may_deliver
    del decision
    gc.collect()
    assert native() is None


def test_the_interpreter_goes_on_while_a_thread_waits(context):
    asking = threading.Thread(target=context.query, args=("silent.test",), kwargs={"timeout_ms": 2000, "flags": mtasts.Flags.REFRESH})
    asking.start()
    assert asking.is_alive()
    assert context.query("good.test").mode is Mode.ENFORCE
    assert asking.is_alive(), "the other thread has not been waited for"
    asking.join()


def test_threads_share_a_context_while_it_is_closed(context):
    failures = []

    def work():
        while True:
            try:
                for decision in context.decide("good.test", ["mx.good.test", "evil.test"]):
                    decision.after_tls(mtasts.TlsState.OK)
                with pytest.raises(mtasts.InvalidPolicy, match="line 1"):
                    mtasts.parse_policy("x")
            except ValueError as error:
                return None if "closed" in str(error) else failures.append(error)
            except BaseException as error:
                return failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        context.query("testing.test")
    context.close()
    for thread in threads:
        thread.join(30)
    assert not failures and not any(thread.is_alive() for thread in threads)


def test_forked_children_go_on_with_the_context(context):
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            context.query("good.test")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    status = 0 if context.query("good.test").mode is Mode.ENFORCE else 2
                    context.close()
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


def test_a_pass_fetches_what_is_due(context):
    context.query("good.test")
    assert context.refresh(5, timeout_ms=5000) == (0, 0)


def test_a_program_ends_while_a_thread_is_at_work():
    program = """
import logging, threading, time, mtasts
logging.basicConfig(filename="/dev/null", level=logging.DEBUG)
context = mtasts.Context(settings={"observe": True})
def work():
    while True:
        context.decide("good.test", ["evil.test"])
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
print("end")
"""
    for _ in range(5):
        assert run(program) == (0, "end\n")


def test_the_library_is_found_by_its_name_or_by_the_environment(root, tmp_path):
    program = "import mtasts; print(mtasts.version())"
    assert run(program) == (0, f"{mtasts.__version__}\n")
    library = os.path.join(os.environ["LD_LIBRARY_PATH"], "libmtasts.so.0")
    assert run(program, LD_LIBRARY_PATH="", MTASTS_LIBRARY=library) == (0, f"{mtasts.__version__}\n")
    for name in (str(tmp_path / "none.so"), "libc.so.6"):
        status, said = run(program, MTASTS_LIBRARY=name)
        assert status == 1 and "ImportError: " in said and "MTASTS_LIBRARY" in said, said
