"""A disk that loses what was not synced, fails, fills up or hangs when it is told to: a file system in memory that speaks
the kernel's FUSE protocol (linux/fuse.h, 7.31) on /dev/fuse itself, without a library.

What was written is visible at once and durable only after fsync of the file; a name is durable only after fsync of its
folder. A power cut keeps any part of the rest: none, a beginning, any subset of the writes, some 512-byte sectors of one.

`Disk` starts it in a process of its own, since whoever waits for a file of it can't answer for it.
"""

import ctypes
import errno
import json
import os
import random
import select
import stat
import struct
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
SECTOR = 512
MUTATING = {"write", "fsync", "truncate", "create", "rename", "link", "unlink", "mkdir", "allocate", "fsyncdir"}
# Linux's numbers of the requests that are answered.
(LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH,
 INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, CREATE, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE, RENAME2) = (
    1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 25, 26, 27, 28, 29, 30, 35, 36, 38, 42, 43, 45)
MAX_WRITE = 1 << 20


class Node:
    def __init__(self, ino, mode):
        self.ino, self.mode, self.nlink, self.uid, self.gid = ino, mode, 1, 0, 0
        self.mtime = time.time()
        self.name = ""
        # Of a file: what is seen, what is durable, and what leads from the one to the other.
        self.data, self.durable, self.pending = bytearray(), bytearray(), []
        # Of a folder the same, by name.
        self.entries, self.kept, self.moves = {}, {}, []

    @property
    def is_folder(self):
        return stat.S_ISDIR(self.mode)


def apply(data, change):
    kind, at, what = change
    if kind == "size":
        if at < len(data):
            del data[at:]
        else:
            data.extend(bytes(at - len(data)))
    else:
        if len(data) < at:
            data.extend(bytes(at - len(data)))
        data[at:at + len(what)] = what


