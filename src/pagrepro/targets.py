"""Jobs and files as the Snakefile needs them: who makes which file from which files. Torch-free."""

import re
from pathlib import Path
from typing import Any

from pagrepro import plugins
from pagrepro.expansion import Evaluation, Expansion, Field, Run
from pagrepro.finished import run_weights
from pagrepro.layout import Layout
from pagrepro.pack import Job, shape_of
from pagrepro.patterns import any_of
from pagrepro.spec import canonical_json


def alone(job: Job) -> bool:
    """Whether a measurement of this job is falsified by whatever runs beside it (timings)."""
    names = [member.spec["measure"]["name"] for member in job.members]
    return any(plugins.constant("evaluations", name, "ALONE", False) for name in names)


class JobTable:
    """Jobs by the wildcard that finds them. Kinds: train, convert, field, evaluate, apart."""

    def __init__(self, jobs: list[Job]):
        self._packs: dict[str, list[Job]] = {}
        self._single: dict[str, dict[tuple[str, ...], dict[str, Job]]] = {}
        self._found: dict[tuple[str, str], Job] = {}
        for job in jobs:
            if job.pack:
                self._packs.setdefault(job.stage, []).append(job)
                continue
            self._single.setdefault(_kind(job), {}).setdefault(job.shape, {})[job.owner] = job
            self._found[_kind(job), job.owner + self.tail(job)] = job

    def packs(self, stage: str) -> list[Job]:
        """Jobs of this stage that hold several members in one process."""
        return self._packs.get(stage, [])

    def shapes(self, kind: str) -> dict[tuple[str, ...], dict[str, Job]]:
        """Jobs without a pack, by what they write: each entry becomes one rule with wildcards."""
        return self._single.get(kind, {})

    def of(self, kind: str, key: str) -> Job:
        """The job with this owner (run or field) and tail."""
        return self._found[kind, key]

    def example(self, kind: str, shape: tuple[str, ...]) -> Job:
        """Any job of this shape: all of them write the same files, up to the owner."""
        return next(iter(self.shapes(kind)[shape].values()))

    @staticmethod
    def tail(job: Job) -> str:
        """What tells the jobs of one run apart: nothing for its ordinary measurements."""
        first = job.members[0]
        if not isinstance(first, Evaluation):
            return ""
        if first.apart:
            return f"_{first.name}"
        return f"_depth{first.depth}" if first.depth else ""

    def rule_name(self, verb: str, kind: str, shape: tuple[str, ...]) -> str:
        """`train` for the first shape, `train_2`, ... for further ones."""
        number = list(self.shapes(kind)).index(shape)
        return verb if number == 0 else f"{verb}_{number + 1}"

    def pattern(self, kind: str, shape: tuple[str, ...]) -> str:
        """Regular expression of the runs (or fields) whose jobs have this shape."""
        return any_of(sorted(self.shapes(kind)[shape]))


def _kind(job: Job) -> str:
    if job.stage == "train":
        return "train" if job.members[0].spec["fit"] else "convert"
    if job.stage == "evaluate" and job.members[0].apart:
        return "apart"
    return job.stage


