# Fields: an array per image (and class). One rule per number of shards, and one per declared pack.

for shape in JOBS.shapes("field"):

    rule:
        name:
            JOBS.rule_name("make_field", "field", shape)
        input:
            inputs_of(finder("field")),
        output:
            FILES.field_outputs("{field}", shape),
        log:
            "<results>/logs/make_field/{field}.log",
        benchmark:
            "<results>/timings/make_field/{field}.jsonl"
        wildcard_constraints:
            field=JOBS.pattern("field", shape),
        conda:
            "../../envs/torch.yaml"
        threads: threads_of(finder("field"))
        resources:
            **resources_of(finder("field")),
        params:
            spec=spec_of(finder("field")),
            results=results_folder,
        shell:
            "python workflow/scripts/make_field.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"


for job in JOBS.packs("field"):

    rule:
        name:
            f"make_field_pack_{job.name}"
        input:
            FILES.of_job(job),
        output:
            FILES.outputs(job),
        log:
            f"<results>/logs/make_field/pack_{job.name}.log",
        benchmark:
            f"<results>/timings/make_field/pack_{job.name}.jsonl"
        conda:
            "../../envs/torch.yaml"
        threads: 1
        resources:
            **resources_of(always(job)),
        params:
            spec=pack.job_json(job),
            results=results_folder,
        shell:
            "python workflow/scripts/make_field.py --spec {params.spec:q} --results {params.results}"
            " > {log:q} 2>&1"
