"""A machine of another kind, put together from packages: emulator, Debian arm64 root, wheels.

Nothing is installed on this machine and no rights are needed: apt works in a folder of its own
(``-o Dir::State=...`` by a configuration file), packages are unpacked with ``dpkg-deb -x``, and
wheels are unpacked as they are. Every step leaves a record beside what it made, and is not done
again while the record still says the same.

Not covered: maintainer scripts of the packages are never run (nothing here needs one), and the
kernel is this machine's; only instructions and libraries are the other machine's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Debian release by the Python that it ships; the emulator is always trixie's (QEMU 10): 7.2
# shows programs this machine's /proc/cpuinfo, where onnxruntime then finds no Arm processor.
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
EMULATOR_SUITE = "trixie"
# C library of each release: the newest manylinux tag that its root can load.
GLIBC_MINOR = {"bookworm": 36, "trixie": 41}
PACKAGES = ("python3", "libstdc++6", "libgomp1")
# ARMv8.2 with half floats and dot products, as the Cortex-A78AE of an Orin has; no SVE.
CPU = "cortex-a76"
CPUINFO = """processor\t: {index}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
ELF_AARCH64 = 183


class SmokeError(Exception):
    """A step that cannot go on: what was expected, what came, what to do next."""


@dataclass(frozen=True)
class Emulated:
    """How a Python of the other machine is started, and what it is made of."""

    command: tuple[str, ...]
    site: Path
    emulator: str
    debian: str
    wheels: tuple[str, ...]


