"""Run the demo tier and say what came of it: verdicts, time used against planned, where the report is."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from pagrepro import configuration, script
from pagrepro.errors import UserError
from pagrepro.judge import terminal_table


def run(tier: str) -> tuple[float, bool]:
    """(wall seconds, whether anything had to be done). Raises UserError when the workflow failed."""
    started = time.monotonic()
    command = [sys.executable, "-m", "snakemake", "--profile", f"profiles/{tier}"]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            lines.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        raise UserError(
            "the workflow failed; the logs of the failed jobs are shown above and lie in results/demo/logs"
        )
    return time.monotonic() - started, not any("Nothing to be done" in line for line in lines)


def cpu_seconds(results: Path) -> dict[str, float]:
    """CPU seconds of the last run of each rule, from Snakemake's benchmark files."""
    used: dict[str, float] = {}
    for file in sorted((results / "timings").rglob("*.jsonl")):
        record = json.loads(file.read_text().splitlines()[-1])
        stage = file.relative_to(results / "timings").parts[0]
        used[stage] = used.get(stage, 0.0) + float(record["cpu_time"])
    return used


def main(tier: str) -> None:
    wall, worked = run(tier)
    results = Path("results") / tier
    settings = configuration.check(
        configuration.Tier,
        configuration.read_yaml(Path(f"config/tiers/{tier}.yaml")),
        f"config/tiers/{tier}.yaml",
    )
    print(terminal_table(results / "claims.csv"))
    if not worked:
        print("\nEverything is up to date: nothing to do.")
    used = cpu_seconds(results)
    planned = sum(settings.planned_cpu_seconds.values())
    print(f"\nwall time   {wall / 60:.1f} min of {settings.planned_minutes:g} planned")
    parts = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in used.items())
    print(f"CPU time    {sum(used.values()):.0f} s of {planned:g} planned ({parts})")
    print(f"results     {results}/tables, {results}/figures, {results}/claims.csv")
    print(f"report      {results}/report.zip (open report.html inside)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="demo")
    with script.main():
        main(parser.parse_args().tier)
