# The page in the browser: one file and pictures beside it, made from results alone.


rule page:
    input:
        artifacts=FILES.all_artifacts(),
        claims="<results>/claims.csv",
        code=[
            "workflow/scripts/page.py",
            "workflow/page/page.html",
            "workflow/page/page.css",
            "workflow/page/page.js",
            *targets.source_files("page"),
        ],
    output:
        html="<results>/index.html",
        points="<results>/page.csv",
        pictures=[str(LAYOUT.page_picture(run)) for run in page_plan.pictured(EXPANSION)],
    log:
        "<results>/logs/page.log",
    localrule: True
    conda:
        "../../envs/plots.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        'python workflow/scripts/page.py --config "$PAGREPRO_CONFIG" > {log:q} 2>&1'
