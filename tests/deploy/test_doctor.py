"""The doctor: true lines, a pip line for what is missing, no torch."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from edgetwin.deploy.doctor import EXTRAS, Check, examine, ready

ROOT = Path(__file__).parents[2]


def test_every_line_says_something() -> None:
    checks = examine()
    names = [check.name for check in checks]
    for name in ("python", "machine", "onnxruntime", "onnxruntime-genai", "PyAV", "OpenCV"):
        assert name in names
    assert all(check.found for check in checks)
    assert all(check.advice for check in checks if check.state == "missing")


def test_ready_means_nothing_is_missing() -> None:
    fine = Check("a", "ok", "1")
    assert ready([fine, Check("b", "info", "2")])
    assert not ready([fine, Check("b", "missing", "3", "pip install b")])


def test_extras_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        wanted = {re.split(r"[<>=~!\[ ]", line)[0] for line in declared[extra]}
        assert set(packages) == wanted
    assert set(declared) - set(EXTRAS) == {"test"}


def test_a_missing_extra_comes_with_its_pip_line_and_without_torch() -> None:
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'mujoco'): raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from edgetwin.deploy import doctor\n"
        "doctor.find_spec = lambda name: None if name in ('torch', 'mujoco') else object()\n"
        "print([c.advice for c in doctor.examine() if c.name == 'extra [sim]'])\n"
        "print('torch' in sys.modules)\n"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout.splitlines() == ["[\"pip install 'edgetwin[sim]'\"]", "False"]
