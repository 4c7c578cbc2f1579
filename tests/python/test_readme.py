"""The code of the README, with nothing changed but where host names lead to."""

import os
import re
import socket
import textwrap

import pytest

connect = socket.create_connection


@pytest.fixture
def readme(root, monkeypatch):
    """Runs the blocks of code, one after the other, and returns their names."""
    ports = dict(entry.split("=") for entry in os.environ["TEST_SMTP"].split(","))

    def connect_here(address, *arguments, **options):
        host, port = address
        assert port == 25
        if host not in ports:
            raise ConnectionRefusedError(f"nobody listens at {host}")
        return connect(("127.0.0.1", int(ports[host])), *arguments, **options)

    monkeypatch.setattr(socket, "create_connection", connect_here)
    text = (root / "examples/python/README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4

    def run():
        names = {}
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
        return names

    return run


def test_it_does_what_it_says(readme, capsys):
    readme()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ENFORCE mx.example.com mx1.example.com"
    assert lines[1].startswith("mx1.example.com: ") and "another name" in lines[1]
    assert lines[2] == "delivered"
    assert lines[3].startswith("ENFORCE cache ") and len(lines) == 4


@pytest.mark.parametrize(
    "recipient, hosts, is_sent, words",
    [
        ("b@good.test", ["mx.good.test"], True, []),
        ("b@good.test", ["evil.test"], False, ["evil.test is not listed"]),
        ("b@good.test", ["clear.backup.test", "expired.backup.test", "broken.backup.test"], False, ["STARTTLS", "expired", "handshake"]),
        ("b@good.test", ["self-signed.backup.test", "nobody.backup.test"], False, ["trusted root", "nobody listens"]),
        ("b@good.test", ["clear.backup.test", "mx.good.test"], True, ["STARTTLS"]),
        ("b@testing.test", ["clear.backup.test"], True, ["not listed"]),
        ("b@testing.test", ["mx.testing.test"], True, ["trusted root"]),
        ("b@absent.test", ["clear.backup.test"], True, []),
        ("b@absent.test", ["broken.backup.test"], True, []),
        ("b@absent.test", ["self-signed.backup.test"], True, []),
    ],
)
def test_it_delivers_where_it_may(readme, capsys, context, recipient, hosts, is_sent, words):
    deliver = readme()["deliver"]
    capsys.readouterr()
    assert deliver(context, "a@client.test", recipient, hosts, "Subject: x\r\n\r\nx\r\n") is is_sent
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(words), lines
    for line, word in zip(lines, words):
        assert word in line


def test_mypy_takes_a_program_that_uses_the_installed_module(root, tmp_path):
    from mypy import api as mypy

    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from typing import List

            import mtasts


            def usable(domain: str, hosts: List[str]) -> List[mtasts.Decision]:
                with mtasts.Context() as context:
                    return [decision for decision in context.decide(domain, hosts) if decision.may_deliver]


            mode: mtasts.Mode = mtasts.lookup("good.test").mode
            """
        )
    )
    files = [str(program), *(str(file) for file in (root / "examples/python").glob("*.py"))]
    for file in files:
        said, faults, status = mypy.run(["--strict", "--no-incremental", file])
        assert status == 0, said + faults
    program.write_text("import mtasts\nmtasts.lookup(7)\n")
    assert "arg-type" in mypy.run(["--strict", "--no-incremental", str(program)])[0]
