"""Run the demo tier and say what came of it: verdicts, time used against planned, where the report is."""

import argparse
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from pagrepro import configuration, script
from pagrepro.errors import UserError
from pagrepro.judge import terminal_table


def run(tier: str, planned_minutes: float) -> tuple[float, float, bool]:
    """(wall seconds, CPU seconds of Snakemake and its jobs, whether anything had to be done). Raises
    UserError when the workflow failed."""
    started = time.monotonic()
    command = [sys.executable, "-m", "snakemake", "--profile", f"profiles/{tier}"]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            lines.append(line)
            print(timed(line, time.monotonic() - started, planned_minutes), end="", flush=True)
    if process.returncode:
        raise UserError(
            "the workflow failed; the logs of the failed jobs are shown above and lie in results/demo/logs"
        )
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = not any("Nothing to be done" in line for line in lines)
    return time.monotonic() - started, spent.ru_utime + spent.ru_stime, worked


def timed(line: str, seconds: float, planned_minutes: float) -> str:
    """A line of Snakemake's; one that counts steps also tells the time so far, against the plan."""
    found = re.match(r"\d+ of \d+ steps .*done$", line)
    if not found:
        return line
    return f"{found[0]}, {seconds / 60:.1f} of {planned_minutes:g} planned minutes\n"


def used_by_jobs(logs: Path, since: float = 0.0) -> dict[str, tuple[float, float]]:
    """Job, such as train/pack_toy_0 -> (CPU seconds, memory in MB), as its script's log says; since: only of
    logs written after this time."""
    found = {
        str(file.relative_to(logs).with_suffix("")): script.used(file.read_text(errors="replace"))
        for file in sorted(logs.rglob("*.log"))
        if file.stat().st_mtime >= since
    }
    return {job: used for job, used in found.items() if used}


def by_stage(jobs: dict[str, tuple[float, float]]) -> dict[str, float]:
    """CPU seconds of the stages, the first part of a job's name."""
    seconds: dict[str, float] = {}
    for job, (used, _) in jobs.items():
        stage = job.split("/")[0]
        seconds[stage] = seconds.get(stage, 0.0) + used
    return seconds


def main(tier: str) -> None:
    begun = time.time()
    results = Path("results") / tier
    settings = configuration.check(
        configuration.Tier,
        configuration.read_yaml(Path(f"config/tiers/{tier}.yaml")),
        f"config/tiers/{tier}.yaml",
    )
    print(
        f"progress    python workflow/scripts/progress.py --tier {tier} --watch, in another terminal",
        flush=True,
    )
    wall, spent, worked = run(tier, settings.planned_minutes)
    print(terminal_table(results / "claims.csv"))
    if not worked:
        print("\nEverything is up to date: nothing to do.")
    jobs = used_by_jobs(results / "logs")
    seconds, total = by_stage(jobs), sum(used for used, _ in jobs.values())
    planned = sum(settings.planned_cpu_seconds.values())
    print(f"\nwall time   {wall / 60:.1f} min of {settings.planned_minutes:g} planned")
    parts = ", ".join(f"{stage} {used:.0f}" for stage, used in seconds.items())
    print(f"CPU time    {total:.0f} s of {planned:g} planned ({parts})")
    if worked:
        own = spent - sum(used for used, _ in used_by_jobs(results / "logs", begun).values())
        print(f"            and {own:.0f} s of Snakemake itself")
    most = max(jobs, key=lambda job: jobs[job][0])
    print(f"longest job {most}: {jobs[most][0]:.0f} s, {jobs[most][0] / total:.0%} of it")
    print(f"memory      {max(peak for _, peak in jobs.values()):.0f} MB at most in one process")
    print(f"results     {results}/tables, {results}/figures, {results}/claims.csv")
    print(f"report      {results}/report.zip (open report.html inside)")
    print(f"page        {results}/index.html (runs, gradient maps, claims; opens in a browser, offline)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="demo")
    with script.main():
        main(parser.parse_args().tier)
