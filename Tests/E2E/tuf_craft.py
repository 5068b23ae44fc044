"""Signs TUF metadata as the owners of a repository would, with any expiry and any number of root rotations. It is written
with nothing of Skerry's, so that a mistake there does not hide itself."""

import datetime
import hashlib
import json
import pathlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

DAY = 86_400


def canonical(value):
    """OLPC canonical JSON; the metadata here has no control characters and no floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def moment(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Key:
    def __init__(self, private):
        self.private = private
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        self.json = {"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"}
        self.id = hashlib.sha256(canonical(self.json)).hexdigest()

    @classmethod
    def load(cls, path, passphrase=None):
        return cls(load_pem_private_key(pathlib.Path(path).read_bytes(), passphrase))

    @classmethod
    def new(cls):
        return cls(Ed25519PrivateKey.generate())


def signed(value, *keys):
    message = canonical(value)
    signatures = [{"keyid": k.id, "sig": k.private.sign(message).hex()} for k in keys]
    return json.dumps({"signatures": signatures, "signed": value}, indent=1).encode()


class Owners:
    """Who holds the keys of a repository that lies in a folder of metadata."""

    def __init__(self, root, targets, online, director=None):
        self.root, self.targets, self.online = root, targets, online
        # The root key that the director's newest root lists: it is the image root's key of that day.
        self.director = director or root

    def copy(self):
        return Owners(self.root, self.targets, self.online, self.director)

    def rotate(self, folder, count, expires, policy=None, keys=None):
        """`count` more roots. Every one has a new root key, and all but the last give the online roles to a key that is
        gone again in the next; the last one names `keys` (default: the hub's)."""
        folder = pathlib.Path(folder)
        version = max(int(p.name.split(".")[0]) for p in folder.glob("*.root.json"))
        for number in range(1, count + 1):
            old = json.loads((folder / f"{version}.root.json").read_text())["signed"]
            last = number == count
            online = (keys or self.online) if last else Key.new()
            signer, self.root = self.root, Key.new()
            named = {"root": self.root, "targets": self.targets, "snapshot": online, "timestamp": online}
            value = {
                **old, "version": version + 1, "expires": moment(expires),
                "keys": {k.id: k.json for k in named.values()},
                "roles": {role: {"keyids": [k.id], "threshold": 1} for role, k in named.items()},
            }
            if policy is not None:
                value["skerry"] = policy
            version += 1
            (folder / f"{version}.root.json").write_bytes(signed(value, signer, self.root))
        if keys is not None:
            self.online = keys

    def rotate_director(self, folder, expires):
        """The director's next root: the image root's key of now, and the hub's for what it signs."""
        folder = pathlib.Path(folder)
        version = max(int(p.name.split(".")[0]) for p in folder.glob("*.root.json"))
        old = json.loads((folder / f"{version}.root.json").read_text())["signed"]
        named = {"root": self.root, "targets": self.online, "snapshot": self.online, "timestamp": self.online}
        value = {
            **old, "version": version + 1, "expires": moment(expires), "keys": {k.id: k.json for k in named.values()},
            "roles": {role: {"keyids": [k.id], "threshold": 1} for role, k in named.items()},
        }
        signers = {k.id: k for k in (self.director, self.root)}
        (folder / f"{version + 1}.root.json").write_bytes(signed(value, *signers.values()))
        self.director = self.root

    def renew(self, folder, bump, expires, signed_at=None, targets_key=None):
        """Signs targets, snapshot and timestamp again, `bump` versions on, each with its own expiry."""
        folder = pathlib.Path(folder)

        def newest(role):
            return max((p for p in folder.glob(f"*.{role}.json")), key=lambda p: int(p.name.split(".")[0]))

        def meta(value, data):
            return {"version": value["version"], "length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}

        def next_of(path, role):
            value = json.loads(path.read_text())["signed"]
            return {**value, "version": value["version"] + bump, "expires": moment(expires[role])}

        targets = next_of(newest("targets"), "targets")
        data = signed(targets, targets_key or self.targets)
        (folder / f"{targets['version']}.targets.json").write_bytes(data)
        snapshot = next_of(newest("snapshot"), "snapshot")
        snapshot["meta"] = {**snapshot["meta"], "targets.json": meta(targets, data)}
        data = signed(snapshot, self.online)
        (folder / f"{snapshot['version']}.snapshot.json").write_bytes(data)
        timestamp = next_of(folder / "timestamp.json", "timestamp")
        timestamp["meta"] = {"snapshot.json": meta(snapshot, data)}
        # A box's id stands in the same member, in what a director signs.
        bound = {k: v for k, v in timestamp.pop("skerry", {}).items() if k != "signedAt"}
        if signed_at is not None:
            bound["signedAt"] = moment(signed_at)
        if bound:
            timestamp["skerry"] = bound
        (folder / "timestamp.json").write_bytes(signed(timestamp, self.online))
