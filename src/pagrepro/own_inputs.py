"""What a measurement of a model of one's own is given besides the model: from the data, or from finished
runs.

A measurement is declared for a run of the papers, its inputs too. Here that run's place is taken by another
model, in all that stands behind the measurement: what was made from that run is made again, in memory, from
the model; everything else is loaded from a folder of results, and what needs data alone is computed.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from pagrepro import plugins
from pagrepro.errors import StateError, UserError
from pagrepro.inputs import Loader
from pagrepro.layout import Layout
from pagrepro.load import joined_field, load_field, load_result, load_run
from pagrepro.make_field import compute_shard
from pagrepro.measuring import take
from pagrepro.own_choices import Catalogue
from pagrepro.request import Loaded, LoadedField, LoadedResult, LoadedRun


class Missing(UserError):
    """An input that was not provided; the text says which, and how to provide it."""


@dataclass
class OwnInputs:
    """Finds inputs for one model. results: the folder of finished runs, or None; loader: of data sets and of
    files from outside, on the device of the model; deterministic: see `measuring.take`."""

    catalogue: Catalogue
    model: nn.Module
    loader: Loader
    results: Layout | None
    deterministic: bool = True
    _fields: dict[tuple[str, str], LoadedField] = field(default_factory=dict)
    _taken: dict[tuple[str, str], LoadedResult] = field(default_factory=dict)
    _runs: dict[tuple[str, str], LoadedRun] = field(default_factory=dict)

    def of(self, spec: dict[str, Any], run: str, kind: str) -> tuple[dict[str, Loaded], dict[str, str]]:
        """Inputs of a resolved spec by role, and those that may be missing and are: role -> reason.

        run: the one whose place the model takes; kind: of plugins that the spec is of, "evaluations" or
        "fields". Raises Missing for a role that is not optional.
        """
        name = spec["measure" if kind == "evaluations" else "field"]["name"]
        roles, found, without = plugins.roles(kind, name), {}, {}
        for role, given in spec["inputs"].items():
            try:
                found[role] = self._one(given, run)
            except (Missing, StateError) as error:
                if not roles.get(role, "").endswith("?"):
                    raise
                without[role] = str(error)
        return found, without

    def _all_of(self, spec: dict[str, Any], run: str, kind: str) -> dict[str, Loaded]:
        """Inputs of something that is an input itself: without an optional one it would be something else."""
        found, without = self.of(spec, run, kind)
        if without:
            raise Missing("; ".join(without.values()))
        return found

    def _one(self, given: dict[str, Any], run: str) -> Loaded:
        if "source" in given:
            path = self.loader.layout.source(given["source"], given["filename"])
            if not path.exists():
                raise Missing(f"needs the file {given['source']} at {path}; download.py puts it there")
            return path
        if "field" in given:
            return self._field(given["field"], run)
        if "evaluation" in given:
            return self._evaluation(given, run)
        if given["run"] == run:
            return LoadedRun("own", self.model, self.catalogue.resolver.out.runs[run].spec)
        return self._run(given)

    def _run(self, given: dict[str, Any]) -> LoadedRun:
        name, weights = given["run"], given.get("weights", "final")
        if (name, weights) not in self._runs:
            task = self.catalogue.resolver.out.runs[name].spec["task"]["name"]
            layout = self._finished(f"run {name} ({task})", lambda there: there.run_json(name).is_file())
            loaded = load_run(layout, name, weights, self.loader.device, given["hash"])
            self._runs[name, weights] = loaded
        return self._runs[name, weights]

    def _finished(self, what: str, there: Any) -> Layout:
        """The folder of results, if it holds `what`."""
        if self.results is None:
            raise Missing(f"needs {what}: give a folder of finished results of this tier (--results)")
        if not there(self.results):
            raise Missing(f"needs {what}, which is not finished in {self.results.results}")
        return self.results

    def _field(self, name: str, run: str) -> LoadedField:
        made = self.catalogue.resolver.out.fields[name]
        own = self._made_from(made.spec, run)
        key = (name, run if own else "")
        if key not in self._fields:
            there = not own and self.results is not None and self.results.field_json(name).is_file()
            if there:
                self._fields[key] = load_field(self.results, name, self.loader.device, made.hash)
            else:
                inputs = self._all_of(made.spec, run, "fields")
                shards = [
                    compute_shard(made.spec, k, self.loader, inputs) for k in range(made.spec["shards"])
                ]
                self._fields[key] = joined_field(name, made.spec, shards, self.loader.device)
        return self._fields[key]

    def _evaluation(self, given: dict[str, Any], run: str) -> LoadedResult:
        name = given["evaluation"]
        if given["run"] != run:
            what = f"measurement {name} of run {given['run']}"
            layout = self._finished(what, lambda there: there.result(given["run"], name).is_file())
            return load_result(layout, given["run"], name, given["hash"])
        if (name, run) not in self._taken:
            spec = self.catalogue.resolver.out.evaluations[run, name].spec
            inputs = self._all_of(spec, run, "evaluations")
            model = LoadedRun("own", self.model, {})
            found = take(spec, model, self.loader, inputs, deterministic=self.deterministic)
            self._taken[name, run] = LoadedResult(name, "own", found.values, found.arrays)
        return self._taken[name, run]

    def _made_from(self, spec: dict[str, Any], run: str) -> bool:
        """Whether a run stands behind a spec."""
        out = self.catalogue.resolver.out
        for given in spec["inputs"].values():
            if "field" in given:
                behind = self._made_from(out.fields[given["field"]].spec, run)
            elif "evaluation" in given:
                inner = out.evaluations[given["run"], given["evaluation"]].spec
                behind = given["run"] == run or self._made_from(inner, run)
            else:
                behind = given.get("run") == run
            if behind:
                return True
        return False