def call(
    command: Sequence[str | Path],
    *,
    timeout_s: float,
    advice: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What a command prints on stdout.

    Raises:
        SmokeError: it is missing, took longer than ``timeout_s``, or failed.
    """
    words = [str(word) for word in command]
    name = Path(words[0]).name
    try:
        got = subprocess.run(
            words, capture_output=True, text=True, timeout=timeout_s, env=env, cwd=cwd, check=False
        )
    except FileNotFoundError as error:
        raise SmokeError(f"expected the command {name}, which is not here; {advice}") from error
    except subprocess.TimeoutExpired as error:
        raise SmokeError(f"{name} took longer than {timeout_s:g} s; {advice}") from error
    if got.returncode:
        told = "\n".join((got.stderr or got.stdout).strip().splitlines()[-12:])
        raise SmokeError(f"{name} ended with {got.returncode}; {advice}\n{told}")
    return got.stdout


def debian_mirror() -> str:
    """The address of Debian's archive, as this machine's apt is told it.

    Raises:
        SmokeError: apt's lists name none.
    """
    etc = Path("/etc/apt")
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for path in lists:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        found = re.search(r"\S+://\S+/debian/?(?=\s|$)", "\n".join(lines))
        if found:
            return found.group().rstrip("/")
    raise SmokeError("expected Debian's archive in /etc/apt; pass its address with --mirror")


def _apt(folder: Path, mirror: str, suite: str, architecture: str) -> dict[str, str]:
    """An apt of its own in ``folder``: the environment that makes apt-get use it."""
    if not KEYRING.is_file():
        raise SmokeError(f"expected {KEYRING}; apt-get install debian-archive-keyring")
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text("")
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
    lines = {
        "APT::Architecture": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
    }
    text = "".join(f'{key} "{value}";\n' for key, value in lines.items())
    text += f'APT::Architectures {{ "{architecture}"; }};\n'
    (folder / "apt.conf").write_text(text)
    return {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C.UTF-8"}


def _unpacked(
    folder: Path, target: Path, mirror: str, suite: str, architecture: str, packages: Sequence[str]
) -> dict[str, str]:
    """Packages with all that they need, unpacked into ``target``: name -> version."""
    record = target / ".packages.json"
    wanted = {"suite": suite, "asked": list(packages)}
    if record.is_file():
        held = json.loads(record.read_text())
        if held["wanted"] == wanted:
            return dict(held["versions"])
    env = _apt(folder, mirror, suite, architecture)
    advice = "is Debian's archive reachable? run this again: what was fetched is kept"
    call(["apt-get", "-q", "update"], timeout_s=600, advice=advice, env=env)
    call(["apt-get", "-q", "autoclean"], timeout_s=60, advice=advice, env=env)  # of older versions
    if packages[0].startswith("qemu"):  # a static program: what it recommends is not needed
        place = folder / "cache" / "archives"
        call(
            ["apt-get", "-q", "download", *packages],
            timeout_s=900,
            advice=advice,
            env=env,
            cwd=place,
        )
    else:
        line = ["apt-get", "-q", "-y", "--download-only", "install", *packages]
        call(line, timeout_s=900, advice=advice, env=env)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    versions = {}
    for deb in sorted((folder / "cache" / "archives").glob("*.deb")):
        call(["dpkg-deb", "-x", deb, target], timeout_s=300, advice=f"remove {deb} and run again")
        name, version = deb.name.split("_")[:2]
        versions[name] = version.replace("%3a", ":")
    record.write_text(json.dumps({"wanted": wanted, "versions": versions}, indent=1))
    return versions


def pins(roots: Sequence[str]) -> dict[str, str]:
    """Versions installed here of requirements and all that they need: name -> version.

    Raises:
        SmokeError: a requirement is not installed here.
    """
    found: dict[str, str] = {}
    waiting = [Requirement(line) for line in roots]
    while waiting:
        need = waiting.pop()
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        if name in found or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        try:
            held = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise SmokeError(f"expected {name} installed here; run `make run` first") from error
        found[name] = held.version
        waiting += [Requirement(line) for line in held.requires or ()]
    return dict(sorted(found.items()))


def _wheels(runs: Path, python: str, glibc_minor: int) -> tuple[Path, tuple[str, ...]]:
    """The aarch64 wheels of the project's own requirements, in this environment's versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines: list[str] = project["dependencies"]
    wanted = {"python": python, "glibc_minor": glibc_minor, "pins": pins(lines)}
    site, place, record = runs / "site", runs / "wheels", runs / "site" / ".wheels.json"
    if record.is_file():
        held = json.loads(record.read_text())
        if held["wanted"] == wanted:
            return site, tuple(held["wheels"])
    shutil.rmtree(site, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    constraints = runs / "constraints.txt"
    constraints.write_text("".join(f"{n}=={v}\n" for n, v in pins(lines).items()))
    tags = [f"manylinux_2_{minor}_aarch64" for minor in range(glibc_minor, 16, -1)]
    platforms = [word for tag in [*tags, "manylinux2014_aarch64"] for word in ("--platform", tag)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    pip += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    pip += [*platforms, "--constraint", str(constraints), "--dest", str(place), *lines]
    advice = "is there an aarch64 wheel of each version in constraints.txt? (pip's words follow)"
    call(pip, timeout_s=1800, advice=advice)
    exact = {(name, version) for name, version in pins(lines).items()}
    used = []
    for wheel in sorted(place.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        if (re.sub(r"[-_.]+", "-", name).lower(), version) in exact:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            used.append(wheel.name)
    if len(used) < len(exact):
        raise SmokeError(
            f"expected {len(exact)} wheels, got {len(used)}; remove {place}, run again"
        )
    record.write_text(json.dumps({"wanted": wanted, "wheels": used}, indent=1))
    return site, tuple(used)


def foreign_libraries(site: Path) -> tuple[int, list[str]]:
    """How many ELF libraries ``site`` holds, and those of them that are not for aarch64."""
    total, wrong = 0, []
    for path in sorted(p for p in site.rglob("*.so*") if p.is_file()):
        head = path.open("rb").read(20)
        if head[:4] == b"\x7fELF":
            total += 1
            if int.from_bytes(head[18:20], "little") != ELF_AARCH64:
                wrong.append(path.relative_to(site).as_posix())
    return total, wrong


def build(runs: Path, mirror: str | None) -> Emulated:
    """Emulator, root and wheels under ``runs``, made or found there.

    Raises:
        SmokeError: something cannot be had; the message says what to do next.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python not in SUITES:
        raise SmokeError(
            f"expected Python {' or '.join(SUITES)}, as Debian ships it, got {python}; "
            "make this environment with one of them: make arm64 VENV=.venv-arm64 PYTHON=python3.13"
        )
    suite, mirror = SUITES[python], mirror or debian_mirror()
    host = call(["dpkg", "--print-architecture"], timeout_s=20, advice="a Debian machine is needed")
    qemu = _unpacked(
        runs / "apt-qemu", runs / "qemu", mirror, EMULATOR_SUITE, host.strip(), ["qemu-user"]
    )
    root = runs / "root"
    debs = _unpacked(runs / "apt-root", root, mirror, suite, "arm64", PACKAGES)
    (root / "proc").mkdir(exist_ok=True)
    cpus = "".join(CPUINFO.format(index=index) for index in range(os.cpu_count() or 1))
    (root / "proc" / "cpuinfo").write_text(cpus)  # where a root has a file, the emulator shows it
    site, wheels = _wheels(runs, python, GLIBC_MINOR[suite])
    emulator = runs / "qemu" / "usr" / "bin" / "qemu-aarch64"
    command = (emulator, "-cpu", CPU, "-L", root, root / "usr" / "bin" / f"python{python}")
    return Emulated(
        command=tuple(map(str, command)),
        site=site,
        emulator=f"qemu-user {qemu['qemu-user']}, -cpu {CPU}",
        debian=f"{suite}, {len(debs)} arm64 packages, libc6 {debs['libc6']}, "
        f"python{python} {debs[f'python{python}']}",
        wheels=wheels,
    )
