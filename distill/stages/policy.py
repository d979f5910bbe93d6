"""The language model of a stage: loaded, asked as inference asks it, and saved.

Not covered: several adapters at once; checkpoints that are not safetensors.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...reasoner.bundle import EMBEDDED
from ...reasoner.prompts import Layout, Style, prefix, question, turn
from ...reasoner.protocol import EOS
from ...twin.errors import MissingExtraError, ModelError
from ...twin.files import sha256_of
from ..reasoner import network
from ..sim.questions.restricted import TRAINED
from ..tasks.task import Task
from .recipe import LoraChoice, ModelChoice

__all__ = ["Policy", "device_of", "load_policy", "prompt_ids", "prompt_texts", "save_policy"]

_PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,40}")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MAX_TOKENS = 4096  # of a prompt with its completion; ours have at most 3,000


@dataclass(frozen=True, slots=True)
class Policy:
    """A causal language model with its tokenizer (a transformers fast one).

    ``source`` says where it came from, ``sha256`` hashes its first safetensors file (empty for
    random weights). ``dtype`` is what it computes in; parameters that are trained in full stay
    float32.
    """

    model: Any
    tokenizer: Any
    style: Style
    layout: Layout
    source: str
    sha256: str = ""
    view: str = "twin"
    dtype: torch.dtype = torch.float32

    def computing(self) -> AbstractContextManager[Any]:
        """A context in which the model computes in its dtype."""
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32)

    @property
    def eos(self) -> int:
        """The token that ends a completion."""
        return int(self.tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special ones."""
        return list(self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids; the end of text is left out."""
        kept = [i for i in ids if i != self.eos]
        return str(self.tokenizer.backend_tokenizer.decode(kept, skip_special_tokens=False))


def device_of(wanted: str) -> str:
    """``auto`` as ``cuda`` where there is a GPU, else ``cpu``."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_policy(
    choice: ModelChoice, work: Path, device: str = "cpu", seed: int = 0, *, trained: bool = True
) -> Policy:
    """Open the model of a recipe.

    Args:
        choice: which, and how.
        work: the distillation's folder, for ``stage:…``.
        device: where to put it.
        seed: of random weights and of a new adapter.
        trained: False leaves out the adapter and turns gradients off (teachers, judges).

    Raises:
        ModelError: if it cannot be had.
        MissingExtraError: without PEFT where an adapter is asked for.
    """
    torch.manual_seed(seed)
    whole = trained and choice.lora is None
    dtype = torch.float32 if whole else _DTYPES[choice.dtype]
    if choice.source == "scratch":
        tokenizer = _tokenizer(EMBEDDED)
        model = network.build(len(tokenizer), tokenizer.eos_token_id, seed, choice.widths)
        policy = Policy(
            model.to(dtype), tokenizer, choice.style, choice.layout, "scratch", view=choice.view
        )
    else:
        policy = _opened(choice, _place(choice.source, work), dtype)
    policy = replace(policy, view=choice.view, dtype=_DTYPES[choice.dtype])
    if trained and choice.lora is not None:
        policy = replace(policy, model=_adapted(policy.model, choice.lora))
    if trained and choice.gradient_checkpointing:
        policy.model.config.use_cache = False
    policy.model.to(device)
    if not trained:
        policy.model.requires_grad_(False).eval()
    return policy


def save_policy(policy: Policy, folder: Path) -> None:
    """Write a transformers folder; an adapter is merged into it, and kept in ``adapter/`` too."""
    folder.mkdir(parents=True, exist_ok=True)
    model = policy.model
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder.parent / "adapter")
        model = _merged(model)
    model.save_pretrained(folder, safe_serialization=True)
    policy.tokenizer.save_pretrained(folder)


def prompt_texts(policy: Policy, task: Task) -> list[str]:
    """The prompt's texts, each encoded for itself, exactly as inference has them."""
    shown = prefix(task.window, TRAINED, policy.style, layout=policy.layout)
    if policy.view == "caption":
        from ..tasks.caption import caption

        shown = caption(shown)
    return [shown, *(turn(*one) for one in task.turns), question(task.question, task.mode)]


def prompt_ids(policy: Policy, task: Task) -> list[int]:
    """Tokens of the prompt."""
    return [token for text in prompt_texts(policy, task) for token in policy.encode(text)]


def _place(source: str, work: Path) -> str:
    if source == "embedded":
        return str(EMBEDDED)
    if source.startswith("stage:"):
        stage = source.removeprefix("stage:")
        folder = work / stage / "model"
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"expected the model of the stage {stage} in {folder}, got none; "
                f"run 'edgetwin distill {stage}' with the same --work first"
            )
        return str(folder)
    if Path(source).is_dir() or _PINNED.fullmatch(source):
        return source
    raise ModelError(
        f"expected embedded, scratch, stage:NAME, a folder or owner/name@commit, got {source!r}; "
        "a checkpoint of the hub is named with its commit, such as owner/name@0123abc"
    )


def _opened(choice: ModelChoice, place: str, dtype: torch.dtype) -> Policy:
    from transformers import AutoModelForCausalLM

    name, _, commit = place.partition("@")
    options = {"revision": commit} if commit and not Path(place).is_dir() else {}
    name = name if options else place
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, use_safetensors=True, **options
        )
        tokenizer = _tokenizer(Path(name)) if not options else _hub_tokenizer(name, commit)
    except ModelError:
        raise
    except Exception as error:  # the libraries raise OSError, ValueError, KeyError and more
        raise ModelError(
            f"expected {place} to load in transformers as a causal language model of safetensors, "
            f"got: {str(error).splitlines()[0]}"
        ) from error
    weights = Path(name) / "model.safetensors"
    digest = sha256_of(weights) if weights.is_file() else ""
    return Policy(model, tokenizer, choice.style, choice.layout, place, digest)


def _tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a folder; padding is the end of text."""
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ModelError(f"expected tokenizer.json in {folder}, got none; copy the whole folder")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file), model_max_length=_MAX_TOKENS)
    known = tokenizer.get_vocab()
    end = next((t for t in ("<|im_end|>", EOS) if t in known), None)
    if end is None:
        raise ModelError(f"{file}: expected the token {EOS}, got a tokenizer without it")
    tokenizer.eos_token = end
    tokenizer.pad_token = EOS if EOS in known else end
    return tokenizer


def _hub_tokenizer(name: str, commit: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name, revision=commit)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def _adapted(model: Any, lora: LoraChoice) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    model.enable_input_require_grads()
    return get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.targets,
            task_type="CAUSAL_LM",
        ),
    )


def _merged(model: Any) -> Any:
    """A copy with the adapter's products added to the weights; the model itself goes on."""
    import copy

    return copy.deepcopy(model).merge_and_unload()
