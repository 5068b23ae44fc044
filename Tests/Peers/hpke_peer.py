"""Seals and opens with PyPI's pyhpke and cryptography what Skerry opened and sealed (RFC 9180, base mode).

Reads one JSON object from standard input and writes one to standard output; bytes are hexadecimal:
  {"do": "open", "key", "info", "sealed"}        -> {"plaintext"}: a sealed stream, pyhpke
  {"do": "seal", "key", "info", "plaintext"}     -> {"sealed"}: the same the other way; key is the private one
  {"do": "open one"}, {"do": "seal one"}         the same for a single message, cryptography
Tests/WebTests/HPKEPeerTests.swift runs it.
"""

import json
import sys

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

PIECE = 65536
SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
ONE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def open_stream(key, info, sealed):
    context = SUITE.create_recipient_context(sealed[:32], KEMKey.from_pyca_cryptography_key(key), info=info)
    rest, plaintext = sealed[32:], b""
    while len(rest) > PIECE + 16:
        plaintext += context.open(rest[:PIECE + 16], aad=b"\0")
        rest = rest[PIECE + 16:]
    return plaintext + context.open(rest, aad=b"\1")


def seal_stream(key, info, plaintext):
    encapsulated, context = SUITE.create_sender_context(
        KEMKey.from_pyca_cryptography_key(key.public_key()), info=info)
    sealed = encapsulated
    while len(plaintext) > PIECE:
        sealed += context.seal(plaintext[:PIECE], aad=b"\0")
        plaintext = plaintext[PIECE:]
    return sealed + context.seal(plaintext, aad=b"\1")


def main():
    asked = json.load(sys.stdin)
    key = X25519PrivateKey.from_private_bytes(bytes.fromhex(asked["key"]))
    info = bytes.fromhex(asked["info"])
    sealed, plaintext = (bytes.fromhex(asked.get(name, "")) for name in ("sealed", "plaintext"))
    if asked["do"] == "open":
        return {"plaintext": open_stream(key, info, sealed).hex()}
    if asked["do"] == "seal":
        return {"sealed": seal_stream(key, info, plaintext).hex()}
    if asked["do"] == "open one":
        return {"plaintext": ONE.decrypt(sealed, key, info).hex()}
    return {"sealed": ONE.encrypt(plaintext, key.public_key(), info).hex()}


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
