"""stream(): the same twins as frame by frame, networks ahead, errors and endings in order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from edgetwin.perception.bundle import embedded_dir, load_bundle
from edgetwin.perception.perceiver import Perceiver
from edgetwin.perception.records import Detections, Masks
from edgetwin.twin.errors import InputError, ModelError, SourceError
from edgetwin.twin.frame import Frame

from .eyes import BLUE, RED, Eyes, Picture, perceiver, picture

PATIENCE_S = 10.0  # never waited for when all is well


def frames(count: int | None = None) -> Iterator[Frame]:
    """Two patches on their ways; the red one jumps now and then and is lost."""
    for k in itertools.count() if count is None else range(count):
        x, y = (7 * k) % 60, (3 * k) % 30
        patches = ((RED, (x, y, x + 20, y + 20)), (BLUE, (64, 40, 90, 60)))
        yield Frame(k, k * 0.1, picture(*patches[: 2 if k % 9 < 6 else 1]))


_BEFORE: set[int | None] = set()


def ours() -> list[str]:
    """Names of the product's threads that this file's tests began."""
    began = [t for t in threading.enumerate() if t.ident not in _BEFORE]
    return [t.name for t in began if t.name.startswith("edgetwin-")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    _BEFORE.clear()
    _BEFORE.update(t.ident for t in threading.enumerate())
    yield
    assert ours() == []


@pytest.mark.parametrize(
    ("look_every", "depth_every"), [(1, 1), (1, 4), (4, 4), (5, 3), (3, 7), (50, 50)]
)
def test_twins_are_those_of_observe(look_every: int, depth_every: int) -> None:
    settings = {"look_every": look_every, "depth_every": depth_every}
    one, other = perceiver(Eyes(), **settings), perceiver(Eyes(), **settings)
    assert list(other.stream(frames(40))) == [one.observe(f) for f in frames(40)]
    assert one.counts == other.counts
    assert one.tracker.counts == other.tracker.counts


def test_calls_and_streams_may_take_turns() -> None:
    one, other = perceiver(Eyes(), 3), perceiver(Eyes(), 3)
    first, second, third = (list(frames(30))[k : k + 10] for k in (0, 10, 20))
    mixed = [*other.stream(first), *map(other.observe, second), *other.stream(third)]
    assert mixed == [one.observe(f) for f in frames(30)]


class Waiting(Eyes):
    """Refuses to make the masks of frame k before frame k + 1 is being encoded."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.encoding = [threading.Event() for _ in range(last + 1)]
        self.settled = 0
        self.threads: dict[str, set[int]] = {}

    def _call(self, name: str) -> None:
        if name == "encode":
            self.encoding[self.calls["encode"]].set()
        super()._call(name)
        self.threads.setdefault(name, set()).add(threading.get_ident())

    def from_boxes(
        self, image: Picture, boxes_xyxy_n4: np.ndarray, *, margin: float = 0.1
    ) -> Masks:
        following = min(self.settled + 1, len(self.encoding) - 1)
        assert self.encoding[following].wait(PATIENCE_S), "the next frame was not encoded meanwhile"
        self.settled += 1
        return super().from_boxes(image, boxes_xyxy_n4, margin=margin)


def test_next_frame_is_encoded_while_this_one_is_settled() -> None:
    eyes = Waiting(11)
    still = (Frame(k, k * 0.1, picture((RED, (10, 20, 30, 40)))) for k in range(12))
    assert len(list(perceiver(eyes, depth_every=2).stream(still))) == 12
    assert all(len(idents) == 1 for idents in eyes.threads.values())
    assert eyes.threads["boxes"] == {threading.get_ident()}
    assert len({*eyes.threads["encode"], *eyes.threads["detect"], *eyes.threads["depth"]}) == 3


@pytest.mark.parametrize("lookahead", [1, 2, 5])
def test_a_slow_consumer_bounds_what_is_read(lookahead: int) -> None:
    taken: list[int] = []

    def counted() -> Iterator[Frame]:
        for frame in frames():
            taken.append(frame.index)
            yield frame

    stream = perceiver(Eyes()).stream(counted(), lookahead=lookahead)
    for k in range(20):
        assert next(stream).index == k
        assert len(taken) <= k + 1 + lookahead + 2
    stream.close()


def test_nothing_is_started_before_the_first_frame_is_asked_for() -> None:
    stream = perceiver(Eyes()).stream(frames())
    assert ours() == []
    stream.close()


