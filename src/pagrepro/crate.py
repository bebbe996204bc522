"""Metadata of an archive of results as an RO-Crate 1.1 (https://w3id.org/ro/crate/1.1). Torch-free.

Written here and not by the library of the same name: what is needed is one JSON-LD document of the files and
their provenance, the same for the same files; the library puts times and random identifiers of its own into
it, and brings packages that talk to web services.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pagrepro import __version__

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
CONFORMS = "https://w3id.org/ro/crate/1.1"
METADATA, MANIFEST = "ro-crate-metadata.json", "manifest-sha256.txt"
LICENCE = "https://spdx.org/licenses/MIT"
SOFTWARE, MADE = "#pagrepro", "#made"
# Of a crate whose files tell no time.
NO_TIME = "1970-01-01"

TYPES = {
    ".json": "application/json", ".jsonl": "application/jsonl", ".csv": "text/csv", ".md": "text/markdown",
    ".png": "image/png", ".pdf": "application/pdf", ".zip": "application/zip", ".html": "text/html",
    ".npz": "application/x-npz", ".safetensors": "application/x-safetensors", ".yaml": "application/yaml",
    ".txt": "text/plain", ".log": "text/plain", ".lock": "text/plain",
}  # fmt: skip


@dataclass
class Facts:
    """What sidecars say of how results came about. papers: key -> (title, citation); started, finished: ISO
    8601, the first and the last; commits, devices, versions: all that occur; without: parts left out."""

    tier: str
    papers: dict[str, tuple[str, str]] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    commits: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    without: list[str] = field(default_factory=list)

    def note(self, provenance: Mapping[str, Any]) -> None:
        """Add what one sidecar says."""
        started, finished = provenance.get("started"), provenance.get("finished")
        self.started = min(filter(None, (self.started, started)), default=None)
        self.finished = max(filter(None, (self.finished, finished)), default=None)
        git = provenance.get("git") or {}
        if git.get("commit"):
            self.commits.add(git["commit"] + (" with changes" if git.get("dirty") else ""))
        if name := (provenance.get("device") or {}).get("name"):
            self.devices.add(str(name))
        self.versions |= {f"{k} {v}" for k, v in (provenance.get("versions") or {}).items()}


def metadata(sizes: Mapping[str, int], facts: Facts, missing: int = 0) -> dict[str, Any]:
    """The JSON-LD document. sizes: bytes by file name, without the metadata and manifest themselves; missing:
    number of files that the tier declares and the archive lacks."""
    names = sorted(sizes)
    papers = [_paper(key, *about) for key, about in sorted(facts.papers.items())]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"pagrepro results, tier {facts.tier}",
        "description": _described(facts, missing),
        "datePublished": (facts.finished or NO_TIME)[:10],
        "license": {"@id": LICENCE},
        "citation": [{"@id": paper["@id"]} for paper in papers],
        "creativeWorkStatus": "incomplete" if missing else "complete",
        "hasPart": [{"@id": quote(name)} for name in (*names, MANIFEST)],
        "mentions": {"@id": MADE},
    }
    licence = {"@id": LICENCE, "@type": "CreativeWork", "name": "MIT License", "identifier": "MIT"}
    descriptor = {
        "@id": METADATA, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": CONFORMS},
    }  # fmt: skip
    files = [_file(name, sizes[name]) for name in names]
    graph = [descriptor, root, licence, *papers, _software(facts), _action(facts), *files, _manifest()]
    return {"@context": CONTEXT, "@graph": graph}


def _manifest() -> dict[str, Any]:
    name = "sha256 of every other file, as sha256sum -c reads it"
    return {"@id": MANIFEST, "@type": "File", "encodingFormat": "text/plain", "name": name}


def _described(facts: Facts, missing: int) -> str:
    text = (
        "Tables, figures, claims with verdicts, and what they were made from: results of runs"
        " with specification,"
        " seed, versions and device in a sidecar each. README and docs of the software explain the files."
    )
    if facts.without:
        text += f" Left out: {', '.join(facts.without)}."
    return text + (f" INCOMPLETE: {missing} declared files are missing, see missing.txt." if missing else "")


def _paper(key: str, title: str, citation: str) -> dict[str, Any]:
    return {"@id": f"#{key}", "@type": "ScholarlyArticle", "name": title, "description": citation}


def _software(facts: Facts) -> dict[str, Any]:
    return {
        "@id": SOFTWARE,
        "@type": "SoftwareSourceCode",
        "name": "pagrepro",
        "version": ", ".join(sorted(facts.commits)) or __version__,
        "softwareRequirements": sorted(facts.versions),
        "license": {"@id": LICENCE},
    }


def _action(facts: Facts) -> dict[str, Any]:
    """The computation, over all jobs."""
    times = {"startTime": facts.started, "endTime": facts.finished}
    return {
        "@id": MADE,
        "@type": "CreateAction",
        "name": f"the jobs of tier {facts.tier}",
        "description": f"computed on: {', '.join(sorted(facts.devices)) or 'unknown'}",
        "instrument": {"@id": SOFTWARE},
        "result": {"@id": "./"},
        **{key: value for key, value in times.items() if value},
    }


def _file(name: str, size: int) -> dict[str, Any]:
    kind = TYPES.get(Path(name).suffix)
    return {
        "@id": quote(name), "@type": "File", "contentSize": str(size),
        **({"encodingFormat": kind} if kind else {}),
    }  # fmt: skip


# --- reading -----------------------------------------------------------------------------------------


def problems(document: Any, names: Iterable[str]) -> list[str]:
    """What is wrong with the metadata of a crate that holds the files `names` (all but the metadata)."""
    graph = document.get("@graph") if isinstance(document, dict) else None
    if not isinstance(graph, list) or not all(
        isinstance(entity, dict) and "@id" in entity for entity in graph
    ):
        return [f"{METADATA}: no JSON-LD with a @graph of entities"]
    entities = {entity["@id"]: entity for entity in graph}
    found = [f"{METADATA}: @id given twice"] if len(entities) < len(graph) else []
    if document.get("@context") != CONTEXT:
        found.append(f"{METADATA}: @context is {document.get('@context')!r}, expected {CONTEXT}")
    descriptor, root = entities.get(METADATA, {}), entities.get("./", {})
    if descriptor.get("conformsTo") != {"@id": CONFORMS} or descriptor.get("about") != {"@id": "./"}:
        found.append(f"{METADATA}: no descriptor that conforms to {CONFORMS} and is about ./")
    wanted = ("name", "description", "datePublished", "license")
    found += [f"{METADATA}: the root has no {key}" for key in wanted if not root.get(key)]
    parts = {unquote(part.get("@id", "")) for part in root.get("hasPart", []) if isinstance(part, dict)}
    there = set(names)
    found += [f"{METADATA}: hasPart lacks {name}" for name in sorted(there - parts)]
    found += [f"{METADATA}: hasPart names {name}, which is not there" for name in sorted(parts - there)]
    described = {unquote(key) for key, entity in entities.items() if entity.get("@type") == "File"}
    return found + [f"{METADATA}: no entity for {name}" for name in sorted(there - described)]
