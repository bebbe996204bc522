"""How often an example goes through a network in attacks, measurements and fields. Torch-free.

What a plan needs of evaluations and fields; training steps are counted themselves (`step_flops.py`). Counts
are those of an example that nothing stops early: that is never fooled, and for which no search ends before
its last step. Left out are networks beside the measured one (AlexNet of LPIPS, a judge), linear algebra
outside of networks, and the single batch that `protocol` and `objective_terms` look at.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pagrepro import plugins

Options = dict[str, Any]


@dataclass(frozen=True)
class Passes:
    """Per example: forward passes, and backward passes to the input. A product with the Hessian of a gradient
    that is at hand goes back through both, so it is two backward passes."""

    forward: float = 0
    backward: float = 0

    def __add__(self, other: "Passes") -> "Passes":
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __rmul__(self, times: float) -> "Passes":
        return Passes(times * self.forward, times * self.backward)


NOTHING, FORWARD, BACKWARD = Passes(), Passes(1, 0), Passes(0, 1)
GRADIENT = FORWARD + BACKWARD
HESSIAN_PRODUCT = 2 * BACKWARD

# (options, number of classes) -> passes
Rule = Callable[[Options, int], Passes]


# --- attacks -----------------------------------------------------------------------------------


def _pgd(o: Options, classes: int) -> Passes:
    judged = (o["start"] != "zero") + o["restarts"] if o["keep"] == "worst" else 0
    judged = judged or (o["restarts"] if o["restarts"] > 1 else 0)
    return o["restarts"] * o["steps"] * GRADIENT + judged * FORWARD


def _carlini_wagner(o: Options, classes: int) -> Passes:
    return o["searches"] * o["steps"] * GRADIENT + 2 * FORWARD


ATTACKS: dict[str, Rule] = {
    "pgd": _pgd,
    "batch_pgd": lambda o, classes: o["steps"] * GRADIENT,
    "square": lambda o, classes: (o["queries"] + 1) * FORWARD,
    "carlini_wagner": _carlini_wagner,
}


def _attack(o: Options, classes: int) -> Passes:
    """Of the attack in the options of a measurement."""
    return ATTACKS[o["attack"]["name"]](o["attack"], classes)


# --- AutoAttack: counted in its library, of one image that stands --------------------------------

# Forward passes of the checks at the start of an attack.
CHECKS = 10 * FORWARD
STANDARD = ("apgd_ce", "apgd_t", "fab_t", "square")
PLUS = ("apgd_ce", "apgd_dlr", "fab", "square", "apgd_t", "fab_t")


def _stage(name: str, o: Options, classes: int) -> Passes:
    steps, restarts = o["steps"], 5 if o["version"] == "plus" else o["restarts"]
    targets = min(o["targets"], classes - 1)
    apgd = (steps + 1) * GRADIENT
    fab = Passes(2 * steps + 3, 0)
    found = {
        "apgd_ce": restarts * apgd,
        "apgd_dlr": restarts * apgd,
        "apgd_t": targets * (apgd + FORWARD),
        "fab_t": targets * (fab + steps * BACKWARD),
        # The gradients of all classes, at every step.
        "fab": restarts * (fab + steps * classes * BACKWARD),
        "square": (o["queries"] + 2) * FORWARD,
    }
    return found[name] + CHECKS


def _autoattack(o: Options, classes: int) -> Passes:
    stages = {"standard": STANDARD, "plus": PLUS, "apgd_ce_t": ("apgd_ce", "apgd_t")}.get(o["version"])
    return sum((_stage(name, o, classes) for name in stages or o["attacks"]), FORWARD)


# --- measurements --------------------------------------------------------------------------------


def _class_gradients(o: Options, classes: int) -> Passes:
    return FORWARD + classes * BACKWARD


def _linearised(o: Options, classes: int) -> Passes:
    """Two classes share one backward pass."""
    return FORWARD + (1 if classes == 2 else classes) * BACKWARD


def _alignment(o: Options, classes: int) -> Passes:
    attacked = _attack(o, classes) + _class_gradients(o, classes) if o["attack"] else NOTHING
    return _class_gradients(o, classes) + attacked


def _eps50(o: Options, classes: int) -> Passes:
    rounds = len(o["grid"]) if o["mode"] == "grid" else math.ceil(math.log2(len(o["grid"]) + 1))
    rounds += o["rounds"] if o["mode"] == "search" else 0
    return FORWARD + rounds * (_attack(o, classes) + FORWARD)


def _perturbation_search(o: Options, classes: int) -> Passes:
    trials = 1 + o["doublings"] + o["bisections"]
    return FORWARD + trials * (_attack(o, classes) + FORWARD)


def _power_iteration(iterations: int) -> Passes:
    return GRADIENT + (iterations + 1) * HESSIAN_PRODUCT


def _attack_profile(o: Options, classes: int) -> Passes:
    return _attack(o, classes) + FORWARD + o["points"] * (_power_iteration(o["iterations"]) + FORWARD)


def _attack_steps(o: Options, classes: int) -> Passes:
    return o["at"][-1] * GRADIENT + (1 + len(o["at"])) * FORWARD


def _gradient_statistics(o: Options, classes: int) -> Passes:
    return GRADIENT + FORWARD + (_attack(o, classes) + FORWARD if o["attack"] else NOTHING)


def _off_manifold(o: Options, classes: int) -> Passes:
    """In float64, which counts like any other."""
    return GRADIENT + FORWARD + 2 * o["draws"] * len(o["sigmas"]) * FORWARD


def _line_margin(o: Options, classes: int) -> Passes:
    bisections = plugins.constant("evaluations", "line_margin", "BISECTIONS", 0)
    return GRADIENT + FORWARD + o["directions"] * (o["scan"] + bisections) * FORWARD


MEASURES: dict[str, Rule] = {
    "accuracy": lambda o, classes: FORWARD,
    "alignment": _alignment,
    "attack_profile": _attack_profile,
    "attack_steps": _attack_steps,
    "autoattack": _autoattack,
    "closest_class": _linearised,
    "curvature": lambda o, classes: _power_iteration(o["iterations"]),
    "decision_map": lambda o, classes: FORWARD,
    "direction_alignment": _linearised,
    "direction_similarity": lambda o, classes: NOTHING,
    "distractor_noise": lambda o, classes: (1 + 3 * len(o["sigmas"])) * FORWARD,
    "edge_correlation": lambda o, classes: 2 * GRADIENT,
    "eps50": _eps50,
    "exact_models": lambda o, classes: NOTHING,
    "gradient_maps": lambda o, classes: GRADIENT + FORWARD,
    "gradient_shape": _linearised,
    "gradient_statistics": _gradient_statistics,
    "grid_attack": lambda o, classes: (1 + o["directions"] * len(o["radii"])) * FORWARD,
    "line_margin": _line_margin,
    "linearity_error": lambda o, classes: 3 * FORWARD,
    "manifold_sensitivity": lambda o, classes: 3 * o["draws"] * FORWARD,
    "manifold_theory": lambda o, classes: NOTHING,
    "minimal_distance": lambda o, classes: _attack(o, classes) + 2 * FORWARD,
    "natural_maps": lambda o, classes: _attack(o, classes) + 2 * GRADIENT + 2 * FORWARD,
    "objective_terms": lambda o, classes: NOTHING,
    "off_manifold_alignment": _off_manifold,
    "perturbation_search": _perturbation_search,
    "pgd_accuracy": lambda o, classes: _attack(o, classes) + 2 * FORWARD,
    "protocol": lambda o, classes: NOTHING,
    "score_similarity": lambda o, classes: GRADIENT,
    "signal_share": lambda o, classes: GRADIENT,
    "smoothed_accuracy": lambda o, classes: (1 + o["draws"]) * FORWARD,
    "targeted_images": lambda o, classes: classes * (_attack(o, classes) + FORWARD),
    "transfer_accuracy": lambda o, classes: _attack(o, classes) + 3 * FORWARD,
}

# Measurements that look at the first examples only -> the option that says how many.
FIRST = {"natural_maps": "examples"}


# Measurements that end early for most examples of a network that is not robust: what is planned is the most.
AT_MOST = ("autoattack", "eps50", "minimal_distance", "perturbation_search")


def of_measure(measure: Options, classes: int) -> Passes | None:
    """Passes per example of a measurement's resolved options; None for one that this module does not know,
    or whose attack it does not know."""
    known = (measure.get("attack") or {"name": "pgd"})["name"] in ATTACKS
    rule = MEASURES.get(measure["name"]) if known else None
    return rule and rule(measure, classes)


# --- fields ---------------------------------------------------------------------------------------

# Per row, through the network of the first role; `pairs`: classes that a row has directions to; `latent`:
# dimensions of an autoencoder. A column of a Jacobian, taken forward, counts as a whole pass.
FieldRule = Callable[[Options, int, int, int], Passes]

FIELDS: dict[str, FieldRule] = {
    "class_mean": lambda o, classes, pairs, latent: NOTHING,
    "gan_projection": lambda o, classes, pairs, latent: pairs * _projection(o),
    "generator_residual": lambda o, classes, pairs, latent: FORWARD,
    "nearest_neighbour": lambda o, classes, pairs, latent: NOTHING,
    "one_image": lambda o, classes, pairs, latent: NOTHING,
    "score": lambda o, classes, pairs, latent: max(1, o["average"]) * FORWARD,
    "sphere_direction": lambda o, classes, pairs, latent: NOTHING,
    "square_direction": lambda o, classes, pairs, latent: NOTHING,
    "tangent": lambda o, classes, pairs, latent: (1 + latent) * FORWARD,
    "teacher_gradient": lambda o, classes, pairs, latent: _class_gradients(o, classes),
}


def _projection(o: Options) -> Passes:
    return (o["steps"] + o["regularised_steps"]) * GRADIENT + FORWARD


def of_field(field: Options, classes: int, pairs: int, latent: int) -> Passes | None:
    """Passes per row of a field's resolved options; None for one that this module does not know."""
    rule = FIELDS.get(field["name"])
    return rule and rule(field, classes, pairs, latent)
