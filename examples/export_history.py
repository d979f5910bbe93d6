"""For researchers: what a stream saw, and what was asked about it, as data to train or evaluate on.

    python examples/export_history.py http://127.0.0.1:8300 table data --label mug

Writes ``train.csv`` and ``test.csv``, a row per object and frame, split in time (the last part is
the test's, so that no frame of it has a neighbour in training), and ``answers.jsonl``: question,
rationale, plan, results and ids of every answer that the server still holds.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

from edgetwin.deploy.client import Client
from edgetwin.deploy.client.records import Row


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV; lists become JSON-like text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.model_fields), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row.model_dump(mode="json") for row in rows)


def main() -> None:
    """Read everything between two times, page by page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("stream")
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", type=float, default=24.0, help="how far to look back")
    parser.add_argument("--label")
    parser.add_argument("--test", type=float, default=0.2, help="share of the time for the test")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with Client(given.server, token=os.environ.get("EDGETWIN_TOKEN")) as client:
        start_at = time.time() - 3600 * given.hours
        rows = list(client.rows(given.stream, start_at=start_at, label=given.label))
        answers = client.answers(given.stream)
    first, last = (rows[0].at, rows[-1].at) if rows else (0.0, 0.0)
    split_at = last - given.test * (last - first)
    write(given.out / "train.csv", [row for row in rows if row.at <= split_at])
    write(given.out / "test.csv", [row for row in rows if row.at > split_at])
    lines = [answer.model_dump_json(exclude={"masks"}) + "\n" for answer in answers]
    (given.out / "answers.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{len(rows)} rows of {len({row.id for row in rows})} ids, {len(answers)} answers")


if __name__ == "__main__":
    main()
