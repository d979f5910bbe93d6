"""transformers: the language model on a GPU, and the reference on a CPU.

On a CPU the model runs eagerly over a growing cache. On CUDA the cache is static, its length one
of a few sizes (it is copied into the next size when it is full), and steps of up to 16 tokens are
padded to 1, 4 or 16 and run compiled with CUDA graphs; longer ones (prompts) run eagerly. Going
back crops the cache either way.

Weights are safetensors only, and no code from a checkpoint runs.

Not covered: batches, sampling, chat templates (texts are read as they are), several GPUs.
"""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...twin.errors import MissingExtraError, ModelError
from ..bundle import ReasonerBundle, load_bundle
from .constraint import Constraint
from .local import LocalModel
from .tokens import Row

__all__ = ["TransformersModel"]

_NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
_PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,40}")
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_MAX_TOKENS = 8192  # of a checkpoint that allows more: prompts here have at most 3,000
_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)  # sizes of a static cache
_STEPS = (1, 4, 16)  # tokens of a compiled step: one, forced ones with it, a line of results


class TransformersModel(LocalModel):
    """A causal language model opened with transformers.

    Args:
        source: a bundle, its name or folder; a folder with config.json, safetensors and
            tokenizer.json; or a checkpoint of the hub as ``owner/name@commit``.
        device: such as ``cpu`` or ``cuda:0``; ``auto`` takes a GPU if there is one.
        dtype: ``fp32``, ``fp16``, ``bf16`` or ``auto`` (fp32 on a CPU, bf16 on a GPU).
        threads: of a CPU, for the whole process; None leaves them as they are.
        guided: False decodes without grammars.
        static: whether the cache is static; None: on CUDA.
        max_tokens: size of the context; None: the checkpoint's, at most 8192.

    Raises:
        MissingExtraError: if torch or transformers is missing.
        ModelError: if the checkpoint cannot be used.
    """

    def __init__(
        self,
        source: ReasonerBundle | str | Path = "embedded",
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        guided: bool = True,
        static: bool | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self._torch, library = _library("torch"), _library("transformers")
        if dtype != "auto" and dtype not in _DTYPES:
            raise ModelError(f"expected dtype auto, {' or '.join(_DTYPES)}, got {dtype!r}")
        if threads is not None:
            self._torch.set_num_threads(threads)
        place, revision = self._describe(source)
        cuda = self._torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
        self.device = ("cuda" if cuda else "cpu") if device == "auto" else device
        kind = _DTYPES[dtype if dtype != "auto" else "bf16" if cuda else "fp32"]
        options = {} if revision is None else {"revision": revision}
        quiet = library.utils.logging
        bars = quiet.is_progress_bar_enabled()
        quiet.disable_progress_bar()  # nothing but what is asked for goes to the terminal
        try:
            tokenizer: Any = library.AutoTokenizer.from_pretrained(place, **options)
            model: Any = library.AutoModelForCausalLM.from_pretrained(
                place, dtype=getattr(self._torch, kind), use_safetensors=True, **options
            )
            self._model = model.eval().requires_grad_(False).to(self.device)
            self._tokenizer: Any = tokenizer.backend_tokenizer
        except Exception as error:  # the libraries raise OSError, ValueError, KeyError and more
            raise ModelError(
                f"expected {source if isinstance(source, str) else place} to load in transformers "
                f"as a causal language model of safetensors, got: {_first(error)}"
            ) from error
        finally:
            if bars:
                quiet.enable_progress_bar()
        most = int(getattr(self._model.config, "max_position_embeddings", _MAX_TOKENS))
        self.max_tokens = min(max_tokens or _MAX_TOKENS, most)
        self.eos = self._ends(tokenizer)
        vocabulary = int(self._model.config.vocab_size)
        self.constraint = (
            Constraint(self._tokenizer.to_str(), vocabulary, self.eos) if guided else None
        )
        self.static = cuda if static is None else static
        self._cache_type: Any = library.StaticCache if self.static else library.DynamicCache
        self.compiled: Any = None
        if cuda and self.static:
            self.compiled = self._torch.compile(self._model, mode="reduce-overhead", dynamic=False)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))

    def start(self) -> _Sequence:
        """A cache that holds nothing."""
        return _Sequence(self)

    def _describe(self, source: ReasonerBundle | str | Path) -> tuple[str, str | None]:
        """What is known of the model before it loads; returns (folder or id, revision)."""
        self.style = "long"
        self.layout = "full"
        self.known_words = None
        self.plan_words = ()
        self.tools = None
        self.modes = ("concise", "sentence", "detailed", "description")
        self.turns, self.sha256 = 4, ""
        if isinstance(source, str) and _PINNED.fullmatch(source):
            self.name = source
            name, _, revision = source.partition("@")
            return name, revision
        if isinstance(source, (str, Path)) and str(source) != "embedded":
            folder = Path(source)
            if not folder.is_dir():
                raise ModelError(
                    f"expected a folder or a pinned checkpoint such as owner/name@commit, got "
                    f"{str(source)[:80]!r}; 'embedded' is the set that works offline"
                )
            if not (folder / "manifest.json").is_file():
                self.name = folder.name
                return str(folder), None
        bundle = source
        if not isinstance(bundle, ReasonerBundle):
            bundle = load_bundle(bundle, needed=_NEEDED)
        self._take_from(bundle)
        return str(bundle.path), None

    def _ends(self, tokenizer: Any) -> frozenset[int]:
        settings = getattr(self._model, "generation_config", None)
        found: list[int] = []
        for holder in (tokenizer, self._model.config, settings):
            value = getattr(holder, "eos_token_id", None)
            found += value if isinstance(value, list) else [value] if value is not None else []
        return frozenset(found)


