# ruff: noqa: E402
from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from tokenizers import Tokenizer

from edgetwin.distill.reasoner import network, records, score
from edgetwin.distill.reasoner import tokenizer as bpe
from edgetwin.distill.reasoner.packing import collate
from edgetwin.distill.reasoner.sft_train import Settings, Trainer, breaking, encode
from edgetwin.distill.sim.questions.restricted import TRAINED
from edgetwin.reasoner.protocol import parse
from edgetwin.twin.errors import InputError, ModelError
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY

WIDTHS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
TWIN = (
    "frame 256x256\n1 red mug x40 y90 w30 h30 z80\n2 blue box x90 y90 w30 h30 z90\ntime 0.0-1.0\n"
)
MUG = records.Question(
    "the mug?", "Mug.", '[{"tool":"find","words":["mug"]}]', "[[1]]", "$1", level=1
)
NEW_TOOL = {"properties": {"tool": {"const": "zoom"}}}
NONE = records.Question("a pan", "Pan.", '[{"tool":"find","words":["pan"]}]', "[[]]", "none")
DIRECT = records.Question("id two", "Two.", "", "", "[2]")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = random.Random(0)
    for number in range(2):
        examples = [
            records.Example(10 * number + i, TWIN, tuple(rng.choices((MUG, NONE, DIRECT), k=3)))
            for i in range(3)
        ]
        records.write(records.chunk_path(tmp_path, number), examples)
    return tmp_path


@pytest.fixture
def tokenizer() -> Any:
    texts = [TWIN, *(text for q in (MUG, NONE, DIRECT) for text, _ in records.pieces(q))]
    return bpe.train(texts * 3, DEFAULT_REGISTRY.json_schemas(), 480)


