"""Reproduction of four papers on perceptually aligned gradients and adversarial robustness.

For notebooks: `pagrepro.measure(model, "digits")` takes every measurement of the papers of a model of your
own (`pagrepro.list_measurements` says which there are); `pagrepro.load_run(layout, name)`,
`pagrepro.load_field(layout, name)` and `pagrepro.measure_run(spec, run, layout)` are for finished work, and
`pagrepro.Layout(Path("results/demo"))` says where that is. They are imported when first asked for, because
the Snakefile imports this package and must not import torch."""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Layout": "pagrepro.layout",
    "list_measurements": "pagrepro.own_choices",
    "load_field": "pagrepro.load",
    "load_run": "pagrepro.load",
    "measure": "pagrepro.own_measure",
    "measure_run": "pagrepro.measuring",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public: {', '.join(_PUBLIC)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
