"""Jobs that die in every way that Slurm has, on a real one: results are those of an undisturbed run.

All scenarios are started at once and share the cluster; each test waits for its own. Where a protection is
what saves the run, the same scenario without it has to fail its check.
"""

import functools
from concurrent.futures import Future, ThreadPoolExecutor

import faults
import pytest

# What undisturbed runs are needed for comparison: name -> their options.
EXPECTED = {"as it was": {}, "other rate": {"lr": 0.002}, "short, other rate": {"epochs": 5, "lr": 0.002}}

# Name -> (scenario, check, the undisturbed run that it has to equal).
SCENARIOS = {
    "killed": (faults.killed, faults.went_on, "as it was"),
    "out of time": (faults.out_of_time, faults.went_on, "as it was"),
    "cancelled": (faults.cancelled, faults.went_on, "as it was"),
    "requeued": (faults.requeued, faults.went_on, "as it was"),
    "lost head": (faults.lost_head, faults.fitted_once, "as it was"),
    "full disk": (faults.full_disk, faults.survived, "as it was"),
    "truncated state": (faults.damaged_state, faults.fell_back, "as it was"),
    "other bytes in a state": (
        functools.partial(faults.damaged_state, truncate=False), faults.fell_back, "as it was"
    ),
    "spec changed during a fit": (faults.changed_spec, faults.began_anew, "other rate"),
    "results of a changed spec": (faults.changed_results, faults.replaced, "short, other rate"),
}  # fmt: skip

# Protection -> the scenarios that need it.
NEEDED = {
    "lock": ["lost head"],
    "atomic writes": ["full disk"],
    "state check": ["other bytes in a state", "spec changed during a fit"],
}
WEAK = [(weak, name) for weak, names in NEEDED.items() for name in names]


@pytest.fixture(scope="module")
def expected(demo, tmp_path_factory, at_once) -> dict[str, Future]:
    """Numbers of the undisturbed workflows, some time."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return {
        name: at_once.submit(faults.undisturbed, folder / name.replace(" ", "_"), **options)
        for name, options in EXPECTED.items()
    }


@pytest.fixture(scope="module")
def ended(expected, tmp_path_factory, at_once: ThreadPoolExecutor) -> dict[tuple[str | None, str], Future]:
    """(protection that is missing, scenario) -> its outcome, some time."""
    folder = tmp_path_factory.mktemp("faults")
    started = {}
    for number, (weak, name) in enumerate([*((None, name) for name in SCENARIOS), *WEAK]):
        options = {"weak": weak} if weak else {}
        started[weak, name] = at_once.submit(SCENARIOS[name][0], folder / str(number), **options)
    return started


@pytest.mark.parametrize("name", SCENARIOS)
def test_results_are_those_of_an_undisturbed_run(ended, expected, planned, name):
    _, check, wanted = SCENARIOS[name]
    check(ended[None, name].result(), expected[wanted].result())


@pytest.mark.parametrize(("weak", "name"), WEAK, ids=[f"{name}, without {weak}" for weak, name in WEAK])
def test_the_protection_is_what_saves_them(ended, expected, weak, name):
    _, check, wanted = SCENARIOS[name]
    # The workflow itself comes to its end without it; only the check may fail.
    found, numbers = ended[weak, name].result(), expected[wanted].result()
    with pytest.raises(AssertionError):
        check(found, numbers)