class Files:
    """Paths of inputs and outputs of every kind of job."""

    def __init__(self, expansion: Expansion, layout: Layout):
        self.expansion, self.layout = expansion, layout
        self.used_datasets = self._used_datasets()
        self.downloads = sorted(
            {s for name in self.used_datasets for s in self._entry(name).sources.values()}
            | self._input_sources()
        )

    def _entry(self, dataset: str) -> Any:
        return self.expansion.catalogue.datasets[dataset]

    def _used_datasets(self) -> list[str]:
        specs = [x.spec for x in (*self.expansion.runs.values(), *self.expansion.fields.values())]
        specs += [x.spec for x in self.expansion.evaluations.values()]
        return sorted({spec["dataset"]["name"] for spec in specs})

    def _input_sources(self) -> set[str]:
        jobs = (
            *self.expansion.runs.values(),
            *self.expansion.fields.values(),
            *self.expansion.evaluations.values(),
        )
        given = (i for job in jobs for i in job.spec["inputs"].values())
        return {i["source"] for i in given if "source" in i}

    # --- data

    def source(self, name: str) -> str:
        """Where a source is put: downloaded, copied from offline_dir, or from the user's own path."""
        return str(self.layout.source(name, self.expansion.catalogue.sources[name].filename))

    def of_dataset(self, name: str) -> list[str]:
        """Files from outside that a data set is made from."""
        return [self.source(source) for source in self._entry(name).sources.values()]

    def dataset_json(self, name: str) -> str:
        """Specification of a data set, for its script."""
        return canonical_json(self._dataset_spec(name))

    def _dataset_spec(self, name: str) -> dict[str, Any]:
        everything = (
            *self.expansion.runs.values(),
            *self.expansion.fields.values(),
            *self.expansion.evaluations.values(),
        )
        return next(x.spec["dataset"] for x in everything if x.spec["dataset"]["name"] == name)

    def dataset_files_json(self, name: str) -> str:
        """Role -> file from outside, for its script."""
        entry = self._entry(name)
        return canonical_json({role: self.source(source) for role, source in entry.sources.items()})

    # --- outputs

    def run_outputs(self, run: str, shape: tuple[str, ...] = ()) -> list[str]:
        """`run` may be a wildcard; `shape` lists the weights besides the final ones."""
        weights = [self.layout.weights(run, which) for which in ("final", *shape)]
        return [str(path) for path in (*weights, self.layout.run_json(run), self.layout.history(run))]

    def field_outputs(self, field: str, shape: tuple[str, ...]) -> list[str]:
        """Files of a field; `shape` says how many shards."""
        shards = int(shape[0].removeprefix("shards="))
        paths = [self.layout.field_shard(field, number) for number in range(shards)]
        return [str(path) for path in (*paths, self.layout.field_json(field))]

    def evaluation_outputs(self, run: str, name: str, spec: dict[str, Any]) -> list[str]:
        """Files of a measurement; `run` may be a wildcard."""
        has_arrays = plugins.constant("evaluations", spec["measure"]["name"], "ARRAYS", True)
        arrays = [self.layout.arrays(run, name)] if has_arrays else []
        return [str(path) for path in (self.layout.result(run, name), *arrays)]

    def suite_outputs(self, job: Job) -> list[str]:
        """Outputs of an evaluation job, with a wildcard for the run."""
        return [path for m in job.members for path in self.evaluation_outputs("{run}", m.name, m.spec)]

    def outputs(self, job: Job) -> list[str]:
        """Every file that a job writes."""
        return [path for member in job.members for path in self._member_outputs(member)]

    def _member_outputs(self, member: Run | Field | Evaluation) -> list[str]:
        if isinstance(member, Evaluation):
            return self.evaluation_outputs(member.run, member.name, member.spec)
        if isinstance(member, Field):
            return self.field_outputs(member.name, shape_of(member))
        return self.run_outputs(member.name, shape_of(member))

    # --- inputs

    def of_job(self, job: Job) -> list[str]:
        """Every file that a job reads, without those it writes itself (a pack may hold both)."""
        found: dict[str, None] = {}
        for member in job.members:
            found |= dict.fromkeys(self._member_inputs(member))
        own = set(self.outputs(job))
        return [path for path in found if path not in own]

    def _member_inputs(self, member: Run | Field | Evaluation) -> list[str]:
        spec, found = member.spec, []
        if spec["dataset"]["files"]:
            found.append(str(self.layout.dataset(spec["dataset"]["name"])))
        if isinstance(member, Evaluation):
            found += self._weights(member.run, spec["run"]["weights"])
            found += self._run_needs(member)
        for given in spec["inputs"].values():
            found += self._input(given)
        return found

    def _run_needs(self, member: Evaluation) -> list[str]:
        """Measurements that replay a training step also read what the run was trained on."""
        if not plugins.constant("evaluations", member.spec["measure"]["name"], "REPLAYS", False):
            return []
        run = self.expansion.runs[member.run]
        return [path for given in run.spec["inputs"].values() for path in self._input(given)]

    def _input(self, given: dict[str, Any]) -> list[str]:
        if "source" in given:
            return [self.source(given["source"])]
        if "field" in given:
            field = self.expansion.fields[given["field"]]
            return self.field_outputs(field.name, shape_of(field))
        if "evaluation" in given:
            spec = self.expansion.evaluations[given["run"], given["evaluation"]].spec
            return self.evaluation_outputs(given["run"], given["evaluation"], spec)
        return self._weights(given["run"], given["weights"])

    def _weights(self, run: str, which: str) -> list[str]:
        assert which in run_weights(self.expansion.runs[run].spec)
        return [str(self.layout.weights(run, which)), str(self.layout.run_json(run))]

    # --- artifacts and claims

    def results(self, pairs: tuple[tuple[str, str], ...]) -> list[str]:
        """The measured values; arrays are written by the same job, and before them. With both for each of
        thousands of results, a dry run of the full tier takes a fifth longer."""
        return [str(self.layout.result(run, name)) for run, name in pairs]

    def of_artifact(self, paper: str, name: str) -> list[str]:
        """Results and histories that a table or figure reads."""
        artifact = self.expansion.artifacts[paper, name]
        histories = [str(self.layout.history(run)) for run in artifact.histories]
        return self.results(artifact.results) + histories

    def all_artifacts(self, paper: str | None = None, kind: str | None = None) -> list[str]:
        """Main files of all tables and figures, or of one paper or kind."""
        return [
            self.artifact(a.paper, a.name)
            for a in self.expansion.artifacts.values()
            if (paper is None or a.paper == paper) and (kind is None or a.kind == kind)
        ]

    def artifact(self, paper: str, name: str) -> str:
        """Main file of a table (.csv) or figure (.png)."""
        kind = self.expansion.artifacts[paper, name].kind
        return str(getattr(self.layout, kind)(paper, name))


def source_files(*modules: str) -> list[str]:
    """Files of this package behind the given modules (dotted, below the package), relative to this folder.

    Inputs of the cheap rules: Snakemake compares small files by content: an edit redraws, a touch does not.
    """
    here = Path.cwd()
    paths = plugins.closure(*modules)
    return [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in paths]


def alias(paper: str, artifact: str) -> str:
    """Name of the target of one artifact: `ganz2022_fig3`, `lanfredi2020_fig_s8`."""
    return f"{paper}_{re.sub(r'^figure_?', lambda m: 'fig_' if m.group().endswith('_') else 'fig', artifact)}"
