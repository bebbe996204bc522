"""Write the rule graph of a tier, and the jobs behind one artifact, as mermaid text that GitHub draws."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from pagrepro import script
from pagrepro.errors import UserError

PAGE = """\
# Rule graph

Made by `make dag`; do not edit.

## All rules of the `{tier}` tier

An arrow leads from the rule that makes a file to the rule that reads it. A rule is shown once, however many
jobs it has; `pack` rules hold several fits or measurements in one process, as `config/tiers/{tier}.yaml`
declares.

```mermaid
{rules}
```

## What `{artifact}` is made from

The jobs that `snakemake --profile profiles/{tier} {artifact}` runs when nothing has been computed yet, and no
others.

```mermaid
{jobs}
```
"""


def ask(tier: str, *options: str) -> str:
    """What `snakemake` prints for the tier's profile. Raises UserError with its message when it fails."""
    # Everything is drawn, also what is up to date: the page must not depend on what has been computed.
    command = [sys.executable, "-m", "snakemake", "--profile", f"profiles/{tier}", "--nolock", "--forceall"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"snakemake {' '.join(options)} failed:\n{done.stderr.strip()}")
    return done.stdout


def tidy(mermaid: str) -> str:
    """The same graph, numbered and sorted by label, without colours: the same text from every run."""
    labels = dict(re.findall(r"^\s*(id\d+)\[(.*)\]$", mermaid, re.MULTILINE))
    edges = re.findall(r"^\s*(id\d+) --> (id\d+)$", mermaid, re.MULTILINE)
    if not labels:
        raise UserError(f"no nodes in what snakemake drew:\n{mermaid[:500]}")
    order = {node: f"n{place}" for place, node in enumerate(sorted(labels, key=lambda node: labels[node]))}
    nodes = [f'  {order[node]}["{labels[node]}"]' for node in order]
    by_label = sorted(edges, key=lambda edge: (labels[edge[0]], labels[edge[1]]))
    return "\n".join(["flowchart TB", *nodes, *(f"  {order[a]} --> {order[b]}" for a, b in by_label)])


def page(tier: str, artifact: str) -> str:
    rules = tidy(ask(tier, "--rulegraph", "mermaid-js"))
    jobs = tidy(ask(tier, "--dag", "mermaid-js", "--", artifact))
    return PAGE.format(tier=tier, artifact=artifact, rules=rules, jobs=jobs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/rulegraph.md"))
    parser.add_argument("--tier", default="demo", help="a profile of that name must be in profiles/")
    parser.add_argument("--artifact", default="ganz2022_fig3", help="target whose jobs are drawn")
    args = parser.parse_args()
    with script.main():
        text = page(args.tier, args.artifact)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text, encoding="utf-8")
