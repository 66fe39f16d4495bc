#!/usr/bin/env python3
"""Makes every vector in this folder again, from the descriptions in the crate's documentation and not from its code.

Needs Python 3.9 and the package `cryptography` 44 or later; takes no arguments. Says so when all agree, and fails at the first that
does not.
"""

import hashlib
import hmac
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


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


# The curve of Ed25519 (RFC 8032, section 5.1), points as (x, y).
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def decoded(data):
    number = int.from_bytes(data, "little")
    y = number % 2**255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return (x if x % 2 == number >> 255 else P - x), y


def encoded(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def plus(one, other):
    product = D * one[0] * other[0] * one[1] * other[1] % P
    x = (one[0] * other[1] + other[0] * one[1]) * pow(1 + product, -1, P)
    y = (one[1] * other[1] + one[0] * other[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def times(number, point):
    result = (0, 1)
    for bit in bin(number)[2:]:
        result = plus(result, result)
        if bit == "1":
            result = plus(result, point)
    return result


BASE = decoded((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
M = decoded(bytes.fromhex("15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312"))
N = decoded(bytes.fromhex("f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3"))


class Instance:
    """One instance of the password exchange, seen from both sides: the dialler's stretched password and the listener's."""

    def __init__(self, network, number, dialler, listener):
        self.number = bytes([number])
        x, y = exponent(0x80, number), exponent(0xC0, number)
        self.x = encoded(plus(times(x, BASE), times(password_scalar(dialler), M)))
        self.y = encoded(plus(times(y, BASE), times(password_scalar(listener), N)))
        unblinded = plus(decoded(self.y), times(L - password_scalar(dialler), N))
        ids = [sha256(b"weave " + role + b" 1\0" + self.number + network) for role in (b"dialler", b"listener")]
        shared = encoded(times(x, unblinded))
        self.key = sha256(sha256(dialler) + ids[0] + ids[1] + self.x + self.y + shared)

    def expand(self, label, said):
        return hkdf(b"weave admission 1", self.key, label + b"\0" + self.number + said)


def stretched(network, password):
    return Argon2id(salt=network, length=32, iterations=3, lanes=1, memory_cost=64 * 1024).derive(password)


def password_scalar(key):
    first = mac(mac(bytes(32), key), b"SPAKE2 pw\1")
    second = mac(mac(bytes(32), key), first + b"SPAKE2 pw\2")
    return int.from_bytes((first + second)[:48], "big") % L


def exponent(first, number):
    secret = hkdf(b"weave admission seed 1", seed(first), bytes([number]))
    stream = Cipher(algorithms.ChaCha20(secret, bytes(16)), None).encryptor()
    return int.from_bytes(stream.update(bytes(64)), "little") % L


class Noise:
    """The symmetric state of the Noise Protocol Framework, section 5.2."""

    def __init__(self, name, prologue):
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else sha256(name)
        self.chaining, self.key, self.nonce = self.hash, None, 0
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.hash = sha256(self.hash + data)
        return data

    def mix_psk(self, psk):
        temporary = mac(self.chaining, psk)
        self.chaining = mac(temporary, b"\1")
        mixed = mac(temporary, self.chaining + b"\2")
        self.mix_hash(mixed)
        self.key, self.nonce = mac(temporary, mixed + b"\3"), 0

    def ephemeral(self, ours, with_psk):
        """The token `e`; with a pre-shared key anywhere in the pattern it is mixed into the key as well (section 9.2)."""
        self.mix_hash(public(ours))
        if with_psk:
            self.mix_secret(public(ours))
        return public(ours)

    def mix_key(self, ours, theirs):
        self.mix_secret(ours.exchange(theirs.public_key()))

    def mix_secret(self, secret):
        temporary = mac(self.chaining, secret)
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


def check_xx(vectors, prefix, said, psk, a, b):
    ours, theirs = ephemeral(0x80), ephemeral(0xC0)
    with_psk = psk is not None
    noise = Noise(b"Noise_XX" + b"psk0" * with_psk + b"_25519_ChaChaPoly_SHA256", sha256(said))
    if with_psk:
        noise.mix_psk(psk)
    message = noise.ephemeral(ours, with_psk) + noise.seal(b"")
    same(vectors, prefix + "xx_1", with_length(message))
    message = noise.ephemeral(theirs, with_psk)
    noise.mix_key(theirs, ours)
    message += noise.seal(b.public)
    noise.mix_key(b.x25519, ours)
    message += noise.seal(b.peer_id + b.binding + varint(2000))
    same(vectors, prefix + "xx_2", with_length(message))
    message = noise.seal(a.public)
    noise.mix_key(a.x25519, theirs)
    message += noise.seal(a.peer_id + a.binding + varint(1000))
    same(vectors, prefix + "xx_3", with_length(message))
    return noise


def hello_of(network, passwords):
    return b"\x89weave\r\n" + bytes([0, 1, 0, 1]) + network + bytes([passwords > 0, passwords])


def check_link(network, a, b):
    vectors = load("link.txt")
    hello = hello_of(network, 0)
    same(vectors, "dialler_hello", hello)
    same(vectors, "listener_hello", hello)
    noise = check_xx(vectors, "", hello + hello, None, a, b)
    from_a, from_b = noise.split()
    same(vectors, "frame_hello_from_a", frame(from_a, 0, b"hello"))
    same(vectors, "frame_hello_from_b", frame(from_b, 0, b"hello"))
    same(vectors, "frame_empty_from_a", frame(from_a, 1, b""))


def check_admission(network):
    vectors = load("admission.txt")
    key = stretched(network, bytes.fromhex(vectors["password"]))
    same(vectors, "password_key", key)
    instance, said = Instance(network, 1, key, key), seed(0x20)
    same(vectors, "dialler_element", instance.x)
    same(vectors, "listener_element", instance.y)
    same(vectors, "dialler_tag", instance.expand(b"dialler confirms", said))
    same(vectors, "listener_tag", instance.expand(b"listener confirms", said))
    same(vectors, "noise_psk", instance.expand(b"noise psk", said))


def check_link_with_passwords(network, a, b, case, of_a, of_b, met):
    vectors = load("link_password.txt")
    count = max(len(of_a), len(of_b))
    instances = [Instance(network, i, of_a[i % len(of_a)], of_b[i % len(of_b)]) for i in range(count)]
    said = hello_of(network, len(of_a))
    same(vectors, case + "_dialler_hello", said)
    message = hello_of(network, len(of_b)) + with_length(b"".join(i.y for i in instances))
    same(vectors, case + "_listener_hello_and_elements", message)
    said += message
    message = (count * 64).to_bytes(2, "big") + b"".join(i.x for i in instances)
    message += b"".join(i.expand(b"dialler confirms", sha256(said + message)) for i in instances)
    same(vectors, case + "_proof", message)
    said += message
    if met is None:
        same(vectors, case + "_answer", with_length(b"\xff"))
        return
    message = (33).to_bytes(2, "big") + bytes([met])
    message += instances[met].expand(b"listener confirms", sha256(said + message))
    same(vectors, case + "_answer", message)
    said += message
    psk = instances[met].expand(b"noise psk", sha256(said))
    noise = check_xx(vectors, case + "_", said, psk, a, b)
    same(vectors, case + "_frame_hello_from_a", frame(noise.split()[0], 0, b"hello"))


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
    check_admission(network)
    staple, horse = stretched(network, b"battery staple"), stretched(network, b"correct horse")
    check_link_with_passwords(network, a, b, "one", [horse], [horse], 0)
    check_link_with_passwords(network, a, b, "two", [staple, horse], [horse], 1)
    check_link_with_passwords(network, a, b, "wrong", [staple], [horse], None)
    for name, cipher, suite in (("aes_256_gcm", AESGCM, 1), ("chacha20_poly1305", ChaCha20Poly1305, 2)):
        check_tunnel(network, a, b, name, cipher, suite)
        check_packets(name, cipher)
    print("all vectors agree")


if __name__ == "__main__":
    main()
