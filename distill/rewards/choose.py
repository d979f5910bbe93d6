"""Rewards by name, with weights and options from a recipe, and how they become one number.

Most rewards are *added*, each times its weight. ``gated_length`` is a *factor* of the sum
(DR2Seg, equation 7), ``guards`` a penalty and a *gate*. For one rollout:

``total = min(S, 0) + max(S, 0) · F · G + P``

with S the weighted sum, F the product of the factors, G 0 where a guard fired and else 1, and P
the weighted penalty. Factors and gates take away from what was earned, never from what is owed:
with a negative S (``format`` is −0.5 here, not 0) a factor of 0 would be a reward.

A reward that is None for a rollout (a judge that failed) counts as the mean of the others of its
group, and where the whole group has none it is left out, for the sum as for the factor: neither
for nor against the rollout. Adding 0, as a sum over what is there would, punishes it for the
judge's failure.

:data:`COMBINATIONS` are the papers' sums and ours, each with the guards.

Not covered: weights that change while training.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...twin.errors import InputError
from ..rollouts.record import Rollout
from ..stages.recipe import RewardChoice
from . import dr2seg, fastreasonseg, length, rise, visionreasoner, wise
from . import guards as guarding
from .base import Reward, groups
from .counterfactual import counterfactual
from .embedders import Embedder, embedder_of
from .similarities import Similarity, similarity_of

__all__ = [
    "COMBINATIONS",
    "REWARDS",
    "NamedReward",
    "Role",
    "Scored",
    "rewards_of",
    "total_of",
]

Role = Literal["add", "factor", "gate"]
_MOST_WEIGHT = 100.0


@dataclass(frozen=True, slots=True)
class NamedReward:
    """A reward as a recipe chose it; ``role`` says how it enters the total."""

    name: str
    weight: float
    function: Reward
    role: Role = "add"


@dataclass(frozen=True, slots=True)
class Scored:
    """Totals, one per rollout (None: no reward had anything to say), and each reward's own values."""

    totals: list[float | None]
    parts: dict[str, list[float | None]]


_PLAIN: dict[str, Callable[..., Reward]] = {
    "format": fastreasonseg.format_of,
    "accuracy": fastreasonseg.accuracy,
    "description": dr2seg.description,
    "gated_length": dr2seg.gated_length,
    "matched_accuracy": visionreasoner.matched_accuracy,
    "non_repeat": visionreasoner.non_repeat,
    "l1_exact": length.l1_exact,
    "l1_max": length.l1_max,
    "guards": guarding.guards,
    "counterfactual": counterfactual,
}
_ROLES: dict[str, Role] = {"gated_length": "factor", "guards": "gate"}
REWARDS: tuple[str, ...] = tuple(sorted((*_PLAIN, "judged", "self_distillation", "semantic")))


def _choices(**weights: float) -> tuple[RewardChoice, ...]:
    return tuple(RewardChoice(name=name, weight=weight) for name, weight in weights.items())


_GUARDS = RewardChoice(name="guards")
_BLIND = RewardChoice(name="guards", options={"truth": False})
_EXPLAINED = RewardChoice(name="format", options={"needs": ["reason", "explain"]})
_DESCRIBED = RewardChoice(name="format", options={"needs": ["reason", "describe"]})
COMBINATIONS: dict[str, tuple[RewardChoice, ...]] = {
    "teacher": (*_choices(format=1, accuracy=1), _GUARDS),
    "fastreasonseg": (*_choices(format=1, accuracy=1, judged=0.5), _GUARDS),
    "wise": (_EXPLAINED, *_choices(accuracy=1, self_distillation=1), _GUARDS),
    "dr2seg": (
        _DESCRIBED,
        *_choices(non_repeat=1, accuracy=1, description=1, gated_length=1),
        _GUARDS,
    ),
    "rise": (*_choices(format=1, semantic=1), _BLIND),
    "visionreasoner": (*_choices(format=1, non_repeat=1, matched_accuracy=1), _GUARDS),
    "counterfactual": (*_choices(format=1, accuracy=0.5, counterfactual=1), _GUARDS),
    "l1_exact": (*_choices(format=1, l1_exact=1), _GUARDS),
    "l1_max": (*_choices(format=1, l1_max=1), _GUARDS),
}


