#!/usr/bin/env python3
"""Makes every vector in this folder again, from docs/protocol.md and not from the code.

Needs Python 3.9 and the package `cryptography`; takes no arguments. Says so when all agree, and fails at the first that
does not.
"""

import hashlib
import hmac
import ipaddress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

BOOT_A, BOOT_B = 1_700_000_000, 1_700_000_500


def load(name):
    text = Path(__file__).with_name(name).read_text()
    return dict(line.split(" = ") for line in text.splitlines() if line and not line.startswith("#"))


def same(vectors, name, value):
    assert vectors.pop(name) == value.hex(), f"{name} should be {value.hex()}"


def sha256(data):
    return hashlib.sha256(data).digest()


def hkdf(salt, secret, info):
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\1", "sha256")


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def with_length(data):
    return varint(len(data)) + data


def option(data):
    return b"\0" if data is None else b"\1" + data


def items(*encoded):
    return varint(len(encoded)) + b"".join(encoded)


def address(ip, port):
    ip = ipaddress.ip_address(ip)
    return bytes([0 if ip.version == 4 else 1]) + ip.packed + varint(port)


class Router:
    def __init__(self, first):
        secret = bytes(range(first, first + 32))
        self.ed25519 = Ed25519PrivateKey.from_private_bytes(hkdf(b"weave identity 1", secret, b"ed25519 seed"))
        x25519 = X25519PrivateKey.from_private_bytes(hkdf(b"weave identity 1", secret, b"x25519 secret"))
        self.peer_id = self.ed25519.public_key().public_bytes_raw()
        self.noise = x25519.public_key().public_bytes_raw()
        self.binding = self.ed25519.sign(b"weave noise key 1\0" + self.noise)

    def record(self, network, kind, boot_id, count, body):
        said = self.peer_id + bytes([kind]) + (boot_id << 24 | count).to_bytes(8, "big") + body
        return said + self.ed25519.sign(b"weave record 1\0" + network + said)

    def key(self, kind, boot_id, count):
        return self.peer_id, kind, boot_id << 24 | count


def probe(answer, last_heard, sequence, seen):
    """The layout of packets, then the encoding in control messages; all have one token."""
    token = 0x1112131415161718
    if seen is None:
        where = bytes(18)
    else:
        ip = ipaddress.ip_address(seen[0])
        mapped = ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed
        where = mapped + seen[1].to_bytes(2, "big")
    layout = bytes([answer, 0]) + last_heard.to_bytes(2, "big") + sequence.to_bytes(4, "big") + token.to_bytes(8, "big")
    said = varint(answer) + varint(last_heard) + varint(sequence) + varint(token)
    return layout + where, said + option(None if seen is None else address(*seen))


def key(origin, kind, sequence):
    return origin + varint(kind) + varint(sequence)


def main():
    network = sha256(b"weave network 1\0weave")
    a, b = Router(0x00), Router(0x40)

    probes = {
        "first_challenge": probe(0, 0xFFFF, 1, None),
        "challenge_v4": probe(0, 150, 0x01020304, ("192.0.2.1", 6783)),
        "answer_v4": probe(1, 65534, 1, ("192.0.2.2", 49152)),
        "answer_v6": probe(1, 0, 1, ("2001:db8::2", 6783)),
    }
    vectors = load("probes.txt")
    for name, (layout, _) in probes.items():
        same(vectors, name, layout)
    assert not vectors, vectors

    router_a = varint(BOOT_A) + varint(BOOT_A) + varint(0x2122232425262728) + a.noise + a.binding
    router_a += option(with_length(b"first")) + with_length(b"host-a") + with_length(b"0.1.0") + varint(6783)
    router_a += items(address("192.0.2.1", 6783) + b"\0", address("2001:db8::1", 49152) + b"\1") + varint(1)
    router_b = varint(BOOT_B) + varint(BOOT_B - 1) + varint(0x3132333435363738) + b.noise + b.binding
    router_b += option(None) + with_length(b"") + with_length(b"0.1.0") + varint(7000) + items() + varint(0)
    links_a = varint(BOOT_A) + items(b.peer_id + varint(1250) + varint(1472) + varint(0))
    links_b = varint(BOOT_B) + items()
    records = {
        "router_a": a.record(network, 0, BOOT_A, 1, router_a),
        "links_a": a.record(network, 1, BOOT_A, 300, links_a),
        "router_b": b.record(network, 0, BOOT_B, 1, router_b),
        "links_b": b.record(network, 1, BOOT_B, 1, links_b),
    }
    vectors = load("records.txt")
    for name, record in records.items():
        same(vectors, name, record)
    assert not vectors, vectors

    keys = sorted([a.key(0, BOOT_A, 1), a.key(1, BOOT_A, 300), b.key(0, BOOT_B, 1), b.key(1, BOOT_B, 1)])
    buckets = []
    for bucket in range(16):
        inside = [one for one in keys if one[0][0] >> 4 == bucket]
        hashed = b"".join(origin + bytes([kind]) + seq.to_bytes(8, "big") for origin, kind, seq in inside)
        buckets.append(sha256(hashed)[:8])
    high = a.peer_id[0] & 0xF0
    bounds = bytes([high]) + bytes(31) + bytes([high | 0x0F]) + b"\xff" * 31
    of_a = items(*[key(*one) for one in keys if one[0][0] & 0xF0 == high])
    sent = [with_length(record) for record in list(records.values())[1:]]
    vectors = load("control.txt")
    same(vectors, "welcome_v4", b"\0linktg" + address("192.0.2.7", 49152))
    same(vectors, "welcome_v6", b"\0linktg" + address("2001:db8::7", 6783))
    same(vectors, "adopt", b"\1")
    same(vectors, "records", b"\2" + items(*sent))
    same(vectors, "acknowledge", b"\3" + varint(300))
    same(vectors, "digest", b"\4" + sha256(b"".join(buckets)))
    same(vectors, "buckets", b"\5" + b"".join(buckets))
    same(vectors, "list", b"\6" + bounds + of_a)
    same(vectors, "want", b"\7" + of_a)
    same(vectors, "routed", b"\x08" + a.peer_id + b.peer_id + bytes([32]) + with_length(b"\3\4body"))
    same(vectors, "probe_challenge", b"\x09" + probes["challenge_v4"][1])
    same(vectors, "probe_answer", b"\x09" + probes["answer_v6"][1])
    same(vectors, "packet", b"\x0a" + with_length(b"a sealed packet"))
    for number, reason in enumerate(["shutdown", "duplicate", "stale_boot", "full", "renewed", "forgotten"]):
        same(vectors, "goodbye_" + reason, bytes([11, number]))
    assert not vectors, vectors
    print("all vectors agree")


if __name__ == "__main__":
    main()
