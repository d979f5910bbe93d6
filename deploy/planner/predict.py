"""Frames per second, memory and answers of a set on a device, foretold by a roofline.

A graph's time is the sum over its kinds of nodes of the larger of two times, operations over the
rate that is reached and bytes over the bandwidth that is reached, plus what starting its kernels
costs. Every share, factor and count that is not counted from the graphs is an
:class:`Assumptions` field, and :meth:`Estimate.document` lists it.

How good that is: :mod:`.measure` puts predictions beside measurements. For boards that were
never measured here, a published figure bounds the error: OWL-ViT-B/16 at 768 pixels runs at 25
frames/s on an AGX Orin by NVIDIA's NanoOWL, which the shares below foretell within a third.
Graphs that nothing was fitted to (SAM 2.1-tiny, OWLv2-base, Depth Anything V2 Small) were foretold
within -25 to +26 % at half their published size and -43 to +25 % at the full one by earlier
shares, fitted to one core. The present ones, for two threads, were held only against half the
processor time (no clock can be shorter), on a busy machine: -3 to +48 % at half size, where the
embedded graphs that they were fitted to come out at +12 to +48 %, and at +91 % the text tower's
.4 ms.

Not covered: decoding on the GPU, several streams, throttling, networks that run at once on one
GPU (they are added up), looks that content asks for beyond the set's interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...twin.errors import InputError
from .devices import Device
from .language import LanguageCounts
from .records import GraphCounts
from .uses import USES, SetCounts, Use

__all__ = [
    "Answers",
    "Assumptions",
    "Estimate",
    "Stage",
    "Stream",
    "assumptions",
    "estimate",
    "graph_ms",
    "with_assumptions",
]

_WIDTH = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}
DEPTH_EVERY = 4  # frames between depth measurements, the perceiver's own default


@dataclass(frozen=True, slots=True)
class Stream:
    """What a camera gives: pixels and frames per second, and how many objects it shows."""

    width: int
    height: int
    fps: float
    objects: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.objects) < 1 or not self.fps > 0:
            raise InputError(
                f"expected a size, a rate above 0 and at least one object, got {self}; write "
                "--stream 1280x720@30 --objects 4"
            )

    @property
    def megapixels(self) -> float:
        """Millions of pixels of a frame."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a prediction rests on besides counts and rates; see the values' reasons below.

    ``compute_share`` and ``int8_share``: part of the peak rate that matrix products and
    convolutions reach; ``vector_share`` that of the fp32 rate which other nodes reach;
    ``bandwidth_share``: of the bandwidth. ``traffic_left``: part of the
    activations' bytes that still goes through memory after fusion and caches; ``kernels``:
    kernels started per node. ``host_ms`` + ``host_object_ms`` per object + ``host_megapixel_ms``
    per megapixel are our own code around the networks per frame, on the machine it was measured
    on; ``decode_megapixel_ms`` decoding H.264 on its processor. ``base_mb``: the process with its
    runtimes and no model. ``language_share``: ``compute_share`` of a language model's prompt. ``cast_cost``: how much
    longer a graph takes that is stored in half precision where the device computes in single. ``prompt_tokens``, ``new_tokens`` and ``steps``: a prompt, what of it
    is new for a further question on the same twin, and generated tokens that are not forced.
    """

    compute_share: float
    int8_share: float
    vector_share: float
    bandwidth_share: float
    traffic_left: float
    kernels: float
    base_mb: float
    language_share: float
    cast_cost: float = 0.0
    host_ms: float = 6.0
    host_object_ms: float = 0.6
    host_megapixel_ms: float = 4.2
    decode_megapixel_ms: float = 4.4
    prompt_tokens: int = 122
    new_tokens: int = 20
    steps: int = 27
    context: int = 2048


# GPU: NanoOWL's 25 frames/s of OWL-ViT-B/16 need about a third of the AGX Orin's dense fp16 rate;
# TensorRT fuses element-wise nodes into their neighbours, about a third of traffic and of nodes
# is left; the process with CUDA's context and TensorRT is a guess. CPU: fitted to the embedded
# set on an idle Xeon with two threads (GEMM 0.33 TFLOPS, copies 30 GB/s; the language model has
# one): graphs within -20 % to +27 %, 43.0 frames/s foretold and 43.8 measured, 36.5 and 32.7 frame
# by frame, 295 MB. Int8 graphs took 0.95 to 1.09 of float32's processor time, float16 ones 1.00 to
# 1.26. Host code: processor time with 1 to 8 objects, 256x256 to 1920x1080; decoding: three camera
# clips of 1280x720, 3.8 to 4.9 ms per megapixel. A GPU's
# host is assumed to run it ``host_factor`` times as slowly.
_GPU = Assumptions(0.35, 0.30, 0.5, 0.75, 0.35, 0.35, 550, 0.35)
_CPU = Assumptions(0.55, 0.38, 0.05, 1.0, 0.35, 0.6, 236, 0.24, 0.12)


def assumptions(device: Device) -> Assumptions:
    """Return what is assumed for a device unless something else is said."""
    return _GPU if device.gpu else _CPU


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: a run takes ``run_ms`` and happens ``per_frame`` times a frame on average.

    ``bound``: what limits it most, ``"compute"``, ``"memory"`` or ``"kernels"``; ``"host"`` for
    our own code. Memory in MB (10^6 bytes), of weights and of activations at their peak.
    """

    stage: str
    graph: str
    run_ms: float
    per_frame: float
    bound: str
    use: str = ""
    gflop: float = 0.0
    weights_mb: float = 0.0
    activations_mb: float = 0.0

    @property
    def frame_ms(self) -> float:
        """Milliseconds per frame on average."""
        return self.run_ms * self.per_frame


