"""Declarations -> specs: inputs found, roles checked, hashes computed, the unavailable out. Torch-free."""

import hashlib
from pathlib import Path
from typing import Any

from pagrepro import plugins
from pagrepro.configuration import Configuration
from pagrepro.declare import Declarations, Declared
from pagrepro.errors import ConfigError
from pagrepro.expansion import Evaluation, Expansion, Field, Run
from pagrepro.input_checks import check_compiled, check_data, check_processes, check_weights, fitted_on
from pagrepro.spec import DatasetEntry, spec_hash


class Unavailable(Exception):
    """Something depends on a source that cannot be had; the text is the reason shown to readers."""


class Resolver:
    """Resolves names on demand, each once; notices cycles."""

    def __init__(self, configuration: Configuration, declared: Declarations, root: Path):
        self.configuration, self.declared, self.root = configuration, declared, root
        self.catalogue = configuration.sources_and_datasets
        self.out = Expansion(
            configuration.settings.tier, self.catalogue, paths=dict(configuration.settings.paths)
        )
        self._done: dict[tuple[str, ...], Any] = {}
        self._open: list[tuple[str, ...]] = []
        self._first: dict[tuple[str, str], str] = {}
        self._index_hash: dict[str, str] = {}

    def everything(self) -> Expansion:
        """Every field, run and evaluation. Raises ConfigError for the first mistake."""
        for name in self.declared.fields:
            self._attempt("field", name)
        for name in self.declared.runs:
            self._attempt("run", name)
        for run, name in self.declared.evaluations:
            self._attempt("evaluation", run, name)
        return self.out

    def _attempt(self, *key: str) -> None:
        try:
            self.get(*key)
        except Unavailable as reason:
            self.out.removed["/".join(key[1:])] = str(reason)

    def get(self, *key: str) -> Any:
        """The resolved Run, Field or Evaluation; raises Unavailable (again, if asked again)."""
        if key in self._open:
            chain = " -> ".join("/".join(k[1:]) for k in [*self._open[self._open.index(key) :], key])
            raise self._declaration(*key).error("inputs", chain, "inputs without a cycle")
        if key not in self._done:
            self._open.append(key)
            try:
                self._done[key] = getattr(self, f"_{key[0]}")(*key[1:])
            except Unavailable as reason:
                self._done[key] = reason
            finally:
                self._open.pop()
        if isinstance(self._done[key], Unavailable):
            raise self._done[key]
        return self._done[key]

    def _declaration(self, kind: str, *name: str) -> Declared[Any]:
        table = {"run": self.declared.runs, "field": self.declared.fields}
        return table[kind][name[0]] if kind in table else self.declared.evaluations[name]  # type: ignore[index]

    # --- data --------------------------------------------------------------------------------

    def _source_file(self, name: str) -> dict[str, Any]:
        source = self.catalogue.sources[name]
        settings = self.configuration.settings
        content = {"source": name, "filename": source.filename, "hash": source.hash}
        if name in settings.paths:
            return content
        offline = (
            settings.offline_dir and source.offline and Path(settings.offline_dir, source.offline).exists()
        )
        private = source.needs in ("licence", "user_path") or source.hash is None
        if name in self.configuration.tier.unavailable or (private and not offline):
            raise Unavailable(f"{name} ({source.description}) is not at hand; {source.how}".rstrip("; "))
        return content

    def _dataset(self, declared: Declared[Any], name: str, seed: int) -> dict[str, Any]:
        entry = self._entry(declared, name)
        return {
            "name": name, "data": entry.data, "classes": entry.classes, "shape": list(entry.shape),
            "low": entry.low, "high": entry.high, "seed": seed if entry.seeded else None,
            "parts": entry.parts,
            "files": {role: self._source_file(source) for role, source in entry.sources.items()},
        }  # fmt: skip

    def _entry(self, declared: Declared[Any], name: str) -> DatasetEntry:
        if name not in self.catalogue.datasets:
            raise declared.error("dataset", name, ", ".join(self.catalogue.datasets))
        return self.catalogue.datasets[name]

    def _split(self, declared: Declared[Any], dataset: str, name: str) -> dict[str, Any]:
        entry = self._entry(declared, dataset)
        if name not in entry.splits:
            raise declared.error("split", name, f"a split of {dataset}: {', '.join(entry.splits)}")
        split = entry.splits[name]
        digest = self._hash_of(rows) if (rows := split.indices or split.without) else None
        spec = {"name": name, "part": split.part, "indices": split.indices, "sha256": digest}
        return {**spec, "without": split.without} if split.without else spec  # others keep their identity

    def _hash_of(self, indices: str) -> str:
        if indices not in self._index_hash:
            path = self.root / indices
            if not path.is_file():
                raise ConfigError("config/datasets.yaml", "splits", indices, "a file of the repository")
            self._index_hash[indices] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._index_hash[indices]

    # --- inputs ------------------------------------------------------------------------------

    def _inputs(
        self, declared: Declared[Any], chosen: dict[str, Any], rows: dict[str, Any]
    ) -> dict[str, Any]:
        """Resolve `inputs`; `chosen`: the part of the spec that names plugins; `rows`: data set and split."""
        given = declared.template.inputs
        wanted: dict[str, str] = {}
        for module in plugins.mentioned(chosen):
            wanted |= plugins.roles(*module.split("."))
        for role in given:
            if role not in wanted:
                raise declared.error(f"inputs.{role}", "not a role", ", ".join(wanted) or "no inputs")
        resolved = {}
        for role, kind in wanted.items():
            if role not in given and kind.endswith("?"):
                continue
            kind = kind.rstrip("?")
            if kind not in given.get(role, {}):
                raise declared.error(f"inputs.{role}", given.get(role, "nothing"), f"{{{kind}: NAME}}")
            resolved[role] = self._input(declared, role, kind, given[role], rows, chosen)
        return resolved

    def _input(
        self, declared: Declared[Any], role: str, kind: str, given: dict[str, str], rows: dict[str, Any],
        chosen: dict[str, Any],
    ) -> dict[str, Any]:  # fmt: skip
        key = f"inputs.{role}.{kind}"
        if kind == "source":
            if given["source"] not in self.catalogue.sources:
                raise declared.error(key, given["source"], ", ".join(self.catalogue.sources))
            return self._source_file(given["source"])
        if kind == "evaluation":
            pair = (given.get("run", ""), given["evaluation"])
            if pair not in self.declared.evaluations:
                raise declared.error(key, pair, "an evaluation that is declared for this run")
            found = self.get("evaluation", *pair)
            return {"evaluation": found.name, "run": found.run, "hash": found.hash}
        known = self.declared.runs if kind == "run" else self.declared.fields
        if given[kind] not in known:
            raise declared.error(key, given[kind], f"a {kind} that is declared: {_some(list(known))}")
        found = self.get(kind, given[kind])
        check_data(declared, key, found, rows, fitted_on(chosen, role))
        if kind == "field":
            return {"field": found.name, "hash": found.hash}
        weights = given.get("weights", "final")
        check_weights(declared, f"inputs.{role}.weights", found, weights)
        return {"run": found.name, "weights": weights, "hash": found.hash}

    # --- runs, fields, evaluations -------------------------------------------------------------

    def _run(self, name: str) -> Run:
        declared = self.declared.runs[name]
        t = declared.template
        rows = {
            "dataset": self._dataset(declared, t.dataset, t.seed),
            "split": self._split(declared, t.dataset, t.split),
        }
        monitors = [
            {**m.model_dump(mode="json"), "split": self._split(declared, t.dataset, m.split)}
            for m in t.monitor
        ]
        spec = {
            "task": t.task, **rows, "fit": t.fit.model_dump(mode="json") if t.fit else None,
            "monitor": monitors, "seed": t.seed, "inputs": self._inputs(declared, {"task": t.task}, rows),
        }  # fmt: skip
        self._check_fresh(declared, spec)
        check_compiled(declared)
        if (t.fit is None) != plugins.constant("tasks", t.task["name"], "CONVERTED", False):
            raise declared.error("fit", t.fit, "options of the training loop, for tasks that are fitted")
        first = self._canonical("run", name, spec)
        if first != name:
            return self.get("run", first)
        cost = check_processes(declared, t.task["name"])
        self.out.runs[name] = Run(name, spec, spec_hash(spec), cost)
        return self.out.runs[name]

    def _check_fresh(self, declared: Declared[Any], spec: dict[str, Any]) -> None:
        """Fresh examples are rows of no split: the data can be drawn, and fields can be read anywhere."""
        if not (spec["fit"] or {}).get("fresh"):
            return
        data = spec["dataset"]["data"]["name"]
        if not plugins.constant("data", data, "FRESH", False):
            raise declared.error("fit.fresh", f"data set {data}", "one that draws examples (FRESH = True)")
        for role, given in spec["inputs"].items():
            kind = self.out.fields[given["field"]].spec["field"]["name"] if "field" in given else None
            if kind and not plugins.constant("fields", kind, "ANY_ROWS", False):
                raise declared.error(
                    f"inputs.{role}.field", f"{given['field']}, made for the rows of a split",
                    "with fit.fresh, a field that can be read at any example (ANY_ROWS = True)",
                )  # fmt: skip

    def _field(self, name: str) -> Field:
        declared = self.declared.fields[name]
        t = declared.template
        rows = {
            "dataset": self._dataset(declared, t.dataset, t.seed),
            "split": self._split(declared, t.dataset, t.split),
        }
        spec = {
            "field": t.field, **rows, "seed": t.seed, "shards": t.shards,
            "inputs": self._inputs(declared, {"field": t.field}, rows),
        }  # fmt: skip
        first = self._canonical("field", name, spec)
        if first != name:
            return self.get("field", first)
        self.out.fields[name] = Field(name, spec, spec_hash(spec), check_processes(declared))
        return self.out.fields[name]

    def _evaluation(self, run_name: str, name: str) -> Evaluation:
        declared = self.declared.evaluations[run_name, name]
        t = declared.template
        run = self.get("run", run_name)
        check_weights(declared, "weights", run, t.weights)
        dataset = t.dataset or self.declared.runs[run_name].template.dataset
        rows = {
            "dataset": self._dataset(declared, dataset, run.spec["seed"]),
            "split": self._split(declared, dataset, t.split),
        }
        check_data(declared, "dataset", run, rows)
        spec = {
            "measure": t.measure, **rows, "seed": t.seed, "batch_size": t.batch_size,
            "run": {"hash": run.hash, "weights": t.weights},
            "inputs": self._inputs(declared, {"measure": t.measure}, rows),
        }  # fmt: skip
        self._check_independent(declared, run, spec)
        apart = plugins.constant("evaluations", t.measure["name"], "APART", False)
        depth = max(self.out.depth(spec), self.out.depth(run.spec))
        cost = check_processes(declared)
        found = Evaluation(run.name, name, spec, spec_hash(spec), cost, apart, depth)
        before = self.out.evaluations.setdefault((run.name, name), found)
        if before.hash != found.hash:
            raise declared.error(
                "name",
                name,
                f"one meaning per run: {run_name} is the same run as {run.name}, measured otherwise",
            )
        return before

    def _check_independent(self, declared: Declared[Any], run: Run, spec: dict[str, Any]) -> None:
        """What roles in INDEPENDENT are made from is none of what the measured run was trained with."""
        behind_run = self.out.runs_behind(run.spec)
        for role in plugins.constant("evaluations", spec["measure"]["name"], "INDEPENDENT", ()):
            given = spec["inputs"].get(role)
            shared = self.out.runs_behind({"inputs": {role: given}}) & behind_run if given else set()
            if shared:
                raise declared.error(
                    f"inputs.{role}",
                    f"made from {', '.join(sorted(shared))}, which {run.name} was trained with",
                    "something made from other runs: what has taught a network cannot judge it",
                )

    def _canonical(self, kind: str, name: str, spec: dict[str, Any]) -> str:
        """The first name under which this very spec was asked for."""
        first = self._first.setdefault((kind, spec_hash(spec)), name)
        if first != name:
            self.out.aliases[name] = first
        return first


def _some(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
