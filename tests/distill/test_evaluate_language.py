"""eval language: agreement counted by hand, questions, one tiny size through every runtime here."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

import typer
from typer.testing import CliRunner

from edgetwin.deploy.export import genai
from edgetwin.distill.evaluate import language, language_speed
from edgetwin.distill.evaluate.language import Given, agreement_table, choice_table, describe
from edgetwin.distill.evaluate.language_commands import register
from edgetwin.distill.evaluate.language_sizes import FORMATS, formatted, write_random
from edgetwin.reasoner.bundle import load_bundle
from edgetwin.tests.distill.questions_window import small_window
from edgetwin.twin.errors import InputError, ModelError

TINY = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 2304,
}


def test_agreement_is_counted_pair_by_pair() -> None:
    given = {
        "a": [Given("x", (1,), 5.0), Given("y", (2,), 7.0), Given("z", None, 9.0)],
        "b": [Given("x", (1,), 1.0), Given("w", (2,), 1.0), Given("z", (3,), 1.0)],
        "c": [Given("q", (9,), 1.0), Given("y", (2,), 1.0), Given("z", None, 1.0)],
    }
    table = agreement_table(given, "t")
    expected: Any = (
        ("a / b", pytest.approx(2 / 3), pytest.approx(2 / 3), 3),
        ("a / c", pytest.approx(2 / 3), pytest.approx(2 / 3), 3),
        ("b / c", pytest.approx(1 / 3), pytest.approx(1 / 3), 3),
    )
    assert table.rows == expected
    costs = choice_table([("int4", 3.4, given)], [(1,), (2,), (3,)])
    first: Any = ("int4", "a", 3.4, pytest.approx(2 / 3), 7.0)
    assert costs.rows[0] == first
    assert costs.rows[1][3] == 1.0


def test_a_copy_s_manifest_says_what_the_bundle_s_says(tmp_path: Path) -> None:
    own = load_bundle()
    (tmp_path / "model.gguf").write_bytes(b"weights")
    describe(own, tmp_path, "f16")
    copy = load_bundle(tmp_path, needed=("model.gguf",))
    assert copy.name == f"{own.name}-f16"
    assert (copy.style, copy.layout, copy.modes) == (own.style, own.layout, own.modes)
    assert (copy.turns, copy.tools, copy.known_words) == (own.turns, own.tools, own.known_words)
    assert copy.config == {**own.config, "precision": "f16"}


def test_what_is_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int3"):
        language.weights_folder(load_bundle(), "int3", tmp_path)
    with pytest.raises(InputError, match="positive"):
        language.evaluate_agreement(count=0)
    with pytest.raises(InputError, match=r"7B"):
        write_random("7B", tmp_path)
    with pytest.raises(InputError, match="q3"):
        formatted(tmp_path, "q3", tmp_path / "x")
    with pytest.raises(InputError, match="variants"):
        language_speed.evaluate_speed(variants=[("generate", "int4")], work=tmp_path)


def test_the_prompt_holds_all_objects() -> None:
    twin, question = language_speed.prompt_of(20)
    assert [f"\n{n} " in twin for n in (1, 20, 21)] == [True, True, False]
    assert question.startswith("question: ")


SLOW = pytest.mark.skipif(not os.environ.get("EDGETWIN_SLOW"), reason="set EDGETWIN_SLOW=1")


@pytest.mark.parametrize(
    "variants",
    [
        [("generate", "fp32"), ("llama.cpp", "q8_0")],
        pytest.param(language_speed.VARIANTS, marks=[pytest.mark.slow, SLOW]),
    ],
)
def test_a_tiny_size_runs(tmp_path: Path, variants: Sequence[tuple[str, str]]) -> None:
    (table,), figures = language_speed.evaluate_speed(
        variants=variants, tokens=4, rounds=1, threads=1, work=tmp_path, changes=TINY
    )
    rows = {(row["runtime"], row["format"]): row for row in figures["0.6B"]}
    assert json.loads((tmp_path / "speed.json").read_text())["0.6B"] == figures["0.6B"]
    has_llama = importlib.util.find_spec("llama_cpp") is not None
    for variant, row in rows.items():
        if variant[0] == "llama.cpp" and not has_llama:
            assert "llama-cpp-python" in row["error"]
            continue
        assert "error" not in row, row
        assert row["prompt_tokens"] == rows["generate", "fp32"]["prompt_tokens"] > 300
        assert row["new_tokens"] == 3
        assert row["prompt_s"] > 0
        assert row["new_s"] > 0
        assert row["peak_mb"] > 50
    assert [row[:2] for row in table.rows] == list(variants)
    assert table.rows[0][5] == 1.0
    if has_llama:  # what is there is kept
        folder = tmp_path / "qwen3-0.6B-q8_0"
        before = (folder / FORMATS["q8_0"]).stat().st_mtime_ns
        assert formatted(tmp_path / "qwen3-0.6B", "q8_0", folder) == folder
        assert (folder / FORMATS["q8_0"]).stat().st_mtime_ns == before


def test_a_variant_that_cannot_run_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError("No space left on device")

    monkeypatch.setattr(language_speed.subprocess, "run", failing)
    (table,), figures = language_speed.evaluate_speed(
        variants=[("generate", "fp32")], tokens=4, work=tmp_path, changes=TINY
    )
    assert figures["0.6B"][0]["error"] == "No space left on device"
    assert table.rows[0][-1] == "No space left on device"
    assert table.rows[0][3] is None


def test_a_graph_is_not_built_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_random("0.6B", tmp_path / "m", **TINY)
    monkeypatch.setattr(genai, "_free_bytes", lambda: 1000)
    with pytest.raises(ModelError, match="free memory to build int8"):
        formatted(source, "int8", tmp_path / "m-int8")


def test_questions_and_answers_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a hand-made twin in place of rendered worlds."""

    class World:
        window = small_window()

    monkeypatch.setattr(language, "rendered_world", lambda *_: World)
    app = typer.Typer()
    register(app)
    out = tmp_path / "out.json"
    arguments = ["--questions", "4", "--backend", "ORT GenAI", "--backend", "transformers"]
    found = CliRunner().invoke(app, [*arguments, "--work", str(tmp_path), "-o", str(out)])
    assert found.exit_code == 0, found.output
    figures = json.loads(out.read_text())["figures"]["agreement"]
    assert figures["questions"] == 4
    (pair,) = figures["shipped"]["pairs"]
    assert pair["questions"] == 4
    assert 0 <= pair["same_transcript"] <= pair["same_answer"] <= 1
    assert set(figures["shipped"]["backends"]) == {"ORT GenAI", "transformers"}
