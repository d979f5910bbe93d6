"""Rewards that open a model: tiny encoders and CLIP with random weights, the embedded detector."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
)

from edgetwin.deploy.stream.source import open_source
from edgetwin.distill.rewards.choose import rewards_of
from edgetwin.distill.rewards.embedders import EncoderEmbedder, embedder_of
from edgetwin.distill.rewards.rise import picture_of, semantic, views_of
from edgetwin.distill.rewards.similarities import (
    ClipSimilarity,
    OwlSimilarity,
    View,
    similarity_of,
)
from edgetwin.distill.stages.recipe import RewardChoice
from edgetwin.perception import Perceiver, load_bundle
from edgetwin.twin import TwinWindow
from edgetwin.twin.errors import InputError, ModelError, SourceError

from .rollouts_made import rollout, said, task

VIDEO = Path(__file__).parents[2] / "examples" / "temporal.mp4"  # a green pan, a spoon, a teapot
WORDS = ["mug", "red", "blue", "find", "the", "then", "keep", "book", "bowl", "of", "left", "white"]

torch.set_num_threads(1)


def write_tokenizer(folder: Path, start: str, end: str) -> int:
    """One token per word; returns how many there are."""
    vocabulary = {w: k for k, w in enumerate(["[PAD]", "[UNK]", start, *WORDS, end])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token=end
    ).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    size = write_tokenizer(folder, "[CLS]", "[SEP]")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=12,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    size = write_tokenizer(folder, "<|start|>", "<|end|>")
    torch.manual_seed(0)
    widths = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "projection_dim": 8,
    }  # fmt: skip
    config = CLIPConfig(
        text_config={**widths, "vocab_size": size, "max_position_embeddings": 16,
                     "bos_token_id": 2, "eos_token_id": size - 1, "pad_token_id": 0},
        vision_config={**widths, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    return folder


# -- sentence embeddings ------------------------------------------------------------------


def test_an_encoder_pools_the_mean_of_its_tokens(encoder: Path) -> None:
    embed = embedder_of(str(encoder))
    rows = embed.embed(["mug red", "find the red mug then keep the blue book"])
    assert rows.shape == (2, 16)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1], abs=1e-5)
    # Alone or beside a longer text, so with or without padding, a text is the same.
    assert embed.embed(["mug red"])[0] == pytest.approx(rows[0], abs=1e-5)
    model = BertModel.from_pretrained(encoder).eval()
    size = model.config.vocab_size
    ids = torch.tensor([[2, 3, 4, size - 1]])  # [CLS] mug red [SEP]
    with torch.inference_mode():
        mean = model(input_ids=ids).last_hidden_state[0].mean(0)
    assert (mean / mean.norm()).numpy() == pytest.approx(rows[0], abs=1e-5)


def test_an_encoder_cuts_what_it_has_no_positions_for(encoder: Path) -> None:
    embed = EncoderEmbedder(encoder)
    rows = embed.embed(["mug " * 500, "mug " * 10, ""])
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)  # [CLS], ten words, [SEP]
    assert np.isfinite(rows).all()
    assert embed.embed([]).shape[0] == 0


def test_self_distillation_through_an_encoder(encoder: Path) -> None:
    options = {"embedder": str(encoder)}
    (one,) = rewards_of([RewardChoice(name="self_distillation", options=options)])
    explain = "find the mug then keep the red mug"  # 8 words against 2
    same = said(task(), reason="mug red", explain=explain)
    value: Any
    (value,) = one.function([same])
    a, b = EncoderEmbedder(encoder).embed(["mug red", explain])
    assert value == pytest.approx(max(0.0, float(a @ b)) * 0.75, abs=1e-5)


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="as an encoder of safetensors, got"):
        EncoderEmbedder(tmp_path)
    with pytest.raises(ModelError, match="as CLIP of safetensors, got"):
        ClipSimilarity(tmp_path)
    with pytest.raises(ModelError, match="'hashed' is the embedder"):
        embedder_of("somewhere/else")


def test_pickled_weights_are_not_loaded(encoder: Path, tmp_path: Path) -> None:
    for path in encoder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(BertModel.from_pretrained(encoder).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="as an encoder of safetensors"):
        EncoderEmbedder(tmp_path)


# -- CLIP ---------------------------------------------------------------------------------


def painted(width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A grey picture with a red square (8 to 24, 8 to 24) and a blue one (40 to 56, 24 to 40)."""
    picture = np.full((height, width, 3), 120, np.uint8)
    picture[8:24, 8:24] = (210, 40, 40)
    picture[24:40, 40:56] = (50, 80, 210)
    return picture


