"""A server that goes on with any text word by word, and one that decodes under a grammar."""

from __future__ import annotations

import hashlib
from typing import Any

import llguidance

from edgetwin.reasoner.models.openai import pieces
from edgetwin.tests.reasoner.loopback import Asked, Say, completed, said

WORDS = (" mug", " is", " the", " red", " left", ",", " one", " of", " box", ".")
LONGEST = 40  # words until it ends by itself
PREFERRED = b"<]}/,\"'0123456789 abcdefghijklmnopqrstuvwxyz>"


def text_before(asked: Asked) -> str:
    """Everything that the model is to go on from."""
    if asked.path.endswith("/chat/completions"):
        return "".join(message["content"] for message in asked.body["messages"])
    return str(asked.body["prompt"])


def words_after(text: str, count: int) -> str:
    """What a deterministic model says next: each word depends on all before it."""
    said_ = ""
    for _ in range(count):
        digest = hashlib.sha256((text + said_).encode("utf-8", "replace")).digest()
        said_ += WORDS[digest[0] % len(WORDS)]
    return said_


def answer(asked: Asked) -> Say:
    """Go on; cut the stop off as servers do, and name it as vLLM does."""
    body = asked.body
    most = min(int(body["max_tokens"]), LONGEST)
    grammar = _grammar(body)
    if grammar is not None:
        text, ended = guided(grammar, int(body["max_tokens"]))
    else:
        text, ended = words_after(text_before(asked), most), most == LONGEST
    ends = [(text.find(stop), stop) for stop in body.get("stop", []) if stop in text]
    reply = said if asked.path.endswith("/chat/completions") else completed
    if ends:
        place, stop = min(ends)
        return reply(text[:place], "stop", stop_reason=stop)
    return reply(text, "stop" if ended else "length", stop_reason=None)


def _grammar(body: dict[str, Any]) -> str | None:
    nested = body.get("structured_outputs", {}).get("grammar")
    found = nested or body.get("grammar") or body.get("guided_grammar")
    return None if found is None else str(found)


def guided(lark: str, max_tokens: int) -> tuple[str, bool]:
    """The text that closes everything as soon as the grammar lets it; whether it came to an end."""
    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(lark))
    assert not matcher.is_error(), matcher.get_error()
    out = bytearray()
    while not matcher.is_stopped():
        forced = matcher.compute_ff_bytes()
        if forced:
            step = forced
        else:
            allowed = matcher.compute_logit_bias()
            order = [*PREFERRED, *(b for b in range(256) if b not in PREFERRED)]
            step = bytes([next(b for b in order if allowed[b])])
        for byte in step:
            assert matcher.consume_token(byte), matcher.get_error()
        out += step
        if len(pieces(out.decode(errors="ignore"))) > max_tokens:
            return "".join(pieces(out.decode(errors="ignore"))[:max_tokens]), False
    return out.decode(), True
