# Names to ask for on the command line, besides `all`.


# What the report is made of.
rule artifacts:
    input:
        FILES.all_artifacts(),
        "<results>/claims.csv",
        "<results>/claims.html",


rule tables:
    input:
        FILES.all_artifacts(kind="table"),


rule figures:
    input:
        FILES.all_artifacts(kind="figure"),


rule claims:
    input:
        "<results>/claims.csv",


rule downloads:
    input:
        [FILES.source(name) for name in FILES.downloads],


for paper in CONFIGURATION.papers:

    rule:
        name:
            f"paper_{paper}"
        input:
            FILES.all_artifacts(paper=paper),
            [f"<results>/claims/{paper}.csv"] if paper in EXPANSION.claims else [],


for paper, name in EXPANSION.artifacts:

    rule:
        name:
            targets.alias(paper, name)
        input:
            FILES.artifact(paper, name),
