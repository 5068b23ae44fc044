"""Every architecture that is promised loads and answers through the agent: real weights where a package carries them, tiny
random ones otherwise. Signed, published, synced and run in the sandbox like any model."""

import json
import os

import pytest

import tiny_architectures
from conftest import serving

GEMMA = os.environ.get("SKERRY_TEST_GEMMA")


@pytest.fixture(scope="module")
def fleet(programs, tmp_path_factory):
    home = tmp_path_factory.mktemp("a")
    models = [(tiny_architectures.tiny(home / f"{kind}.gguf", kind), f"tiny-{kind}")
              for kind in tiny_architectures.ARCHITECTURES]
    models.append((None, "real-llama", "1.0.0", "--no-chunks"))
    if GEMMA:
        models.append((GEMMA, "real-gemma3", "1.0.0", "--no-chunks"))
    settings = {"engine": {"sandbox": "required", "contextTokens": 512}}
    with serving(programs, home, models, settings=settings) as box:
        yield box


def ask(box, model, tokens):
    body = {"model": model, "max_tokens": tokens, "temperature": 0,
            "messages": [{"role": "user", "content": "What is the capital of France? One word."}]}
    status, _, answer = box.request("POST", "/v1/chat/completions", body, box.app, timeout=120)
    assert status == 200, answer
    return json.loads(answer)


@pytest.mark.parametrize("kind", tiny_architectures.ARCHITECTURES)
def test_tiny_weights_of_each_architecture_answer(fleet, kind):
    answer = ask(fleet, f"tiny-{kind}", 12)
    assert 1 <= answer["usage"]["completion_tokens"] <= 12
    assert answer["model"].startswith(f"tiny-{kind}")
    # The same words, the same weights: the same answer.
    assert ask(fleet, f"tiny-{kind}", 12)["choices"][0]["message"] == answer["choices"][0]["message"]


@pytest.mark.parametrize("name", ["real-llama", pytest.param("real-gemma3", marks=pytest.mark.skipif(
    not GEMMA, reason="SKERRY_TEST_GEMMA is not set"))])
def test_real_weights_answer_with_sense(fleet, name):
    # No chat, and nothing to know: Gemma's weights here are small and not tuned for one.
    count = "one two three four five six seven eight"
    body = {"model": name, "max_tokens": 8, "temperature": 0, "prompt": f"{count} {count} one two three"}
    status, _, answer = fleet.request("POST", "/v1/completions", body, fleet.app, timeout=120)
    assert status == 200, answer
    # Each counts on in its own way; weights that were read wrongly count nothing.
    words = json.loads(answer)["choices"][0]["text"].split()
    assert len(words) >= 6 and set(words) <= set(count.split()), words