class Failing(Eyes):
    """Its detector fails at the eighth look."""

    def detect(self, image_hw3: Picture, vocabulary: Sequence[str] | None = None) -> Detections:
        if self.calls["detect"] == 7:
            raise ModelError("expected a result, got nothing")
        return super().detect(image_hw3, vocabulary)


def test_errors_come_in_their_turn_and_name_the_frame() -> None:
    p, seen = perceiver(Failing()), list[int]()
    with pytest.raises(ModelError, match=r"^frame 7: expected a result, got nothing$"):
        seen.extend(twin.index for twin in p.stream(frames(20)))
    assert seen == list(range(7))


def test_errors_of_other_kinds_keep_theirs() -> None:
    eyes = Eyes()
    eyes.encode = lambda image: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ZeroDivisionError) as caught:
        list(perceiver(eyes).stream(frames(3)))
    assert caught.value.__notes__ == ["at frame 0"]


def test_a_source_that_fails_ends_the_stream_after_its_frames() -> None:
    def broken() -> Iterator[Frame]:
        yield from frames(5)
        raise SourceError("the cable is out")

    p, seen = perceiver(Eyes()), list[int]()
    with pytest.raises(SourceError, match=r"^the cable is out$"):
        seen.extend(twin.index for twin in p.stream(broken()))
    assert seen == [0, 1, 2, 3, 4]
    assert p.observe(Frame(5, 0.5, picture())).index == 5  # and the perceiver can go on


def test_time_running_backwards_is_refused_with_its_frame() -> None:
    late = [Frame(0, 1.0, picture()), Frame(1, 0.5, picture())]
    with pytest.raises(InputError, match=r"^frame 1: expected times that do not decrease"):
        list(perceiver(Eyes()).stream(late))


@pytest.mark.parametrize("after", [0, 1, 7])
def test_closing_ends_all_threads(after: int) -> None:
    stream = perceiver(Eyes()).stream(frames())
    for _ in range(after):
        next(stream)
    stream.close()
    assert ours() == []
    assert list(stream) == []


def test_closing_does_not_wait_for_a_source_that_is_stuck() -> None:
    stuck, arrived = threading.Event(), threading.Event()

    def camera() -> Iterator[Frame]:
        yield from frames(2)
        arrived.set()
        stuck.wait(PATIENCE_S)

    stream = perceiver(Eyes()).stream(camera())
    assert [next(stream).index, next(stream).index] == [0, 1]
    assert arrived.wait(PATIENCE_S)
    stream.close()
    assert ours() == ["edgetwin-frames"]
    stuck.set()
    for thread in threading.enumerate():
        if thread.name == "edgetwin-frames":
            thread.join(PATIENCE_S)


def test_one_stream_at_a_time() -> None:
    p = perceiver(Eyes())
    stream = p.stream(frames())
    next(stream)
    with pytest.raises(InputError, match="without an open stream"):
        p.observe(Frame(9, 9.0, picture()))
    with pytest.raises(InputError, match="without an open stream"):
        p.stream(frames())
    stream.close()
    assert next(iter(p.stream([Frame(9, 9.0, picture())]))).index == 9
    with pytest.raises(InputError, match="lookahead of at least 1"):
        next(p.stream(frames(), lookahead=0))


def test_words_may_change_in_mid_stream() -> None:
    """Looks begun ahead with the old words are not used."""
    p = perceiver(Eyes())
    seen = []
    for twin in p.stream(frames(6)):
        seen.append({o.semantic_label for o in twin.objects.values() if o.state == "visible"})
        if twin.index == 2:
            p.vocabulary = ("bowl",)
    assert seen[:3] == [{"mug", "bowl"}] * 3
    assert p.tracker.get(1).misses == 3
    assert p.tracker.get(2).misses == 0


@pytest.mark.skipif(
    not all((embedded_dir() / f).is_file() for f in ("detector_image.onnx", "depth.onnx")),
    reason="no embedded weights yet",
)
def test_embedded_networks_give_the_same_twins_in_the_pipeline() -> None:
    bundle = load_bundle("embedded", device="cpu", threads=1)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (90, 120, 3)).astype(np.uint8)
    seen = [Frame(k, k / 8, np.roll(noise, 3 * k, axis=1)) for k in range(8)]
    one, other = Perceiver(bundle), Perceiver(bundle)
    assert list(other.stream(seen)) == [one.observe(frame) for frame in seen]
