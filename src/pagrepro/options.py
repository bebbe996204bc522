"""Building blocks for the `Config` class of every plugin. Torch-free.

A plugin's options are a frozen pydantic model that forbids unknown keys, so a misspelt
hyper-parameter stops the workflow before any job starts.
"""

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """Frozen model that forbids unknown keys: the base of every configuration class."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def parse_number(value: Any) -> Any:
    """Read `"8/255"` as the float nearest to that fraction; leave everything else to pydantic."""
    if isinstance(value, str):
        return float(Fraction(value))
    return value


# A float that may be written as a fraction, as papers write budgets.
Number = Annotated[float, BeforeValidator(parse_number)]


def _ordered(box: Any) -> Any:
    if isinstance(box, tuple) and not box[0] < box[1]:
        raise ValueError(f"the low end of a box has to be below the high end, found {list(box)}")
    return box


# Where an attack keeps x_adv: "data", the range of the data; "none"; or [low, high] in the data's units.
Box = Annotated[Literal["data", "none"] | tuple[Number, Number], AfterValidator(_ordered)]


# What `torch.compile` makes of a training step: nothing, a compiled one, or one with CUDA graphs.
Compiled = bool | Literal["cudagraphs"]


def added(default: Any, **details: Any) -> Any:
    """Field of an option that came when there were runs without it: at its default it is left out of the
    specification, so that they keep their identity."""
    return Field(default, exclude_if=lambda value: value == default, **details)


def plugin(kind: str) -> Any:
    """Type of an option that chooses another plugin: `{name: <plugin>, <its options>}`.

    The value is checked against that plugin's own `Config` and comes back as a plain dict with
    all defaults filled in, so that a spec shows every hyper-parameter that was in force.
    """

    def check(value: dict[str, Any]) -> dict[str, Any]:
        from pagrepro import plugins

        return plugins.resolve(kind, value)

    return Annotated[dict[str, Any], AfterValidator(check)]


def needs_one(what: str, *names: str) -> Any:
    """Validator for the body of an options class: at least one of these options is given. what: how the
    message calls them together."""

    def check(options: Strict) -> Strict:
        if all(getattr(options, name) is None for name in names):
            *first, last = (f"`{name}`" for name in names)
            raise ValueError(f"{what}: {', '.join(first)}, {last}, or both")
        return options

    return model_validator(mode="after")(check)


def threshold() -> Any:
    """Validator of rules that compare with `above`, `below`, or both."""
    return needs_one("a threshold", "above", "below")
