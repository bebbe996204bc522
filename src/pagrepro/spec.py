"""What configuration files may say, and the identity of what they ask for. Torch-free.

Every class here is one mapping of a YAML file. JSON schemas in `workflow/schemas/` are generated from
them (`workflow/scripts/schemas.py`), so the editor's help and the check agree.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pagrepro.options import Compiled, Number, Strict, added, plugin
from pagrepro.schedule import Constant, Schedule

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.=-]*$")]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces; what hashes and Snakemake's params are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def spec_hash(value: Any) -> str:
    """Identity of a resolved spec: 16 hex digits of the sha256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


# --- config/datasets.yaml ----------------------------------------------------------------------


class Source(Strict):
    """A file from outside, known by its hash."""

    description: str
    urls: tuple[str, ...] = Field((), description="mirrors, tried in order")
    filename: str
    hash: Annotated[str, Field(pattern=r"^(sha256|md5):[0-9a-f]+$")] | None = Field(
        None, description="identity of the file; without it the file is never used"
    )
    size: int | None = Field(None, description="bytes, where known")
    needs: Literal["none", "network", "licence", "user_path"]
    offline: str | None = Field(None, description="path inside offline_dir")
    how: str = Field("", description="one line: how to provide it")
    in_place: bool = Field(False, description="a folder that is listed, not copied")


class Split(Strict):
    """Rows of one part of a data set."""

    part: str
    indices: str | None = Field(
        None, description="text file with one row number per line; all rows without it"
    )
    without: str | None = Field(
        None, description="text file with one row number per line: all rows but these"
    )

    @model_validator(mode="after")
    def _one_list(self) -> "Split":
        if self.indices is not None and self.without is not None:
            raise ValueError("expected at most one of `indices` and `without`")
        return self


class DatasetEntry(Strict):
    """A data set: which plugin makes it, from which sources, and what comes out."""

    label: str = Field(description="how tables call it; never the name of something it is not")
    data: plugin("data")  # type: ignore[valid-type]
    sources: dict[str, str] = {}
    classes: int
    shape: tuple[int, ...]
    low: float | None = 0.0
    high: float | None = 1.0
    seeded: bool = Field(False, description="the data themselves are drawn from the run's seed")
    class_names: tuple[str, ...] = ()
    parts: dict[str, int] = Field(description="number of examples of each part; {} where not known")
    splits: dict[str, Split]


class DatasetsFile(Strict):
    """`config/datasets.yaml`: files from outside, and data sets made from them."""

    sources: dict[Name, Source]
    datasets: dict[Name, DatasetEntry]


# --- config/papers/<paper>.yaml ----------------------------------------------------------------

# role -> {run: NAME, weights: ...} | {field: NAME} | {source: NAME} | {evaluation: NAME, run: NAME}
Input = dict[Literal["run", "field", "source", "evaluation", "weights"], str]


class Cost(Strict):
    """What a job is expected to need on the hardware of the published tier; profiles override it."""

    minutes: Number = 60
    memory_mb: int = 16000
    gpus: int = 1
    threads: int = 4
    devices: int = Field(1, ge=1, description="processes of one fit; more than one are started by torchrun")


class Ema(Strict):
    """Exponential moving average of the weights (`ema.py`)."""

    decay: Number = Field(gt=0, lt=1, description="share of the old average kept at each step")
    start: int = Field(0, ge=0, description="steps during which the average is the network itself")


Select = Annotated[str, Field(pattern=r"^(max|min):\w+$")]


