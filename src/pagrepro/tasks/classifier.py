"""A classifier trained on one objective: every training method of the papers that fits one network.

The objective (`objectives/<name>.py`) is the paper's equation; this file is the update around it:
gradients of the mean over the batch, one optimiser step.
"""

from torch import Tensor, nn

from pagrepro import plugins
from pagrepro.augment import draw
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.optimizer_options import Optimizer
from pagrepro.optimizers import build_optimizer
from pagrepro.options import Strict, plugin
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

REVISION = 1
# Weights of another run to start from (fine-tuning); the objective's own roles come on top.
ROLES = {"initial": "run?"}


class Config(Strict):
    model: plugin("models")
    objective: plugin("objectives")
    optimizer: Optimizer
    augment: Augment = Augment()


def network(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The untrained network; its initial weights come from the global generator."""
    return plugins.instantiate("models", config.model, shape, classes)


class Classifier:
    """Network, optimiser and objective of one run."""

    def __init__(self, config: Config, setup: TaskSetup):
        self.network = network(config, setup.shape, setup.classes).to(setup.device)
        if "initial" in setup.inputs:
            self.network.load_state_dict(setup.inputs["initial"].model.state_dict())
        self.optimizer = build_optimizer(config.optimizer, self.network.parameters())
        self.optimizers = {"network": self.optimizer}
        self.objective = plugins.instantiate("objectives", config.objective)
        self.augment = config.augment

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
