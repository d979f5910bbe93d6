"""The room's public face and its floor: it knows nobody, and it is light."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgetwin.twin
from edgetwin.twin import errors

MODULES = sorted(
    info.name for info in pkgutil.walk_packages(edgetwin.twin.__path__, "edgetwin.twin.")
)


@pytest.mark.parametrize("name", ["edgetwin.twin", *MODULES])
def test_public_lists_are_true_and_sorted(name: str) -> None:
    module = importlib.import_module(name)
    assert all(hasattr(module, public) for public in module.__all__)
    constants = [n for n in module.__all__ if n.isupper()]
    classes = [n for n in module.__all__ if n[0].isupper() and not n.isupper()]
    functions = [n for n in module.__all__ if n[0].islower()]
    assert module.__all__ == sorted(constants) + sorted(classes) + sorted(functions)
    assert module.__doc__


def test_the_twin_imports_no_other_room() -> None:
    for path in Path(edgetwin.twin.__path__[0]).rglob("*.py"):
        depth = len(path.relative_to(edgetwin.twin.__path__[0]).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= depth, path
                assert node.level or not (node.module or "").startswith("edgetwin"), path


def test_importing_the_twin_is_light() -> None:
    script = (
        "import sys, edgetwin.twin\n"
        "heavy = {'torch', 'transformers', 'cv2', 'onnxruntime', 'av', 'mujoco', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = errors.__doc__ or ""
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.EdgeTwinError)
        assert name in drawn
    error = errors.MissingExtraError("mujoco", "sim")
    assert str(error).endswith("pip install 'edgetwin[sim]'")