class Fit(Strict):
    """Options of the training loop that every task shares (`fit.py`)."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    micro_batches: int = Field(1, ge=1, description="equal parts of a batch, taken one after the other")
    drop_last: bool = True
    steps_per_epoch: int | None = Field(
        None, ge=1, description="steps that make an epoch, for epochs that are no full pass over the split"
    )
    fresh: bool = Field(
        False, description="new examples at every step, from data that can be drawn; needs steps_per_epoch"
    )
    select: Select | None = Field(
        None, description="keeps the best weights by the epoch mean of a training metric, such as min:loss"
    )
    schedule: Schedule = Constant()
    ema: Ema | None = None
    amp: Literal["none", "bf16"] = "none"
    keep_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    deterministic: bool = True
    tf32: bool = False
    channels_last: bool = False
    compiled: Compiled = added(False)

    @model_validator(mode="after")
    def _whole_epochs(self) -> "Fit":
        if self.fresh and self.steps_per_epoch is None:
            raise ValueError("fresh examples never end: say how many steps make an epoch (steps_per_epoch)")
        whole = self.drop_last and not self.fresh
        if self.batch_size % self.micro_batches or (self.micro_batches > 1 and not whole):
            raise ValueError(
                f"batch_size {self.batch_size} in {self.micro_batches} micro_batches: equal parts,"
                " drop_last: true and examples of a split are needed"
            )
        return self


class Monitor(Strict):
    """A measurement taken every `every` epochs; `select` ("max:accuracy") keeps the best weights.

    ties: which of two equal values wins; first_epoch: the first one that may be chosen, counted from 1."""

    name: Name
    measure: plugin("evaluations")  # type: ignore[valid-type]
    split: str
    every: int = Field(1, ge=1)
    select: Select | None = None
    ties: Literal["earlier", "later"] = "earlier"
    first_epoch: int = Field(1, ge=1)


class RunTemplate(Strict):
    """One fit. Written with `group`, `grid` and references; checked after they are filled in."""

    name: Name
    task: plugin("tasks")  # type: ignore[valid-type]
    dataset: str
    split: str = "train"
    fit: Fit | None = Field(None, description="left out for converted third-party weights")
    monitor: tuple[Monitor, ...] = ()
    seed: int
    inputs: dict[Key, Input] = {}
    labels: dict[Key, Any] = {}
    cost: Cost = Cost()


class FieldTemplate(Strict):
    """A field as a paper file declares it; names may hold keys of its grid."""

    name: Name
    field: plugin("fields")  # type: ignore[valid-type]
    dataset: str
    split: str = "train"
    seed: int
    shards: int = Field(1, ge=1)
    inputs: dict[Key, Input] = {}
    cost: Cost = Cost()


class EvaluationTemplate(Strict):
    """A measurement of every run of `groups`, on a split of the run's data set unless `dataset` is given."""

    name: Name
    groups: tuple[str, ...]
    measure: plugin("evaluations")  # type: ignore[valid-type]
    weights: str = "final"
    dataset: str | None = None
    split: str = "test"
    seed: int = 0
    batch_size: int = 256
    inputs: dict[Key, Input] = {}
    cost: Cost = Cost(minutes=30)


class Artifact(Strict):
    """A table or a figure of the paper, from results of `groups`."""

    number: str = Field(description='as in the paper: "Table 1"')
    title: str
    caption: str
    table: plugin("tables") | None = None  # type: ignore[valid-type]
    figure: plugin("figures") | None = None  # type: ignore[valid-type]
    groups: tuple[str, ...] = ()
    evaluations: tuple[str, ...] = ()
    histories: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> "Artifact":
        if (self.table is None) == (self.figure is None):
            raise ValueError("expected exactly one of `table` and `figure`")
        return self


class Selection(Strict):
    """What a role of a claim is: one value of a measurement, of all runs of these groups."""

    groups: tuple[str, ...]
    evaluation: str
    value: str


class OnlyOn(Strict):
    """Where an absolute published value may be judged: published data, network and length of training."""

    dataset: str
    network: str
    epochs: int = Field(description="epochs of the runs")


class ClaimPart(Strict):
    """One statement that a rule judges; only_on: data, network and epochs that an absolute value needs."""

    label: str
    rule: plugin("claims")  # type: ignore[valid-type]
    select: dict[Key, Selection]
    only_on: OnlyOn | None = None


class Claim(Strict):
    """A statement of the paper with the rule that judges it, written before the run."""

    statement: str
    place: str
    published: str
    parts: tuple[ClaimPart, ...]
