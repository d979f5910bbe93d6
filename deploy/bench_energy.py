"""Joules that a board used, where it reports power: NVML, Jetson's INA3221, tegrastats.

Power is read every tenth of a second in a thread of its own and added up. A board without a
reader reports nothing, never a guess.

Sources: ``nvidia-smi --query-gpu=power.draw`` (the card alone, in watts); the INA3221's hwmon
files ``in*_label``, ``in*_input`` (mV) and ``curr*_input`` (mA) of Jetsons, whose rail ``VDD_IN``
is the whole module; ``tegrastats``'s ``VDD_IN 5000mW/4800mW`` where those files are not readable.

Not covered: Intel's and AMD's counters (readable by root alone), the power supply's losses.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

__all__ = ["EnergyMeter", "PowerReader", "find_reader", "ina3221_reader", "tegrastats_watts"]

HWMON = Path("/sys/class/hwmon")
_WHOLE = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0", "VDD_GPU_SOC")  # the module's rail, best first
_PERIOD_S = 0.1
_TIMEOUT_S = 5.0

Watts = Callable[[], float | None]


class PowerReader:
    """Reads watts now; ``name`` says of what and from where. None is a reading that failed."""

    def __init__(self, name: str, watts: Watts) -> None:
        self.name, self.watts = name, watts


class EnergyMeter:
    """Adds up power while it is entered; used once.

    ::

        with EnergyMeter(find_reader()) as meter:
            work()
        print(meter.joules, meter.seconds)
    """

    def __init__(self, reader: PowerReader | None, period_s: float = _PERIOD_S) -> None:
        self.reader, self._period_s = reader, period_s
        self.seconds = 0.0
        self._joules = 0.0
        self._readings = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def joules(self) -> float | None:
        """Joules so far; None where nothing could be read."""
        return self._joules if self._readings else None

    @property
    def mean_w(self) -> float | None:
        """Mean watts; None where nothing could be read."""
        return self._joules / self.seconds if self._readings and self.seconds > 0 else None

    def __enter__(self) -> EnergyMeter:
        if self.reader is not None:
            self._thread = threading.Thread(target=self._run, name="edgetwin-power", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_TIMEOUT_S + self._period_s)

    def _run(self) -> None:
        assert self.reader is not None
        last, power = time.perf_counter(), self.reader.watts()
        while True:
            stopped = self._stop.wait(self._period_s)
            now, next_power = time.perf_counter(), self.reader.watts()
            if power is not None and next_power is not None:
                self._joules += (power + next_power) / 2 * (now - last)
                self.seconds += now - last
                self._readings += 1
            last, power = now, next_power
            if stopped:
                return


def find_reader(hwmon: Path = HWMON) -> PowerReader | None:
    """Return the first reader that gives a number on this machine, None without one."""
    makers: tuple[Callable[[], PowerReader | None], ...] = (
        lambda: ina3221_reader(hwmon),
        _tegrastats_reader,
        _nvidia_reader,
    )
    for make in makers:
        reader = make()
        if reader is not None and reader.watts() is not None:
            return reader
    return None


def ina3221_reader(hwmon: Path = HWMON) -> PowerReader | None:
    """Return a reader of the INA3221's rail of the whole module, else of all its rails."""
    rails: dict[str, tuple[Path, Path]] = {}
    for chip in sorted(hwmon.glob("hwmon*")):
        if _text(chip / "name") != "ina3221":
            continue
        for label in sorted(chip.glob("in[0-9]*_label")):
            number = label.name.removeprefix("in").removesuffix("_label")
            files = chip / f"in{number}_input", chip / f"curr{number}_input"
            name = _text(label)
            if name and all(file.is_file() for file in files):
                rails[name] = files
    if not rails:
        return None
    whole = next((name for name in _WHOLE if name in rails), None)
    chosen = [rails[whole]] if whole is not None else list(rails.values())

    def watts() -> float | None:
        total = 0.0
        for files in chosen:
            values = [_text(file) for file in files]
            if not all(value.lstrip("-").isdigit() for value in values):
                return None
            total += float(values[0]) * float(values[1]) / 1e6
        return total

    return PowerReader(f"INA3221 {whole or '+'.join(rails)}", watts)


def tegrastats_watts(line: str) -> float | None:
    """Return the module's watts of a line of tegrastats, None if it has none."""
    found = {name: float(mw) for name, mw in re.findall(r"\b([A-Z][A-Z0-9_]+) (\d+)mW", line)}
    found |= {n: float(mw) for n, mw in re.findall(r"\b([A-Z][A-Z0-9_]+) (\d+)/\d+(?!\w)", line)}
    for name in _WHOLE:
        if name in found:
            return found[name] / 1000
    return None


def _tegrastats_reader() -> PowerReader | None:
    def watts() -> float | None:
        # It prints for ever; its first line is enough, and takes one interval (ms).
        line = _first_line(["tegrastats", "--interval", "100"])
        return None if line is None else tegrastats_watts(line)

    return PowerReader("tegrastats VDD_IN", watts)


def _nvidia_reader() -> PowerReader | None:
    command = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", "-i", "0"]

    def watts() -> float | None:
        line = _first_line(command)
        try:
            return None if line is None else float(line)
        except ValueError:  # "[N/A]" on cards that do not say
            return None

    return PowerReader("NVML power.draw, GPU 0", watts)


def _first_line(command: list[str]) -> str | None:
    """Return a command's first line and end it; None if there is no such command, or no line."""
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return None
    ender = threading.Timer(_TIMEOUT_S, process.kill)
    ender.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            line = process.stdout.readline().strip()
        return line or None
    finally:
        ender.cancel()
        process.kill()
        process.wait()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
