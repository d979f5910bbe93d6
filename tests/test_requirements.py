"""The manifest of behaviours and the tests, tied in both directions."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANIFEST = tomllib.loads((ROOT / "tests" / "requirements.toml").read_text(encoding="utf-8"))


def collected(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    places = [(file, tree.body)]
    places += [(f"{file}::{n.name}", n.body) for n in tree.body if isinstance(n, ast.ClassDef)]
    found = [(p, n.name) for p, body in places for n in body if isinstance(n, ast.FunctionDef)]
    return {f"{place}::{name}" for place, name in found if name.startswith("test_")}


def test_every_behaviour_has_tests_that_exist() -> None:
    for key, behaviour in MANIFEST["behaviour"].items():
        assert behaviour["text"], key
        assert behaviour["tests"], key
        for test in behaviour["tests"]:
            assert test in collected(test.split("::")[0]), f"{key} names {test}"


def test_every_covered_test_belongs_to_a_behaviour() -> None:
    named = {test for behaviour in MANIFEST["behaviour"].values() for test in behaviour["tests"]}
    for file in MANIFEST["covered"]["files"]:
        assert collected(file) - named == set()
