"""Predictions: limits of the roofline, published figures, and what the command prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgetwin.deploy.planner import devices
from edgetwin.deploy.planner.commands import register
from edgetwin.deploy.planner.devices import DEVICES, Device, find_device, measure_cpu
from edgetwin.deploy.planner.language import language_of, published
from edgetwin.deploy.planner.predict import (
    Stream,
    assumptions,
    estimate,
    graph_ms,
    with_assumptions,
)
from edgetwin.deploy.planner.records import GraphCounts, KindCounts
from edgetwin.deploy.planner.uses import known_sets
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.twin.errors import InputError, ModelError

AGX = DEVICES["jetson-agx-orin"]
PERFECT = with_assumptions(
    assumptions(AGX),
    {"compute_share": 1, "bandwidth_share": 1, "traffic_left": 1, "kernels": 0, "vector_share": 1},
)


def graph(flops: float = 0, weights: float = 0, moved: float = 0, nodes: int = 1) -> GraphCounts:
    return GraphCounts({}, {"matmul": KindCounts(nodes, flops, 0, weights, moved)}, 2)


def test_published_rates() -> None:
    """The rates that NVIDIA gives, from which ours are made by clocks."""
    nano, nx, thor = (DEVICES[f"jetson-{n}"] for n in ("orin-nano", "orin-nx", "thor"))
    assert nano.int8_tops * 2 == pytest.approx(67, rel=0.01)
    assert nano.fp16_tflops == pytest.approx(17, rel=0.03)
    assert AGX.int8_tops * 2 == pytest.approx(170, rel=0.01)
    assert AGX.fp32_tflops == pytest.approx(5.3, rel=0.01)
    assert thor.fp16_tflops * 8 == pytest.approx(2070)
    assert nano.fp16_tflops < nx.fp16_tflops < AGX.fp16_tflops < thor.fp16_tflops


def test_the_roofline_by_hand() -> None:
    ms, bound = graph_ms(graph(flops=AGX.fp16_tflops * 1e9), AGX, PERFECT)
    assert (round(ms, 6), bound) == (1.0, "compute")
    ms, bound = graph_ms(graph(weights=AGX.bandwidth_gb_s * 1e6), AGX, PERFECT)
    assert (round(ms, 6), bound) == (1.0, "memory")
    busy = replace(PERFECT, kernels=1.0)
    ms, bound = graph_ms(graph(nodes=125), AGX, busy)
    assert (round(ms, 6), bound) == (1.0, "kernels")
    # In fp32 the rate is lower and every number twice as wide.
    ms, _ = graph_ms(graph(weights=AGX.bandwidth_gb_s * 1e6), AGX, PERFECT, "fp32")
    assert ms == pytest.approx(2.0)


def test_owlvit_on_an_agx_orin_as_published() -> None:
    """OWL-ViT-B/16 at 768 pixels: 25 frames/s (NVIDIA-AI-IOT/nanoowl, README)."""
    tokens, width, layers = 48 * 48 + 1, 768, 12
    matrices = 12 * width * width  # of one layer
    flops = layers * (2 * tokens * matrices + 4 * tokens**2 * width)
    moved = layers * 2 * (20 * tokens * width + 3 * 12 * tokens**2)  # fp16, scores unfused
    counts = GraphCounts(
        {}, {"matmul": KindCounts(layers * 8, flops, 0, 2 * layers * matrices, moved)}, 2
    )
    ms, _ = graph_ms(counts, AGX, assumptions(AGX))
    assert ms == pytest.approx(40, rel=0.33)


@pytest.mark.parametrize(
    ("name", "device", "precision", "tokens_per_s"),
    [
        ("qwen3-0.6b", "jetson-thor", "int4", 270.2),  # TensorRT-Edge-LLM, performance page
        ("qwen3-1.7b", "jetson-orin-nano", "int4", 64.5),  # as SmolLM2-1.7B (MLC), NVIDIA's blog
    ],
)
def test_tokens_as_published(name: str, device: str, precision: str, tokens_per_s: float) -> None:
    told = estimate(
        known_sets()["embedded"],
        DEVICES[device],
        Stream(1280, 720, 30),
        language=published(name),
        language_precision=precision,
    )
    assert told.answers is not None
    assert told.answers.tokens_per_s == pytest.approx(tokens_per_s, rel=0.4)


def test_what_a_language_model_weighs() -> None:
    small = published("qwen3-0.6b")
    assert small.parameters == 596_049_920  # of the checkpoint
    assert small.token_parameters == small.parameters  # one table, tied
    large = published("qwen3-8b")
    assert large.parameters == 8_190_735_360
    assert large.token_parameters == large.parameters - 151936 * 4096
    own = language_of(EMBEDDED)
    assert own.stored_bytes == (EMBEDDED / "model.onnx").stat().st_size
    assert own.weight_bytes("int4") == own.stored_bytes
    with pytest.raises(InputError, match="qwen3"):
        published("gpt-9")
    with pytest.raises(InputError, match="precision"):
        small.weight_bytes("int3")


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        language_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="hidden_size"):
        language_of(tmp_path)


def test_a_genai_folder_with_the_manifests_parameters(tmp_path: Path) -> None:
    decoder = {"num_hidden_layers": 5, "num_key_value_heads": 2, "head_size": 64}
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": {"decoder": decoder}}))
    (tmp_path / "model.onnx").write_bytes(b"x" * 100)
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 900)
    found, own = language_of(tmp_path, 4_467_072), language_of(EMBEDDED)
    assert (found.layers, found.kv_bytes, found.stored_bytes) == (own.layers, own.kv_bytes, 1000)
    assert found.token_parameters == own.token_parameters
    (tmp_path / "genai_config.json").write_text("[]")
    with pytest.raises(ModelError, match="head_size"):
        language_of(tmp_path, 1)


def test_the_edge_set_is_known_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("asked for weights")

    monkeypatch.setattr("edgetwin.perception.bundle.load_bundle", never)
    document = json.loads(command("--target", "jetson-thor", "--models", "edge", "--json"))
    stages = {(s["graph"], s["use"]): s for s in document["stages"]}
    # OWLv2-base at 960 pixels: a ViT-B/16 on 3,601 tokens, counted by hand, and its heads.
    tokens, width = 3601, 768
    vit = 12 * (2 * tokens * 12 * width**2 + 4 * tokens**2 * width) / 1e9
    assert stages["detector_image.onnx", "look"]["gflop"] == pytest.approx(vit, rel=0.05)
    assert stages["detector_image.onnx", "look"]["per_frame"] == 1 / 8
    assert document["answers"]["model"] == "qwen3-0.6b"


def test_more_work_never_takes_less() -> None:
    counts = known_sets()["embedded"]

    def of(device: Device = AGX, objects: int = 4, **options: object) -> float:
        return estimate(counts, device, Stream(640, 480, 30, objects), **options).frames_per_s

    assert of(objects=1) > of(objects=8) > of(objects=16)
    assert of(DEVICES["jetson-thor"]) > of(AGX) > of(DEVICES["jetson-orin-nano"])
    assert of(precision="fp16") > of(precision="fp32")


def test_a_detector_that_looks_seldom_lets_memory_follow() -> None:
    told = estimate(known_sets()["embedded"], AGX, Stream(640, 480, 30), look_every=8)
    runs = {(s.graph, s.use): s.per_frame for s in told.stages}
    assert runs["detector_image.onnx", "look"] == 1 / 8
    assert runs["segmenter_decoder.onnx", "boxes"] == 1 / 8
    assert runs["segmenter_memory_attention.onnx", "memory"] == 7 / 8
    assert runs["detector_text.onnx", "vocabulary"] == 0


@pytest.mark.parametrize("change", [{"precision": "int3"}, {"look_every": 0}])
def test_what_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        estimate(known_sets()["embedded"], AGX, Stream(640, 480, 30), **change)
    with pytest.raises(InputError, match="assumptions among"):
        with_assumptions(PERFECT, {"luck": 1.0})
    with pytest.raises(InputError, match="--stream"):
        Stream(640, 0, 30)


def test_this_machine_is_measured() -> None:
    found = measure_cpu(0.05)
    assert found.measured
    assert not found.gpu
    assert 0.0005 < found.fp32_tflops < 50
    assert 0.1 < found.bandwidth_gb_s < 2000


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="jetson-orin-nx"):
        find_device("jetson-nano")
    monkeypatch.setattr(devices, "_card_name", lambda: "NVIDIA H200")
    assert find_device("cuda").name == "h200"
    monkeypatch.setattr(devices, "_card_name", lambda: "Tesla V100-SXM2")
    with pytest.raises(InputError, match="V100"):
        find_device("cuda")


def command(*arguments: str) -> str:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command(tmp_path: Path) -> None:
    text = command("--target", "jetson-orin-nx", "--stream", "1280x720@30", "--objects", "6")
    assert "frames/s: " in text
    assert "compute_share 0.35" in text
    assert "rates (as published): 102.4 GB/s" in text
    out = tmp_path / "e.json"
    changed = ("--assume", "compute_share=0.5", "--language", "qwen3-0.6b")
    document = json.loads(command("--target", "jetson-orin-nx", "--json", "-o", str(out), *changed))
    assert document == json.loads(out.read_text())
    assert document["assumed"]["compute_share"] == 0.5
    assert document["answers"]["model"] == "qwen3-0.6b"
    assert document["memory_mb"] > 300
    assert 0 < document["frames_per_s"] <= document["frames_per_s_pipelined"]


@pytest.mark.parametrize("stream", ["720p", "0x10@3", "10x10", "10x10@x"])
def test_a_stream_is_a_size_and_a_rate(stream: str) -> None:
    with pytest.raises(InputError, match="1280x720@30"):
        command("--target", "jetson-orin-nx", "--stream", stream)


def test_predictions_beside_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "measure_cpu", lambda: measure_cpu(0.05))
    monkeypatch.setattr("edgetwin.deploy.planner.measure._PATIENCE_S", 0.05)
    document = json.loads(
        command("--target", "cpu", "--stream", "256x256@10", "--measure", "--json")
    )
    compared = {c["what"]: c for c in document["compared"]}
    assert len(compared) == 10  # eight uses of seven graphs, two of the language model
    for entry in compared.values():
        assert entry["least_ms"] <= entry["measured_ms"]
        assert entry["error"] == pytest.approx(entry["predicted_ms"] / entry["measured_ms"] - 1)
    with pytest.raises(InputError, match="on the device itself"):
        command("--target", "jetson-thor", "--measure")
