# Functions and values that the rules share; no rules here. The thinking is in src/pagrepro, which is tested.
# Nothing in this file or in what it imports may import torch: it is read again for every submitted job.

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

try:
    from pagrepro import argument, configuration, expand, pack, page_plan, plugins, report_labels, targets
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error}. The workflow runs in the environment that `make install` builds: "
        "source .venv/bin/activate (or: pip install -r requirements.lock && pip install --no-deps -e .)"
    ) from None

from pagrepro.errors import UserError
from pagrepro.layout import Layout
from pagrepro.spec import Cost, canonical_json

NAME = r"[A-Za-z0-9][A-Za-z0-9_.=-]*"

try:
    CONFIGURATION = configuration.load(config)
    EXPANSION = expand.expand_loaded(CONFIGURATION)
    JOBS = targets.JobTable(pack.jobs(EXPANSION, CONFIGURATION))
except UserError as error:
    raise WorkflowError(str(error)) from None

# Conda environments hold the dependencies only, and Snakemake clears PYTHONPATH in them.
shell.prefix('export PYTHONPATH="$PWD/src"; ')

TIER = CONFIGURATION.settings.tier
LAYOUT = Layout(Path("results") / TIER)
FILES = targets.Files(EXPANSION, LAYOUT)

# Where a machine keeps its files and what it computes on must not make anything run again, so scripts get it
# through the environment and not through params. The same holds for the report, which Snakemake itself makes
# from all of the configuration.
os.environ.update(
    PAGREPRO_MACHINE=CONFIGURATION.settings.machine_json(),
    PAGREPRO_CONFIG=canonical_json(dict(config)),
)


def results_folder(wildcards):
    return str(LAYOUT.results)


def finder(kind, tail=""):
    """Function of wildcards that finds the job. There is one wildcard, the run or the field."""
    return lambda wildcards: JOBS.of(kind, wildcards[0] + tail)


def inputs_of(find):
    return lambda wildcards: FILES.of_job(find(wildcards))


def spec_of(find):
    return lambda wildcards: pack.job_json(find(wildcards))


def threads_of(find):
    return lambda wildcards: find(wildcards).cost.threads


def resources_of(find):
    """What a job is expected to need, and where a site's Slurm runs it. Memory and time grow with each attempt;
    a resource that is None is not asked for, and one that a site never asks for is not looked at: Snakemake
    calls each of these functions for every job."""

    def fixed(name):
        return lambda wildcards: asked(find(wildcards).cost)[name]

    def growing(name):
        return lambda wildcards, attempt: int(round(getattr(find(wildcards).cost, name) * attempt))

    return {
        "mem_mb": growing("memory_mb"),
        "runtime": growing("minutes"),
        **{name: fixed(name) for name in ASKED},
    }


def asked(cost):
    return {"gpu": cost.gpus, **CONFIGURATION.settings.slurm.resources(cost.gpus)}


# Some job asks for it: one without, with one, or with several GPUs.
ASKED = [n for n in asked(Cost()) if any(asked(Cost(gpus=k))[n] is not None for k in range(3))]


def launcher(find):
    """What starts the script of a fit: several processes of one fit are torchrun's."""

    def of(wildcards):
        devices = find(wildcards).cost.devices
        return "python" if devices == 1 else f"torchrun --standalone --nproc-per-node {devices}"

    return of


def apart_threads(job):
    """A measurement that says ALONE gets all cores of the machine, so that nothing runs beside it."""
    if targets.alone(job) and workflow.cores:
        return workflow.cores
    return threads_of(finder("apart", JOBS.tail(job)))


def always(job):
    """The finder of a rule made for one pack."""
    return lambda wildcards: job


# --- tables and figures


def artifact(wildcards):
    return EXPANSION.artifacts[wildcards.paper, wildcards.artifact]


def artifact_shapes(kind):
    """Rule name -> (paper, artifact) pairs: figures that plot numbers also write them as CSV."""
    shapes = {}
    for found in EXPANSION.artifacts.values():
        if found.kind == kind:
            plain = kind == "figure" and not plugins.constant("figures", found.plugin, "NUMBERS", True)
            name = f"draw_{kind}_plain" if plain else f"draw_{kind}"
            shapes.setdefault(name, set()).add((found.paper, found.name))
    return shapes


def figure_outputs(shape):
    suffixes = (".pdf", ".json") if shape.endswith("_plain") else (".pdf", ".json", ".csv")
    return [f"<results>/figures/{{paper}}/{{artifact}}{suffix}" for suffix in suffixes]


def one_of(pairs):
    """Constraint of {artifact} in `.../{paper}/{artifact}.*`: a figure of the same number may plot numbers in one
    paper and be a drawing in another, so the folder before it counts, too."""
    return "|".join(f"(?<=/{paper}/){name}" for paper, name in sorted(pairs))


def artifact_inputs(wildcards):
    return FILES.of_artifact(wildcards.paper, wildcards.artifact)


def artifact_code(wildcards):
    found = artifact(wildcards)
    return [f"workflow/scripts/{found.kind}.py", *targets.source_files(f"{found.kind}s.{found.plugin}")]


def artifact_json(wildcards):
    found = artifact(wildcards)
    return argument.packed(f"{found.paper} {found.name}", canonical_json(found.content))


def artifact_title(wildcards):
    return artifact(wildcards).content["title"]


def artifact_caption(wildcards):
    return artifact(wildcards).content["caption"]


def matrix_table():
    """The cross-paper table, unless the choice of papers leaves it out."""
    return ["<results>/matrix.csv"] if ("matrix", "table1") in EXPANSION.artifacts else []


def artifact_category(wildcards):
    return CONFIGURATION.papers[wildcards.paper].category


def artifact_labels(wildcards):
    found = artifact(wildcards)
    beside = [
        other.content
        for other in EXPANSION.artifacts.values()
        if (other.paper, other.kind) == (found.paper, found.kind)
    ]
    return report_labels.labels(found.content, beside)
