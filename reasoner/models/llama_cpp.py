"""llama.cpp: the language model from a GGUF file, usual on small boards.

The package's high-level class is not used: tokens are fed, logits read, and the one loop of
:mod:`.tokens` decides. All contexts of a model share one cache of ``cells`` tokens; a fork shares
its tokens with its origin and costs nothing until the two part.

Texts are cut at added tokens as ``tokenizer.json`` has it (the leftmost, then the longest);
llama.cpp alone cuts at the longest first, which gives other tokens where two overlap
(``],"to":"$``), and does not compose characters (NFC).

Needs the extra ``llama``. Not covered: GPUs, several models' layers in several files, LoRA,
encoders, chat templates.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import threading
import unicodedata
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...twin.errors import MissingExtraError, ModelError
from ...twin.files import sha256_of
from ..bundle import ReasonerBundle, load_bundle
from ..prompts import MODES
from .constraint import Constraint
from .local import LocalModel
from .tokens import Row

__all__ = ["LlamaCppModel", "library"]

_FILE = "model.gguf"
_NEEDED = (_FILE, "tokenizer.json")
_MAX_TOKENS = 4096  # context of a file that says nothing about it, as far as it was trained
_CONTEXTS = 8  # sequences at a time: a session, its forks and some to spare
_BATCH = 512  # tokens read at once; more needs memory and gains no speed on a CPU
_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_CACHES = {"f32": 0, "f16": 1}  # GGML_TYPE_F32, GGML_TYPE_F16
_NO_CELLS = 1  # llama_decode: no room in the cache

_told: deque[str] = deque(maxlen=4)  # what llama.cpp last said of an error
_hold: list[Any] = []  # the callback must live as long as the library


class LlamaCppModel(LocalModel):
    """A GGUF file opened with llama.cpp, on the CPU.

    Args:
        source: a checked bundle, its folder (``model.gguf``, ``tokenizer.json`` and
            ``manifest.json``) or a ``.gguf`` file. A file that no manifest beside it lists is
            taken for a model that was not trained by this project: long prompts, every mode.
        threads: of the processor; one is fastest for networks as small as the embedded one.
        guided: whether grammars are obeyed, by ``tokenizer.json`` beside the file if it is there.
        max_tokens: size of a context; the manifest's or what it was trained with if None.
        cache: number format of keys and values, float32 for results equal to other backends'.
        contexts: how many may be open at a time.
        cells: tokens that all open contexts may hold together; twice ``max_tokens`` if None.

    Raises:
        MissingExtraError: without llama-cpp-python.
        ModelError: if files are missing or cannot be used.
    """

    def __init__(
        self,
        source: ReasonerBundle | str | Path,
        *,
        threads: int = 1,
        guided: bool = True,
        max_tokens: int | None = None,
        cache: Literal["f16", "f32"] = "f16",
        contexts: int = _CONTEXTS,
        cells: int | None = None,
    ) -> None:
        lib = library()
        self.bundle, file = _found(source)
        self._engine = _Engine(lib, file)
        known = self._engine.trained_tokens
        if self.bundle is not None:
            known = min(known, int(self.bundle.config.get("max_tokens", known)))
        self.max_tokens = min(known, max_tokens or _MAX_TOKENS)
        self._engine.open(threads, cache, contexts, cells or 2 * self.max_tokens)
        self.eos = self._engine.ends
        self._describe(file)
        self.constraint = self._constraint(file.parent / "tokenizer.json") if guided else None

    def _constraint(self, tokenizer: Path) -> Constraint:
        if not tokenizer.is_file():
            return self._engine.constraint()
        text = tokenizer.read_text(encoding="utf-8")
        return Constraint(text, self._engine.vocabulary, self.eos)

    def _describe(self, file: Path) -> None:
        """What the manifest says about the training, or what holds for any model."""
        bundle = self.bundle
        if bundle is None:
            self.name, self.sha256 = file.stem, sha256_of(file)
            self.style = "long"
            self.layout = "full"
            self.turns = 0
            self.modes = MODES
            self.tools = self.known_words = None
            self.plan_words = ()
            return
        self._take_from(bundle)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, those of ``tokenizer.json``."""
        return self._engine.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""
        return b"".join(map(self._engine.piece, tokens)).decode("utf-8", errors="replace")

    def start(self) -> _Sequence:
        """A sequence that holds nothing."""
        return _Sequence(self._engine)

    def close(self) -> None:
        """Free weights and cache; contexts cannot be used afterwards."""
        self._engine.close()

    def __enter__(self) -> LlamaCppModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Sequence:
    """One sequence in the shared cache; see :class:`~.tokens.Runtime`."""

    def __init__(self, engine: _Engine) -> None:
        self._engine, self._length = engine, 0
        self._number: int | None = engine.take()
        self._row: Row = np.empty(0, np.float32)

    def feed(self, tokens: Sequence[int]) -> None:
        self._row = self._engine.feed(self._own(), self._length, tokens)
        self._length += len(tokens)

    def logits(self) -> Row:
        return self._row

    def rewind(self, length: int) -> None:
        self._engine.cut(self._own(), length)
        self._length = length

    def fork(self) -> _Sequence:
        other = _Sequence(self._engine)
        self._engine.copy(self._own(), other._own())
        other._length = self._length
        return other

    def close(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            self._engine.give(number)

    def __del__(self) -> None:
        if getattr(self, "_number", None) is not None:
            self.close()

    def _own(self) -> int:
        if self._number is None:
            raise ModelError("expected an open sequence, got a closed one; open another context")
        return self._number


class _Engine:
    """Weights, vocabulary and one llama_context; its calls are made one at a time."""

    def __init__(self, lib: Any, file: Path) -> None:
        self._lib, self._lock = lib, threading.Lock()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        # llama.cpp's AMX kernels crash on machines that announce AMX (ggml-org/llama.cpp#20824).
        parameters.use_extra_bufts = b"AMX_INT8 = 1" not in lib.llama_print_system_info()
        _told.clear()
        self._model = lib.llama_model_load_from_file(str(file).encode(), parameters)
        if not self._model:
            raise ModelError(
                f"expected {file} to load in llama.cpp, got: {_reason()}; "
                "check that it is a whole GGUF file, and update llama-cpp-python"
            )
        self._context: Any = None
        self._free: list[int] = []
        self._close = weakref.finalize(self, _release, lib, self._model, None, None)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.vocabulary = int(lib.llama_vocab_n_tokens(self._vocab))
        self.trained_tokens = int(lib.llama_model_n_ctx_train(self._model))
        self._pieces: dict[int, bytes] = {}
        self._added, self.ends = self._special()
        choices = "|".join(re.escape(t) for t in sorted(self._added, key=len, reverse=True))
        self._cut = re.compile(f"({choices})" if choices else r"(?!)()")
        self._compose = self._meta("tokenizer.ggml.pre").startswith("qwen")

    def open(self, threads: int, cache: str, contexts: int, cells: int) -> None:
        """Make the cache."""
        lib, parameters = self._lib, self._lib.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = cells, contexts
        parameters.n_batch = parameters.n_ubatch = min(_BATCH, cells)
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.type_k = parameters.type_v = _CACHES[cache]
        parameters.kv_unified = True
        if cache == "f32":  # flash attention rounds: 3e-4 of the largest logit instead of 1e-6
            parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        _told.clear()
        self._context = lib.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise ModelError(
                f"expected llama.cpp to make a cache of {cells} tokens, got: {_reason()}; "
                "ask for fewer"
            )
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(parameters.n_batch, 0, 1)
        self._room = int(parameters.n_batch)
        for place in range(self._room):
            self._batch.n_seq_id[place] = 1
        self._free = list(range(contexts))
        self._close.detach()
        self._close = weakref.finalize(self, _release, lib, self._model, self._context, self._batch)

    def close(self) -> None:
        """Free everything."""
        with self._lock:
            self._close()
            self._context = None

    def take(self) -> int:
        """An empty sequence's number."""
        with self._lock:
            self._alive()
            if not self._free:
                raise ModelError(
                    "expected a free sequence in llama.cpp's cache, got none; close contexts, or "
                    "open the model with more of them"
                )
            return self._free.pop()

    def give(self, number: int) -> None:
        """Empty a sequence; another may take its number."""
        with self._lock:
            if self._close.alive and self._context:
                self._lib.llama_memory_seq_rm(self._memory, number, -1, -1)
                self._free.append(number)

    def feed(self, number: int, length: int, tokens: Sequence[int]) -> Row:
        """Go on with tokens; (V,) logits after the last of them."""
        with self._lock:
            self._alive()
            for start in range(0, len(tokens), self._room):
                part = tokens[start : start + self._room]
                self._decode(number, length + start, part)
            pointer = self._lib.llama_get_logits_ith(self._context, -1)
            return np.ctypeslib.as_array(pointer, (self.vocabulary,)).copy()

    def cut(self, number: int, length: int) -> None:
        """Keep the first ``length`` tokens of a sequence."""
        with self._lock:
            self._alive()
            if not self._lib.llama_memory_seq_rm(self._memory, number, length, -1):
                raise ModelError(f"expected llama.cpp to go back to {length} tokens, got a refusal")

    def copy(self, source: int, target: int) -> None:
        """Let a sequence hold what another holds."""
        with self._lock:
            self._alive()
            self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        self._alive()
        tokens: list[int] = []
        for part in self._cut.split(text):
            if part in self._added:
                tokens.append(self._added[part])
            elif part:
                tokens += self._plain(unicodedata.normalize("NFC", part) if self._compose else part)
        return tokens

    def constraint(self) -> Constraint:
        """Grammars over the file's own vocabulary; added tokens are special (begin with 0xff)."""
        special = set(self._added.values())
        pieces = [
            b"\xff" * (token in special) + self.piece(token) for token in range(self.vocabulary)
        ]
        tokenize = self._lib._lib.llama_tokenize
        tokenizer = importlib.import_module("llguidance").LLTokenizer.from_llamacpp(
            tokens=pieces,
            vocab_ptr=self._vocab,
            tokenize_fptr=ctypes.cast(tokenize, ctypes.c_void_p).value,
            eos_token=sorted(self.ends),
            slices=None,
        )
        return Constraint.over(tokenizer, self._added)

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for."""
        if token not in self._pieces:
            self._alive()
            buffer = ctypes.create_string_buffer(256)
            arguments = (self._vocab, int(token))
            size = self._lib.llama_token_to_piece(*arguments, buffer, len(buffer), 0, True)
            if size < 0:
                buffer = ctypes.create_string_buffer(-size)
                size = self._lib.llama_token_to_piece(*arguments, buffer, len(buffer), 0, True)
            self._pieces[token] = buffer.raw[: max(size, 0)]
        return self._pieces[token]

    def _plain(self, text: str) -> list[int]:
        """Token ids of a text without added tokens."""
        data = text.encode("utf-8", errors="replace")
        tokens = (self._lib.llama_token * (len(data) + 1))()
        count = self._lib.llama_tokenize(
            self._vocab, data, len(data), tokens, len(tokens), False, False
        )
        if count < 0:
            raise ModelError(f"expected llama.cpp to tokenise {len(data)} bytes, got {count}")
        return list(tokens[:count])

    def _decode(self, number: int, length: int, tokens: Sequence[int]) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, length + place
            batch.seq_id[place][0] = number
            batch.logits[place] = 0
        batch.logits[len(tokens) - 1] = 1
        _told.clear()
        code = self._lib.llama_decode(self._context, batch)
        if code == _NO_CELLS:
            raise ModelError(
                f"expected room for {len(tokens)} tokens in llama.cpp's cache, got none left; "
                "close other contexts, or open the model with more cells"
            )
        if code:
            raise ModelError(f"expected llama.cpp to go on, got code {code}: {_reason()}")

    def _special(self) -> tuple[dict[str, int], frozenset[int]]:
        """Added tokens by text, and the ids that end a text."""
        lib = self._lib
        kinds = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        added: dict[str, int] = {}
        for token in range(self.vocabulary):
            if lib.llama_vocab_get_attr(self._vocab, token) & kinds:
                added[self.piece(token).decode("utf-8", errors="replace")] = token
        added.pop("", None)
        ends = {t for t in added.values() if lib.llama_vocab_is_eog(self._vocab, t)}
        return added, frozenset(ends)

    def _meta(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(256)
        size = self._lib.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", errors="replace") if size > 0 else ""

    def _alive(self) -> None:
        if not self._close.alive:
            raise ModelError("expected an open model, got a closed one; load it again")


def _found(source: ReasonerBundle | str | Path) -> tuple[ReasonerBundle | None, Path]:
    """The bundle, if there is a manifest, and the file of the weights."""
    if isinstance(source, ReasonerBundle):
        return source, source.path / _FILE
    path = Path(source)
    if path.is_dir():
        return load_bundle(path, needed=_NEEDED), path / _FILE
    if not path.is_file():
        raise ModelError(f"expected a GGUF file or a folder with {_FILE}, got nothing at {path}")
    if path.name in _listed(path.parent / "manifest.json"):
        return load_bundle(path.parent, needed=(path.name, "tokenizer.json")), path
    return None, path


def _listed(manifest: Path) -> set[str]:
    """The files that a manifest lists; none if there is no such manifest."""
    try:
        return set(json.loads(manifest.read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def library() -> Any:
    """llama.cpp's functions; its messages are kept for errors instead of printed.

    Raises:
        MissingExtraError: without llama-cpp-python.
    """
    try:
        lib: Any = importlib.import_module("llama_cpp.llama_cpp")
    except ModuleNotFoundError as error:
        raise MissingExtraError("llama-cpp-python", "llama") from error
    if not _hold:
        _hold.append(lib.llama_log_callback(_note))
        lib.llama_log_set(_hold[0], ctypes.c_void_p(0))
        lib.llama_backend_init()
    return lib


def _note(level: int, text: bytes, _: object) -> None:
    if level == _ERROR:
        _told.append(text.decode("utf-8", errors="replace").strip())


def _reason() -> str:
    return (" / ".join(_told) or "no reason")[:300]


def _release(lib: Any, model: Any, context: Any, batch: Any) -> None:
    if context is not None:
        lib.llama_batch_free(batch)
        lib.llama_free(context)
    lib.llama_model_free(model)
