r"""Reasoning-aware advantage estimation, RAAE (ReRec, section on advantage estimation).

Where the recommended item is wrong, the paragraphs that brought it up get less reward than the
rest of the completion:

.. math:: A_{i,t} = \frac{r_{i,t} - \mathrm{mean}(r)}{\mathrm{std}(r) + \epsilon},
          \qquad r_{i,t} = (1 - w_{pen}) \, r_i \text{ on penalised tokens, else } r_i

with mean and std over the G rewards of the group.

An advantage is a function in the registry ``ADVANTAGES``; a new one needs no more than

.. code-block:: python

    @advantage("sign")
    def sign_of_reward(rewards, penalised, group_size, strength: float):
        return (strength * rewards.sign()).unsqueeze(1).expand(penalised.shape)

and ``rft.advantage: {name: sign, strength: 0.5}`` in ``conf``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import ConfigDict, Field, ValidationError, create_model, model_validator

from rerec_pipeline.configs import Config, Scale, SettingError
from rerec_pipeline.errors import did_you_mean

if TYPE_CHECKING:  # parameters are validated by what stands here, before torch is needed
    from torch import Tensor

EPSILON = 1e-4

#: (rewards (N,), penalised (N, T), group_size, **settings) -> advantages (N, T)
AdvantageFunction = Callable[..., "Tensor"]


@dataclass(frozen=True)
class Advantage:
    """An entry of ``ADVANTAGES``.

    Attributes:
        function: See ``advantage``.
        settings: Its parameters after the third as a validated block.
    """

    function: AdvantageFunction
    settings: type[Config]


#: The advantages that ``rft.advantage.name`` can choose.
ADVANTAGES: dict[str, Advantage] = {}


def advantage(name: str) -> Callable[[AdvantageFunction], AdvantageFunction]:
    """Registers a function of (rewards, penalised, group_size, settings ...) by a name.

    The function gets ``rewards`` float (N,) of all processes, the G of a group adjacent;
    ``penalised`` bool (N, T), the tokens of penalised paragraphs; and ``group_size``, G. It gives
    advantages (N, T). Whatever parameters follow are its settings: their annotations are what
    ``rft.advantage`` is validated by, and one without a default must be given there.

    Args:
        name: What ``rft.advantage.name`` is to call it.

    Raises:
        ValueError: If the name is taken.
    """

    def register(function: AdvantageFunction) -> AdvantageFunction:
        if name in ADVANTAGES:
            raise ValueError(f"there is an advantage '{name}' already")
        hints = get_type_hints(function, localns={"Tensor": Any}, include_extras=True)
        fields: dict[str, Any] = {
            p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
            for p in [*inspect.signature(function).parameters.values()][3:]
        }
        model = create_model(f"{name}_settings", __base__=Config, **fields)
        ADVANTAGES[name] = Advantage(function, model)
        return function

    return register


def segment_rewards(rewards: Tensor, w_penalty: float) -> Tensor:
    r"""Reward of a penalised segment.

    The paper's :math:`(1 - w_{pen}) r` raises a negative reward; here
    :math:`r - w_{pen} |r|`, which equals it wherever :math:`r \ge 0` and lowers r below 0.

    Args:
        rewards: Any shape, float.
        w_penalty: Share of the reward taken away, in [0, 1].

    Returns:
        Same shape and dtype.
    """
    return rewards - w_penalty * rewards.abs()


def group_statistics(
    rewards: Tensor, group_size: int, scale: Scale, min_std: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Baseline and divisor of every completion's advantage.

    Args:
        rewards: float (N,), the G completions of a group adjacent.
        group_size: G.
        scale: Divide by the std of the group (paper), of the batch, or not at all.
        min_std: Least std that is divided by; 0 is the paper's formula.

    Returns:
        mean (N,) and divisor (N,).

    Raises:
        ValueError: If N is not a multiple of G, or the scale is unknown.
    """
    if len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards do not make groups of {group_size}")
    grouped = rewards.view(-1, group_size)
    mean = grouped.nanmean(dim=1).repeat_interleave(group_size)
    if scale == "group":
        divisor = _std(grouped, dim=1).clamp(min=min_std).repeat_interleave(group_size) + EPSILON
    elif scale == "batch":
        divisor = _std(rewards, dim=None).clamp(min=min_std).expand_as(rewards) + EPSILON
    elif scale == "none":
        divisor = rewards.new_ones(rewards.shape)
    else:
        raise ValueError(f"unknown scale '{scale}': use group, batch or none")
    return mean, divisor


