"""One language model in a process of its own: tokens per second and memory.

::

    python -m edgetwin.distill.evaluate.language_probe FOLDER PROMPT.json --runtime llama.cpp

PROMPT.json is a list of texts, each encoded for itself. Prints one line of JSON: tokens of the
prompt, seconds to read it, tokens generated after the first one and their seconds (medians of
rounds), seconds to load, and the most memory that the process held.

``generate`` is transformers' own loop, the yardstick; the others are this project's backends,
free decoding. Not covered: grammars, GPUs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from ...reasoner.models.base import LanguageModel
from ...twin.errors import ModelError
from .precision_probe import peak_mb

__all__ = ["RUNTIMES", "main"]

RUNTIMES = ("generate", "transformers", "onnxruntime-genai", "llama.cpp")

# (tokens of the prompt, seconds to read it, tokens after the first, their seconds)
Measured = tuple[int, float, int, float]


class Run(Protocol):
    """Read the prompt (a short one to warm up) and generate so many tokens."""

    def __call__(self, tokens: int, short: bool = False) -> Measured: ...


def main() -> None:
    """Command line of the probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("prompt", type=Path)
    parser.add_argument("--runtime", choices=RUNTIMES, required=True)
    parser.add_argument("--precision", default="fp32", help="of transformers: fp32 or bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=32, help="to generate")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    segments: list[str] = json.loads(args.prompt.read_text())
    started = time.perf_counter()
    if args.runtime == "generate":
        run = _generate(args.folder, segments, args.precision, args.threads)
    else:
        model = _open(args.runtime, args.folder, args.precision, args.threads)
        run = _ours(model, segments)
    loaded = time.perf_counter() - started
    run(2, True)  # warm
    rounds = [run(args.tokens) for _ in range(args.rounds)]
    prompt, _, new, _ = rounds[0]
    print(
        json.dumps(
            {
                "prompt_tokens": prompt,
                "prompt_s": median(r[1] for r in rounds),
                "new_tokens": new,
                "new_s": median(r[3] for r in rounds),
                "load_s": loaded,
                "peak_mb": peak_mb(),
            }
        )
    )


def _open(runtime: str, folder: Path, precision: str, threads: int) -> LanguageModel:
    """A backend of this project without grammars."""
    if runtime == "llama.cpp":
        from ...reasoner.models.llama_cpp import LlamaCppModel

        return LlamaCppModel(folder, threads=threads, guided=False)
    if runtime == "onnxruntime-genai":
        from ...reasoner.models.ort_genai import OrtGenAiModel

        return OrtGenAiModel(folder, threads=threads, guided=False)
    from ...reasoner.models.transformers import TransformersModel

    return TransformersModel(folder, threads=threads, guided=False, dtype=precision)


def _ours(model: LanguageModel, segments: list[str]) -> Run:
    def run(tokens: int, short: bool = False) -> Measured:
        context = model.open()
        began = time.perf_counter()
        read = context.read(segments[-1:] if short else segments)
        first = context.generate((), 1, math.inf)
        between = time.perf_counter()
        rest = context.generate((), tokens - 1, math.inf)
        ended = time.perf_counter()
        context.close()
        if first.tokens + rest.tokens < tokens:
            raise ModelError(f"expected {tokens} tokens, got the end of the text before them")
        return read.tokens, between - began, rest.tokens, ended - between

    return run


def _generate(folder: Path, segments: list[str], precision: str, threads: int) -> Run:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = torch.tensor([[t for text in segments for t in tokenizer.encode(text).ids]])

    def run(tokens: int, short: bool = False) -> Measured:
        given = ids[:, :8] if short else ids
        clock = _Clock()
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                do_sample=False,
                streamer=clock,
            )
        _, first, *_, last = clock.times
        return given.shape[1], first - began, tokens - 1, last - first

    return run


class _Clock:
    """Notes when ``generate()`` hands over the prompt, then each token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


if __name__ == "__main__":
    main()
