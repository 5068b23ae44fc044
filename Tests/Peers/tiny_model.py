"""A llama of a few layers with random weights that llama-server loads and runs, made with llama.cpp's own gguf-py."""

import gguf
import numpy


def tiny_llama(path, layers=2, width=64, seed=1, context=2048, words=320, name=None):
    """All of the same `words` have the same vocabulary, so that one can draft for another."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_name(name or f"tiny-{seed}")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(width // 4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(words)
    tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % n for n in range(256)]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    tokens += [f"\u2581w{n}".encode() for n in range(words - len(tokens))]
    types += [gguf.TokenType.NORMAL] * (words - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(n) for n in range(words)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    random = numpy.random.default_rng(seed)

    def tensor(name, *shape):
        writer.add_tensor(name, (random.normal(size=shape) / shape[-1] ** 0.5).astype(numpy.float32))
    tensor("token_embd.weight", words, width)
    tensor("output.weight", words, width)
    writer.add_tensor("output_norm.weight", numpy.ones(width, numpy.float32))
    for layer in range(layers):
        block = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(block + name + ".weight", numpy.ones(width, numpy.float32))
        tensor(block + "attn_q.weight", width, width)
        for name in ("attn_k", "attn_v"):
            tensor(block + name + ".weight", width // 2, width)
        tensor(block + "attn_output.weight", width, width)
        for name in ("ffn_gate", "ffn_up"):
            tensor(block + name + ".weight", 2 * width, width)
        tensor(block + "ffn_down.weight", width, 2 * width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