def test_clip_is_the_cosine_of_its_two_embeddings(clip: Path) -> None:
    similarity = similarity_of(str(clip))
    picture = painted()
    views = [View(picture, (8, 8, 24, 24), "the red book"), View(picture, (40, 24, 56, 40), "mug")]
    scores = similarity.compare(views)
    assert similarity.compare(views[::-1]) == pytest.approx(scores[::-1], abs=1e-5)
    # By hand: the box of 16 with a tenth on each side is 19 pixels, at 16 − 9.5 = 6.5, so from 6.
    model = CLIPModel.from_pretrained(clip).eval()
    crop = cv2.resize(picture[6:25, 6:25], (16, 16), interpolation=cv2.INTER_AREA)
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.tensor(((crop / 255 - mean) / std).transpose(2, 0, 1)[None]).float()
    end = model.config.text_config.vocab_size - 1
    ids = torch.tensor([[2, 3 + WORDS.index("the"), 4, 3 + WORDS.index("book"), end]])
    with torch.inference_mode():
        out = model(input_ids=ids, pixel_values=pixels)
    assert scores[0] == pytest.approx(float((out.image_embeds * out.text_embeds).sum()), abs=1e-4)


def test_a_checkpoints_own_normalisation_is_used(clip: Path, tmp_path: Path) -> None:
    for path in clip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.1, 0.1, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(record))
    view = [View(painted(), (8, 8, 24, 24), "the red book")]
    assert ClipSimilarity(tmp_path).compare(view) != ClipSimilarity(clip).compare(view)


def test_boxes_at_the_edge_and_long_texts_are_compared_too(clip: Path) -> None:
    views = [
        View(painted(), (-5, -5, 3, 3), "mug " * 100),
        View(painted(), (63, 0, 64, 48), "quokka"),
        View(painted(8, 200), (0, 0, 8, 200), "mug"),
        View(painted(), (70, 70, 90, 90), "mug"),  # outside: the nearest pixel
    ]
    scores = ClipSimilarity(clip).compare(views * 9)  # more than a batch
    assert len(scores) == 36
    assert all(score is not None and -1 <= score <= 1 for score in scores)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected a picture \(H, W, 3\) uint8"):
        View(np.zeros((4, 4), np.uint8), (0, 0, 1, 1), "mug")


# -- the embedded detector ----------------------------------------------------------------


@pytest.fixture(scope="module")
def owl() -> OwlSimilarity:
    return OwlSimilarity("embedded")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[TwinWindow, Path]:
    """Two frames of an example video as pictures in a folder, and what is perceived in them."""
    folder = tmp_path_factory.mktemp("frames")
    perceiver = Perceiver(load_bundle("embedded", threads=1))
    twins = []
    for frame in islice(open_source(VIDEO), 20, 22):
        twins.append(perceiver.observe(frame))
        cv2.imwrite(str(folder / f"{frame.index:05d}.png"), frame.image_hw3[:, :, ::-1])
    return TwinWindow(twins), folder


def named(window: TwinWindow, label: str) -> int:
    return next(i for i in window.ids() if window.latest(i).semantic_label == label)


