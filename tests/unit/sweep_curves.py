"""Made-up sweeps with the shapes of Srinivas et al. (2023, Figure 2), read off the camera-ready figure."""

from pathlib import Path
from typing import Any

import numpy as np
from made_up import curve, group, put

# Gradient-norm regularisation over logspace(-5, 2, 30); values below 0.01 are filled in.
STRENGTHS = np.logspace(-5, 2, 30)
ON = [
    0.485, 0.520, 0.505, 0.533, 0.519, 0.559, 0.559, 0.586, 0.591, 0.595, 0.617, 0.592, 0.572, 0.562, 0.556,
    0.509, 0.442, 0.360, 0.277, 0.203, 0.143, 0.099, 0.055, 0.03, 0.02, 0.009, 0.008, 0.007, 0.006, 0.005,
]  # fmt: skip
OFF = [
    1.114, 1.077, 1.082, 1.081, 1.055, 1.035, 1.023, 1.028, 0.992, 0.977, 0.868, 0.793, 0.675, 0.618, 0.548,
    0.442, 0.371, 0.291, 0.200, 0.110, 0.064, 0.046, 0.025, 0.013, 0.007, 0.006, 0.005, 0.005, 0.005, 0.005,
]  # fmt: skip
ACCURACY = [
    0.951, 0.950, 0.948, 0.946, 0.945, 0.943, 0.942, 0.938, 0.935, 0.928, 0.922, 0.916, 0.905, 0.902, 0.897,
    0.887, 0.864, 0.823, 0.756, 0.658, 0.531, 0.444, 0.370, 0.314, 0.267, 0.233, 0.214, 0.196, 0.186, 0.149,
]  # fmt: skip
ALIGNMENT = [
    0.747, 0.757, 0.766, 0.773, 0.782, 0.789, 0.796, 0.804, 0.812, 0.820, 0.831, 0.840, 0.851, 0.859, 0.867,
    0.874, 0.878, 0.877, 0.876, 0.861, 0.830, 0.841, 0.864, 0.859, 0.805, 0.739, 0.721, 0.724, 0.727, 0.719,
]  # fmt: skip
CURVES = {"on": ON, "off": OFF, "accuracy": ACCURACY, "alignment": ALIGNMENT}
CROSSING, PEAK = 14, 16


def noisy(values: list[float], seeds: int = 5, noise: float = 0.0, key: int = 0) -> np.ndarray:
    """One row per seed (seeds, S): the curve times 1 + noise."""
    rng = np.random.default_rng(key)
    return np.array(values) * (1 + noise * rng.normal(size=(seeds, len(values))))


def sweep_rows(
    roles: tuple[str, ...], seeds: int = 5, noise: float = 0.002, every: int = 1, **other: Any
) -> list[list[dict]]:
    """Rows of a claim's frame for these roles; other: role -> curve, or (seeds, S) values, in its place."""
    parts = []
    for key, role in enumerate(roles):
        values = other.get(role, CURVES[role])
        table = np.array(values) if np.ndim(values) == 2 else noisy(values, seeds, noise, key)
        by_strength = dict(zip(STRENGTHS[::every].tolist(), table[:, ::every].T.tolist()))
        quantity = "accuracy" if role == "accuracy" else role
        parts.append(curve(role, by_strength, "strength", group="g", quantity=quantity))
    return parts


def put_sweep(results: Path, name: str, seeds: int = 3, noise: float = 0.01, **other: Any) -> dict[str, Any]:
    """Result files of a whole sweep, and its entry of a group table. other: strengths, curves by quantity
    (None: not measured), status of runs."""
    curves = {**CURVES, **{k: v for k, v in other.items() if k in CURVES}}
    strengths = other.get("strengths", STRENGTHS)
    tables = {q: noisy(c, seeds, noise, n) for n, (q, c) in enumerate(curves.items()) if c is not None}
    runs = []
    for seed in range(seeds):
        for k, strength in enumerate(strengths):
            run = f"{name}_{k}_s{seed}"
            runs.append({"run": run, "seed": seed, "labels": {"strength": float(strength), "index": k}})
            value = {q: float(t[seed, k]) for q, t in tables.items()}
            more = {"status": other.get("status", {}).get(run, "complete")}
            if "on" in value:
                pair = {q: value[q] for q in ("on", "off")}
                put(results, run, "sensitivity", pair, {"on": np.full(40, value["on"])}, **more)
            put(results, run, "clean", {"accuracy": value["accuracy"]}, {"correct": np.ones(100)}, **more)
            if "alignment" in value:
                put(
                    results,
                    run,
                    "similarity",
                    {"cosine": value["alignment"]},
                    {"cosine": np.ones(20)},
                    **more,
                )
    return {**group(dataset="digits"), "runs": runs, **{k: v for k, v in other.items() if k == "missing"}}
