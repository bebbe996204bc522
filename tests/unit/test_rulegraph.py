"""The rule graph page: the graph that Snakemake prints, in an order that does not depend on the run."""

import importlib.util
from pathlib import Path

import pytest

from pagrepro.errors import UserError

PATH = Path(__file__).parents[2] / "workflow/scripts/dag.py"
SPEC = importlib.util.spec_from_file_location("script_dag", PATH)
dag = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(dag)

PRINTED = """\
---
title: DAG
---
flowchart TB
\tid0[all]
\tid1[train - run: a]
\tid2[draw]
\tstyle id0 fill:#D95757,stroke-width:2px,color:#333333
\tid1 --> id2
\tid2 --> id0
"""

TIDY = """\
flowchart TB
  n0["all"]
  n1["draw"]
  n2["train - run: a"]
  n1 --> n0
  n2 --> n1"""


def test_nodes_and_arrows_are_kept():
    assert dag.tidy(PRINTED) == TIDY


def test_numbering_by_snakemake_does_not_matter():
    swapped = PRINTED.replace("id0", "idX").replace("id2", "id0").replace("idX", "id2")
    assert dag.tidy(swapped) == TIDY


def test_output_without_nodes_is_an_error():
    with pytest.raises(UserError, match="no nodes"):
        dag.tidy("Building DAG of jobs...")


def test_snakemakes_own_message_is_shown(monkeypatch):
    monkeypatch.chdir(PATH.parents[2] / "docs")
    with pytest.raises(UserError, match="profile"):
        dag.ask("nowhere", "--rulegraph", "mermaid-js")