def rewards_of(
    choices: Sequence[RewardChoice],
    *,
    judge: fastreasonseg.Scores | None = None,
    embed: Embedder | None = None,
    similarity: Similarity | None = None,
    device: str = "cpu",
) -> list[NamedReward]:
    """The rewards of a recipe, in its order, with what they need opened.

    Args:
        choices: names, weights and options.
        judge: for ``judged``.
        embed: for ``self_distillation``; None opens its option ``embedder``: ``hashed`` (the
            default), a folder or ``owner/name@commit``.
        similarity: for ``semantic``; None opens its option ``similarity``: ``embedded`` (the
            default), a perception bundle's folder, or CLIP by folder or ``owner/name@commit``.
        device: where models are opened.

    Raises:
        InputError: for an unknown or repeated name, an unknown or unfit option, a weight out of
            range, no choice at all, nothing that is added, or ``judged`` without a judge.
        ModelError: if a model cannot be used.
    """
    found: list[NamedReward] = []
    for choice in choices:
        name = choice.name
        if name not in REWARDS:
            raise InputError(f"expected a reward of {', '.join(REWARDS)}, got {name[:60]!r}")
        if any(name == one.name for one in found):
            raise InputError(f"expected each reward once, got {name} twice; add up their weights")
        function = _function(choice, judge, embed, similarity, device)
        role = _ROLES.get(name, "add")
        found.append(NamedReward(name, _weight(choice, role), function, role))
    if not any(one.role == "add" for one in found):
        named = ", ".join(one.name for one in found) or "none"
        raise InputError(
            f"expected at least one reward that is added, such as accuracy, got {named}"
        )
    return found


def total_of(rewards: Sequence[NamedReward], rollouts: Sequence[Rollout]) -> Scored:
    """Every reward of a batch, and the totals as the formula above gives them.

    Args:
        rewards: as :func:`rewards_of` gives them.
        rollouts: those of one task together.

    Raises:
        InputError: if a reward gives another number of values than there are rollouts.
    """
    parts = {one.name: one.function(rollouts) for one in rewards}
    for name, values in parts.items():
        if len(values) != len(rollouts):
            raise InputError(
                f"reward {name}: expected {len(rollouts)} values, one per rollout, got {len(values)}"
            )
    filled = {name: _filled(values, rollouts) for name, values in parts.items()}
    totals = [_total(rewards, {n: v[k] for n, v in filled.items()}) for k in range(len(rollouts))]
    return Scored(totals, parts)


def _total(rewards: Sequence[NamedReward], values: dict[str, float | None]) -> float | None:
    known = [(one, value) for one in rewards if (value := values[one.name]) is not None]
    added = [one.weight * value for one, value in known if one.role == "add"]
    if not added:
        return None
    owed, earned = min(sum(added), 0.0), max(sum(added), 0.0)
    for one, value in known:
        if one.role == "factor":
            earned *= 1 - one.weight + one.weight * value
        elif one.role == "gate" and value < 0:
            earned = 0.0
            owed += one.weight * value
    return owed + earned


def _filled(values: list[float | None], rollouts: Sequence[Rollout]) -> list[float | None]:
    """Values with None replaced by the mean of the group's others, where there are any."""
    filled = list(values)
    for group in groups(rollouts):
        known = [v for k in group if (v := values[k]) is not None]
        if known and len(known) < len(group):
            mean = sum(known) / len(known)
            for k in group:
                filled[k] = mean if values[k] is None else values[k]
    return filled


def _weight(choice: RewardChoice, role: Role) -> float:
    least, most = {"add": (-_MOST_WEIGHT, _MOST_WEIGHT), "factor": (0.0, 1.0)}.get(
        role, (0.0, _MOST_WEIGHT)
    )
    if not least <= choice.weight <= most:
        raise InputError(
            f"reward {choice.name}: expected a weight from {least:g} to {most:g}, "
            f"got {choice.weight:g}"
        )
    return choice.weight


def _function(
    choice: RewardChoice,
    judge: fastreasonseg.Scores | None,
    embed: Embedder | None,
    similarity: Similarity | None,
    device: str,
) -> Reward:
    options = dict(choice.options)
    if choice.name == "judged":
        _check_options(choice.name, (), options)
        if judge is None:
            raise InputError("reward judged: expected a judge, got none; add judge: to the recipe")
        return fastreasonseg.judged(judge)
    if choice.name == "self_distillation":
        source = options.pop("embedder", "hashed")
        _check_options(choice.name, ("embedder", "threshold"), options)
        embed = embed or embedder_of(_text(choice.name, "embedder", source), device=device)
        return wise.self_distillation(embed, **options)
    if choice.name == "semantic":
        source = options.pop("similarity", "embedded")
        _check_options(choice.name, ("similarity",), options)
        source = _text(choice.name, "similarity", source)
        return rise.semantic(similarity or similarity_of(source, device=device))
    made = _PLAIN[choice.name]
    _check_options(choice.name, tuple(inspect.signature(made).parameters), options)
    return made(**options)


def _check_options(name: str, known: Sequence[str], given: dict[str, Any]) -> None:
    if wrong := [option for option in given if option not in known]:
        raise InputError(
            f"reward {name}: expected options of {', '.join(known) or 'none'}, got {wrong[0]!r}"
        )


def _text(name: str, option: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"reward {name}: expected {option} as text, got {value!r}")
    return value
