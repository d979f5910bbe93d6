"""How the page looks and is used: both themes, a phone, the keyboard alone, a screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from edgetwin.deploy.models import load_models

from .page_browser import chromium, opened, until
from .page_stub import Recording, Stub, World

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

# Contrast of every visible text with the ground it stands on (WCAG 2, 1.4.3), lowest first. Texts
# over the video are left out: their ground is a picture.
CONTRAST = """() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parts = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const ground = node => {
    for (let at = node; at; at = at.parentElement) {
      const c = parts(getComputedStyle(at).backgroundColor);
      if (c.length >= 3 && (c[3] ?? 1) > 0.99) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    const style = getComputedStyle(node);
    if (!walk.currentNode.textContent.trim() || !node.checkVisibility() || node.disabled) continue;
    if (node.closest('#picture, .unseen, .skip, noscript, option')) continue;
    const [a, b] = [light(parts(style.color)), light(ground(node))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.className, walk.currentNode.textContent.trim()]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""

# Controls that a screen reader could not name.
NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, [role=button]')]
  .filter(n => n.checkVisibility() && !n.closest('[aria-hidden=true]'))
  .filter(n => !(n.getAttribute('aria-label') || n.textContent.trim() || n.labels?.length))
  .map(n => n.outerHTML)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def stub(browser: Any) -> Iterator[Stub]:
    with Stub(World(Recording(load_models("embedded")))) as stub:
        yield stub


def fill(page: Any) -> None:
    """Have something of everything on the page."""
    page.wait_for_selector("#shapes .object")
    page.click("#timeline-rows .pick >> nth=0")
    page.fill("#question", "What could I drink from?")
    page.click("#ask")
    page.wait_for_selector(".answer[aria-busy=false] .verdict .chip")
    page.click("#tab-watch")
    page.fill("#standing-question", "what could I drink from")
    page.click("#standing-add")
    page.wait_for_selector("[data-event]")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_can_be_read_in_both_themes(browser: Any, stub: Stub, theme: str) -> None:
    with opened(browser, stub.url, color_scheme=theme, reduced_motion="reduce") as (page, _):
        fill(page)
        assert page.get_attribute("html", "data-theme") == theme
        counted = 0
        for tab in ("#tab-watch", "#tab-ask", "#tab-objects"):
            page.click(tab)
            page.mouse.move(0, 0)
            found = page.evaluate(CONTRAST)
            assert found[0][0] >= 4.5, found[:4]
            counted += len(found)
        assert counted > 100


def test_the_theme_follows_the_system_until_one_is_chosen(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url, color_scheme="dark") as (page, _):
        page.wait_for_selector("#shapes .object")
        page.emulate_media(color_scheme="light")
        until(page, "document.documentElement.dataset.theme === 'light'")
        page.click("#theme")
        assert page.get_attribute("html", "data-theme") == "dark"
        page.reload()
        page.wait_for_selector("#shapes .object")
        assert page.get_attribute("html", "data-theme") == "dark"  # chosen is chosen


@pytest.mark.parametrize("tab", ["#tab-ask", "#tab-objects", "#tab-watch"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    browser: Any, stub: Stub, tab: str
) -> None:
    with opened(browser, stub.url, **PHONE) as (page, _):
        fill(page)
        page.click(tab)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
        boxes = page.evaluate(
            "[...document.querySelectorAll('main button')].filter(n => n.checkVisibility())"
            ".map(n => [n.outerHTML, n.getBoundingClientRect()])"
            ".map(([html, b]) => [Math.min(b.width, b.height), b.left, b.right, html])"
        )
        for least, left, right, html in boxes:
            assert least >= 24, html  # WCAG 2.2, 2.5.8
            assert left >= 0, html
            assert right <= 390, html
        picture = page.locator("#picture").bounding_box()
        assert picture["width"] > 350


def test_everything_is_done_by_keyboard_alone(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        press = page.keyboard.press
        press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _step in range(40):  # one tab stop leads into the video
            press("Tab")
            reached.add(
                page.evaluate("document.activeElement.id || document.activeElement.tagName")
            )
            if page.evaluate("document.activeElement.matches('#shapes .object')"):
                break
        first = page.evaluate("document.activeElement.dataset.id")
        press("ArrowRight")
        second = page.evaluate("document.activeElement.dataset.id")
        assert first != second is not None
        press("Enter")
        page.wait_for_selector("#inspector:visible")
        assert page.inner_text("#inspector-id") == f"#{second}"
        press("Escape")
        assert page.locator("#inspector").is_hidden()
        press("/")
        page.keyboard.type("What could I drink from?")
        press("Enter")
        page.wait_for_selector(".verdict .chip")
        page.focus("#tab-ask")
        press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-objects"
        assert page.locator("#panel-objects").is_visible()
        press("Tab")
        press("Tab")
        press("Enter")  # the second heading: state, the other way round
        assert page.get_attribute("th:nth-child(2)", "aria-sort") == "descending"
        page.focus("#object-rows .pick >> nth=0")
        press("Enter")
        until(page, "document.activeElement.getAttribute('aria-pressed') === 'true'")
        page.focus("#tab-objects")
        press("End")
        page.focus("#standing-question")
        page.keyboard.type("what could I drink from")
        press("Enter")
        page.wait_for_selector("[data-event]")
        page.focus("[data-event] .open >> nth=0")
        press("Enter")
        page.wait_for_selector("#event[open]")
        press("Escape")
        assert page.locator("#event[open]").count() == 0
        assert page.evaluate("document.activeElement.className") == "open"  # back where it was


def test_columns_sort_both_ways(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url) as (page, _):
        page.wait_for_selector("#shapes .object")
        page.click("#tab-objects")
        page.click("th button[data-by=depth]")
        read = "nodes => nodes.map(n => parseFloat(n.children[2].textContent))"
        shallow = page.locator("#object-rows tr").evaluate_all(read)
        assert shallow == sorted(shallow)
        page.click("th button[data-by=depth]")
        deep = page.locator("#object-rows tr").evaluate_all(read)
        assert deep == sorted(deep, reverse=True)
        assert len(set(deep)) > 2


def test_a_screen_reader_finds_its_way(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url) as (page, _):
        fill(page)
        for tab in ("#tab-ask", "#tab-objects", "#tab-watch"):
            page.click(tab)
            assert page.evaluate(NAMELESS) == []
        marks = page.evaluate(
            "['header', 'nav', 'main', 'h1', 'h2', '[aria-live]', '[role=tabpanel]', 'html[lang]']"
            ".filter(s => !document.querySelector(s))"
        )
        assert marks == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(n => n.id)")
        assert len(ids) == len(set(ids))
        asked = page.evaluate(
            "[...document.querySelectorAll('[aria-labelledby], [aria-controls], label[for]')]"
            ".flatMap(n => ['aria-labelledby', 'aria-controls', 'for'].map(a => n.getAttribute(a)))"
            ".filter(Boolean)"
        )
        assert set(asked) <= set(ids)
        page.wait_for_selector("#announcer:has-text('Event')", state="attached")


def test_nothing_moves_for_those_who_do_not_want_it(browser: Any, stub: Stub) -> None:
    with opened(browser, stub.url, reduced_motion="reduce") as (page, _):
        fill(page)
        assert page.evaluate("document.getAnimations().length") == 0
        page.click("#pause")
        frames = page.get_attribute("#canvas", "data-frames")
        page.wait_for_timeout(500)
        assert page.get_attribute("#canvas", "data-frames") == frames
        page.click("#pause")
        until(page, f"Number(canvas.dataset.frames) > {frames}")
