"""Fingerprints of autoencoders, their tangent spaces, and what is measured on and off the manifold."""

from collections.abc import Callable
from dataclasses import replace

import torch
from autoencoders import fixed_basis, small_autoencoder
from fingerprint_tools import (
    CPU,
    Cases,
    image_request,
    images,
    measured,
    module_and_config,
    numbers,
    pattern,
    resolved,
)
from networks import IMAGE

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.image_noise import image_noise
from pagrepro.request import FieldRequest, LoadedField, LoadedRun
from pagrepro.tangent import decoder_jacobian, project, tangent_basis
from pagrepro.task import LoopState, TaskSetup


def autoencoder() -> Cases:
    x, cases = pattern(6, *IMAGE), {}
    variants = {
        "convolutions": {"network": "small_conv", "width": 3, "latent": 2},
        "variational": {"network": "mlp", "width": 5, "latent": 2, "variational": True},
    }
    for case, options in variants.items():
        torch.manual_seed(1)
        setup = TaskSetup(IMAGE, 2, -1.0, 2.0, 0, 3, CPU)
        task = plugins.instantiate("tasks", resolved("tasks", "autoencoder", **options), setup)
        found, state = [], LoopState(0, 3, CPU)
        for state.step in range(3):
            found.append(task.step(state, Batch(x, torch.zeros(6).long(), torch.arange(6))))
        cases[f"{case}: metrics"] = numbers(found)
        cases[f"{case}: weights"] = numbers(task.network.state_dict())
        cases[f"{case}: eval"] = numbers(task.network.eval()(x))
    return cases


def image_noise_cases() -> Cases:
    return {"rows": numbers(image_noise(3, "on", torch.tensor([7, 0, 70000]), (2, 3, 4)))}


def tangent() -> Cases:
    """Singular vectors have no sign, so that projections of fixed vectors are compared."""
    request = FieldRequest(
        pattern(12, *IMAGE), torch.zeros(12).long(), 2, torch.arange(12), 0, 0.0, 1.0, CPU,
        {"autoencoder": LoadedRun("ae", small_autoencoder(IMAGE, 4), {})},
    )  # fmt: skip
    cases = {}
    for case, options in {"all": {"batch": 5}, "threshold": {"threshold": 0.4}}.items():
        module, config = module_and_config("fields", "tangent", **options)
        tensors = module.compute(config, request)
        cases[f"{case}: singular values"] = numbers(tensors["singular_values"])
        basis = module.read(config, tensors, torch.tensor([7, 0, 3]), images()[0][:3])
        cases[f"{case}: read"] = numbers(project(basis, images()[0][:3]))
    return cases


def tangent_spaces() -> LoadedField:
    """Of the six images."""
    network, x = small_autoencoder(IMAGE, 4), images()[0]
    basis, _ = tangent_basis(decoder_jacobian(network.decode, network.encode(x)))
    return fixed_basis(basis, field={"threshold": None})


def sensitivity() -> Cases:
    variants = {
        "published": {},
        "draws, relative": {"size": 0.1, "relative": True, "draws": 3},
        "not rescaled": {"size": 0.7, "rescale": "none"},
    }
    return measured("manifold_sensitivity", image_request(inputs={"tangent": tangent_spaces()}), variants)


def alignment() -> Cases:
    request = image_request(inputs={"tangent": tangent_spaces()})
    return measured("off_manifold_alignment", request, {"some": {"sigmas": [0.3, 0.01], "draws": 6}})


def noise() -> Cases:
    request = image_request(inputs={"tangent": tangent_spaces()})
    return measured(
        "manifold_noise", replace(request, model=small_autoencoder(IMAGE, 4)), {"pictures": {"images": 5}}
    )


def theory() -> Cases:
    # Quantities that are zero but for rounding are left to the tests.
    options = {"points": 3, "draws": 8, "sigmas": [1.0, 0.1], "subspace": 2, "examples": [20, 40]}
    module, config = module_and_config("evaluations", "manifold_theory", **options)
    found = module.measure(config, image_request())
    kept = ("theorem1_error", "ridge_distractor_small", "ridge_distractor")
    return {"values": numbers([found.values[name] for name in kept]), "arrays": numbers(found.arrays)}


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "evaluations.manifold_noise": noise,
    "evaluations.manifold_sensitivity": sensitivity,
    "evaluations.manifold_theory": theory,
    "evaluations.off_manifold_alignment": alignment,
    "fields.tangent": tangent,
    "image_noise": image_noise_cases,
    "tasks.autoencoder": autoencoder,
}
