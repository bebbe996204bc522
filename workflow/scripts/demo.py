"""Run the demo tier and say what came of it: verdicts, time used against planned, where the report is."""

import argparse
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


def resources(results: Path) -> tuple[dict[str, float], float]:
    """(CPU seconds by stage, largest memory of one process in MB), as the scripts' logs say."""
    seconds: dict[str, float] = {}
    peak = 0.0
    for file in sorted((results / "logs").rglob("*.log")):
        found = script.used(file.read_text(errors="replace"))
        if found:
            stage = Path(file.relative_to(results / "logs").parts[0]).stem
            seconds[stage] = seconds.get(stage, 0.0) + found[0]
            peak = max(peak, found[1])
    return seconds, peak


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
    seconds, peak = resources(results)
    planned = sum(settings.planned_cpu_seconds.values())
    print(f"\nwall time   {wall / 60:.1f} min of {settings.planned_minutes:g} planned")
    parts = ", ".join(f"{stage} {used:.0f}" for stage, used in seconds.items())
    print(f"CPU time    {sum(seconds.values()):.0f} s of {planned:g} planned ({parts})")
    print(f"memory      {peak:.0f} MB at most in one process")
    print(f"results     {results}/tables, {results}/figures, {results}/claims.csv")
    print(f"report      {results}/report.zip (open report.html inside)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="demo")
    with script.main():
        main(parser.parse_args().tier)
