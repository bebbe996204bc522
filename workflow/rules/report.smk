# The report that people open, and the preview of an unfinished tier.


rule report:
    input:
        FILES.all_artifacts(),
        "<results>/claims.csv",
        "<results>/claims.html",
        captions=[
            "workflow/report/workflow.rst",
            "workflow/report/artifact.rst",
            "workflow/report/claims.rst",
            "workflow/report/style.css",
        ],
    output:
        "<results>/report.zip",
    log:
        "<results>/logs/report.log",
    localrule: True
    conda:
        "../../envs/plots.yaml"
    shell:
        'python workflow/scripts/report.py --config "$PAGREPRO_CONFIG" --output {output:q} > {log:q} 2>&1'


# No inputs on purpose: it draws from whatever is finished and starts nothing.
rule preview:
    log:
        "<results>/logs/preview.log",
    localrule: True
    conda:
        "../../envs/plots.yaml"
    shell:
        'python workflow/scripts/preview.py --config "$PAGREPRO_CONFIG" 2>&1 | tee {log:q}'


# What the tier would cost: jobs, operations, hours and disk per rule and paper; and what finished work took. Runs
# nothing. PAGREPRO_FLOPS: operations per second of the machine that the tier is meant for.
rule plan:
    log:
        "<results>/logs/plan.log",
    localrule: True
    conda:
        "../../envs/torch.yaml"
    params:
        config=canonical_json(dict(config)),
    shell:
        'python workflow/scripts/plan.py --config {params.config:q} --flops "${{PAGREPRO_FLOPS:-}}" 2>&1 | tee {log:q}'
