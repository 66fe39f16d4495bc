#!/usr/bin/env python3
"""Makes every vector in this folder again, from the descriptions in the crate's documentation and not from its code.

Needs Python 3.9 and the package `cryptography`; takes no arguments. Says so when all agree, and fails at the first that
does not.
"""

import hashlib
import hmac
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305


def load(name):
    text = Path(__file__).with_name(name).read_text()
    return dict(line.split(" = ") for line in text.splitlines() if line and not line.startswith("#"))


def same(vectors, name, value):
    value = value if isinstance(value, str) else value.hex()
    assert vectors[name] == value, f"{name} should be {value}"


def sha256(data):
    return hashlib.sha256(data).digest()


def mac(key, data):
    return hmac.digest(key, data, "sha256")


def hkdf(salt, secret, info):
    return mac(mac(salt, secret), info + b"\1")


def seed(first):
    return bytes(range(first, first + 32))


class Router:
    def __init__(self, secret):
        self.ed25519 = Ed25519PrivateKey.from_private_bytes(hkdf(b"weave identity 1", secret, b"ed25519 seed"))
        self.x25519 = X25519PrivateKey.from_private_bytes(hkdf(b"weave identity 1", secret, b"x25519 secret"))
        self.peer_id = self.ed25519.public_key().public_bytes_raw()
        self.public = public(self.x25519)
        self.binding = self.ed25519.sign(b"weave noise key 1\0" + self.public)


class Noise:
    """The symmetric state of the Noise Protocol Framework, section 5.2."""

    def __init__(self, name, prologue):
        self.hash = name.ljust(32, b"\0")
        self.chaining, self.key, self.nonce = self.hash, None, 0
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.hash = sha256(self.hash + data)
        return data

    def mix_key(self, ours, theirs):
        temporary = mac(self.chaining, ours.exchange(theirs.public_key()))
        self.chaining = mac(temporary, b"\1")
        self.key, self.nonce = mac(temporary, self.chaining + b"\2"), 0

    def seal(self, data):
        if self.key is not None:
            nonce = bytes(4) + self.nonce.to_bytes(8, "little")
            data = ChaCha20Poly1305(self.key).encrypt(nonce, data, self.hash)
            self.nonce += 1
        return self.mix_hash(data)

    def split(self):
        temporary = mac(self.chaining, b"")
        first = mac(temporary, b"\1")
        return first, mac(temporary, first + b"\2")


def public(private):
    return private.public_key().public_bytes_raw()


def ephemeral(first):
    """The first 32 bytes of the ChaCha20 keystream under the seed."""
    stream = Cipher(algorithms.ChaCha20(seed(first), bytes(16)), None).encryptor()
    return X25519PrivateKey.from_private_bytes(stream.update(bytes(32)))


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def with_length(data):
    return len(data).to_bytes(2, "big") + data


def frame(key, number, message):
    length = (len(message) + 16).to_bytes(2, "big")
    return length + ChaCha20Poly1305(key).encrypt(bytes(4) + number.to_bytes(8, "big"), message, length)


def packet(cipher, key, counter):
    return cipher(key).encrypt(bytes(6) + counter.to_bytes(6, "big"), b"body", b"header")


def check_identities(network, routers):
    vectors = load("identity.txt")
    same(vectors, "network_id", network)
    for name, router in routers.items():
        short = sha256(router.peer_id)[:8]
        mac_address = bytes([short[0] & 0xFE | 2]) + short[1:6]
        same(vectors, name + "_peer_id", router.peer_id)
        same(vectors, name + "_short_id", short)
        same(vectors, name + "_noise_public", router.public)
        same(vectors, name + "_noise_binding", router.binding)
        same(vectors, name + "_signature_of_message", router.ed25519.sign(b"message"))
        same(vectors, name + "_default_name", mac_address.hex(":"))
        same(vectors, name + "_key_file", "weave-identity-1 " + vectors[name + "_seed"])


def check_link(network, a, b):
    vectors = load("link.txt")
    hello = b"\x89weave\r\n" + bytes([0, 1, 0, 1]) + network + bytes(2)
    same(vectors, "dialler_hello", hello)
    same(vectors, "listener_hello", hello)
    ours, theirs = ephemeral(0x80), ephemeral(0xC0)
    noise = Noise(b"Noise_XX_25519_ChaChaPoly_SHA256", sha256(hello + hello))
    message = noise.mix_hash(public(ours)) + noise.seal(b"")
    same(vectors, "xx_1", with_length(message))
    message = noise.mix_hash(public(theirs))
    noise.mix_key(theirs, ours)
    message += noise.seal(b.public)
    noise.mix_key(b.x25519, ours)
    message += noise.seal(b.peer_id + b.binding + varint(2000))
    same(vectors, "xx_2", with_length(message))
    message = noise.seal(a.public)
    noise.mix_key(a.x25519, theirs)
    message += noise.seal(a.peer_id + a.binding + varint(1000))
    same(vectors, "xx_3", with_length(message))
    from_a, from_b = noise.split()
    same(vectors, "frame_hello_from_a", frame(from_a, 0, b"hello"))
    same(vectors, "frame_hello_from_b", frame(from_b, 0, b"hello"))
    same(vectors, "frame_empty_from_a", frame(from_a, 1, b""))


def check_tunnel(network, a, b, name, cipher, suite):
    vectors = load("tunnel.txt")
    boot_ids = (1000).to_bytes(8, "big") + (2000).to_bytes(8, "big")
    index_a, index_b = (0xAAAA).to_bytes(4, "big"), (0xBBBB).to_bytes(4, "big")
    ours, theirs = ephemeral(0x80), ephemeral(0xC0)
    prologue = b"weave tunnel 1\0" + network + a.peer_id + b.peer_id + boot_ids
    noise = Noise(b"Noise_IK_25519_ChaChaPoly_SHA256", prologue)
    noise.mix_hash(b.public)
    message = noise.mix_hash(public(ours))
    noise.mix_key(ours, b.x25519)
    message += noise.seal(a.public)
    noise.mix_key(a.x25519, b.x25519)
    message += noise.seal(bytes([suite]) + index_a)
    same(vectors, name + "_message_1", boot_ids + message)
    message = noise.mix_hash(public(theirs))
    noise.mix_key(theirs, ours)
    noise.mix_key(theirs, a.x25519)
    message += noise.seal(index_b)
    same(vectors, name + "_message_2", index_a + message)
    same(vectors, name + "_packet_1", packet(cipher, noise.split()[0], 1))


def check_packets(name, cipher):
    vectors = load("packet.txt")
    key = hkdf(b"weave tunnel pair 1", seed(0), b"a to b")
    for counter in (1, 0x010203040506, 2**48 - 1):
        same(vectors, f"{name}_{counter:012x}", packet(cipher, key, counter))


def main():
    network = sha256(b"weave network 1\0weave")
    a, b = Router(seed(0x00)), Router(seed(0x40))
    check_identities(network, {"a": a, "b": b})
    check_link(network, a, b)
    for name, cipher, suite in (("aes_256_gcm", AESGCM, 1), ("chacha20_poly1305", ChaCha20Poly1305, 2)):
        check_tunnel(network, a, b, name, cipher, suite)
        check_packets(name, cipher)
    print("all vectors agree")


if __name__ == "__main__":
    main()
