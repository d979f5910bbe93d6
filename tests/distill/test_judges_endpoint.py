"""The judge behind an endpoint, against a real server that fails in every way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgetwin.distill.judges.base import OUTCOMES, Judge, card_of
from edgetwin.distill.judges.endpoint import EndpointJudge, EndpointOptions
from edgetwin.distill.judges.rubric import RUBRIC
from edgetwin.tests.reasoner.loopback import Asked, Loopback, Say, choices, said, serving
from edgetwin.twin.errors import ModelError, StoreError

from .judged import rollout, task, text_of

GOOD = '{"why": "sound", "score": 8}'


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(lambda _: said(GOOD)) as loopback:
        yield loopback


def judge(server: Loopback, folder: Path, **options: Any) -> EndpointJudge:
    given = EndpointOptions(**{"timeout_s": 30.0, "backoff_s": 0.01, **options})
    return EndpointJudge(server.url, "tiny", folder / "scores.sqlite", given)


def many(count: int) -> list[Any]:
    return [rollout(f"Chain number {i}.") for i in range(count)]


def outcomes(one: EndpointJudge) -> dict[str, int]:
    return {name: n for name in OUTCOMES if (n := one.counts[name])}


def student_of(asked: Asked) -> str:
    return str(json.loads(asked.body["messages"][1]["content"])["student"]["rationale"])


def test_it_asks_as_the_paper_does_and_scores_in_the_order_given(
    server: Loopback, tmp_path: Path
) -> None:
    def answer(asked: Asked) -> Say:
        number = int(student_of(asked).split()[-1].strip("."))
        return said(json.dumps({"score": number}), wait_s=0.0)

    server.answer = answer
    one: Judge = judge(server, tmp_path)
    assert one.score(many(10)) == [i / 10 for i in range(10)]
    body = server.asked[0].body
    assert (body["temperature"], body["max_tokens"]) == (0.3, 512)
    assert body["messages"][0] == {"role": "system", "content": RUBRIC.system}
    assert one.counts["asked"] == one.counts["requests"] == one.counts["scored"] == 10


def test_a_second_run_asks_nothing(server: Loopback, tmp_path: Path) -> None:
    first = judge(server, tmp_path)
    rollouts = many(5)
    scores = first.score(rollouts)
    assert scores == [0.8] * 5
    second = judge(server, tmp_path)
    assert second.score(rollouts) == scores
    assert len(server.asked) == 5
    assert outcomes(second) == {"cached": 5}


def test_equal_samples_are_asked_once(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path)
    assert one.score([rollout(), rollout(), rollout("Another."), rollout()]) == [0.8] * 4
    assert len(server.asked) == 2
    assert outcomes(one) == {"scored": 2, "cached": 2}


@pytest.mark.parametrize("change", ["model", "temperature", "question", "teacher"])
def test_what_the_score_depends_on_is_in_the_key(
    server: Loopback, tmp_path: Path, change: str
) -> None:
    cache = tmp_path / "scores.sqlite"
    EndpointJudge(server.url, "tiny", cache).score([rollout()])
    options = EndpointOptions(temperature=0.5 if change == "temperature" else 0.3)
    teachers = {("t", "the red mug"): text_of("Other.")} if change == "teacher" else {}
    again = EndpointJudge(
        server.url, "big" if change == "model" else "tiny", cache, options, teachers=teachers
    )
    again.score([rollout(of=task(question="a mug" if change == "question" else "the red mug"))])
    assert len(server.asked) == 2


def test_cached_entries_name_the_rubric(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path)
    one.score([rollout()])
    (entry,) = one._cache.entries()
    assert (entry["rubric"], entry["rubric_sha256"]) == (RUBRIC.version, RUBRIC.sha256)
    assert (entry["model"], entry["score"], entry["reply"]) == ("tiny", 0.8, GOOD)
    card = card_of(one)
    assert (card["rubric"], card["rubric_sha256"]) == (RUBRIC.version, RUBRIC.sha256)
    assert card["counts"] == one.counts
    assert server.url not in json.dumps(card)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (said("no idea"), "malformed"),
        (said('{"score": 99}'), "malformed"),
        (said(""), "malformed"),
        (choices([]), "failed"),
        (Say(b"<html>", headers={"content-type": "text/html"}), "failed"),
        (Say(b"{", cut=0), "failed"),
        (Say(b'{"error": {"message": "no key"}}', 401), "failed"),
        (Say(b"{}", 404), "failed"),
        (Say(GOOD.encode(), cut=5), "failed"),
        (Say(b"{}", 500), "failed"),
    ],
)
def test_a_failure_skips_its_sample_only(
    server: Loopback, tmp_path: Path, bad: Say, why: str
) -> None:
    server.answer = lambda asked: bad if "bad" in student_of(asked) else said(GOOD)
    one = judge(server, tmp_path)
    assert one.score([rollout("good"), rollout("bad"), rollout("fine")]) == [0.8, None, 0.8]
    assert outcomes(one) == {"scored": 2, why: 1}
    before = len(server.asked)
    server.answer = lambda _: said(GOOD)
    assert one.score([rollout("bad")]) == [0.8]  # nothing of it was kept
    assert len(server.asked) == before + 1


def test_what_is_no_chain_is_not_asked(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path)
    broken = rollout(text="<reason>no end", ending="malformed")
    nothing = rollout(text="<reason> </reason><answer>[1]</answer>")
    assert one.score([broken, nothing]) == [None, 0.0]  # the one is no chain, the other a bad one
    assert outcomes(one) == {"skipped": 1, "empty": 1}
    assert not server.asked


def test_a_busy_server_is_asked_again_when_it_says(server: Loopback, tmp_path: Path) -> None:
    server.script.append(Say(b"{}", 429, {"retry-after": "1"}))
    one = judge(server, tmp_path, concurrency=1)
    start = time.monotonic()
    assert one.score(many(2)) == [0.8, 0.8]
    assert time.monotonic() - start >= 1.0
    assert (one.counts["retried"], one.counts["requests"]) == (1, 3)


def test_a_busy_server_is_left_alone_by_everyone(server: Loopback, tmp_path: Path) -> None:
    times: list[float] = []
    lock = threading.Lock()

    def answer(_: Asked) -> Say:
        with lock:
            times.append(time.monotonic())
            first = len(times) == 1
        return Say(b"{}", 429, {"retry-after": "1"}) if first else said(GOOD, wait_s=0)

    server.answer = answer
    one = judge(server, tmp_path, concurrency=2, requests_per_minute=60 / 0.2)
    assert one.score(many(3)) == [0.8] * 3
    gaps = [later - times[0] for later in times[1:]]
    assert sum(gap < 0.9 for gap in gaps) <= 1  # what was on its way already
    assert one.counts["retried"] == 1


def test_a_server_that_stalls_costs_its_time_only(server: Loopback, tmp_path: Path) -> None:
    server.answer = lambda asked: (
        Say(b"x" * 50, drip_s=0.2) if "bad" in student_of(asked) else said(GOOD)
    )
    one = judge(server, tmp_path, timeout_s=2.5)
    start = time.monotonic()
    assert one.score([rollout("bad"), rollout("good")]) == [None, 0.8]
    assert time.monotonic() - start < 8.0  # its reply takes ten seconds
    assert outcomes(one) == {"scored": 1, "failed": 1}
    assert "in the time allowed" in one.last_error


def test_no_server_at_all(tmp_path: Path) -> None:
    with serving() as gone:
        pass
    one = judge(gone, tmp_path, give_up_after=4, concurrency=2)
    start = time.monotonic()
    assert one.score(many(20)) == [None] * 20
    assert time.monotonic() - start < 30.0
    assert outcomes(one) == {"failed": 20}
    assert one.counts["resting"] >= 14  # it stopped asking after four in a row
    assert 12 <= one.counts["requests"] <= 18


def test_rest_ends(server: Loopback, tmp_path: Path) -> None:
    server.script.extend([Say(b"{}", 404)] * 2)
    one = judge(server, tmp_path, concurrency=1, give_up_after=2, rest_s=1.5)
    assert one.score(many(4)) == [None] * 4
    time.sleep(1.6)
    assert one.score(many(4)) == [0.8] * 4
    assert outcomes(one) == {"scored": 4, "failed": 4}


def test_pace_by_requests_and_by_tokens(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path, requests_per_minute=600)
    start = time.monotonic()
    one.score(many(6))
    assert time.monotonic() - start >= 0.5
    two = judge(server, tmp_path / "two", tokens_per_minute=600_000)  # one takes some 1,100
    start = time.monotonic()
    two.score(many(6))
    assert time.monotonic() - start >= 0.4


def test_patience_ends(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path, requests_per_minute=6, patience_s=5, concurrency=4)
    start = time.monotonic()
    scores = one.score(many(6))
    assert time.monotonic() - start < 8.0  # the second place would come after ten
    assert [scores.count(0.8), scores.count(None)] == [1, 5]


def test_budget_of_requests_over_runs(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path, budget_requests=4)
    scores = one.score(many(6))
    assert (scores.count(0.8), scores.count(None)) == (4, 2)
    assert outcomes(one) == {"scored": 4, "over_budget": 2}
    again = judge(server, tmp_path, budget_requests=4)
    assert sorted(map(str, again.score(many(6)))) == ["0.8"] * 4 + ["None"] * 2
    assert len(server.asked) == 4
    more = judge(server, tmp_path, budget_requests=6)
    assert more.score(many(6)) == [0.8] * 6


def test_repetitions_cost_requests(server: Loopback, tmp_path: Path) -> None:
    server.answer = lambda _: Say(b"{}", 503)
    one = judge(server, tmp_path, budget_requests=2, concurrency=1)
    assert one.score(many(2)) == [None, None]
    assert len(server.asked) == 2
    assert outcomes(one) == {"over_budget": 2}


def test_budget_of_tokens_counts_what_the_server_counted(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path, budget_tokens=2_500, concurrency=1)
    assert one.score(many(20)) == [0.8] * 20  # 35 tokens each by the server, not 1,100
    assert card_of(one)["tokens"] == 700
    few = judge(server, tmp_path / "few", budget_tokens=500)
    assert few.score(many(2)) == [None, None]
    assert outcomes(few) == {"over_budget": 2}


def test_every_sample_ends_once(server: Loopback, tmp_path: Path) -> None:
    says = [said(GOOD), said("hm"), Say(b"{}", 404), Say(b"{}", 500), said(GOOD)]
    server.answer = lambda asked: says[int(student_of(asked).split()[-1][:-1]) % 5]
    one = judge(server, tmp_path, budget_requests=40)
    rollouts = [*many(30), *many(5), rollout(text="broken")]
    scores = one.score(rollouts)
    assert sum(outcomes(one).values()) == len(rollouts)
    counts = one.counts
    assert counts["scored"] + counts["cached"] == sum(s is not None for s in scores)
    assert counts["requests"] == len(server.asked) <= 40


def test_the_key_stays_secret(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-9")
    server.answer = lambda _: Say(b'{"error": {"message": "bad key sk-secret-9"}}', 401)
    one = judge(server, tmp_path, api_key_env="JUDGE_KEY")
    one.score([rollout()])
    assert server.asked[0].headers["authorization"] == "Bearer sk-secret-9"
    assert "sk-secret-9" not in json.dumps(card_of(one))
    assert b"sk-secret-9" not in (tmp_path / "scores.sqlite").read_bytes()
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(ModelError, match="JUDGE_KEY"):
        judge(server, tmp_path, api_key_env="JUDGE_KEY")


def test_a_file_that_is_no_cache(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "scores.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match=r"scores\.sqlite"):
        judge(server, tmp_path)


def test_the_cache_is_bounded(server: Loopback, tmp_path: Path) -> None:
    one = judge(server, tmp_path, concurrency=1)
    one._cache._max_rows = 3
    one.score(many(6))
    kept = [entry["key"] for entry in one._cache.entries()]
    assert len(kept) == 3
