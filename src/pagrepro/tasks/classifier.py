"""A classifier trained on one objective: every training method of the papers that fits one network.

The objective (`objectives/<name>.py`) is the paper's equation; this file is the update around it:
gradients of the mean over the batch, one optimiser step.
"""

from torch import Tensor, nn

from pagrepro import plugins
from pagrepro.augment import draw
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.optimizer_options import Optimizer
from pagrepro.optimizers import build_optimizer
from pagrepro.options import Strict, plugin
from pagrepro.pretrained import start_from_file
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

REVISION = 1
# What to start from, at most one of these: all weights of another run (fine-tuning), or a file of weights
# made for other classes, without its last layer. The objective's own roles come on top.
ROLES = {"initial": "run?", "pretrained": "source?"}


class Config(Strict):
    """adapter: reads the file of the role `pretrained`; given if and only if that is."""

    model: plugin("models")
    objective: plugin("objectives")
    optimizer: Optimizer
    augment: Augment = Augment()
    adapter: plugin("sources") | None = None


def network(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The untrained network; its initial weights come from the global generator."""
    return plugins.instantiate("models", config.model, shape, classes)


class Classifier:
    """Network, optimiser and objective of one run."""

    def __init__(self, config: Config, setup: TaskSetup):
        self.network = network(config, setup.shape, setup.classes).to(setup.device)
        self._initialise(config, setup)
        self.optimizer = build_optimizer(config.optimizer, self.network.parameters())
        self.optimizers = {"network": self.optimizer}
        self.objective = plugins.instantiate("objectives", config.objective)
        self.augment = config.augment

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
        shape = tuple(batch.x.shape[1:])
        batch.draw = draw(self.augment, len(batch.y), shape, state.generator("augment"))
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.objective(self.network, batch, state.generator("objective"))
        loss = terms["loss"].mean()
        loss.backward()
        means = {name: value.detach().float().mean() for name, value in terms.items() if name != "loss"}
        norm = finite_or_diverge(loss, self.network.parameters(), means, state.step, self.network.buffers())
        self.optimizer.step()
        return {"loss": loss.detach(), **means, "gradient_norm": norm}


def build(config: Config, setup: TaskSetup) -> Classifier:
    """The task of one run; seed the global generator before, it draws the initial weights."""
    return Classifier(config, setup)
