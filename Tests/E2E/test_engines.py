"""Engines other than llama.cpp, the real programs from PyPI, answering through the agent out of the sandbox.

SKERRY_ENGINES names a virtual environment with mlx-lm, mlx-cpu, onnxruntime-genai and onnx (scripts/setup.sh engines makes
it); SKERRY_VLLM vLLM's program. What is not named is skipped.
"""

import json
import os
import pathlib
import subprocess

import pytest

import folder_models
from box import wait_for
from conftest import serving

ENGINES = os.environ.get("SKERRY_ENGINES")
VLLM = os.environ.get("SKERRY_VLLM")
SERVER = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "engines" / "genai_server.py"
wants_engines = pytest.mark.skipif(not ENGINES, reason="SKERRY_ENGINES is not set")

GENAI = {"program": f"{ENGINES}/bin/python3", "visible": [str(SERVER)],
         "arguments": [str(SERVER), "--model", "{model}", "--alias", "{alias}", "--port", "{port}"]}


@pytest.fixture(scope="module")
def fleet(programs, tmp_path_factory):
    """A box with one tiny model of each form."""
    home = tmp_path_factory.mktemp("e")
    llama = folder_models.llama_folder(home / "llama")
    models = [(folder_models.pack(llama, "mlx", home / "mlx.gguf"), "tiny-mlx"),
              (folder_models.pack(llama, "transformers", home / "transformers.gguf"), "tiny-vllm")]
    if ENGINES:
        # Where onnx is installed, and gguf need not be.
        code = "import sys, pathlib; sys.path += sys.argv[2:]; import folder_models; " \
               "folder_models.onnx_folder(pathlib.Path(sys.argv[1]))"
        here = str(pathlib.Path(__file__).parent)
        site = str(pathlib.Path(folder_models.numpy.__file__).parents[1])
        subprocess.run([f"{ENGINES}/bin/python3", "-c", code, str(home / "onnx"), here, site], check=True)
        models.append((folder_models.pack(home / "onnx", "onnx-genai", home / "onnx.gguf"), "tiny-onnx"))
    settings = {"engines": {"onnx-genai": GENAI, "mlx-lm": {"program": f"{ENGINES}/bin/mlx_lm.server"},
                            "nowhere": {"program": "/nowhere/engine", "arguments": ["{model}", "{port}"],
                                        "form": "mlx", "remedy": "look under the bed"}},
                "engine": {"sandbox": "required", "startSeconds": 240, "contextTokens": 256, "slots": 2}}
    if VLLM:
        settings["engines"]["vllm"] = {"program": VLLM}
    with serving(programs, home, models, settings=settings) as box:
        yield box


def chat(box, model, stream):
    body = {"model": model, "max_tokens": 12, "temperature": 0, "stream": stream,
            "messages": [{"role": "user", "content": "Hello"}]}
    if not stream:
        status, _, answer = box.request("POST", "/v1/chat/completions", body, box.app, timeout=300)
        assert status == 200, answer
        return json.loads(answer)
    lines = [line for line in box.stream("/v1/chat/completions", body, box.app, timeout=300) if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def answers(box, model):
    whole = chat(box, model, False)
    assert whole["model"].startswith(model)
    assert 1 <= whole["usage"]["completion_tokens"] <= 12
    pieces = chat(box, model, True)
    text = "".join(c["delta"].get("content") or "" for p in pieces for c in p["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    [engine] = [e for e in box.status()["engines"] if e["model"].startswith(model + ":")]
    assert engine["state"] == "ready"
    return engine["pid"]


def children(pid):
    """The process and all below it, the sandbox's included."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        for task in pathlib.Path(f"/proc/{one}/task").glob("*/children"):
            todo += map(int, task.read_text().split())
    return found


def is_confined(pid, word):
    """The engine itself is in namespaces of its own, filtered, and sees its model as a folder that it can't write."""
    inner = [p for p in children(pid) if word in pathlib.Path(f"/proc/{p}/cmdline").read_text() and
             os.readlink(f"/proc/{p}/ns/net") != os.readlink("/proc/self/ns/net")]
    assert inner, "no engine is in a network of its own"
    status = pathlib.Path(f"/proc/{inner[-1]}/status").read_text()
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    mounts = pathlib.Path(f"/proc/{inner[-1]}/mounts").read_text().splitlines()
    [model] = [m.split() for m in mounts if m.split()[1].startswith("/models/")]
    assert "ro" in model[3].split(",")


@wants_engines
def test_mlx_lm_answers(fleet):
    is_confined(answers(fleet, "tiny-mlx"), "mlx_lm")


@wants_engines
def test_onnx_runtime_genai_answers(fleet):
    is_confined(answers(fleet, "tiny-onnx"), "genai_server")


@pytest.mark.skipif(not VLLM, reason="SKERRY_VLLM is not set")
def test_vllm_answers(fleet):
    is_confined(answers(fleet, "tiny-vllm"), "vllm")


@wants_engines
def test_an_engine_gone_leaves_no_folder(fleet):
    chat(fleet, "tiny-mlx", False)
    folders = fleet.state / "engines"
    before = [f.name for f in folders.iterdir()]
    assert before and folders.stat().st_mode & 0o777 == 0o700
    fleet.skerry("model", "unload", "tiny-mlx")
    assert len([f for f in folders.iterdir()]) == len(before) - 1


@wants_engines
def test_killed_it_comes_again(fleet):
    first = answers(fleet, "tiny-onnx")
    os.kill(first, 9)
    wait_for("the engine comes again", lambda: [e["pid"] for e in fleet.status()["engines"] if e["state"] == "ready" and
                                                e["model"].startswith("tiny-onnx")] not in ([first], []), 60)
    assert answers(fleet, "tiny-onnx") != first


@pytest.mark.skipif(bool(VLLM), reason="vLLM is there")
def test_a_missing_engine_is_told_with_how_to_get_it(fleet):
    status, _, answer = fleet.request("POST", "/v1/chat/completions",
                                      {"model": "tiny-vllm", "messages": [{"role": "user", "content": "x"}]}, fleet.app)
    assert status == 503
    assert "pip install vllm" in answer.decode()
    [told] = [p for p in fleet.status()["enginePrograms"] if p["name"] == "vllm"]
    assert told["installed"] is False and "pip install vllm" in told["remedy"]
