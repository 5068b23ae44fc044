"""Tiny random models that are folders, as engines other than llama.cpp want them, and the GGUF file that a folder travels in."""

import json
import struct

import numpy
from gguf import GGUFWriter

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 2, 64, 4, 128, 512
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>"]


def byte_letters():
    """GPT-2's printable letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain}
    for n, b in enumerate(b for b in range(256) if b not in letters):
        letters[b] = chr(256 + n)
    return [letters[b] for b in range(256)]


def tokenizer(folder):
    vocabulary = {letter: n for n, letter in enumerate(byte_letters())}
    vocabulary.update({word: 256 + n for n, word in enumerate(SPECIAL)})
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": 256 + n, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for n, word in enumerate(SPECIAL)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                  "merges": []}}))
    template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}<|assistant|>"
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|end|>",
        "model_max_length": CONTEXT, "chat_template": template}))
    return 256 + len(SPECIAL)


def llama_folder(folder, seed=1):
    """A llama of random weights, as transformers, vLLM and mlx-lm load it."""
    folder.mkdir(parents=True)
    words = tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "vocab_size": words,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": CONTEXT, "tie_word_embeddings": True,
        "bos_token_id": 256, "eos_token_id": 256, "hidden_act": "silu", "torch_dtype": "float32", "dtype": "float32"}))
    random = numpy.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (words, WIDTH), "model.norm.weight": (WIDTH,)}
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        shapes.update({layer + "input_layernorm.weight": (WIDTH,), layer + "post_attention_layernorm.weight": (WIDTH,),
                       layer + "mlp.gate_proj.weight": (INNER, WIDTH), layer + "mlp.up_proj.weight": (INNER, WIDTH),
                       layer + "mlp.down_proj.weight": (WIDTH, INNER)})
        shapes.update({f"{layer}self_attn.{k}_proj.weight": (WIDTH, WIDTH) for k in "qkvo"})
    header, blobs, at = {}, [], 0
    for name, shape in shapes.items():
        blob = (random.standard_normal(shape) * 0.1 + (len(shape) == 1)).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return folder


def onnx_folder(folder, seed=1):
    """A model that ONNX Runtime GenAI runs: embeddings times a matrix, with a cache that it carries and does not use."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    folder.mkdir(parents=True)
    words = tokenizer(folder)
    random = numpy.random.default_rng(seed)
    weights = [numpy_helper.from_array(random.standard_normal(shape).astype(numpy.float32), name)
               for name, shape in (("embed", (words, WIDTH)), ("head", (WIDTH, words)))]
    weights.append(numpy_helper.from_array(numpy.array([1], numpy.int64), "one"))
    nodes = [helper.make_node("Gather", ["embed", "input_ids"], ["x"]), helper.make_node("MatMul", ["x", "head"], ["logits"]),
             helper.make_node("Unsqueeze", ["x", "one"], ["kv"])]
    nodes += [helper.make_node("Concat", [f"past_key_values.0.{p}", "kv"], [f"present.0.{p}"], axis=2)
              for p in ("key", "value")]
    whole, real = TensorProto.INT64, TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("input_ids", whole, ["b", "s"]),
              helper.make_tensor_value_info("attention_mask", whole, ["b", "t"])]
    outputs = [helper.make_tensor_value_info("logits", real, ["b", "s", words])]
    for p in ("key", "value"):
        inputs.append(helper.make_tensor_value_info(f"past_key_values.0.{p}", real, ["b", 1, "p", WIDTH]))
        outputs.append(helper.make_tensor_value_info(f"present.0.{p}", real, ["b", 1, "t", WIDTH]))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx")
    (folder / "genai_config.json").write_text(json.dumps({
        "model": {"type": "llama", "vocab_size": words, "context_length": CONTEXT, "bos_token_id": 256,
                  "eos_token_id": 256, "pad_token_id": 256,
                  "decoder": {"filename": "model.onnx", "head_size": WIDTH, "hidden_size": WIDTH,
                              "num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": 1,
                              "session_options": {"log_id": "tiny", "provider_options": []},
                              "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask",
                                         "past_key_names": "past_key_values.%d.key",
                                         "past_value_names": "past_key_values.%d.value"},
                              "outputs": {"logits": "logits", "present_key_names": "present.%d.key",
                                          "present_value_names": "present.%d.value"}}},
        "search": {"max_length": CONTEXT, "do_sample": False, "past_present_share_buffer": False}}))
    return folder


def pack(folder, form, path, architecture="llama", context=CONTEXT):
    """The folder as one GGUF file: each file a tensor of bytes, so that it is signed and travels like any model."""
    writer = GGUFWriter(str(path), architecture)
    writer.add_type("model")
    writer.add_context_length(context)
    writer.add_string("skerry.folder", form)
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        writer.add_tensor(str(file.relative_to(folder)), numpy.frombuffer(file.read_bytes(), numpy.int8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
