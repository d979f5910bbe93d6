"""The JSON Schema of the twin's records, generated from the models and committed.

``python -m edgetwin.twin.schema_json`` prints it, ``--check`` compares it with the committed
file, ``--write`` renews the file. A changed schema under an unchanged ``SCHEMA_VERSION`` is
refused, because readers trust the version; ``--same-version`` says that the change is in words
only (a title, a description) and that records of before and after are the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import SchemaError
from .schema import SCHEMA_VERSION, FrameTwin

__all__ = ["committed", "generate", "main", "render", "write"]

_FILE = "schema.json"


def generate() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a :class:`FrameTwin`, with the schema's version."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgetwin:twin:{SCHEMA_VERSION}",
        "version": SCHEMA_VERSION,
        **FrameTwin.model_json_schema(mode="validation"),
    }


def render(schema: dict[str, Any]) -> str:
    """The schema as text, keys sorted, ending with a line end."""
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def committed() -> dict[str, Any]:
    """The schema that ships with the package."""
    text = (resources.files(__package__) / _FILE).read_text(encoding="utf-8")
    return dict(json.loads(text))


def write(path: Path, *, same_version: bool = False) -> bool:
    """Write the generated schema to ``path`` if it differs; True if it did.

    Raises:
        SchemaError: if the records changed and ``SCHEMA_VERSION`` did not.
    """
    schema = generate()
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        if old == schema:
            return False
        if old.get("version", 0) >= SCHEMA_VERSION and not same_version:
            raise SchemaError(
                f"expected a SCHEMA_VERSION over {old.get('version')} for changed records, got "
                f"{SCHEMA_VERSION}: raise it in twin/schema.py, or pass --same-version if only "
                "words changed"
            )
    path.write_text(render(schema), encoding="utf-8")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Print, check or renew the schema; 0 when it is up to date or was written, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m edgetwin.twin.schema_json", description=__doc__
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="renew the committed schema")
    action.add_argument("--check", action="store_true", help="compare with the committed schema")
    parser.add_argument("--same-version", action="store_true", help="only words changed")
    options = parser.parse_args(arguments)
    if options.write:
        try:
            write(Path(__file__).with_name(_FILE), same_version=options.same_version)
        except SchemaError as error:
            print(error, file=sys.stderr)
            return 1
    elif options.check:
        if committed() != generate():
            print(
                "expected twin/schema.json to be current, got an old one: run --write",
                file=sys.stderr,
            )
            return 1
    else:
        print(render(generate()), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
