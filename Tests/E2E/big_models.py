"""GGUF files of any size, written piece by piece: noise that nothing compresses, or a hole that takes no disk."""

import random
import struct


def text(value):
    return struct.pack("<Q", len(value)) + value


def header(size, note=b"", tokens=0):
    """A header for one tensor of `size` bytes; `note` and `tokens` make its metadata longer."""
    pairs = [(b"general.architecture", 8, text(b"llama")), (b"llama.context_length", 4, struct.pack("<I", 2048)),
             (b"general.description", 8, text(note))]
    if tokens:
        words = b"".join(text(b"token-%06d" % n) for n in range(tokens))
        pairs.append((b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, tokens) + words))
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs))
    for key, kind, value in pairs:
        head += text(key) + struct.pack("<I", kind) + value
    head += text(b"token_embd.weight") + struct.pack("<I", 1) + struct.pack("<Q", size // 4) + struct.pack("<IQ", 0, 0)
    return head + b"\0" * (-len(head) % 32)


def noise(path, size, seed=1, note=b"", tokens=0, changed=()):
    """`changed` holds (start, length) pairs of the weights that differ from those of the same seed."""
    chance = random.Random(seed)
    with open(path, "wb") as file:
        head = header(size, note, tokens)
        file.write(head)
        for at in range(0, size, 1 << 20):
            file.write(chance.randbytes(min(1 << 20, size - at)))
        other = random.Random(seed + 1000)
        for start, length in changed:
            file.seek(len(head) + start)
            for at in range(0, length, 1 << 20):
                file.write(other.randbytes(min(1 << 20, length - at)))
    return path


def sparse(path, size):
    with open(path, "wb") as file:
        file.write(header(size))
        file.truncate(file.tell() + size)
    return path
