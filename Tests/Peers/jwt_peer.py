"""Makes tokens and mutants of tokens, and says of each what pyjwt and joserfc think: one JSON object a line."""

import base64
import hashlib
import hmac
import json
import random
import sys
import time
import warnings

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from joserfc import jwk as jose_jwk
from joserfc import jwt as jose_jwt
from joserfc.jws import JWSRegistry

warnings.simplefilter("ignore")
ISSUER, AUDIENCE, LEEWAY = "https://idp.example", "box", 30
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Key:
    def __init__(self, kind, kid, bits=2048):
        self.kind, self.kid = kind, kid
        if kind == "RSA":
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        elif kind == "EC":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()

    def jwk(self, **more):
        public = self.private.public_key()
        if self.kind == "RSA":
            n = public.public_numbers()
            made = {"kty": "RSA", "n": number(n.n), "e": number(n.e)}
        elif self.kind == "EC":
            n = public.public_numbers()
            made = {"kty": "EC", "crv": "P-256", "x": number(n.x, 32), "y": number(n.y, 32)}
        else:
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            made = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        if self.kid:
            made["kid"] = self.kid
        return {**made, **more}

    def sign(self, algorithm, message, salt=None):
        if algorithm == "RS256":
            return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "PS256":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32 if salt is None else salt)
            return self.private.sign(message, pss, hashes.SHA256())
        if algorithm == "ES256":
            r, s = utils.decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.private.sign(message)


def kind_of(algorithm):
    return {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}[algorithm]


def compact(header, payload, sign):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = b64(head) + "." + b64(body)
    return signed + "." + b64(sign(signed.encode()))


def meant(token, keys):
    """The one key that the token can mean; choosing it is left to whoever calls these libraries."""
    header = jwt.get_unverified_header(token)
    algorithm, kid = header["alg"], header.get("kid")
    able = [k for k in keys if k["kty"] == kind_of(algorithm) and k.get("alg", algorithm) == algorithm]
    (key,) = [k for k in able if kid is None or k.get("kid") == kid]
    return key, algorithm


def by_pyjwt(token, keys):
    try:
        found, algorithm = meant(token, keys)
        key = jwt.PyJWK(found, algorithm=algorithm).key
        jwt.decode(
            token, key, algorithms=[algorithm], issuer=ISSUER, audience=AUDIENCE, leeway=LEEWAY,
            options={"require": ["exp", "iat", "aud", "iss"]},
        )
        return True
    except Exception:
        return False


def by_joserfc(token, keys):
    try:
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        found = jose_jwt.decode(token, jose_jwk.import_key(meant(token, keys)[0]), registry=registry)
        jose_jwt.JWTClaimsRegistry(
            leeway=LEEWAY, iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True}, iat={"essential": True},
        ).validate(found.claims)
        return True
    except Exception:
        return False