@dataclass(frozen=True, slots=True)
class Answers:
    """A question: milliseconds of the first on a twin and of the next, tokens per second."""

    model: str
    precision: str
    first_ms: float
    next_ms: float
    tokens_per_s: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was foretold; :meth:`document` is what JSON gets."""

    target: Device
    stream: Stream
    precision: str
    models: str
    assumed: Assumptions
    stages: tuple[Stage, ...]
    answers: Answers | None
    notes: tuple[str, ...] = field(default=())

    @property
    def network_ms(self) -> float:
        """Networks, milliseconds per frame."""
        return sum(s.frame_ms for s in self.stages if s.bound != "host")

    @property
    def host_ms(self) -> float:
        """Our own code, milliseconds per frame, without decoding."""
        return sum(s.frame_ms for s in self.stages if s.bound == "host" and s.stage != "decode")

    @property
    def decode_ms(self) -> float:
        """Decoding, milliseconds per frame."""
        return sum(s.frame_ms for s in self.stages if s.stage == "decode")

    @property
    def frames_per_s(self) -> float:
        """Frame by frame, decoded beforehand."""
        return 1000 / (self.network_ms + self.host_ms)

    def pipelined_per_s(self, cpus: int = 2) -> float:
        """With networks ahead: on a GPU the slowest of three lanes, on a CPU what cores share."""
        if self.target.gpu:
            return 1000 / max(self.network_ms, self.host_ms, self.decode_ms)
        return 1000 / (self.network_ms + (self.host_ms + self.decode_ms) / cpus)

    @property
    def memory_mb(self) -> float:
        """All memory, MB."""
        graphs = {s.graph for s in self.stages if s.graph}
        held = 0.0
        for graph in graphs:  # a graph's uses share one engine
            uses = [s for s in self.stages if s.graph == graph]
            held += max(s.weights_mb for s in uses) + max(s.activations_mb for s in uses)
        frames = 6 * 3 * self.stream.megapixels  # decoded pictures that wait or are worked on
        return (
            self.assumed.base_mb + held + frames + (self.answers.memory_mb if self.answers else 0)
        )

    def document(self) -> dict[str, Any]:
        """Return everything as plain values, assumptions included."""
        answers = asdict(self.answers) if self.answers else None
        return {
            "models": self.models,
            "precision": self.precision,
            "target": asdict(self.target),
            "stream": asdict(self.stream),
            "frames_per_s": round(self.frames_per_s, 2),
            "frames_per_s_pipelined": round(self.pipelined_per_s(), 2),
            "keeps_up": self.pipelined_per_s() >= self.stream.fps,
            "network_ms": round(self.network_ms, 3),
            "host_ms": round(self.host_ms, 3),
            "decode_ms": round(self.decode_ms, 3),
            "memory_mb": round(self.memory_mb, 1),
            "fits": self.memory_mb < 0.75 * 1000 * self.target.ram_gb,
            "stages": [asdict(s) | {"frame_ms": s.frame_ms} for s in self.stages],
            "answers": answers,
            "assumed": asdict(self.assumed),
            "notes": list(self.notes),
        }


def estimate(
    counts: SetCounts,
    device: Device,
    stream: Stream,
    *,
    precision: str | None = None,
    language: LanguageCounts | None = None,
    language_precision: str = "int4",
    look_every: int | None = None,
    assumed: Assumptions | None = None,
) -> Estimate:
    """Foretell a set's speed and memory on a device.

    ``precision`` None is the one that the graphs are stored in; ``look_every`` None the set's.

    Raises:
        InputError: if a precision or interval is none.
    """
    if precision is not None and precision not in _WIDTH:
        raise InputError(f"expected a precision among {', '.join(_WIDTH)}, got {precision!r}")
    every = counts.look_every if look_every is None else look_every
    if every < 1:
        raise InputError(f"expected an interval of at least 1 frame between looks, got {every}")
    given = assumed or assumptions(device)
    follows = counts.memory and every > 1
    stages = []
    for use in USES:
        work = counts.at(use, stream.objects)
        if work is not None:
            stages.append(_stage(use, work, device, given, precision, _runs(use, every, follows)))
    stages += _host(device, stream, given)
    answers = None
    if language is not None:
        answers = _answers(language, device, given, language_precision)
    notes = [
        f"a look every {every} frames, masks follow by {'memory' if follows else 'boxes'}, depth "
        f"every {DEPTH_EVERY} frames; content asks for more looks, which are not foretold",
        "memory is an upper bound: attention that is not fused, every graph's peak at once",
    ]
    unknown = sum(work.unknown for pair in counts.uses.values() for work in pair[:1])
    if unknown:
        notes.append(f"{unknown} nodes of unknown size are left out: times are too short")
    if device.name == "jetson-thor":
        notes.append("Thor's int8 rate is taken to be its fp8 rate, which is not published")
    return Estimate(
        device, stream, precision or "as stored", counts.name, given, tuple(stages), answers,
        tuple(notes),
    )  # fmt: skip


def graph_ms(
    counts: GraphCounts, device: Device, assumed: Assumptions, precision: str | None = None
) -> tuple[float, str]:
    """Return a run's milliseconds and what bounds it: compute, memory or kernels."""
    wide, weights, rate = _rates(counts, device, precision)
    spent = {"compute": 0.0, "memory": 0.0, "kernels": 0.0}
    for name, kind in counts.kinds.items():
        compute = kind.flops / (device.fp32_tflops * assumed.vector_share * 1e12)
        if name in ("conv", "matmul"):
            quick = kind.flops if precision == "int8" and device.gpu else kind.int8_flops
            compute = (kind.flops - quick) / (rate * assumed.compute_share * 1e12)
            compute += quick / (device.int8_tops * assumed.int8_share * 1e12)
        moved = kind.weight_bytes * weights + kind.activation_bytes * wide * assumed.traffic_left
        memory = moved / (device.bandwidth_gb_s * assumed.bandwidth_share * 1e9)
        spent["compute" if compute > memory else "memory"] += 1000 * max(compute, memory)
        spent["kernels"] += kind.nodes * assumed.kernels * device.kernel_us / 1000
    casts = 0.0 if device.gpu or counts.float_bytes == 4 else assumed.cast_cost
    return sum(spent.values()) * (1 + casts), max(spent, key=lambda name: spent[name])


