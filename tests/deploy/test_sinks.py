"""Sinks: palette pictures, mask documents, and what is drawn."""

from __future__ import annotations

import json
import struct
import zlib
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgetwin.deploy.stream.draw import ACCENTS, Canvas, Caption, ascii_text, free_plate, wrap_text
from edgetwin.deploy.stream.palette import davis_palette, encode_png, palette_index
from edgetwin.deploy.stream.sinks import (
    MaskPngSink,
    MasksJsonSink,
    OverlaySink,
    index_picture,
    make_folder,
    write_json,
)
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import OutputError
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin, Rle

from .scenes import SquareFinder, picture


def twin_of(step: int = 0, **size: int) -> FrameTwin:
    return SquareFinder().observe(Frame(step, step / 10, picture(step, **size)))


def indices_of(png: bytes) -> np.ndarray:
    """Read the indices of a palette PNG without filters, chunk by chunk."""
    at, body, size = 8, b"", (0, 0)
    while at < len(png):
        (length,), name = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        chunk = png[at + 8 : at + 8 + length]
        if name == b"IHDR":
            size = struct.unpack(">II", chunk[:8])
            assert chunk[8:] == b"\x08\x03\0\0\0"  # 8 bits, palette
        body += chunk if name == b"IDAT" else b""
        assert zlib.crc32(name + chunk) == struct.unpack(">I", png[at + 8 + length :][:4])[0]
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(size[1], size[0] + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_palette_is_davis() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3)
    # DAVIS and VOC: background black, then maroon, green, olive, navy; 255 is near white
    assert palette[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert palette[255].tolist() == [224, 224, 192]


def test_png_holds_indices_and_decodes_to_palette_colours() -> None:
    index = (np.arange(35, dtype=np.uint8) * 7).reshape(5, 7)
    png = encode_png(index)
    assert np.array_equal(indices_of(png), index)
    shown = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert np.array_equal(shown[:, :, ::-1], davis_palette()[index])


def test_png_refuses_what_is_no_index_picture() -> None:
    with pytest.raises(OutputError, match="shape"):
        encode_png(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(OutputError, match="dtype"):
        encode_png(np.zeros((2, 2), np.int64))


def test_ids_beyond_the_palette_wrap_past_background_and_void() -> None:
    assert [palette_index(i) for i in (1, 254, 255, 256, 508, 509)] == [1, 254, 1, 2, 254, 1]
    with pytest.raises(OutputError, match="at least 1"):
        palette_index(0)


def test_mask_pictures_hold_the_chosen_ids_only(tmp_path: Path) -> None:
    sink = MaskPngSink(tmp_path / "masks", {2})
    sink.write(twin_of())
    index = indices_of((tmp_path / "masks" / "00000.png").read_bytes())
    assert set(np.unique(index)) == {0, 2}
    assert (index == 2).sum() == 30 * 30
    assert (index[50:80, 80:110] == 2).all()


def test_small_masks_are_painted_over_large_ones() -> None:
    twin = twin_of()
    large = np.zeros((96, 128), bool)
    large[:, :] = True
    whole = twin.objects[2].model_copy(update={"mask": rle.encode(large), "area": large.size})
    both = twin.model_copy(update={"objects": {1: twin.objects[1], 2: whole}})
    index = index_picture(both, {1, 2})
    assert (index[20:40, 10:30] == 1).all()
    assert index[0, 0] == 2


def test_masks_json_is_whole_also_when_empty(tmp_path: Path) -> None:
    path = tmp_path / "masks.json"
    sink = MasksJsonSink(path)
    for step in range(3):
        sink.write(twin_of(step))
    sink.close()
    document = json.loads(path.read_text())
    assert [document[k] for k in ("version", "source", "width", "height")] == [1, "source", 128, 96]
    assert [f["index"] for f in document["frames"]] == [0, 1, 2]
    red = rle.decode(Rle(**document["frames"][2]["masks"]["1"]))
    assert red[20:40, 14:34].all()
    assert red.sum() == 400
    MasksJsonSink(path).close()
    assert json.loads(path.read_text())["frames"] == []


def test_canvas_enlarges_small_frames_and_marks_the_answer() -> None:
    canvas = Canvas(128, 96, [Caption("which one is red?", "#1 red box", (1,))])
    assert canvas.size[0] % 2 == canvas.size[1] % 2 == 0
    plain, drawn = canvas.draw(picture(), None), canvas.draw(picture(), twin_of())
    scale = 512 / 96
    assert drawn.shape[:2] == (canvas.size[1], canvas.size[0])
    middle = (round(30 * scale), round(20 * scale))
    moved = drawn[middle].astype(int) - plain[middle]
    assert (np.sign(moved) == np.sign(np.array(ACCENTS[0]) - plain[middle])).all()
    edge = drawn[round(25 * scale) : round(35 * scale), round(10 * scale)]
    assert np.abs(edge.astype(int) - ACCENTS[0]).sum(axis=1).min() < 60  # outlined in its colour
    assert (drawn[512:] != plain[512:]).sum() == 0  # the panel does not change
    assert len(np.unique(drawn[512:].reshape(-1, 3), axis=0)) > 5  # and holds text


def test_long_questions_are_wrapped_inside_the_panel() -> None:
    question = "which of the things on the table " * 8
    lines = wrap_text(question, 400, 0.5, max_lines=4)
    assert len(lines) == 4
    assert lines[-1].endswith("...")
    assert all(cv2.getTextSize(t, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] <= 400 for t in lines)
    assert wrap_text("x" * 500, 100, 0.5)[0] == "x" * len(wrap_text("x" * 500, 100, 0.5)[0])
    assert wrap_text("", 100, 0.5) == []


def test_drawn_text_is_ascii() -> None:
    assert ascii_text("Où est la tasse à café? 杯\n") == "Ou est la tasse a cafe? ? "


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    shape, size = (200, 300), (80, 20)
    first = free_plate(shape, size, [(50, 40), (50, 90)], [])
    assert first == (50, 40, 130, 60)  # above the box, where it was wanted
    second = free_plate(shape, size, [(60, 45), (60, 95)], [first])
    assert second == (60, 95, 140, 115)  # below it, since above is taken
    third = free_plate(shape, size, [(60, 45), (60, 95)], [first, second])
    assert third[1] >= 60 or third[3] <= 40
    assert free_plate(shape, size, [(290, -30), (0, 0)], []) == (220, 0, 300, 20)  # kept inside


def test_many_questions_keep_the_panel_small() -> None:
    captions = [Caption(f"question {n}?", "nothing") for n in range(40)]
    assert Canvas(256, 256, captions).size[1] < 2 * 512


def test_overlay_keeps_the_frames_times(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    canvas = Canvas(128, 96, [])
    sink = OverlaySink(path, canvas, fps=10)
    for step in range(5):
        sink.write(picture(step), twin_of(step))
    sink.close()
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        times = [float(f.time) for f in container.decode(video=0) if f.time is not None]
    np.testing.assert_allclose(times, [0, 0.1, 0.2, 0.3, 0.4], atol=1e-4)


def test_one_picture_is_shown_for_two_seconds(tmp_path: Path) -> None:
    sink = OverlaySink(tmp_path / "o.mp4", Canvas(128, 96, []), fps=1)
    sink.write(picture(), twin_of())
    sink.close()
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.duration == pytest.approx(2 * av.time_base, abs=av.time_base / 10)
        assert sum(1 for _ in container.decode(video=0)) == 1


def test_refusals_are_output_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="expected to write"):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(OutputError, match="No space left"):
        write_full()
    with pytest.raises(OutputError, match="-o"):
        write_json(tmp_path / "none" / "answer.json", {})


def write_full() -> None:
    with closing(MasksJsonSink(Path("/dev/full"))) as sink:
        sink.write(twin_of())
