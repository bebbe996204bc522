"""Reproduction of four papers on perceptually aligned gradients and adversarial robustness.

For notebooks: `pagrepro.load_run(layout, name)`, `pagrepro.load_field(layout, name)` and
`pagrepro.measure(spec, run, layout)`; `pagrepro.Layout(Path("results/demo"))` says where things are. They are
imported when first asked for, because the Snakefile imports this package and must not import torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Layout": "pagrepro.layout",
    "load_field": "pagrepro.load",
    "load_run": "pagrepro.load",
    "measure": "pagrepro.measuring",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public: {', '.join(_PUBLIC)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
