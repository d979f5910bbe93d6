"""The page in a real Chromium at the real server: watch, click, ask, follow up, stand watch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.models import load_models

from .page_browser import chromium, opened, until
from .served import Served, serve

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def served(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two examples that run over and over; in ``temporal`` a teapot comes and goes."""
    hub = LiveHub(load_models("embedded"), folder=tmp_path_factory.mktemp("hub"))
    try:
        for name in ("temporal", "spatial"):
            source = str(ROOT / "examples" / f"{name}.mp4")
            hub.add(StreamSpec(source=source, id=name, loop=True, live=True))
        with serve(hub) as server:
            yield server
    finally:
        hub.close()


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    with opened(browser, served.url + "/") as (page, _):
        page.wait_for_selector("#shapes .object")
        yield page


def ids_in(page: Any, selector: str, name: str = "object") -> set[int]:
    read = f"nodes => nodes.map(n => Number(n.dataset.{name}))"
    return set(page.locator(selector).evaluate_all(read))


def test_the_video_runs_and_its_objects_stand_over_it(page: Any) -> None:
    frames = int(page.get_attribute("#canvas", "data-frames"))
    until(page, f"Number(canvas.dataset.frames) > {frames + 8}")
    drawn = page.evaluate(
        "(() => { const d = canvas.getContext('2d').getImageData(0, 0, 256, 256).data;"
        " return [canvas.width, canvas.height, new Set(d).size] })()"
    )
    assert drawn[:2] == [256, 256]
    assert drawn[2] > 100  # a picture, not one colour
    assert len(ids_in(page, "#shapes .object", "id")) >= 3
    page.wait_for_selector("#state:has-text('Running')")
    until(page, "parseFloat(document.getElementById('fps').textContent) > 1")
    assert {"temporal", "spatial"} == {
        text.split("\n")[0] for text in page.locator(".stream span:nth-child(2)").all_inner_texts()
    }


def test_a_clicked_object_shows_its_record_and_history(page: Any) -> None:
    shape = page.locator("#shapes .object").first
    key = int(shape.get_attribute("data-id"))
    name = shape.get_attribute("aria-label").split(",")[0]
    shape.locator(".area").click()
    page.wait_for_selector("#inspector:visible")
    assert page.inner_text("#inspector-name") == name
    assert page.inner_text("#inspector-id") == f"#{key}"
    page.wait_for_selector("#inspector-history svg")  # rows that the store has
    facts = page.inner_text("#inspector-facts")
    assert "Depth" in facts
    assert " m" in facts
    assert "First seen" in facts
    page.wait_for_selector("#inspector-path h3")
    page.click("#tab-objects")
    assert ids_in(page, "#object-rows tr.selected") == {key}
    page.keyboard.press("Escape")  # in the table: nothing; the record's own button closes it
    page.click("#inspector-close")
    assert page.locator("#inspector").is_hidden()


def test_an_answer_has_its_plan_and_its_objects_stand_out(page: Any, served: Served) -> None:
    page.fill("#question", "Find the pan.")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer .verdict .chip")
    answered = ids_in(page, ".verdict .chip")
    record = page.evaluate(
        "fetch('api/streams/temporal/questions').then(r => r.json()).then(a => a.answers)"
    )
    newest = next(r for r in record if r["question"] == "Find the pan.")
    assert answered == set(newest["ids"])
    assert answered == ids_in(page, "#shapes .object.marked, #ghosts .ghost", "id")
    assert page.inner_text(".thinking") == newest["rationale"]
    assert page.locator(".plan li").count() == len(newest["plan"])
    assert page.inner_text(".plan .step").startswith("Find pan")
    page.click(".foot button")  # off again
    assert page.locator("#shapes .object.marked").count() == 0


def test_follow_up_questions_are_asked_in_one_session(browser: Any, served: Served) -> None:
    with opened(browser, served.url + "/#stream=spatial") as (page, seen):
        page.wait_for_selector("#shapes .object")
        for count, question in enumerate(("Which are bottles?", "What is left of it?"), 1):
            page.fill("#question", question)
            page.click("#ask")
            page.wait_for_selector(f".answer:nth-child({count}) .verdict")
            page.wait_for_selector("#ask:has-text('Ask')")
        asked = [json.loads(body) for url, body in seen.posted if url.endswith("/questions")]
        assert [a["question"] for a in asked] == ["Which are bottles?", "What is left of it?"]
        assert asked[0]["session"] == asked[1]["session"] != ""
        page.click("#new-session")
        assert page.locator(".answer").count() == 0
        page.fill("#question", "Which are bottles?")
        page.click("#ask")
        page.wait_for_selector(".answer .verdict")
        again = json.loads(seen.posted[-1][1])
        assert again["session"] != asked[0]["session"]


def test_a_standing_question_raises_an_event_with_picture_and_clip(page: Any) -> None:
    page.click("#tab-watch")
    page.fill("#standing-question", "tell me when the teapot disappears")
    page.click("#standing-add")
    page.wait_for_selector("[data-standing] .badge:has-text('watching')")
    page.click("[data-standing] summary")
    assert page.inner_text("[data-standing] .plan li").startswith("Find teapot")
    page.wait_for_selector("[data-event]", timeout=30_000)
    assert "teapot" in page.inner_text("[data-event] .reason")
    page.wait_for_selector("#timeline-marks .mark")
    page.locator("[data-event] .open").last.click()
    page.wait_for_selector("#event[open]")
    loaded = "document.querySelector('#event-media img').naturalWidth > 0"
    until(page, loaded)
    until(page, "(document.querySelector('#event-media video')?.duration ?? 0) > 1")
    page.click("#event-jump")
    assert page.locator("#timeline-cursor").is_visible()
    page.click("[data-standing] .remove")
    page.wait_for_selector("#standing-empty")


def test_another_stream_is_shown_with_its_own_objects(page: Any) -> None:
    before = page.locator("#shapes .object").evaluate_all(
        "nodes => nodes.map(n => n.getAttribute('aria-label'))"
    )
    page.click(".stream:has-text('spatial')")
    until(page, "document.title.startsWith('spatial')")
    page.wait_for_selector("#shapes .object")
    after = page.locator("#shapes .object").evaluate_all(
        "nodes => nodes.map(n => n.getAttribute('aria-label'))"
    )
    assert set(before).isdisjoint(after)
    assert page.get_attribute(".stream:has-text('spatial')", "aria-current") == "true"