def _rates(
    counts: GraphCounts, device: Device, precision: str | None
) -> tuple[float, float, float]:
    """Return what activations' and weights' bytes are multiplied by, and the peak in TFLOPS."""
    stored = counts.float_bytes
    wanted = stored if precision is None else _WIDTH[precision]
    if not device.gpu:  # float16 is computed as float32 on processors
        return max(1.0, 4 / stored), max(1.0, 4 / stored), device.fp32_tflops
    wide = max(wanted, 2.0) / stored
    rate = device.fp16_tflops if max(wanted, 2.0) == 2 else device.fp32_tflops
    has_int8 = counts.total.int8_flops > 0
    return wide, 1.0 if has_int8 else wanted / stored, rate


def _runs(use: Use, every: int, follows: bool) -> float:
    """Return how often a use runs per frame."""
    looks = 1 / every
    return {
        "frame": 1.0,
        "look": looks,
        "vocabulary": 0.0,
        "boxes": looks if follows else 1.0,
        "memory": 1 - looks if follows else 0.0,
        "renewed": 1.0 if follows else 0.0,
        "measurement": 1 / DEPTH_EVERY,
    }[use.name]


def _stage(
    use: Use,
    work: GraphCounts,
    device: Device,
    assumed: Assumptions,
    precision: str | None,
    per_frame: float,
) -> Stage:
    ms, bound = graph_ms(work, device, assumed, precision)
    wide, weights, _ = _rates(work, device, precision)
    return Stage(
        use.stage,
        use.graph,
        ms,
        per_frame,
        bound,
        use.name,
        work.total.flops / 1e9,
        work.total.weight_bytes * weights / 1e6,
        work.peak_bytes * wide / 1e6,
    )


