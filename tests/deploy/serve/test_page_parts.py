"""The page's modules on their own, in the browser they run in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgetwin.deploy.models import load_models
from edgetwin.twin import mask as rle
from edgetwin.twin.tools import TOOLS

from .page_browser import chromium, opened
from .page_stub import PAGE, Recording, Stub, World


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with (
        chromium() as browser,
        Stub(World(Recording(load_models("embedded")))) as stub,
        opened(browser, stub.url) as (page, _),
    ):
        page.wait_for_selector("#shapes .object")
        yield page


def in_module(page: Any, module: str, body: str, given: Any) -> Any:
    """Run ``body`` with ``m``, the module, and ``g``, what was given."""
    script = f"async g => {{ const m = await import('/static/{module}'); {body} }}"
    return page.evaluate(script, given)


def test_masks_are_decoded_as_they_were_encoded(page: Any) -> None:
    generator = np.random.default_rng(5)
    masks = [generator.random((h, w)) < p for h, w, p in ((7, 5, 0.5), (64, 48, 0.02), (30, 9, 1))]
    masks += [np.zeros((4, 4), bool), np.kron(generator.random((6, 8)) < 0.5, np.ones((9, 7))) > 0]
    drawn = in_module(
        page,
        "rle.js",
        """return g.map(rle => {
          const [h, w] = rle.size;
          const context = new OffscreenCanvas(w, h).getContext('2d');
          context.fill(new Path2D(m.maskPath(rle)));
          return [...context.getImageData(0, 0, w, h).data].filter((_, i) => i % 4 === 3);
        })""",
        [rle.encode(mask).model_dump() for mask in masks],
    )
    for mask, alpha in zip(masks, drawn, strict=True):
        assert np.array_equal(np.array(alpha).reshape(mask.shape) == 255, mask)
        assert set(alpha) <= {0, 255}


def test_masks_that_are_none_draw_nothing(page: Any) -> None:
    bad = [{}, None, {"size": [4, 4]}, {"size": [4, 4], "counts": "\x00\x01"}, {"counts": "a"}]
    assert in_module(page, "rle.js", "return g.map(m.maskPath)", bad) == [""] * len(bad)


@pytest.mark.parametrize("size", [1, 3, 17, 10_000])
def test_the_video_is_cut_into_pictures_however_it_comes(page: Any, size: int) -> None:
    bodies = [bytes([k, 13, 10, 13, 10, 255 - k]) * (k + 1) for k in range(4)]
    data = b"".join(
        b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\nX-Frame-Index: %d\r\n\r\n%s\r\n"
        % (len(body), 70 + k, body)
        for k, body in enumerate(bodies)
    )
    pieces = [list(data[i : i + size]) for i in range(0, len(data), size)]
    parts = in_module(
        page,
        "mjpeg.js",
        """const parts = new m.Parts();
        return g.flatMap(piece => parts.feed(new Uint8Array(piece)))
          .map(p => [[...p.body], p.index])""",
        pieces,
    )
    assert parts == [[list(body), 70 + k] for k, body in enumerate(bodies)]


def test_every_tool_has_words_of_its_own(page: Any) -> None:
    steps = [{"tool": name} for name in TOOLS]
    said = in_module(page, "plan.js", "return g.map(m.phrase)", steps)
    for step, text in zip(steps, said, strict=True):
        assert text != step["tool"], f"plan.js has no phrase for {text}"
        assert not set("{}[]$") & set(text)
    two = [{"tool": "left_of", "ids": "$1", "of": [3, 4]}, {"tool": "new_one", "word": "x"}]
    assert in_module(page, "plan.js", "return g.map(m.phrase)", two) == [
        "Which objects of step 1 are left of #3, #4",
        "new_one word: x",
    ]


def test_a_long_day_does_not_fill_the_tab(page: Any) -> None:
    kept = in_module(
        page,
        "sightings.js",
        """const s = new m.Sightings();
        for (let i = 0; i < g; i += 1) {
          const objects = Array.from({ length: 5 }, (_, k) => ({
            id: k < 2 ? k + 1 : 3 + Math.floor(i / 3) * 3 + k, label: 'cup', color: 'red',
            state: k === 1 && i % 4 < 2 ? 'occluded' : 'visible', box_xyxy: [0, 0, 9, 9] }));
          s.take({ timestamp_s: i * 0.9, width: 9, height: 9, objects });
        }
        return [s.objects.size, Math.max(...s.list().map(o => o.spans.length)), s.get(1).spans]""",
        6000,
    )
    assert kept[0] <= 200
    assert kept[1] <= 120
    assert kept[2] == [[0, pytest.approx(5999 * 0.9)]]  # one span: it was there all the time


def test_what_was_recorded_joins_what_is_seen(page: Any) -> None:
    rows = [
        {"run": run, "id": 1, "label": "cup", "state": state, "timestamp_s": at}
        for run, state, at in [
            (1, "visible", 50.0),
            (2, "visible", 1.0),
            (2, "visible", 1.5),
            (2, "occluded", 3.0),
            (2, "visible", 5.0),
            (2, "visible", 5.5),
        ]
    ]
    spans = in_module(
        page,
        "sightings.js",
        """const s = new m.Sightings();
        const cup = { id: 1, label: 'cup', color: 'red', state: 'visible', box_xyxy: [0, 0, 1, 1] };
        s.take({ timestamp_s: 6, width: 9, height: 9, objects: [cup] });
        s.learnRows(g);
        return [s.get(1).spans, s.get(1).first]""",
        rows,
    )
    assert spans == [[[1.0, 1.5], [5.0, 6]], 1.0]


def test_lists_on_the_page_stay_short(page: Any) -> None:
    count = in_module(
        page,
        "dom.js",
        """for (let i = 0; i < g; i += 1) { m.announce(`line ${i}`); m.toast(`line ${i}`); }
        return [announcer.childElementCount, toasts.childElementCount]""",
        50,
    )
    assert count == [4, 3]


def test_the_page_is_files_of_its_own_and_never_markup_from_texts() -> None:
    names = {path.name for path in PAGE.iterdir()}
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "DOMParser",
    )
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 450, path.name
        foreign = [part for part in ("http://", "https://") if part in text]
        if path.suffix != ".svg":  # its namespace is an address
            allowed = ["http://"] if path.name == "dom.js" else []
            allowed += ["https://"] if path.name == "index.html" else []  # a placeholder
            assert foreign in ([], allowed), path.name
        assert not any(word in text for word in forbidden), path.name
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    for inline in ("<style", " style=", "onclick=", "onload=", "javascript:"):
        assert inline not in page
    linked = {part.split('"')[0] for part in page.split('"static/')[1:]}
    imported = {
        line.split('"./')[1].split('"')[0]
        for path in PAGE.glob("*.js")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("import ")
    }
    assert linked | imported | {"index.html"} == names
