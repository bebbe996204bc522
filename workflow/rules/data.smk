# Files from outside, and the data sets made from them. Both are shared by all tiers.

for name in FILES.downloads:

    rule:
        name:
            f"download_{name}"
        output:
            LAYOUT.source(name, EXPANSION.catalogue.sources[name].filename).as_posix(),
        log:
            f"<resources>/logs/download/{name}.log",
        retries: 2
        localrule: True
        conda:
            "../../envs/plots.yaml"
        resources:
            mem_mb=1000,
            runtime=120,
        params:
            name=name,
            source=canonical_json(EXPANSION.catalogue.sources[name].model_dump(mode="json")),
        shell:
            "python workflow/scripts/download.py --source {params.name} --spec {params.source:q}"
            " --output {output:q} > {log:q} 2>&1"


rule prepare_data:
    input:
        lambda wildcards: FILES.of_dataset(wildcards.dataset),
    output:
        "<resources>/data/{dataset}.safetensors",
    log:
        "<resources>/logs/prepare_data/{dataset}.log",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        dataset=lambda wildcards: FILES.dataset_json(wildcards.dataset),
        files=lambda wildcards: FILES.dataset_files_json(wildcards.dataset),
    shell:
        "python workflow/scripts/prepare_data.py --dataset {params.dataset:q} --files {params.files:q}"
        " --output {output:q} > {log:q} 2>&1"
