"""schemathesis reads the agent's OpenAPI document and tries what it says, and what it doesn't say, on a running agent."""

import json
import os
import pathlib
import subprocess

import pytest
from box import MODEL
from conftest import serving

# Bounded, so that it stays short: examples for each operation.
EXAMPLES = os.environ.get("SKERRY_API_EXAMPLES", "6")


@pytest.fixture(scope="module")
def box(mock_programs, tmp_path_factory):
    with serving(mock_programs, tmp_path_factory.mktemp("api"), settings={"engine": {"sandbox": "off"}}) as box:
        box.root = box.token("root", "admin")
        yield box


def naming(value):
    """The document with the box's model where a request names one."""
    if isinstance(value, list):
        return [naming(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {k: {"enum": [MODEL]} if k == "model" and isinstance(v, dict) and v.get("maxLength") == 200 else naming(v)
            for k, v in value.items()}


def test_the_document_is_served_to_anybody_and_names_every_api(box):
    status, headers, body = box.request("GET", "/openapi.json")
    document = json.loads(body)
    assert status == 200 and headers["Content-Type"] == "application/json" and document["openapi"] == "3.1.0"
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/skerry/v1/status"):
        assert path in document["paths"]
    limits = document["components"]["schemas"]["ChatCompletionRequest"]["properties"]["temperature"]["anyOf"][0]
    assert limits == {"type": "number", "minimum": 0.0, "maximum": 2.0}


def test_schemathesis_finds_no_violation(box, tmp_path):
    document = json.loads(box.request("GET", "/openapi.json")[2])
    # Of random names no model answers; the box's own is tried as well.
    (tmp_path / "openapi.json").write_text(json.dumps(naming(document)))
    schemathesis = pathlib.Path(os.environ["SKERRY_PEERS_PYTHON"]).with_name("schemathesis")
    done = subprocess.run(
        [schemathesis, "run", "openapi.json", "--url", f"http://127.0.0.1:{box.port}", "--header", f"Authorization: Bearer {box.root}",
         # One worker: two trip over each other in Python's own parser (python/cpython#106905).
         "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--workers", "1", "--seed", "1",
         "--request-timeout", "60", "--no-color", "--no-shrink",
         "--generation-database", "none", "--suppress-health-check", "all",
         "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
                     "response_schema_conformance,unsupported_method,negative_data_rejection,ignored_auth",
         # They change what the box is or who may do what, take long, or are always refused with 501; a tail has no end.
         "--exclude-path-regex", "^/skerry/v1/(tokens|bindings|enroll|bundle|sync|store/|audit/tail)|^/api/(pull|web_)|systemone"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300)
    print(done.stdout[-12000:], done.stderr[-2000:])
    assert done.returncode == 0
    assert box.status()["version"]
