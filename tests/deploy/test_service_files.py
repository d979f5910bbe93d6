"""Container files and the systemd unit: what can be known of them without a daemon."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.main import get_command

from edgetwin.cli import app

ROOT = Path(__file__).parents[2]
CONTAINERS = sorted((ROOT / "deploy" / "containers").glob("Dockerfile.*[!e]"))
UNIT = ROOT / "deploy" / "systemd" / "edgetwin.service"
ENVIRONMENT = ROOT / "deploy" / "systemd" / "edgetwin.env"
INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


def instructions(file: Path) -> list[tuple[str, str]]:
    lines = [ln for ln in file.read_text().splitlines() if not ln.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(ln.split()[0], ln.split(maxsplit=1)[1]) for ln in text.splitlines() if ln.strip()]


def test_there_is_one_for_each_kind_of_device() -> None:
    assert {file.suffix for file in CONTAINERS} == {".cuda", ".l4t"}


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda f: f.name)
def test_containers_have_a_user_of_their_own_and_fixed_bases(file: Path) -> None:
    found = instructions(file)
    assert {name for name, _ in found} <= INSTRUCTIONS
    names = [name for name, _ in found]
    users = [value for name, value in found if name == "USER"]
    assert users == ["edgetwin"]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    bases = [value for name, value in found if name == "ARG" and value.startswith("BASE=")]
    assert len(bases) == 1
    assert re.search(r":[\w.-]*\d+\.\d+\.\d+[\w.-]*$", bases[0])
    assert [value for name, value in found if name == "FROM"][-1] == "${BASE}"
    assert ("ENTRYPOINT", '["edgetwin"]') in found
    for name, value in found:
        if name == "RUN":
            checked = subprocess.run(
                ["sh", "-n", "-c", re.sub(r"--mount=\S+", "", value)], capture_output=True
            )
            assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda f: f.name)
def test_the_build_sees_what_the_wheel_needs_and_nothing_else(file: Path) -> None:
    ignore = file.with_name(f"{file.name}.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert all((ROOT / name).exists() for name in kept)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    rooms = {name.split(".")[1] for name in packages if "." in name}
    wanted = rooms | {"pyproject.toml", "__init__.py", "cli.py", "py.typed"}
    wanted |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert wanted == kept
    assert not any(fnmatch(name, "runs*") or name in (".venv", ".git", "out") for name in kept)


def settings(section: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    inside = ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            inside = line.strip("[]")
        elif inside == section and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_restarts_is_bounded_and_starts_a_command_that_exists() -> None:
    service = settings("Service")
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2"]
    sizes = [int(service[name][0].removesuffix("M")) for name in ("MemoryHigh", "MemoryMax")]
    assert 2100 < sizes[0] < sizes[1] < 4096
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["KillSignal"] == ["SIGINT"]
    assert service["ExecStart"] == ["/opt/edgetwin/bin/edgetwin $EDGETWIN_COMMAND"]
    line = next(ln for ln in ENVIRONMENT.read_text().splitlines() if not ln.startswith("#"))
    name, _, value = line.partition("=")
    assert name == "EDGETWIN_COMMAND"
    command, *arguments = value.split()
    known = get_command(app).commands[command]
    with known.make_context(command, list(arguments)) as context:
        assert str(context.params["models"]) == "/var/lib/edgetwin/current"
        assert context.params["sources"] == ["@/etc/edgetwin/sources"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    text = UNIT.read_text().replace("/opt/edgetwin/bin/edgetwin", shutil.which("true") or "true")
    (tmp_path / "edgetwin.service").write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
    done = subprocess.run(
        [*command, str(tmp_path / "edgetwin.service")], capture_output=True, text=True, timeout=60
    )
    ours = [ln for ln in done.stderr.splitlines() if "edgetwin.service" in ln]
    assert ours == []
    wrong = text.replace("Restart=on-failure", "Restart=sometimes").replace("MemoryMax", "MemoryMx")
    (tmp_path / "edgetwin.service").write_text(wrong)
    done = subprocess.run(
        [*command, str(tmp_path / "edgetwin.service")], capture_output=True, text=True, timeout=60
    )
    assert "sometimes" in done.stderr
    assert "MemoryMx" in done.stderr
