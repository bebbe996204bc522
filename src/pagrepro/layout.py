"""Where every file of a tier lies: the one place that knows. Torch-free.

The Snakefile builds its patterns from the same functions (with `<results>` as root and `{run}` as
name), so a script and its rule cannot disagree.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths below `results/<tier>` and `resources`."""

    results: Path
    resources: Path = Path("resources")

    # --- files from outside, and data sets made from them (shared by all tiers)
    def source(self, name: str, filename: str) -> Path:
        """A file from outside."""
        return self.resources / "sources" / name / filename

    def dataset(self, name: str) -> Path:
        """A data set made from such files."""
        return self.resources / "data" / f"{name}.safetensors"

    # --- runs
    def run_folder(self, run: str) -> Path:
        """Weights, history and sidecar of a run."""
        return self.results / "models" / run

    def weights(self, run: str, which: str = "final") -> Path:
        """`which`: "final", "ema", "best" or "epoch:<n>"."""
        stem = "model" if which == "final" else which
        if which.startswith("epoch:"):
            stem = f"epoch_{int(which.removeprefix('epoch:')):03d}"
        return self.run_folder(run) / f"{stem}.safetensors"

    def run_json(self, run: str) -> Path:
        """Sidecar of a run."""
        return self.run_folder(run) / "run.json"

    def history(self, run: str) -> Path:
        """History of a fit, one JSON per line and epoch."""
        return self.run_folder(run) / "history.jsonl"

    def state(self, run: str) -> Path:
        """Folder of what a killed fit continues from."""
        return self.results / "state" / run

    # --- fields
    def field_json(self, field: str) -> Path:
        """Sidecar of a field."""
        return self.results / "fields" / field / "field.json"

    def field_shard(self, field: str, shard: int) -> Path:
        """Arrays of one part of a field, counted from 0."""
        return self.results / "fields" / field / f"{shard:03d}.safetensors"

    # --- evaluations
    def result(self, run: str, evaluation: str) -> Path:
        """Named numbers of a measurement, with their provenance."""
        return self.results / "evaluations" / run / f"{evaluation}.json"

    def arrays(self, run: str, evaluation: str) -> Path:
        """Its arrays over the examples."""
        return self.results / "evaluations" / run / f"{evaluation}.npz"

    def scratch(self, run: str, evaluation: str) -> Path:
        """What a long measurement has found so far; no declared output, removed when it is finished."""
        return self.results / "state" / "evaluations" / run / evaluation

    # --- artifacts
    def table(self, paper: str, name: str) -> Path:
        """A table in long form."""
        return self.results / "tables" / paper / f"{name}.csv"

    def figure(self, paper: str, name: str) -> Path:
        """A figure."""
        return self.results / "figures" / paper / f"{name}.png"

    def claims(self) -> Path:
        """Verdicts on all claims."""
        return self.results / "claims.csv"

    # --- the page in the browser
    def page(self) -> Path:
        """Everything of the tier, to browse."""
        return self.results / "index.html"

    def page_points(self) -> Path:
        """The points that its plots show."""
        return self.results / "page.csv"

    def page_picture(self, run: str) -> Path:
        """Images and gradient maps of one run."""
        return self.results / "page" / f"{run}.png"