class FileSystem:
    def __init__(self, mountpoint):
        self.mountpoint = mountpoint
        self.nodes = {1: Node(1, stat.S_IFDIR | 0o700)}
        self.last = 1
        self.capacity = 1 << 40
        self.rules = []
        self.waiting = []
        self.seen = 0
        self.counts = {}
        self.is_lying = False
        self.mount()

    # the kernel

    def mount(self):
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,default_permissions".encode()
        if LIBC.mount(b"skerry-test", os.fsencode(self.mountpoint), b"fuse.skerry", 0, options):
            raise OSError(ctypes.get_errno(), "mount")

    def unmount(self):
        # With the connection gone everybody who waits is let go.
        os.close(self.fd)
        LIBC.umount2(os.fsencode(self.mountpoint), 2)
        self.waiting = []

    def reply(self, unique, body=b"", error=0):
        try:
            os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError as problem:
            # The request was given up meanwhile.
            if problem.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def serve(self):
        try:
            request = os.read(self.fd, MAX_WRITE + 65536)
        except OSError as problem:
            if problem.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT, errno.ENODEV):
                return problem.errno != errno.ENODEV
            raise
        self.take(request)
        return True

    def take(self, request, again=False):
        _, opcode, unique, nodeid, uid, gid, _, _ = struct.unpack_from("<IIQQIIII", request)
        if opcode in (FORGET, BATCH_FORGET, DESTROY):
            return
        if opcode == INTERRUPT:
            return self.reply(unique, error=errno.ENOSYS)
        try:
            answer = self.dispatch(opcode, nodeid, request, uid, gid, again)
        except OSError as problem:
            return self.reply(unique, error=problem.errno or errno.EIO)
        if answer is None:
            self.waiting.append(request)
        else:
            self.reply(unique, answer)

    # trouble

    def rule(self, what, node):
        """The first rule for this operation; it ends when its times are used up."""
        for rule in self.rules:
            if what not in rule["ops"] or rule.get("name") not in (None, node.name):
                continue
            if rule.get("after", 0) > 0:
                rule["after"] -= 1
                continue
            if rule.get("times", -1) == 0:
                continue
            if rule.get("times", -1) > 0:
                rule["times"] -= 1
            self.counts[what] = self.counts.get(what, 0) + 1
            return rule
        return None

    def trouble(self, what, node):
        """True when the request is to wait; raises what it is to fail with."""
        rule = self.rule(what, node)
        if rule is None:
            return False
        if rule.get("hang"):
            return True
        if what == "fsync" and rule.get("drop"):
            # What Linux does: the pages count as written, and are not.
            node.pending = []
        raise OSError(rule["errno"], "as told")

    def release(self):
        self.rules = []
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            self.take(request, again=True)

    # power

    def cut(self, seed, always=None):
        """Loses what was not synced, as far as chance says, and comes up again. Says what was kept and lost."""
        chance = random.Random(seed)
        self.unmount()
        self.rules = []
        kept = lost = torn = 0
        for node in self.nodes.values():
            mood = always or chance.choice(["none", "all", "prefix", "subset", "subset"])
            limit = chance.randint(0, len(node.pending))
            for place, change in enumerate(node.pending):
                keep = {"none": False, "all": True, "prefix": place < limit, "subset": chance.random() < 0.5}[mood]
                if change[0] == "write" and not always and chance.random() < 0.3:
                    torn += 1
                    self.tear(node.durable, change, chance)
                elif keep:
                    kept += 1
                    apply(node.durable, change)
                else:
                    lost += 1
            node.data, node.pending = bytearray(node.durable), []
        # Each change of a folder is whole or not there: file systems keep their names in a journal. They keep its order,
        # but nothing promises it, and nobody should need it.
        mood = chance.choice(["none", "all", "subset"])
        decided = {}
        for node in self.nodes.values():
            for number, name, ino in node.moves:
                if number not in decided:
                    decided[number] = {"none": False, "all": True, "subset": chance.random() < 0.5}[mood]
                    kept, lost = kept + decided[number], lost + (not decided[number])
                if decided[number]:
                    self.keep(node, name, ino)
            node.moves, node.entries = [], dict(node.kept)
        self.forget()
        self.mount()
        return {"kept": kept, "lost": lost, "torn": torn}

    @staticmethod
    def tear(data, change, chance):
        """Some sectors of one write, or its beginning."""
        _, at, what = change
        end = at + len(what)
        if chance.random() < 0.5:
            return apply(data, ("write", at, what[:chance.randrange(len(what))]))
        for start in range(at // SECTOR * SECTOR, end, SECTOR):
            if chance.random() < 0.5:
                low, high = max(start, at), min(start + SECTOR, end)
                apply(data, ("write", low, what[low - at:high - at]))

    @staticmethod
    def keep(node, name, ino):
        if ino is None:
            node.kept.pop(name, None)
        else:
            node.kept[name] = ino

    def forget(self):
        reached, folders = {1}, [1]
        links = {}
        while folders:
            for ino in self.nodes[folders.pop()].entries.values():
                links[ino] = links.get(ino, 0) + 1
                if ino not in reached:
                    reached.add(ino)
                    if self.nodes[ino].is_folder:
                        folders.append(ino)
        self.nodes = {ino: node for ino, node in self.nodes.items() if ino in reached}
        for ino, node in self.nodes.items():
            node.nlink = links.get(ino, 1)

    # files

    def used(self):
        return sum(len(node.data) for node in self.nodes.values() if node.nlink)

    def make(self, parent, name, mode, uid, gid):
        self.last += 1
        node = self.nodes[self.last] = Node(self.last, mode)
        node.uid, node.gid, node.name = uid, gid, name
        self.move([(parent, name, node.ino)])
        return node

    def move(self, changes):
        self.seen += 1
        for folder, name, ino in changes:
            if ino is None:
                folder.entries.pop(name, None)
            else:
                folder.entries[name] = ino
                self.nodes[ino].name = name
            folder.moves.append((self.seen, name, ino))
            folder.mtime = time.time()

    def change(self, node, change):
        before = len(node.data)
        grown = (change[1] if change[0] == "size" else max(before, change[1] + len(change[2]))) - before
        if grown > 0 and self.used() + grown > self.capacity:
            raise OSError(errno.ENOSPC, "full")
        apply(node.data, change)
        node.pending.append(change)
        node.mtime = time.time()

    def attr(self, node):
        seconds, part = int(node.mtime), int(node.mtime % 1 * 1e9)
        return struct.pack("<QQQQQQIIIIIIIIII", node.ino, len(node.data), (len(node.data) + 511) // 512, seconds,
                           seconds, seconds, part, part, part, node.mode, node.nlink, node.uid, node.gid, 0, 4096, 0)

    def entry(self, node):
        return struct.pack("<QQQQII", node.ino, 0, 0, 0, 0, 0) + self.attr(node)

    def find(self, parent, name):
        ino = parent.entries.get(name)
        if ino is None:
            raise OSError(errno.ENOENT, name)
        return self.nodes[ino]

    # requests

    def dispatch(self, opcode, nodeid, request, uid, gid, again):
        body = request[40:]
        if opcode == INIT:
            major, minor, ahead = struct.unpack_from("<III", body)
            # Large writes; no POSIX or BSD locks of ours, so that the kernel keeps them itself.
            return struct.pack("<IIIIHHIIHHI7I", 7, 31, ahead, 1 << 5 | 1 << 22, 16, 12, MAX_WRITE, 1, 256, 0, 0, *[0] * 7)
        node = self.nodes.get(nodeid)
        if node is None:
            raise OSError(errno.ESTALE, "no such node")

        def name(at, text=None):
            return (text or body)[at:].split(b"\0")[0].decode()

        def held(what, target):
            return not again and self.trouble(what, target)

        if opcode == LOOKUP:
            return self.entry(self.find(node, name(0)))
        if opcode == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attr(node)
        if opcode == SETATTR:
            valid, size = struct.unpack_from("<I", body)[0], struct.unpack_from("<Q", body, 16)[0]
            if valid & 8:
                if held("truncate", node):
                    return None
                self.change(node, ("size", size, b""))
            mode, _, owner, group = struct.unpack_from("<IIII", body, 68)
            if valid & 1:
                node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
            node.uid, node.gid = owner if valid & 2 else node.uid, group if valid & 4 else node.gid
            return struct.pack("<QII", 0, 0, 0) + self.attr(node)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if opcode == CREATE:
            if held("create", node):
                return None
            made = self.make(node, name(16), struct.unpack_from("<I", body, 4)[0], uid, gid)
            return self.entry(made) + struct.pack("<QII", 0, 0, 0)
        if opcode == MKDIR:
            if held("mkdir", node):
                return None
            return self.entry(self.make(node, name(8), stat.S_IFDIR | struct.unpack_from("<I", body)[0], uid, gid))
        if opcode == READ:
            at, size = struct.unpack_from("<QI", body, 8)
            return bytes(node.data[at:at + size])
        if opcode == WRITE:
            if held("write", node):
                return None
            at, size = struct.unpack_from("<QI", body, 8)
            self.change(node, ("write", at, body[40:40 + size]))
            return struct.pack("<II", size, 0)
        if opcode == FSYNC:
            if held("fsync", node):
                return None
            if self.is_lying:
                return b""
            for change in node.pending:
                apply(node.durable, change)
            node.pending = []
            return b""
        if opcode == FSYNCDIR:
            if held("fsyncdir", node):
                return None
            done = {number for number, _, _ in node.moves}
            # A name that moves from one folder to another moves whole.
            for folder in [other for other in self.nodes.values() if other.moves]:
                for number, entry, ino in folder.moves:
                    if number in done:
                        self.keep(folder, entry, ino)
                folder.moves = [move for move in folder.moves if move[0] not in done]
            return b""
        if opcode == FALLOCATE:
            at, length, mode = struct.unpack_from("<QQI", body, 8)
            if held("allocate", node):
                return None
            if mode == 0:
                if at + length > len(node.data):
                    self.change(node, ("size", at + length, b""))
                return b""
            if mode == 3:
                end = min(at + length, len(node.data))
                if end > at:
                    self.change(node, ("write", at, bytes(end - at)))
                return b""
            raise OSError(errno.EOPNOTSUPP, "fallocate")
        if opcode == UNLINK:
            gone = self.find(node, name(0))
            if held("unlink", gone):
                return None
            self.move([(node, name(0), None)])
            gone.nlink -= 1
            return b""
        if opcode == RMDIR:
            if self.find(node, name(0)).entries:
                raise OSError(errno.ENOTEMPTY, "not empty")
            self.move([(node, name(0), None)])
            return b""
        if opcode in (RENAME, RENAME2):
            start = 8 if opcode == RENAME else 16
            target = self.nodes[struct.unpack_from("<Q", body)[0]]
            old, new = (part.decode() for part in body[start:].split(b"\0")[:2])
            moved = self.find(node, old)
            if held("rename", moved):
                return None
            if opcode == RENAME2 and struct.unpack_from("<I", body, 8)[0]:
                raise OSError(errno.EINVAL, "flags")
            if new in target.entries and target.entries[new] != moved.ino:
                self.nodes[target.entries[new]].nlink -= 1
            self.move([(node, old, None), (target, new, moved.ino)])
            return b""
        if opcode == LINK:
            other = self.nodes[struct.unpack_from("<Q", body)[0]]
            if held("link", other):
                return None
            other.nlink += 1
            self.move([(node, name(8), other.ino)])
            return self.entry(other)
        if opcode == READDIR:
            at, size = struct.unpack_from("<QI", body, 8)
            out = b""
            for place, (entry, ino) in enumerate(list(node.entries.items())[at:], at + 1):
                text = entry.encode()
                piece = struct.pack("<QQII", ino, place, len(text), self.nodes[ino].mode >> 12) + text
                piece += bytes(-len(piece) % 8)
                if len(out) + len(piece) > size:
                    break
                out += piece
            return out
        if opcode == STATFS:
            left = max(0, min(self.capacity, 1 << 36) - self.used()) // 4096
            return struct.pack("<QQQQQIIII6I", 1 << 24, left, left, 1 << 20, 1 << 20, 4096, 255, 4096, 0, *[0] * 6)
        if opcode in (RELEASE, RELEASEDIR, FLUSH):
            return b""
        raise OSError(errno.ENOSYS, f"request {opcode}")

    def obey(self, order):
        what = order["order"]
        if what == "rule":
            self.rules.append(order["rule"])
        elif what == "calm":
            self.capacity = 1 << 40
            self.release()
        elif what == "full":
            self.capacity = self.used() + order.get("room", 0)
        elif what == "cut":
            return self.cut(order["seed"], order["keep"])
        elif what == "lie":
            self.is_lying = True
        elif what == "state":
            return {"counts": self.counts, "waiting": len(self.waiting)}
        return {}


def main(mountpoint):
    system = FileSystem(mountpoint)
    print("ready", flush=True)
    control = sys.stdin.buffer
    poll, alive = select.poll(), True
    poll.register(control, select.POLLIN)
    while True:
        watched = system.fd
        if alive:
            poll.register(watched, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if alive:
            poll.unregister(watched)
        if watched in ready and alive:
            alive = system.serve()
        elif control.fileno() in ready:
            line = control.readline()
            if not line:
                break
            answer = system.obey(json.loads(line))
            alive = True
            print(json.dumps(answer), flush=True)
    system.unmount()


class Disk:
    """The file system at a folder, in a process of its own; `with` ends it."""

    def __init__(self, mountpoint):
        self.mountpoint = mountpoint
        os.makedirs(mountpoint, exist_ok=True)
        self.process = subprocess.Popen([sys.executable, __file__, str(mountpoint)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the test's file system did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)

    def tell(self, order, **more):
        self.process.stdin.write(json.dumps({"order": order, **more}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def fail(self, ops, error, name=None, times=-1, after=0, drop=False):
        """These operations (on files of this name) fail with the error, after so many and so many times."""
        self.tell("rule", rule={"ops": list(ops), "errno": error, "name": name, "times": times, "after": after,
                                "drop": drop})

    def hang(self, ops, name=None, after=0):
        """These operations get no answer until `calm` or `cut`."""
        self.tell("rule", rule={"ops": list(ops), "hang": True, "name": name, "after": after})

    def full(self, room=0):
        self.tell("full", room=room)

    def calm(self):
        """All is well again; whoever waits is served."""
        self.tell("calm")

    def lie(self):
        """From now on fsync of a file says yes and does nothing."""
        self.tell("lie")

    def cut(self, seed, keep=None):
        """The power goes and comes back. Whoever has files open must have been killed. `keep` is "none", "all", "prefix" or
        "subset"; without it, chance says for each file, and tears writes as well."""
        return self.tell("cut", seed=seed, keep=keep)

    def state(self):
        return self.tell("state")


def why_not():
    """Why there can't be such a disk here; None when there can."""
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse"
    if os.geteuid() != 0:
        return "only root may mount"
    return None


if __name__ == "__main__":
    main(sys.argv[1])
