"""A classifier trained on one objective: every training method of the papers that fits one network.

The objective (`objectives/<name>.py`) is the paper's equation; this file is the update around it:
gradients of the mean over the batch, one optimiser step. A batch may come in micro-batches, each with its own
random streams, and these may be shared out among processes (`distributed.py`).
"""

import functools
from contextlib import nullcontext

from pydantic import Field
from torch import Tensor, nn

from pagrepro import distributed, plugins
from pagrepro.augment import draw
from pagrepro.augment_options import Augment, Mix, Recipe
from pagrepro.batch import Batch
from pagrepro.compiling import compiled_whole, step_begins
from pagrepro.determinism import seed_global
from pagrepro.errors import DataError
from pagrepro.layers import piecewise_linear
from pagrepro.mixing import mixed
from pagrepro.optimizer_options import Optimizer
from pagrepro.optimizers import build_optimizer
from pagrepro.options import Number, Strict, plugin
from pagrepro.pretrained import start_from_file
from pagrepro.seeding import seed_for
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

REVISION = 1
# Takes batches in parts (fit.micro_batches), which several processes may share.
MICRO_BATCHES = True
# What to start from, at most one of these: all weights of another run (fine-tuning), or a file of weights
# made for other classes, without its last layer. The objective's own roles come on top.
ROLES = {"initial": "run?", "pretrained": "source?"}


class Config(Strict):
    """adapter: reads the file of the role `pretrained`; given if and only if that is. augment: crop and flip
    on the fit's device; recipe: augmentation of single images by timm, before a batch is made; mix: of images
    and labels of a batch. clip_norm: largest L2 norm of the gradient of all weights; longer ones are
    scaled."""

    model: plugin("models")
    objective: plugin("objectives")
    optimizer: Optimizer
    augment: Augment = Augment()
    adapter: plugin("sources") | None = None
    recipe: Recipe | None = None
    mix: Mix | None = None
    clip_norm: Number | None = Field(None, gt=0)


def network(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The untrained network; its initial weights come from the global generator."""
    return plugins.instantiate("models", config.model, shape, classes)


class Classifier:
    """Network, optimiser and objective of one run."""

    def __init__(self, config: Config, setup: TaskSetup):
        self.network = network(config, setup.shape, setup.classes).to(setup.device)
        self._initialise(config, setup)
        self.optimizer = build_optimizer(config.optimizer, self.network)
        self.optimizers = {"network": self.optimizer}
        self.objective = plugins.instantiate("objectives", config.objective)
        self.config, self.classes, self.device = config, setup.classes, setup.device
        self.compiled = setup.compiled
        self.notes = _curvature_notes(config, self.network)

    @functools.cached_property
    def parallel(self) -> nn.Module:
        """The network, or what stands for it in several processes. Made at the first step, when the loop has
        settled where weights lie."""
        return distributed.parallel(self.network, self.device)

    @functools.cached_property
    def called(self) -> nn.Module:
        """What objectives call: the same, compiled where the fit asks for it."""
        return compiled_whole(self.parallel, self.compiled) if self.compiled else self.parallel

    def _initialise(self, config: Config, setup: TaskSetup) -> None:
        """Weights from another run or from a file, if the run asks for them."""
        pretrained = setup.inputs.get("pretrained")
        if pretrained is not None and "initial" in setup.inputs:
            raise DataError("inputs.initial and inputs.pretrained: a run starts from one of them")
        if "initial" in setup.inputs:
            self.network.load_state_dict(setup.inputs["initial"].model.state_dict())
        start_from_file(self.network, config.adapter, pretrained)

    def step(self, state: LoopState, batch: Batch) -> dict[str, Tensor]:
        """One step on the batch mean of the objective's per-example "loss"."""
        self.optimizer.zero_grad(set_to_none=True)
        step_begins(self.compiled or self.config.objective.get("compiled", False))
        sums: dict[str, Tensor] = {}
        for number, rows in batch.micro:
            part, share = batch.part(rows), (rows.stop - rows.start) / batch.size
            last = (number, rows) == batch.micro[-1]
            with nullcontext() if last or self.parallel is self.network else self.parallel.no_sync():
                terms = self._terms(state, part, number)
                loss = terms["loss"].mean()
                # The average over processes is what DistributedDataParallel leaves; the sum is wanted.
                (distributed.world() * share * loss).backward()
            means = {name: value.detach().float().mean() for name, value in terms.items()} | {"loss": loss}
            for name, value in means.items():
                sums[name] = sums.get(name, 0) + share * value.detach()
        sums = distributed.summed(sums)
        distributed.same_buffers(self.network)
        loss = sums.pop("loss")
        norm = finite_or_diverge(loss, self.network.parameters(), sums, state.step, self.network.buffers())
        if self.config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.network.parameters(), self.config.clip_norm, norm)
        self.optimizer.step()
        return {"loss": loss, **sums, "gradient_norm": norm}

    def _terms(self, state: LoopState, batch: Batch, number: int) -> dict[str, Tensor]:
        """The objective's terms on one micro-batch; the first one has the streams of an undivided batch."""
        end = f"/{number}" if number else ""
        if number:
            # Draws that take no generator, such as dropout's, are the micro-batch's own, too.
            seed_global(seed_for(state.seed, "global", state.step, number), self.device)
        shape = tuple(batch.x.shape[1:])
        batch.draw = draw(self.config.augment, len(batch.y), shape, state.generator(f"augment{end}"))
        if self.config.mix is not None:
            generator = state.generator(f"mix{end}")
            batch.x, batch.soft = mixed(self.config.mix, batch.augmented(), batch.y, self.classes, generator)
            batch.draw = None
        return self.objective(self.called, batch, state.generator(f"objective{end}"))


def _curvature_notes(config: Config, network: nn.Module) -> list[str]:
    """What to know of a fit whose objective relies on curvature that the network does not have."""
    objective = config.objective["name"]
    if not (plugins.constant("objectives", objective, "SMOOTH", False) and piecewise_linear(network)):
        return []
    return [
        f"ReLU networks have no curvature: {objective} cannot see that its input gradients change where a"
        " unit switches on or off, so it may fail where a smooth network learns; its collapse is a result"
    ]


def build(config: Config, setup: TaskSetup) -> Classifier:
    """The task of one run; seed the global generator before, it draws the initial weights."""
    return Classifier(config, setup)
