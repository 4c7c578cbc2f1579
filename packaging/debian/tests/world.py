"""The DNS server and the policy host of a small internet: world.py CERTIFICATE KEY. It says "ready" and serves until it is killed."""

import http.server
import os
import socket
import ssl
import struct
import sys
import threading

ADDRESS = "192.0.2.1"
TXT, MX, A = 16, 15, 1

POLICIES = {
    "mta-sts.example.com": "mx.example.com",
    "mta-sts.unlisted.example": "listed.unlisted.example",
}


def text(value):
    return bytes([len(value)]) + value.encode()


def name(value):
    return b"".join(text(label) for label in value.split(".")) + b"\0"


RECORDS = {
    ("_mta-sts.example.com", TXT): text("v=STSv1; id=1"),
    ("_mta-sts.unlisted.example", TXT): text("v=STSv1; id=1"),
    ("mta-sts.example.com", A): socket.inet_aton(ADDRESS),
    ("mta-sts.unlisted.example", A): socket.inet_aton(ADDRESS),
    ("example.com", MX): struct.pack("!H", 10) + name("mx.example.com"),
    ("unlisted.example", MX): struct.pack("!H", 10) + name("mx.unlisted.example"),
    ("mx.example.com", A): socket.inet_aton("192.0.2.25"),
    ("mx.unlisted.example", A): socket.inet_aton("192.0.2.26"),
}


def answer(query):
    """One question, one record or none (RFC 1035 section 4.1)."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    question = query[12 : at + 5]
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    asked = ".".join(labels)
    data = RECORDS.get((asked, kind))
    exists = any(known == asked or known.endswith("." + asked) for known, _ in RECORDS)
    flags = 0x8580 if exists else 0x8583
    head = query[:2] + struct.pack("!HHHHH", flags, 1, 0 if data is None else 1, 0, 0)
    if data is None:
        return head + question
    return head + question + b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def serve_dns():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        started.set()
        while True:
            query, client = server.recvfrom(4096)
            server.sendto(answer(query), client)


class PolicyHost(http.server.BaseHTTPRequestHandler):
    """The policy of the host that is asked for."""

    def do_GET(self):
        mx = POLICIES.get(self.headers["Host"])
        if mx is None or self.path != "/.well-known/mta-sts.txt":
            self.send_error(404)
            return
        body = f"version: STSv1\nmode: enforce\nmx: {mx}\nmax_age: 604800\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


started = threading.Event()
threading.Thread(target=serve_dns, daemon=True).start()
https = http.server.ThreadingHTTPServer((ADDRESS, 443), PolicyHost)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[1], sys.argv[2])
https.socket = tls.wrap_socket(https.socket, server_side=True)
started.wait()
print("ready", flush=True)
os.close(1)
https.serve_forever()
