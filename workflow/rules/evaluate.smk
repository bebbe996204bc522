# Measurements. A suite holds all ordinary measurements of one run, so that its network is loaded once; runs
# with the same measurements share a rule. Costly measurements have jobs of their own.

for shape in JOBS.shapes("evaluate"):
    suite = JOBS.example("evaluate", shape)

    rule:
        name:
            JOBS.rule_name("evaluate", "evaluate", shape)
        input:
            inputs_of(finder("evaluate", JOBS.tail(suite))),
        output:
            FILES.suite_outputs(suite),
        log:
            f"<results>/logs/evaluate/{{run}}{JOBS.tail(suite)}.log",
        benchmark:
            f"<results>/timings/evaluate/{{run}}{JOBS.tail(suite)}.jsonl"
        wildcard_constraints:
            run=JOBS.pattern("evaluate", shape),
        conda:
            "../../envs/torch.yaml"
        threads: threads_of(finder("evaluate", JOBS.tail(suite)))
        resources:
            **resources_of(finder("evaluate", JOBS.tail(suite))),
        params:
            spec=spec_of(finder("evaluate", JOBS.tail(suite))),
            results=results_folder,
        shell:
            "python workflow/scripts/evaluate.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"


for job in JOBS.packs("evaluate"):

    rule:
        name:
            f"evaluate_pack_{job.name}"
        input:
            FILES.of_job(job),
        output:
            FILES.outputs(job),
        log:
            f"<results>/logs/evaluate/pack_{job.name}.log",
        benchmark:
            f"<results>/timings/evaluate/pack_{job.name}.jsonl"
        conda:
            "../../envs/torch.yaml"
        threads: 1
        resources:
            **resources_of(always(job)),
        params:
            spec=pack.job_json(job),
            results=results_folder,
        shell:
            "python workflow/scripts/evaluate.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"


for shape in JOBS.shapes("apart"):
    suite = JOBS.example("apart", shape)

    rule:
        name:
            JOBS.rule_name("evaluate_apart", "apart", shape)
        input:
            inputs_of(finder("apart", JOBS.tail(suite))),
        output:
            FILES.suite_outputs(suite),
        log:
            f"<results>/logs/evaluate/{{run}}{JOBS.tail(suite)}.log",
        benchmark:
            f"<results>/timings/evaluate/{{run}}{JOBS.tail(suite)}.jsonl"
        wildcard_constraints:
            run=JOBS.pattern("apart", shape),
        conda:
            "../../envs/torch.yaml"
        threads: apart_threads(suite)
        resources:
            **resources_of(finder("apart", JOBS.tail(suite))),
        params:
            spec=spec_of(finder("apart", JOBS.tail(suite))),
            results=results_folder,
        shell:
            "python workflow/scripts/evaluate.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"
