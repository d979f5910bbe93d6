"""Nothing of what runs is told to anybody: ONNX Runtime's own telemetry stays off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import edgetwin
models = edgetwin.load_models("embedded")
print(len(models.perceiver.detector.nouns))
"""


def test_networks_and_language_model_leave_nothing_in_the_home_folder(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    got = subprocess.run(
        [sys.executable, "-c", CODE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert got.returncode == 0, got.stderr
    assert int(got.stdout) > 10
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
