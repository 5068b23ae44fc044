"""Tiny GGUF files of random weights that llama.cpp loads and runs, one for each architecture."""

import numpy
from gguf import GGUFWriter, TokenType

from folder_models import SPECIAL, byte_letters

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 64, 4, 128, 512
HEAD = WIDTH // HEADS
ARCHITECTURES = ["llama", "qwen3", "phi3", "gemma3", "bitnet"]
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}<|assistant|>"


def shapes(kind):
    """Name and shape of each tensor of a layer, rows first."""
    found = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_output": (WIDTH, WIDTH), "ffn_down": (WIDTH, INNER)}
    if kind == "phi3":
        return found | {"attn_qkv": (3 * WIDTH, WIDTH), "ffn_up": (2 * INNER, WIDTH)}
    found |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)}
    found |= {f"attn_{part}": (WIDTH, WIDTH) for part in "qkv"}
    if kind in ("qwen3", "gemma3"):
        found |= {"attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,)}
    if kind == "gemma3":
        found |= {"post_attention_norm": (WIDTH,), "post_ffw_norm": (WIDTH,)}
    if kind == "bitnet":
        found |= {"attn_sub_norm": (WIDTH,), "ffn_sub_norm": (INNER,)}
    return found


def tiny(path, kind, seed=1):
    writer = GGUFWriter(str(path), kind)
    writer.add_type("model")
    # llama.cpp looks for words of the real vocabulary in a model whose name has phi3 in it.
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(10000.0)
    if kind in ("gemma3", "phi3"):
        writer.add_sliding_window(256)
    words = byte_letters() + SPECIAL
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.NORMAL] * 256 + [TokenType.CONTROL] * len(SPECIAL))
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(256)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    random = numpy.random.default_rng(seed)

    def add(name, shape):
        values = random.standard_normal(shape) * 0.1 + (len(shape) == 1)
        writer.add_tensor(name + ".weight", values.astype(numpy.float32))

    add("token_embd", (len(words), WIDTH))
    add("output_norm", (WIDTH,))
    if kind == "phi3":
        add("output", (len(words), WIDTH))
    for n in range(LAYERS):
        for name, shape in shapes(kind).items():
            add(f"blk.{n}.{name}", shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