def trainer_of(tokenizer: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    build = network.build
    monkeypatch.setattr(network, "build", lambda size, eos, seed: build(size, eos, seed, WIDTHS))
    settings = Settings(warm_steps=2, bfloat16=False, compile=False, dropout_merges=0.0)
    made = Trainer(tokenizer, data, settings, "cpu")
    monkeypatch.undo()
    return made


def test_only_the_models_own_tokens_are_learnt(tokenizer: Any) -> None:
    pack = encode(tokenizer, records.Example(0, TWIN, (MUG,)))
    learnt = [i for i, t in zip(pack.items[0].ids, pack.items[0].targets, strict=True) if t]
    given = [i for i, t in zip(pack.items[0].ids, pack.items[0].targets, strict=True) if not t]
    assert tokenizer.decode(learnt, skip_special_tokens=False) == (
        '<reason>Mug.</reason><plan>[{"tool":"find","words":["mug"]}]</plan>'
        "<answer>$1</answer><|endoftext|>"
    )
    assert tokenizer.decode(given) == "question: the mug?\n<results>[[1]]</results>"


def test_left_out_merges_break_every_second_question_and_nothing_else(tokenizer: Any) -> None:
    assert breaking(tokenizer, 0.0) is None
    example = records.Example(0, TWIN, (MUG, MUG, NONE))
    whole = encode(tokenizer, example)
    broken = encode(tokenizer, example, breaking(tokenizer, 1.0))
    assert broken.prefix == whole.prefix
    assert broken.items[1] == whole.items[1]
    for n in (0, 2):
        cut, kept = broken.items[n], whole.items[n]
        assert len(cut.ids) > len(kept.ids)
        assert tokenizer.decode(cut.ids) == tokenizer.decode(kept.ids)
        assert sum(cut.targets) == sum(kept.targets)
    assert encode(tokenizer, example) == whole  # the copy left the original as it was


def test_environment_tokens_have_no_loss(tokenizer: Any) -> None:
    batch = collate(encode(tokenizer, records.Example(0, TWIN, (MUG, NONE))))
    inserted = len(tokenizer.encode("<results>[[1]]</results>").ids)
    asked = len(tokenizer.encode("question: the mug?\n").ids)
    alone = collate(encode(tokenizer, records.Example(0, TWIN, (MUG,))))
    assert len(alone.labels_m) == len(alone.ids_t) - alone.prefix - asked - inserted
    results = tokenizer.token_to_id("<results>")
    assert results in batch.ids_t.tolist()
    assert results not in batch.labels_m.tolist()
    # every learnt token is predicted from the place before it
    assert batch.ids_t[batch.select_m + 1].tolist() == batch.labels_m.tolist()


def test_resumed_equals_uninterrupted(
    tokenizer: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer_of(tokenizer, data, monkeypatch)
    losses = [whole.step(n / 10) for n in range(8)]
    first = trainer_of(tokenizer, data, monkeypatch)
    for n in range(4):
        first.step(n / 10)
    first.elapsed_s = 1.5
    first.save(tmp_path / "last")
    second = trainer_of(tokenizer, data, monkeypatch)
    second.load(tmp_path / "last")
    assert (second.steps, second.visits, second.elapsed_s) == (4, 12, 1.5)
    assert [second.step(n / 10) for n in range(4, 8)] == losses[4:]
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.cursor == second.cursor
    assert losses[-1] < losses[0]


def test_reader_goes_round(data: Path, tmp_path: Path) -> None:
    cursor = records.Cursor()
    seeds = [e.seed for e in itertools.islice(records.follow(data, cursor), 8)]
    assert seeds == [0, 1, 2, 10, 11, 12, 0, 1]
    assert cursor == records.Cursor(chunk=0, line=2, rounds=1)
    again = [e.seed for e in itertools.islice(records.follow(data, cursor), 1)]
    assert again == [2]
    with pytest.raises(InputError, match="got none"):
        next(records.follow(tmp_path / "empty", records.Cursor()))


def test_broken_line_is_named(tmp_path: Path) -> None:
    path = records.chunk_path(tmp_path, 0)
    path.write_text(json.dumps({"seed": 1}) + "\n")
    with pytest.raises(InputError, match=r"asked_00000\.jsonl, line 1: expected an example"):
        records.read(path)


def test_pieces_follow_the_protocol() -> None:
    for question in (MUG, NONE, DIRECT):
        text = "".join(text for text, _ in records.pieces(question))
        assert parse(text).answer is not None


LATER = records.Question(
    "and behind it?",
    "Take everything behind object 1.",
    '[{"tool":"behind","of":[1]}]',
    "[[2]]",
    "$1",
    mode="sentence",
    turns=(("the mug?", (1,)),),
)
DESCRIBED = records.Question(
    "the mug?",
    "Mug.",
    '[{"tool":"detect","words":["mug"]}]',
    "[[1]]",
    "$1",
    mode="description",
    describe="the red mug",
)


def test_turns_and_mode_are_given_and_the_description_is_learnt(tokenizer: Any) -> None:
    assert records.prompt(LATER) == [
        "question: the mug?\n<answer>[1]</answer>\n",
        "question: and behind it?\nmode: sentence\n",
    ]
    for question in (LATER, DESCRIBED):
        item = encode(tokenizer, records.Example(0, TWIN, (question,))).items[0]
        given = [i for i, learnt in zip(item.ids, item.targets, strict=True) if not learnt]
        told = "".join(records.prompt(question)) + f"<results>{question.results}</results>"
        assert tokenizer.decode(given) == told
    text = "".join(text for text, learnt in records.pieces(DESCRIBED) if learnt)
    assert text.startswith("<reason>Mug.</reason><describe>the red mug</describe><plan>")
    assert parse(text.replace("</plan>", "</plan><results>[[1]]</results>")).answer is not None


def test_records_come_back_as_they_were_and_old_ones_are_read(tmp_path: Path) -> None:
    path = records.chunk_path(tmp_path, 0)
    records.write(path, [records.Example(3, TWIN, (MUG, LATER, DESCRIBED))])
    assert records.read(path)[0].items == (MUG, LATER, DESCRIBED)
    line = json.loads(path.read_text())
    for item in line["items"]:
        del item["turns"], item["mode"], item["describe"]
    path.write_text(json.dumps(line) + "\n")
    assert records.read(path)[0].items[0] == MUG


def started(tokenizer: Any, folder: Path) -> Any:
    """A small network's weights with their tokenizer, as a run goes on from them."""
    model = network.build(tokenizer.get_vocab_size(), 0, 1, WIDTHS)
    model.save_pretrained(folder)
    bpe.save(tokenizer, folder)
    return model


def test_a_run_that_goes_on_computes_what_the_weights_did(tokenizer: Any, tmp_path: Path) -> None:
    old = started(tokenizer, tmp_path / "start")
    longer = Tokenizer.from_str(tokenizer.to_str())
    more = bpe.extend(longer, [*TRAINED.json_schemas(), NEW_TOOL])
    assert {'{"tool":"detect"', '{"tool":"zoom"'} <= set(more)
    assert bpe.extend(longer, TRAINED.json_schemas()) == []
    known = tokenizer.get_vocab_size()
    assert [longer.id_to_token(i) for i in range(known)] == [
        tokenizer.id_to_token(i) for i in range(known)
    ]
    new = network.build(longer.get_vocab_size(), 0, 2, WIDTHS)
    network.take_over(new, longer, tmp_path / "start")
    ids = torch.tensor([tokenizer.encode(TWIN).ids])
    with torch.no_grad():
        assert torch.equal(new(ids).logits[..., :known], old(ids).logits)
    rows = new.model.embed_tokens.weight
    find, detect = (rows[longer.token_to_id(f'{{"tool":"{t}"')] for t in ("find", "detect"))
    assert torch.cosine_similarity(find, detect, dim=0) > 0.9
    assert new.lm_head.weight is rows


def test_weights_of_another_network_or_tokenizer_are_refused(
    tokenizer: Any, tmp_path: Path
) -> None:
    started(tokenizer, tmp_path)
    other = bpe.train(["other words"] * 4, TRAINED.json_schemas(), 500)
    model = network.build(500, 0, 0, WIDTHS)
    with pytest.raises(ModelError, match="train in an empty folder"):
        network.take_over(model, other, tmp_path)
    wide = network.build(tokenizer.get_vocab_size(), 0, 0, {**WIDTHS, "intermediate_size": 64})
    with pytest.raises(ModelError, match="to have this shape"):
        network.take_over(wide, tokenizer, tmp_path)
    with pytest.raises(ModelError, match=r"model\.safetensors and"):
        network.take_over(model, tokenizer, tmp_path / "nowhere")


def test_going_on_lowers_the_rate() -> None:
    settings = Settings().going_on(Path("there"))
    assert (settings.start, settings.flat) == ("there", 0.15)
    assert settings.muon_lr < Settings().muon_lr / 2
    assert settings.adam_lr < Settings().adam_lr / 2


def test_greedy_decoding_equals_transformers_row_by_row(
    tokenizer: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trainer_of(tokenizer, data, monkeypatch).model
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15]]
    together = score.greedy(model, tokenizer, prompts, ("</answer>",), 6, batch=3)
    alone = [score.greedy(model, tokenizer, [p], ("</answer>",), 6, batch=1)[0] for p in prompts]
    assert together == alone
