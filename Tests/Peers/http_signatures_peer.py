"""Signs and verifies with PyPI's http-message-signatures what Skerry verified and signed.

Reads one JSON object from standard input and writes one to standard output:
  {"do": "verify", "method", "url", "headers": [[name, value]…], "body": hex, "publicKey": hex}
    -> {"ok": true, "keyid", "covered": […]} or {"ok": false, "error"}
  {"do": "sign", "method", "url", "headers", "body", "seed": hex, "keyid", "covered": […]}
    -> {"headers": [[name, value]…]}
Tests/WebTests/PeerInteropTests.swift runs it.
"""

import datetime
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)


class Message:
    def __init__(self, method, url, headers, body):
        self.method = method
        self.url = url
        self.headers = dict(headers)
        self.body = body


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, private=None, public=None):
        self.private = private
        self.public = public

    def resolve_private_key(self, key_id):
        return self.private

    def resolve_public_key(self, key_id):
        return self.public


def verify(asked):
    message = Message(asked["method"], asked["url"], asked["headers"], bytes.fromhex(asked["body"]))
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(asked["publicKey"]))
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Keys(public=public))
    try:
        results = verifier.verify(message, max_age=datetime.timedelta(days=1), body=message.body)
    except InvalidSignature as error:
        return {"ok": False, "error": str(error)}
    result = results[0]
    covered = [name.strip('"') for name in result.covered_components if name != '"@signature-params"']
    return {"ok": True, "keyid": result.parameters["keyid"], "covered": covered}


def sign(asked):
    message = Message(asked["method"], asked["url"], asked["headers"], bytes.fromhex(asked["body"]))
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(asked["seed"]))
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys(private=private))
    signer.sign(
        message,
        key_id=asked["keyid"],
        label="sig1",
        covered_component_ids=asked["covered"],
        body=message.body,
    )
    return {"headers": list(message.headers.items())}


if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump({"verify": verify, "sign": sign}[question["do"]](question), sys.stdout)
