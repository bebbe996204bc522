# Tables, figures and claims: cheap, made from results alone. Script and package files are inputs, because
# Snakemake compares small inputs by content: an edit redraws, a touch or a branch switch does nothing.


for shape, names in artifact_shapes("table").items():

    rule:
        name:
            shape
        input:
            results=artifact_inputs,
            code=artifact_code,
        output:
            csv=report(
                "<results>/tables/{paper}/{artifact}.csv",
                caption="../report/artifact.rst",
                category=artifact_category,
                subcategory="Tables",
                labels=artifact_labels,
            ),
            markdown="<results>/tables/{paper}/{artifact}.md",
            sidecar="<results>/tables/{paper}/{artifact}.json",
        log:
            "<results>/logs/tables/{paper}_{artifact}.log",
        wildcard_constraints:
            artifact=one_of(names),
        localrule: True
        conda:
            "../../envs/plots.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            artifact=artifact_json,
            title=artifact_title,
            caption=artifact_caption,
            results=results_folder,
        shell:
            "python workflow/scripts/table.py --artifact {params.artifact:q} --results {params.results}"
            " --output {output.csv:q} > {log:q} 2>&1"


for shape, names in artifact_shapes("figure").items():

    rule:
        name:
            shape
        input:
            results=artifact_inputs,
            code=artifact_code,
        output:
            figure_outputs(shape),
            png=report(
                "<results>/figures/{paper}/{artifact}.png",
                caption="../report/artifact.rst",
                category=artifact_category,
                subcategory="Figures",
                labels=artifact_labels,
            ),
        log:
            "<results>/logs/figures/{paper}_{artifact}.log",
        wildcard_constraints:
            artifact=one_of(names),
        localrule: True
        conda:
            "../../envs/plots.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            artifact=artifact_json,
            title=artifact_title,
            caption=artifact_caption,
            results=results_folder,
        shell:
            "python workflow/scripts/figure.py --artifact {params.artifact:q} --results {params.results}"
            " --output {output.png:q} > {log:q} 2>&1"


# The cross-paper table, at the place where readers look for it.
rule matrix:
    input:
        "<results>/tables/matrix/table1.csv",
    output:
        "<results>/matrix.csv",
    log:
        "<results>/logs/tables/matrix.log",
    localrule: True
    conda:
        "../../envs/plots.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "cp {input:q} {output:q} 2> {log:q}"


rule judge_claims:
    input:
        results=lambda wildcards: FILES.results(EXPANSION.claims[wildcards.paper].results),
        code=lambda wildcards: [
            "workflow/scripts/claims.py",
            *targets.source_files(
                "judge",
                "claim_links",
                *(f"claims.{rule}" for rule in EXPANSION.claims[wildcards.paper].rules),
            ),
        ],
    output:
        csv="<results>/claims/{paper}.csv",
        evidence="<results>/claims/{paper}.json",
    log:
        "<results>/logs/claims/{paper}.log",
    localrule: True
    conda:
        "../../envs/plots.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        claims=lambda wildcards: argument.packed(
            f"claims of {wildcards.paper}", canonical_json(EXPANSION.claims[wildcards.paper].content)
        ),
        results=results_folder,
    shell:
        "python workflow/scripts/claims.py --claims {params.claims:q} --results {params.results}"
        " --output {output.csv:q} > {log:q} 2>&1"


rule gather_claims:
    input:
        claims=[f"<results>/claims/{paper}.csv" for paper in EXPANSION.claims],
        evidence=[f"<results>/claims/{paper}.json" for paper in EXPANSION.claims],
        code=[
            "workflow/scripts/verdicts.py",
            *targets.source_files(
                "verdict_page",
                *(f"claims.{rule}" for plan in EXPANSION.claims.values() for rule in plan.rules),
            ),
        ],
    output:
        csv=report(
            "<results>/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"file": "Verdicts on all claims"},
        ),
        html="<results>/claims.html",
    log:
        "<results>/logs/claims/all.log",
    localrule: True
    conda:
        "../../envs/plots.yaml"
    shell:
        "python workflow/scripts/verdicts.py --claims {input.claims:q} --evidence {input.evidence:q}"
        " --csv {output.csv:q} --html {output.html:q} > {log:q} 2>&1"
