"""The house's own rules: floors, imports, file lengths, what the wheel owns, what is tracked."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import edgetwin

ROOT = Path(__file__).parents[1]
ROOMS = ("twin", "perception", "reasoner", "deploy", "distill")
# A room may import itself and the rooms below it; perception and reasoner never each other.
BELOW = {
    "twin": {"twin"},
    "perception": {"perception", "twin"},
    "reasoner": {"reasoner", "twin"},
    "deploy": {"deploy", "perception", "reasoner", "twin"},
    "distill": {"distill", "deploy", "perception", "reasoner", "twin"},
    "cli": {"cli", *ROOMS},
    "__init__": {"__init__", *ROOMS} - {"distill"},
}
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "mujoco", "onnx", "matplotlib"}
# Where training and exporting packages may be imported at the top of a file.
HEAVY_ROOMS = ("distill/", "perception/graphs/", "reasoner/models/transformers")
MAX_LINES = 450  # about 400 is the habit; beyond this a file is two things
# Tables of words and phrases, with what they may have at most.
LONG_TABLES = {
    "distill/sim/questions/language.py": 500,
    "distill/sim/questions/phrases.py": 1000,
    "distill/sim/questions/uses_table.py": 500,
    "distill/sim/questions/uses_things.py": 500,
}
MAX_TRACKED_MB = 60


def sources() -> list[Path]:
    files = [ROOT / "cli.py", ROOT / "__init__.py"]
    for room in ROOMS:
        files += sorted((ROOT / room).rglob("*.py"))
    return files


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(what is imported as a path inside the package or a top-level name, at the file's top)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    here = path.relative_to(ROOT).with_suffix("").parts
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            module = tuple((node.module or "").split(".")) if node.module else ()
            names = [".".join((*base, *module))] if module else [
                ".".join((*base, alias.name)) for alias in node.names
            ]  # fmt: skip
            found += [(f"edgetwin.{name}", id(node) in top) for name in names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", id(node) in top))
        elif isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
    return found


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "edgetwin" and len(parts) > 1 else None


def test_no_import_runs_upward() -> None:
    wrong = []
    for path in sources():
        here = path.relative_to(ROOT).with_suffix("").parts[0]
        rooms = {(module, room_of(module)) for module, _ in imports_of(path)}
        wrong += [
            f"{name_of(path)} imports {module}"
            for module, room in rooms
            if room is not None and room != "__version__" and room not in BELOW[here]
        ]
    assert not wrong


def test_imports_across_rooms_are_relative_and_data_is_never_run() -> None:
    forbidden = {"edgetwin", "pickle", "cPickle", "dill", "shelve", "marshal", "eval", "exec"}
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = {(node.module or "").split(".")[0]}
            elif isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = {node.func.id} & {"eval", "exec"}
            wrong += [f"{name_of(path)}: {name}" for name in names & forbidden]
    assert not wrong


def test_there_are_no_cycles() -> None:
    modules = {f"edgetwin.{name_of(p)[:-3].replace('/', '.')}": p for p in sources()}
    names = {m.removesuffix(".__init__"): p for m, p in modules.items()}
    graph = {
        name: {
            m for m, top in imports_of(path) if top and m in names and m != name
        }
        for name, path in names.items()
        if name != "edgetwin"
    }  # fmt: skip
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " imports ".join([*trail[trail.index(name) :], name])
        if name in done:
            return
        for needed in graph.get(name, ()):
            visit(needed, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_heavy_packages_stay_in_their_rooms() -> None:
    wrong = []
    for path in sources():
        if not name_of(path).startswith(HEAVY_ROOMS):
            at_top = {module.split(".")[0] for module, top in imports_of(path) if top}
            wrong += [f"{name_of(path)} imports {name} at its top" for name in at_top & HEAVY]
    assert not wrong


def test_files_stay_short() -> None:
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    assert {name: n for name, n in lengths.items() if n > LONG_TABLES.get(name, MAX_LINES)} == {}


def test_every_public_list_is_sorted_and_true() -> None:
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                names = ast.literal_eval(node.value)
                ordered = sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
                assert names in (ordered, sorted(names)), f"{name_of(path)}: {ordered}"


def test_the_public_interface_is_there() -> None:
    assert edgetwin.__all__ == sorted(edgetwin.__all__)
    for name in edgetwin.__all__:
        assert getattr(edgetwin, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = edgetwin.nonsense


def test_importing_never_loads_torch() -> None:
    code = (
        "import sys, edgetwin, edgetwin.cli\n"
        "[getattr(edgetwin, name) for name in edgetwin.__all__]\n"
        "import edgetwin.deploy.doctor, edgetwin.deploy.bench, edgetwin.reasoner.models.ort_genai\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout == "[]\n"


def test_the_device_needs_no_training_package() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {line.split(">")[0] for line in project["dependencies"]}
    assert not needed & HEAVY


@pytest.mark.skipif(find_spec("setuptools") is None, reason="the wheel is built with setuptools")
def test_the_wheel_owns_exactly_one_name(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    skip = shutil.ignore_patterns(
        ".git", ".venv*", ".types", "runs", "out", "build", "*.egg-info", "*.onnx.data",
        "__pycache__", ".*_cache", "tests", "examples",
    )  # fmt: skip
    shutil.copytree(ROOT, tree, ignore=skip)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, tree], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"edgetwin", "edgetwin-0.1.0.dist-info"}
    inside = {name.removeprefix("edgetwin/") for name in names}
    missing = {name_of(p) for p in sources()} - inside
    assert not missing, f"not in the wheel: add their packages to pyproject.toml: {missing}"
    for needed in ("py.typed", "twin/schema.json", "twin/migrations/0001_frames_and_answers.sql"):
        assert needed in inside
    for folder in ("perception/weights/embedded", "reasoner/weights/embedded"):
        there = {name_of(p) for p in (ROOT / folder).glob("*") if p.is_file()}
        assert there <= inside


def tracked() -> list[Path]:
    got = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if got.returncode:
        pytest.skip("this is no git checkout")
    return [
        p for p in (ROOT / name for name in got.stdout.decode().split("\0") if name) if p.is_file()
    ]


def test_tracked_files_stay_small_and_hold_no_pickles() -> None:
    files = tracked()
    assert sum(p.stat().st_size for p in files) < MAX_TRACKED_MB * 2**20
    assert not [p for p in files if p.suffix in (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npz")]