def test_the_words_of_a_question_that_the_detector_knows(owl: OwlSimilarity) -> None:
    assert owl.phrases("Which green pans stand near the Teapot, the quokka or the box?") == [
        ("green", "pan"), (None, "teapot"), (None, "box"),
    ]  # fmt: skip
    assert owl.phrases("which one is it") == []


def test_semantic_prefers_what_the_question_names(
    owl: OwlSimilarity, seen: tuple[TwinWindow, Path]
) -> None:
    window, folder = seen
    pan, spoon = named(window, "pan"), named(window, "spoon")

    def scores(question: str, *answers: str) -> Any:
        asked = task(question, ids=(pan,), window=window, pictures=str(folder))
        return semantic(owl)([said(asked, answer=answer) for answer in answers])

    right, wrong, both, none = scores(
        "the pan on the table", f"[{pan}]", f"[{spoon}]", f"[{pan},{spoon}]", "none"
    )
    assert right > 0.5 > 2 * wrong
    assert both == pytest.approx((right + wrong) / 2)
    assert none == 0.0
    (green,), (red,) = scores("a green pan", f"[{pan}]"), scores("a red pan", f"[{pan}]")
    assert green > 2 * red
    assert scores("which one is it", f"[{pan}]") == [None]


def test_semantic_needs_no_truth_but_pictures(
    owl: OwlSimilarity, seen: tuple[TwinWindow, Path]
) -> None:
    window, folder = seen
    pan = named(window, "pan")
    reward = semantic(owl)
    asked = task("the pan", ids=(), window=window, pictures=str(folder))
    value: Any
    (value,) = reward([said(asked, answer=f"[{pan}]")])
    assert value > 0.5  # though the truth is said to be none
    assert reward([rollout(asked, "<answer>")]) == [0.0]
    blind = task("the pan", ids=(pan,), window=window)
    assert reward([said(blind, answer=f"[{pan}]")]) == [None]


def test_pictures_that_are_named_have_to_be_there(
    owl: OwlSimilarity, seen: tuple[TwinWindow, Path], tmp_path: Path
) -> None:
    window, folder = seen
    pan = named(window, "pan")

    def asked(pictures: Path) -> None:
        one = task("the pan", ids=(pan,), window=window, pictures=str(pictures))
        semantic(owl)([said(one, answer=f"[{pan}]")])

    with pytest.raises(SourceError, match="expected a folder of frames or a picture"):
        asked(folder / "nowhere")
    with pytest.raises(SourceError, match="got none; frames are named"):
        asked(tmp_path)
    for index in (frame.index for frame in window.frames):
        (tmp_path / f"{index:05d}.jpg").write_text("no picture")
    with pytest.raises(SourceError, match="OpenCV cannot read"):
        asked(tmp_path)


def test_an_object_is_shown_in_the_newest_frame_that_has_a_picture(
    seen: tuple[TwinWindow, Path], tmp_path: Path
) -> None:
    window, folder = seen
    pan = named(window, "pan")
    first = window.frames[0]
    one = folder / f"{first.index:05d}.png"
    (tmp_path / one.name).write_bytes(one.read_bytes())
    asked = task("the pan", ids=(pan,), window=window, pictures=str(tmp_path))
    (view,) = views_of(asked, [pan, pan, 999])
    assert view.box_xyxy == first.objects[pan].box_xyxy
    assert picture_of(asked, window.frames[-1].index) is None
    single = task("the pan", ids=(pan,), window=window, pictures=str(one))
    assert picture_of(single, 7) == one


def test_rise_from_a_recipe(seen: tuple[TwinWindow, Path]) -> None:
    window, folder = seen
    pan = named(window, "pan")
    (one,) = rewards_of([RewardChoice(name="semantic", weight=2)])
    asked = task("the pan", ids=(pan,), window=window, pictures=str(folder))
    assert (one.weight, one.role) == (2.0, "add")
    value: Any = one.function([said(asked, answer=f"[{pan}]")])[0]
    assert value > 0.5
