"""A small LoRA adapter, made with llama.cpp's own gguf-py."""

import gguf
import numpy


def adapter(path, rank=2, width=576, architecture="llama", kind="adapter", seed=1):
    """Changes the output projection of attention in layer 0 of a model of this width."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(kind)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 16.0)
    random = numpy.random.default_rng(seed)
    for end, shape in (("lora_a", (rank, width)), ("lora_b", (width, rank))):
        writer.add_tensor(f"blk.0.attn_output.weight.{end}", random.normal(size=shape).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
