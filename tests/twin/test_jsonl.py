"""Frames as JSON lines: whole frames survive a cut, everything else is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetwin.twin.errors import InputError, OutputError, SchemaError
from edgetwin.twin.jsonl import (
    FrameReader,
    FrameWriter,
    frame_from_json,
    overlaid,
    read_frames,
    write_frames,
)

from .build import frame, obj

FRAMES = [frame(i, [obj(1, "café\u2028mug", x=i)]) for i in range(4)]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "twin.jsonl"
    assert write_frames(path, FRAMES) == 4
    assert read_frames(path) == FRAMES
    assert len(path.read_bytes().splitlines()) == 4


def test_any_cut_gives_the_whole_frames_before_it(tmp_path: Path) -> None:
    path = tmp_path / "twin.jsonl"
    write_frames(path, FRAMES)
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for cut in [*range(0, len(data), 37), *ends, *(e - 1 for e in ends), *(e - 2 for e in ends)]:
        path.write_bytes(data[:cut])
        reader = FrameReader(path)
        # a frame whose line end alone is missing is whole
        expected = sum(end - 1 <= cut for end in ends)
        assert list(reader) == FRAMES[:expected]
        assert reader.truncated == (cut not in (0, *ends, *(e - 1 for e in ends)))


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "twin.jsonl"
    write_frames(path, FRAMES)
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join([lines[0], "", lines[1][:20], lines[2], ""]), encoding="utf-8")
    with pytest.raises(SchemaError, match=r"twin\.jsonl, line 3: expected a frame"):
        read_frames(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "as JSON"),
        ("[]", "at the frame"),
        ('{"index": NaN}', "no JSON number"),
        ('{"index": 1, "index": 2}', "repeats a key"),
        ("[" * 100_000, "nested too deeply"),
        ('{"index": ' + "9" * 5000 + "}", "as JSON"),
        ('{"source_id": "\\ud800"}', "surrogates not allowed"),
        ('{"source_id": "caf\udce9"}', "surrogates not allowed"),
        ('{"index": 0, "timestamp_s": 0, "width": 1, "height": 0}', "at height"),
        (FRAMES[0].model_dump_json().replace('"schema_version":3', '"schema_version":4'), "schema"),
    ],
)
def test_text_from_outside(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        frame_from_json(text)
    assert len(str(caught.value)) < 500


def test_paths_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file of frames"):
        read_frames(tmp_path / "absent.jsonl")
    with pytest.raises(OutputError, match="choose another path"):
        FrameWriter(tmp_path / "absent" / "twin.jsonl")


def test_a_full_disk_is_told() -> None:
    writer = FrameWriter(Path("/dev/full"))
    with pytest.raises(OutputError, match=r"No space left.* 0 frames are written"):
        writer.write(FRAMES[0])
    with pytest.raises(OutputError):
        writer.close()  # the half-written line is still in the buffer
    with pytest.raises(KeyError), FrameWriter(Path("/dev/full")) as writer:
        raise KeyError("the first error is the one to see")


def test_refined_frames_lie_over_the_streams(tmp_path: Path) -> None:
    stream = [frame(k, [obj(1)]) for k in range(3)]
    once = frame(1, [obj(1), obj(4, "lamp", origin="detect(lamp)")])
    twice = frame(1, [obj(1), obj(4, "lamp"), obj(5, "book")])
    write_frames(tmp_path / "refined.jsonl", [once, twice, frame(9, [])])
    refined = read_frames(tmp_path / "refined.jsonl")
    assert list(overlaid(stream, refined)) == [stream[0], twice, stream[2]]
    assert list(overlaid(stream, [])) == stream
