# Fits. One rule per set of weights that a fit writes, one per declared pack, one for converted weights.
# Resume state is deliberately no output: Snakemake deletes the outputs of a failed job.

for shape in JOBS.shapes("train"):

    rule:
        name:
            JOBS.rule_name("train", "train", shape)
        input:
            inputs_of(finder("train")),
        output:
            FILES.run_outputs("{run}", shape),
        log:
            "<results>/logs/train/{run}.log",
        benchmark:
            "<results>/timings/train/{run}.jsonl"
        wildcard_constraints:
            run=JOBS.pattern("train", shape),
        conda:
            "../../envs/torch.yaml"
        threads: threads_of(finder("train"))
        resources:
            **resources_of(finder("train")),
        params:
            spec=spec_of(finder("train")),
            results=results_folder,
            launcher=launcher(finder("train")),
        shell:
            "{params.launcher} workflow/scripts/train.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"


for job in JOBS.packs("train"):

    rule:
        name:
            f"train_pack_{job.name}"
        input:
            FILES.of_job(job),
        output:
            FILES.outputs(job),
        log:
            f"<results>/logs/train/pack_{job.name}.log",
        benchmark:
            f"<results>/timings/train/pack_{job.name}.jsonl"
        conda:
            "../../envs/torch.yaml"
        threads: 1
        resources:
            **resources_of(always(job)),
        params:
            spec=pack.job_json(job),
            results=results_folder,
        shell:
            "python workflow/scripts/train.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"


for shape in JOBS.shapes("convert"):

    rule:
        name:
            JOBS.rule_name("convert_weights", "convert", shape)
        input:
            inputs_of(finder("convert")),
        output:
            FILES.run_outputs("{run}", shape),
        log:
            "<results>/logs/convert_weights/{run}.log",
        benchmark:
            "<results>/timings/convert_weights/{run}.jsonl"
        wildcard_constraints:
            run=JOBS.pattern("convert", shape),
        conda:
            "../../envs/torch.yaml"
        threads: threads_of(finder("convert"))
        resources:
            **resources_of(finder("convert")),
        params:
            spec=spec_of(finder("convert")),
            results=results_folder,
        shell:
            "python workflow/scripts/convert_weights.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"
