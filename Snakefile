"""Four papers on perceptually aligned gradients and adversarial robustness, as one workflow.

    snakemake --profile profiles/demo                  everything, small, on this machine
    snakemake --profile profiles/demo ganz2022_fig3    one figure
    snakemake --profile profiles/slurm -n              what the published grid would run

What is computed is said in config/; the rules below only say how files follow from files.
"""

from snakemake.utils import min_version

min_version("9.19")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=str(LAYOUT.results),
    resources=str(LAYOUT.resources),


report: "workflow/report/workflow.rst"


wildcard_constraints:
    run=NAME,
    field=NAME,
    evaluation=NAME,
    dataset=NAME,
    paper="[a-z0-9]+",
    artifact="[a-z0-9_]+",


# The first rule is what `snakemake` makes when it is given no target.
rule all:
    input:
        FILES.all_artifacts(),
        matrix_table(),
        "<results>/claims.csv",
        "<results>/report.zip",
        "<results>/index.html",


include: "workflow/rules/data.smk"
include: "workflow/rules/fields.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/artifacts.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/targets.smk"