class _Sequence:
    """One sequence's cache; see :class:`~.tokens.Runtime`."""

    def __init__(self, model: TransformersModel) -> None:
        self._owner, self._torch = model, model._torch
        self._length = 0
        self._room = 0  # of a static cache
        self._cache: Any = None
        self._row: Any = None

    def feed(self, tokens: Sequence[int]) -> None:
        with self._torch.no_grad():
            try:
                self._reserve(self._length + len(tokens))
                self._row = self._run(list(tokens))
            except RuntimeError as error:  # out of memory is one of them
                raise ModelError(
                    f"expected transformers to read {len(tokens)} tokens, got: {_first(error)}"
                ) from error
        self._length += len(tokens)

    def logits(self) -> Row:
        row: Row = self._row
        return row

    def rewind(self, length: int) -> None:
        self._set_length(length)
        self._length = length

    def fork(self) -> _Sequence:
        other = _Sequence(self._owner)
        other._length, other._room = self._length, self._room
        other._cache = copy.deepcopy(self._cache)
        other._row = self._row
        return other

    def close(self) -> None:
        self._cache = None

    def _run(self, tokens: list[int]) -> Row:
        """Feed the tokens; returns the (V,) float32 logits after the last one."""
        torch, count = self._torch, len(tokens)
        static = self._owner.static
        padded = next((n for n in _STEPS if n >= count), count) if static else count
        ids = torch.tensor([tokens + [0] * (padded - count)], device=self._owner.device)
        if self._cache is None:
            self._cache = self._new()
        # A first step fills the static cache's tensors, which must not happen while compiling.
        step = self._owner._model
        if self._owner.compiled is not None and padded in _STEPS and self._length:
            step = self._owner.compiled
            torch.compiler.cudagraph_mark_step_begin()
        last = torch.tensor([count - 1], device=self._owner.device) if static else 1
        found = step(
            input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=last
        )
        row: Row = found.logits[0, -1].float().cpu().numpy()
        if padded > count:
            self._set_length(self._length + count)
        return row

    def _new(self) -> Any:
        config = self._owner._model.config
        if self._owner.static:
            return self._owner._cache_type(config=config, max_cache_len=self._room)
        return self._owner._cache_type(config=config)

    def _reserve(self, length: int) -> None:
        """Make room for a length in a static cache: the next size, with what is held copied."""
        wanted = length + _STEPS[-1]  # padding is written too, and taken back
        if not self._owner.static or wanted <= self._room:
            return
        self._room = next((n for n in _LENGTHS if n >= wanted), wanted)
        held, self._cache = self._cache, None
        if held is None:
            return
        self._cache = self._new()
        for old, new in zip(held.layers, self._cache.layers, strict=True):
            new.lazy_initialization(old.keys, old.values)
            new.keys[:, :, : self._length] = old.keys[:, :, : self._length]
            new.values[:, :, : self._length] = old.values[:, :, : self._length]
            new.cumulative_length.fill_(self._length)

    def _set_length(self, length: int) -> None:
        """Forget what is in the cache beyond a length."""
        if self._cache is None:
            return
        if self._owner.static:
            for layer in self._cache.layers:
                layer.cumulative_length.fill_(length)  # what lies beyond is masked, then written
        elif length == 0:
            self._cache = None
        else:
            self._cache.crop(min(length - self._length, 0))


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, "train") from error


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