def _host(device: Device, stream: Stream, assumed: Assumptions) -> list[Stage]:
    own = assumed.host_ms + assumed.host_object_ms * stream.objects
    pictures = assumed.host_megapixel_ms * stream.megapixels
    decode = assumed.decode_megapixel_ms * stream.megapixels
    return [
        Stage("own code", "", (own + pictures) * device.host_factor, 1.0, "host"),
        Stage("decode", "", decode * device.host_factor, 1.0, "host"),
    ]


def _answers(
    language: LanguageCounts, device: Device, assumed: Assumptions, precision: str
) -> Answers:
    context = assumed.prompt_tokens + assumed.steps
    read = language.token_bytes(precision, context)
    rate = device.fp16_tflops if device.gpu else device.fp32_tflops
    reached = rate * assumed.language_share * 1e12
    bandwidth = device.bandwidth_gb_s * assumed.bandwidth_share * 1e9
    one = language.token_flops(context) / reached
    token_s = max(read / bandwidth, one) + language.layers * device.token_layer_ms / 1000

    def prefill(tokens: int) -> float:
        return max(tokens * one, read / bandwidth)

    steps = assumed.steps * token_s
    held = language.weight_bytes(precision) + language.kv_bytes * assumed.context
    return Answers(
        language.name,
        precision if language.stored_bytes is None else "as stored",
        1000 * (prefill(assumed.prompt_tokens) + steps),
        1000 * (prefill(assumed.new_tokens) + steps),
        1 / token_s,
        held / 1e6,
    )


def with_assumptions(assumed: Assumptions, changes: Mapping[str, float]) -> Assumptions:
    """Return other assumptions.

    Raises:
        InputError: if a name is none of theirs.
    """
    unknown = sorted(set(changes) - set(Assumptions.__dataclass_fields__))
    if unknown:
        raise InputError(
            f"expected assumptions among {', '.join(Assumptions.__dataclass_fields__)}, got "
            f"{', '.join(unknown)}"
        )
    return Assumptions(**(asdict(assumed) | dict(changes)))
