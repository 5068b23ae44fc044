"""A small GGUF file, for tests that need one that parses and nothing that runs it."""

import hashlib
import struct


def gguf(path, floats=100_000, seed=1, tensors=1):
    """One tensor of bytes that do not repeat; `tensors` lies about their number."""
    def text(value):
        return struct.pack("<Q", len(value)) + value
    pairs = [(b"general.architecture", 8, text(b"llama")), (b"llama.context_length", 4, struct.pack("<I", 2048))]
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(pairs))
    for key, kind, value in pairs:
        head += text(key) + struct.pack("<I", kind) + value
    head += text(b"token_embd.weight") + struct.pack("<I", 1) + struct.pack("<Q", floats) + struct.pack("<IQ", 0, 0)
    head += b"\0" * (-len(head) % 32)
    blocks = [hashlib.sha256(f"{seed}/{n}".encode()).digest() for n in range(floats * 4 // 32)]
    path.write_bytes(head + b"".join(blocks))
    return path
