"""Is an archive of results what it says? Every byte by its checksum, and every sidecar against the others.

What is recomputed: sha256 of all files, spec hashes of runs, fields and results from the specifications
beside them. What is compared: weights and shards with the hashes that sidecars recorded, inputs of results
with the runs, fields and results they name, artifacts with the results they were drawn from, claims of papers
with the table of all claims. Torch-free; nothing of the archive is executed or unpacked.
"""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pagrepro import crate
from pagrepro.crate import MANIFEST, METADATA
from pagrepro.errors import DataError
from pagrepro.export import CHUNK
from pagrepro.layout import Layout
from pagrepro.spec import spec_hash
from pagrepro.statistics import VERDICTS

Json = dict[str, Any]


@dataclass
class Verified:
    """files: checked; checks: what was compared, and how often; problems: one line each; left_out: references
    to files that the archive was made without."""

    files: int = 0
    checks: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    left_out: int = 0
    status: str = ""

    def count(self, what: str) -> None:
        """One more check of this kind has been made."""
        self.checks[what] = self.checks.get(what, 0) + 1


def verify(path: Path) -> Verified:
    """Check an archive. Raises DataError when it is not one; everything else is in `problems`."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Check(archive).everything()
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: no ZIP file, or a damaged one ({error})") from None


class _Check:
    def __init__(self, archive: zipfile.ZipFile):
        self.archive, self.out = archive, Verified()
        self.names = [info.filename for info in archive.infolist()]
        self.sums: dict[str, str] = {}
        self.runs: dict[str, Json] = {}
        self.fields: dict[str, Json] = {}
        self.results: dict[tuple[str, str], Json] = {}

    def everything(self) -> Verified:
        steps = (
            self._names, self._checksums, self._metadata, self._read_sidecars, self._weights, self._inputs,
            self._artifacts, self._claims,
        )  # fmt: skip
        for step in steps:
            try:
                step()
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                what = step.__name__.strip("_").replace("_", " ")
                self.problem(f"{what}: a file is not of the form this package writes ({error!r})")
        return self.out

    def problem(self, text: str) -> None:
        self.out.problems.append(text)

    # --- files

    def _names(self) -> None:
        for name, count in Counter(self.names).items():
            if count > 1:
                self.problem(f"{name}: {count} times in the archive")
        for name in self.names:
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or "\\" in name or name.endswith("/"):
                self.problem(f"{name}: no name for a file in an archive")

    def _checksums(self) -> None:
        listed = self._manifest()
        for name in dict.fromkeys(self.names):
            if name == MANIFEST:
                continue
            self.sums[name] = self._sum(name)
            self.out.files += 1
            if name not in listed:
                self.problem(f"{name}: not in {MANIFEST}")
            elif listed[name] != self.sums[name]:
                self.problem(f"{name}: sha256 is {self.sums[name]}, {MANIFEST} says {listed[name]}")
        for name in listed.keys() - set(self.names):
            self.problem(f"{name}: in {MANIFEST}, but not there")

    def _manifest(self) -> dict[str, str]:
        if MANIFEST not in self.names:
            self.problem(f"no {MANIFEST}: this is no archive of export.py")
            return {}
        lines = self._bytes(MANIFEST).decode().splitlines()
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}

    def _sum(self, name: str) -> str:
        digest = hashlib.sha256()
        try:
            with self.archive.open(name) as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
        except (zipfile.BadZipFile, OSError) as error:
            self.problem(f"{name}: cannot be read ({error})")
            return ""
        return digest.hexdigest()

    def _bytes(self, name: str) -> bytes:
        return self.archive.read(name)

    def _json(self, name: str) -> Json:
        try:
            content = json.loads(self._bytes(name))
        except (ValueError, zipfile.BadZipFile) as error:
            self.problem(f"{name}: not JSON ({error})")
            return {}
        return content if isinstance(content, dict) else {}

    def _metadata(self) -> None:
        if METADATA not in self.names:
            self.problem(f"no {METADATA}")
            return
        document = self._json(METADATA)
        self.out.problems += crate.problems(document, (name for name in self.names if name != METADATA))
        root = next(entity for entity in document["@graph"] if entity["@id"] == "./")
        self.out.status = str(root.get("creativeWorkStatus", ""))

    # --- sidecars

    def _read_sidecars(self) -> None:
        """Runs, fields and results, each with the hash of its specification computed again."""
        for name in self.names:
            parts = PurePosixPath(name).parts
            if len(parts) != 3 or not name.endswith(".json"):
                continue
            top, owner, file = parts
            if (top, file) == ("models", "run.json"):
                self._sidecar(name, self.runs, owner)
            elif (top, file) == ("fields", "field.json"):
                self._sidecar(name, self.fields, owner)
            elif top == "evaluations":
                self._sidecar(name, self.results, (owner, file.removesuffix(".json")))

    def _sidecar(self, name: str, known: dict[Any, Json], key: Any) -> None:
        content = self._json(name)
        known[key] = content
        found = spec_hash(content["spec"]) if "spec" in content else None
        self.out.count("spec hashes")
        if found is None or found != content.get("spec_hash"):
            self.problem(f"{name}: spec_hash is {content.get('spec_hash')}, its spec gives {found}")

    def _weights(self) -> None:
        """Files of runs and shards of fields, by the hashes in their sidecars."""
        for run, content in self.runs.items():
            for file, digest in (content.get("outputs") or {}).items():
                self._same(f"models/{run}/{file}", digest, "weights and histories")
        for name, content in self.fields.items():
            shards = zip(content.get("shards", ()), content.get("content", ()), strict=False)
            for shard, digest in shards:
                self._same(f"fields/{name}/{shard}", digest.removeprefix("sha256:"), "shards of fields")
        for (run, name), content in self.results.items():
            if content.get("arrays") and f"evaluations/{run}/{name}.npz" not in self.sums:
                self.out.left_out += 1

    def _same(self, name: str, digest: str, what: str) -> None:
        if name not in self.sums:
            self.out.left_out += 1
            return
        self.out.count(what)
        if self.sums[name] != digest:
            self.problem(f"{name}: sha256 is {self.sums[name]}, its sidecar says {digest}")

    def _inputs(self) -> None:
        """Every input of a sidecar is the work that is in the archive under its name."""
        for where, content in self._all():
            for role, given in ((content.get("spec") or {}).get("inputs") or {}).items():
                self._input(f"{where}, input {role}", given)
        for (run, name), content in self.results.items():
            where, owner = f"evaluations/{run}/{name}.json", self.runs.get(run)
            if owner is None:
                self._absent(f"{where}: run {run} is not there")
                continue
            asked = (content.get("spec") or {}).get("run") or {}
            self._equal(f"{where}: the run", asked.get("hash"), owner.get("spec_hash"))
            used = ((content.get("provenance") or {}).get("inputs") or {}).get("run", "")
            recorded = (owner.get("outputs") or {}).get(f"{_stem(asked.get('weights', 'final'))}.safetensors")
            if recorded and used:
                self._equal(f"{where}: the weights", used.removeprefix("sha256:"), recorded)

    def _all(self) -> Iterator[tuple[str, Json]]:
        yield from ((f"models/{name}/run.json", content) for name, content in self.runs.items())
        yield from ((f"fields/{name}/field.json", content) for name, content in self.fields.items())
        for (run, name), content in self.results.items():
            yield f"evaluations/{run}/{name}.json", content

    def _input(self, where: str, given: Json) -> None:
        if "source" in given:
            return
        if "field" in given:
            what, found = f"field {given['field']}", self.fields.get(given["field"])
        elif "evaluation" in given:
            what = f"measurement {given['run']}/{given['evaluation']}"
            found = self.results.get((given["run"], given["evaluation"]))
        else:
            what, found = f"run {given.get('run')}", self.runs.get(given.get("run", ""))
        if found is None:
            self._absent(f"{where}: {what} is not there")
        else:
            self._equal(f"{where}: {what}", given.get("hash"), found.get("spec_hash"))

    def _absent(self, text: str) -> None:
        """Something that another file names: a fault of a whole archive, to be expected of a partial one."""
        if self.out.status == "incomplete":
            self.out.left_out += 1
        else:
            self.problem(text)

    def _equal(self, what: str, asked: Any, found: Any) -> None:
        self.out.count("references")
        if asked != found:
            self.problem(f"{what} is {asked} here and {found} in its own sidecar")

    # --- artifacts and claims

    def _artifacts(self) -> None:
        for name in self.names:
            parts = PurePosixPath(name).parts
            if len(parts) != 3 or parts[0] not in ("tables", "figures") or not name.endswith(".json"):
                continue
            ending = "csv" if parts[0] == "tables" else "png"
            if f"{name.removesuffix('json')}{ending}" not in self.sums:
                self.problem(f"{name}: its {ending} is not there")
            for used in self._json(name).get("inputs", ()):
                if used["result"] != "history":
                    given = {"run": used["run"], "evaluation": used["result"], "hash": used["spec_hash"]}
                    self._input(name, given)
                elif used["run"] not in self.runs:  # a history has no hash here
                    self._absent(f"{name}: run {used['run']} is not there")

    def _claims(self) -> None:
        """claims.csv holds the claims of all papers, each with a known verdict, as their own tables do."""
        if "claims.csv" not in self.sums:
            self._absent("claims.csv is not there")
            return
        rows = self._rows("claims.csv")
        papers = [name for name in self.names if PurePosixPath(name).match("claims/*.csv")]
        own = [row for name in papers for row in self._rows(name)]
        drawn = {Path(name).parts[1] for name in self.names if name.startswith(("tables/", "figures/"))}
        for row in rows:
            label = f"claims.csv: {row.get('paper')} {row.get('claim')}"
            self.out.count("claims")
            if row.get("verdict") not in VERDICTS:
                self.problem(f"{label}: verdict {row.get('verdict')!r}")
            if papers and row not in own:
                self.problem(f"{label}: not in claims/{row.get('paper')}.csv as it is here")
            if row.get("paper") not in drawn:
                self._absent(f"{label}: no table or figure of this paper is there")

    def _rows(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self._bytes(name).decode())))


def _stem(weights: str) -> str:
    return Layout(Path()).weights("run", weights).stem