def _std(values: Tensor, dim: int | None) -> Tensor:
    """Sample standard deviation over ``dim`` (None: over everything).

    Formulas that are equal on paper round differently. This order of operations, with the
    NaN-aware mean, is TRL's, so that the advantage without a penalty is TRL's bit for bit.
    """
    mean = values.nanmean(dim=dim, keepdim=True)
    variance = ((values - mean) ** 2).nanmean(dim=dim, keepdim=True)
    count = (~values.isnan()).sum(dim=dim, keepdim=True)
    std = (variance * (count / (count - 1))).sqrt()
    return std.squeeze() if dim is None else std.squeeze(dim)


@advantage("raae")
def reasoning_aware_advantages(
    rewards: Tensor,
    penalised: Tensor,
    group_size: int,
    w_penalty: Annotated[float, Field(ge=0, le=1)],
    scale: Scale = "group",
    min_std: Annotated[float, Field(ge=0)] = 0.0,
) -> Tensor:
    """Token-level advantages; with ``w_penalty`` = 0 they are GRPO's, bit for bit.

    Args:
        rewards: float (N,), the G completions of a group adjacent.
        penalised: bool (N, T), tokens of penalised paragraphs.
        group_size: G.
        w_penalty: Share of the reward that penalised paragraphs lose.
        scale: See ``group_statistics``.
        min_std: See ``group_statistics``.

    Returns:
        Advantages (N, T), of the dtype of ``rewards``.
    """
    mean, divisor = group_statistics(rewards, group_size, scale, min_std)
    kept = (rewards - mean) / divisor
    lowered = (segment_rewards(rewards, w_penalty) - mean) / divisor
    return lowered.unsqueeze(1).where(penalised, kept.unsqueeze(1))


class AdvantageConfig(Config):
    """Which advantage is estimated, and its settings.

    Further keys are settings of advantages that were registered elsewhere.

    Attributes:
        name: An entry of ``ADVANTAGES``.
        w_penalty: Share of the reward that penalised paragraphs lose; 0 is plain GRPO.
        scale: Divide by the reward's std within the group, the batch, or not at all.
        min_std: Least std that is divided by, so that a group of nearly equal rewards does not own
            the gradient; 0 is the paper's formula.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    w_penalty: float = Field(ge=0, le=1)
    scale: Scale
    min_std: float = Field(ge=0)

    @model_validator(mode="after")
    def _names_an_advantage_and_its_settings(self) -> AdvantageConfig:
        if self.name not in ADVANTAGES:
            raise SettingError(
                "name", f"there is no advantage '{self.name}'{did_you_mean(self.name, ADVANTAGES)}"
            )
        anywhere = {key for one in ADVANTAGES.values() for key in one.settings.model_fields}
        for key in self.model_extra or {}:
            if key not in anywhere:
                raise SettingError(key, f"no advantage has a setting '{key}'")
        try:
            self.settings()
        except ValidationError as exc:
            first = exc.errors()[0]
            key = str(first["loc"][0])
            problem = f"{first['msg']} ({key}, of the advantage '{self.name}')"
            raise SettingError(key, problem) from None
        return self

    def settings(self) -> dict[str, Any]:
        """Validated settings of the chosen advantage, those that it takes of all that are set."""
        model = ADVANTAGES[self.name].settings
        given = {k: v for k, v in self.model_dump().items() if k in model.model_fields}
        return dict(model.model_validate(given))

    def __call__(self, rewards: Tensor, penalised: Tensor, group_size: int) -> Tensor:
        """Advantages (N, T) by the chosen function; see ``advantage``."""
        function = ADVANTAGES[self.name].function
        return function(rewards, penalised, group_size, **self.settings())
