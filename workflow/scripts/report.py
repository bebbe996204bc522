"""Build the Snakemake report of a tier whose tables, figures and claims are all there.

Runs as a job of the workflow it reports on, so the working directory is already locked by its parent.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pagrepro import script
from pagrepro.errors import UserError


def build(config: dict, output: Path) -> None:
    """Ask Snakemake for a report of the target `artifacts`. Raises UserError with its output on failure."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps(config))
        target = Path(folder, "report.zip")
        command = [sys.executable, "-m", "snakemake", "--nolock", "--cores", "1", "--configfile", str(file)]
        wanted = ["--report", str(target), "--report-stylesheet", "workflow/report/style.css"]
        done = subprocess.run([*command, *wanted, "--", "artifacts"], capture_output=True, text=True)
        print(done.stdout, done.stderr, flush=True)
        if done.returncode != 0:
            raise UserError(f"snakemake --report failed:\n{done.stderr[-2000:]}")
        output.write_bytes(target.read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="Snakemake's config, as JSON")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    with script.main():
        build(args.config, args.output)
