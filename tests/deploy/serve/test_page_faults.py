"""The page when things are not well: hostile texts, lost connections, streams that stand still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from edgetwin.deploy.models import load_models

from .page_browser import chromium, opened, until
from .page_stub import Recording, Stub, World

HOSTILE = '"><img src=x onerror="window.broken=1"><script>window.broken=1</script>{{7*7}}'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def recording(browser: Any) -> Recording:
    return Recording(load_models("embedded"))


@pytest.fixture
def stub(recording: Recording) -> Iterator[Stub]:
    with Stub(World(recording)) as stub:
        yield stub


def test_hostile_texts_are_shown_as_text(browser: Any, stub: Stub) -> None:
    world = stub.world
    world.hostile = HOSTILE
    world.error = HOSTILE
    label = '<img src=x onerror="window.broken=1">'
    world.names = dict.fromkeys(range(1, 64), label)
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        page.click("#timeline-rows .pick >> nth=0")
        page.wait_for_selector("#inspector-facts dd")
        page.fill("#question", f"What could I drink from? {HOSTILE}")
        page.click("#ask")
        page.wait_for_selector(".answer .verdict .chip")
        page.click("#tab-watch")
        page.fill("#standing-question", f"what could I drink from {HOSTILE}")
        page.click("#standing-add")
        page.wait_for_selector("[data-event]")
        page.click("[data-standing] summary")
        page.click("[data-event] .open")
        page.wait_for_selector("#event[open]")
        page.click("#event-close")
        page.click("#tab-objects")
        for shown in ("#object-rows", "#inspector-name", "#timeline-rows", "#tags"):
            assert label in page.text_content(shown), shown
        for shown in (".thinking", ".asked", "[data-event] .reason", "[data-standing]"):
            assert HOSTILE in page.text_content(shown), shown
        assert page.evaluate("window.broken") is None
        assert page.locator('img[src="x"], script:not([src])').count() == 0


def test_a_lost_connection_is_said_and_mended(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        stub.world.cut = True
        page.wait_for_selector("#connection:visible")
        text = page.inner_text("#connection-text")
        assert "Connection to the server lost" in text
        assert "the server stops" in text  # what its goodbye said
        frames = int(page.get_attribute("#canvas", "data-frames"))
        stub.world.cut = False
        page.click("#connection-now")
        page.wait_for_selector("#connection", state="hidden")
        until(page, f"Number(canvas.dataset.frames) > {frames + 3}")


def test_events_that_were_missed_are_caught_up_with(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        stub.world.watch("cell", "what could I drink from")
        stub.world.cut = True
        page.wait_for_selector("#connection:visible")
        stub.world.watch("cell", "what could I drink from")
        stub.world.cut = False
        page.click("#connection-now")
        page.click("#tab-watch")
        page.wait_for_selector("[data-event=e2] + [data-event=e1]")  # the newest first


def test_a_refused_video_says_why_and_comes_back(browser: Any, stub: Stub) -> None:
    stub.world.crowded = True
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")  # the outlines are there
        page.wait_for_selector("#no-video:has-text('expected at most 8 viewers')")
        stub.world.crowded = False
        page.wait_for_selector("#no-video", state="hidden")
        until(page, "Number(canvas.dataset.frames) > 2")


def test_sessions_are_given_back_when_the_page_is_left(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        page.fill("#question", "What could I drink from?")
        page.click("#ask")
        page.wait_for_selector(".answer[aria-busy=false] .verdict")
        page.reload()
        page.wait_for_selector("#shapes .object")
        assert stub.world.closed == ["q1"]


@pytest.mark.parametrize(
    ("state", "badge", "word"),
    [
        ("stalled", "Stalled", "No new frames"),
        ("backoff", "Reconnecting", "Trying again (attempt 3)"),
        ("stopped", "Stopped", "The stream has stopped"),
    ],
)
def test_a_stream_that_stands_still_says_why(
    browser: Any, stub: Stub, state: str, badge: str, word: str
) -> None:
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        assert page.locator("#still").is_hidden()
        stub.world.error = "no route to the camera"
        stub.world.state = state
        page.wait_for_selector(f"#state:has-text('{badge}')")
        assert word in page.inner_text("#still-word")
        assert page.inner_text("#still-why") == "no route to the camera"
        assert page.inner_text(".stream[aria-current] .said") == badge
        stub.world.state = "running"
        page.wait_for_selector("#still", state="hidden")


def test_the_thinking_is_shown_while_it_comes(browser: Any, stub: Stub) -> None:
    stub.world.pause_s = 0.3
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        page.fill("#question", "What could I drink from?")
        page.click("#ask")
        page.wait_for_selector(".answer[aria-busy=true] .thinking:has-text('Drink from:')")
        assert page.locator(".verdict").count() == 0
        assert page.inner_text("#ask") == "Stop"
        page.wait_for_selector(".answer[aria-busy=false] .verdict .chip")
        assert "<" not in page.inner_text(".thinking")  # no marks of the protocol
        assert "Answered" in page.inner_text("#announcer")


def test_an_answer_can_be_stopped(browser: Any, stub: Stub) -> None:
    stub.world.pause_s = 5.0
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        page.fill("#question", "What could I drink from?")
        page.click("#ask")
        page.wait_for_selector("#ask:has-text('Stop')")
        page.click("#ask")
        page.wait_for_selector(".verdict:has-text('Stopped')")
        assert page.inner_text("#ask") == "Ask"


def test_a_token_is_asked_for_and_taken(browser: Any, stub: Stub) -> None:
    stub.world.token = "right"
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#login[open]")
        page.keyboard.press("Escape")
        assert page.locator("#login[open]").count() == 1  # there is nothing behind it
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#login-problem:has-text('not the right one')")
        page.fill("#token", "right")
        page.keyboard.press("Enter")
        page.wait_for_selector("#shapes .object")
        assert page.locator("#login[open]").count() == 0
        assert page.evaluate("document.cookie") == ""
        assert "right" not in page.content()


def test_streams_are_added_and_removed(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        page.click("#add-stream")
        page.fill("#add-source", "/etc/passwd")
        page.fill("#add-id", "new")
        page.click("#add-sure")
        page.wait_for_selector("#add-problem:has-text('expected rtsp')")
        page.fill("#add-source", "rtsp://127.0.0.1/cam")
        page.click("#add-sure")
        page.wait_for_selector(".stream[aria-current]:has-text('new')")
        page.wait_for_selector("#shapes .object")
        page.click("#remove-stream")
        page.click("#remove-sure")
        page.wait_for_selector(".stream[aria-current]:has-text('cell')")
        assert stub.world.streams == ["cell", "yard"]