def cases(rng, keys, other, weak):
    now = int(time.time())
    jwks = [k.jwk() for k in keys.values()]
    # What anybody's reader does with it is no matter: ours must refuse.
    STRICT = True

    def one(name):
        algorithm = rng.choice(ALGORITHMS)
        key = keys[kind_of(algorithm)]
        header = {"alg": algorithm, "typ": "JWT", "kid": key.kid}
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"u{rng.randrange(1000)}", "iat": now - rng.randrange(3600),
                  "exp": now + rng.randrange(600, 7200)}
        def sign(message):
            return key.sign(algorithm, message)
        def good():
            return compact(header, claims, sign)

        if name == "good":
            return jwks, good(), False
        if name == "good without kid":
            del header["kid"]
            return [k.jwk() for k in keys.values()], good(), False
        if name == "good with a list of one audience":
            claims["aud"] = [AUDIENCE]
            return jwks, good(), False
        if name == "good with alg in the key":
            return [key.jwk(alg=algorithm, use="sig")], good(), False
        if name == "good with unknown headers and keys":
            header["x-more"] = {"a": [1]}
            return jwks, good(), False
        if name == "good with a fraction":
            claims["exp"] += 0.5
            return jwks, good(), False
        if name == "expired":
            claims["exp"] = now - rng.randrange(1000, 100000)
            return jwks, good(), False
        if name == "not yet":
            claims[rng.choice(["nbf", "iat"])] = now + rng.randrange(1000, 100000)
            return jwks, good(), False
        if name == "wrong audience":
            claims["aud"] = rng.choice(["Box", "box ", "", ["other"], [], None, 7])
            return jwks, good(), False
        if name == "wrong issuer":
            claims["iss"] = rng.choice([ISSUER + "/", "http://idp.example", "", None, [ISSUER]])
            return jwks, good(), False
        if name == "a claim is missing":
            del claims[rng.choice(["iss", "aud", "exp", "iat"])]
            return jwks, good(), False
        if name == "unknown kid":
            header["kid"] = rng.choice(["nobody", "", "../../dev/null", "' OR 1=1"])
            return jwks, good(), False
        if name == "another's key":
            return jwks, compact(header, claims, lambda m: other[kind_of(algorithm)].sign(algorithm, m)), False
        if name == "the key of another type":
            header["kid"] = keys[rng.choice([k for k in keys if k != key.kind])].kid
            return jwks, good(), False
        if name == "none":
            header["alg"] = rng.choice(["none", "None", "NONE", "nOnE"])
            return jwks, compact(header, claims, lambda m: b""), False
        if name == "HMAC with the public key":
            public = key.private.public_key()
            secret = rng.choice([
                public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
                public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
                json.dumps(key.jwk()).encode()])
            header["alg"] = "HS256"
            return jwks, compact(header, claims, lambda m: hmac.new(secret, m, hashlib.sha256).digest()), False
        if name == "another algorithm in the header":
            header["alg"] = rng.choice([a for a in ALGORITHMS + ["RS512", "ES384", "PS384", "HS512", "ES256K"] if a != algorithm])
            return jwks, good(), False
        if name == "an algorithm that the key is not for":
            pair = {"RS256": "PS256", "PS256": "RS256"}.get(algorithm)
            if pair is None:
                return None
            return [key.jwk(alg=pair)], good(), False
        if name == "a key in the header":
            evil = other[key.kind]
            header[rng.choice(["jwk", "jku", "x5c"])] = evil.jwk()
            return jwks, compact(header, claims, lambda m: evil.sign(algorithm, m)), False
        if name == "a bit":
            parts = good().split(".")
            at = rng.randrange(3)
            data = bytearray(base64.urlsafe_b64decode(parts[at] + "=="))
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            parts[at] = b64(bytes(data))
            return jwks, ".".join(parts), False
        if name == "cut or lengthened":
            token = good()
            return jwks, rng.choice([
                token[:-rng.randrange(1, 40)], token + "." + b64(b"x"), token + ".", token.rsplit(".", 1)[0],
                token.rsplit(".", 1)[0] + "."]), False
        if name == "trailing bytes":
            return jwks, good() + rng.choice(["=", "==", " ", "\n", "\x00", "AAAA", "%00", "!"]), STRICT
        if name == "other spellings of base64":
            token = good()
            parts = token.split(".")
            at = rng.randrange(3)
            pads = len(parts[at]) % 4
            if pads == 0 or rng.random() < 0.3:
                parts[at] = parts[at] + "=" * (-len(parts[at]) % 4 or 4)
            else:
                alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                last = alphabet.index(parts[at][-1])
                parts[at] = parts[at][:-1] + alphabet[last ^ 1]
            if at < 2:
                signed = parts[0] + "." + parts[1]
                parts[2] = b64(sign(signed.encode()))
            return jwks, ".".join(parts), STRICT
        if name == "a key twice":
            if rng.random() < 0.5:
                body = json.dumps(claims)[:-1] + ', "sub": "root"}'
                return jwks, compact(header, body.encode(), sign), STRICT
            head = json.dumps(header)[:-1] + f', "alg": "{algorithm}"}}'
            return jwks, compact(head.encode(), claims, sign), STRICT
        if name == "crit":
            header["crit"] = rng.choice([["b64"], ["exp"], [], ["urn:x"]])
            header["b64"] = True
            return jwks, good(), STRICT
        if name == "times as text":
            claims[rng.choice(["exp", "iat"])] = str(now + (0 if rng.random() < 0.5 else 600))
            return jwks, good(), STRICT
        if name == "no claims":
            return jwks, compact(header, rng.choice([b"[]", b"null", b"7", b'"x"', b"", b"{", b"\xff\xfe"]), sign), False
        if name == "another salt":
            if key.kind != "RSA":
                return None
            header["alg"] = "PS256"
            return jwks, compact(header, claims, lambda m: key.sign("PS256", m, rng.choice([0, 20, 48, 222]))), False
        if name == "an ECDSA signature in DER":
            header["alg"], header["kid"] = "ES256", keys["EC"].kid
            der = lambda m: keys["EC"].private.sign(m, ec.ECDSA(hashes.SHA256()))
            return jwks, compact(header, claims, der), False
        if name == "a zero signature":
            header["alg"], header["kid"] = "ES256", keys["EC"].kid
            return jwks, compact(header, claims, lambda m: bytes(64)), False
        if name == "a short key":
            header["alg"], header["kid"] = rng.choice(["RS256", "PS256"]), weak.kid
            return jwks + [weak.jwk()], compact(header, claims, lambda m: weak.sign(header["alg"], m)), STRICT
        if name == "another type of token":
            header["typ"] = rng.choice(["at+jwt", "skerry-pass+jwt", "JOSE", "dpop+jwt"])
            return jwks, good(), STRICT
        if name == "two that it could be":
            del header["kid"]
            second = other[key.kind]
            return [key.jwk(), second.jwk()], good(), STRICT
        raise ValueError(name)

    names = """good|good without kid|good with a list of one audience|good with alg in the key|good with unknown headers and keys
good with a fraction|expired|not yet|wrong audience|wrong issuer|a claim is missing|unknown kid|another's key|the key of another type
none|HMAC with the public key|another algorithm in the header|an algorithm that the key is not for|a key in the header|a bit
cut or lengthened|trailing bytes|other spellings of base64|a key twice|crit|times as text|no claims|another salt
an ECDSA signature in DER|a zero signature|a short key|another type of token|two that it could be""".replace("\n", "|").split("|")
    while True:
        name = rng.choice(names)
        made = one(name)
        if made is None:
            continue
        keys_said, token, strict = made
        yield {
            "kind": name, "jwks": {"keys": keys_said}, "token": token, "now": now, "strict": strict,
            "pyjwt": by_pyjwt(token, keys_said), "joserfc": by_joserfc(token, keys_said),
        }


def main():
    count = int(sys.argv[1])
    seed = random.randrange(1 << 32) if len(sys.argv) < 3 else int(sys.argv[2])
    print(f"seed {seed}", file=sys.stderr)
    rng = random.Random(seed)
    keys = {kind: Key(kind, f"{kind.lower()}-1") for kind in ["RSA", "EC", "OKP"]}
    other = {kind: Key(kind, f"{kind.lower()}-2") for kind in ["RSA", "EC", "OKP"]}
    weak = Key("RSA", "weak", 1024)
    made = cases(rng, keys, other, weak)
    for _ in range(count):
        print(json.dumps(next(made)))


main()
