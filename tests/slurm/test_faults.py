"""Jobs that die in every way that Slurm has, on a real one: results are those of an undisturbed run.

All scenarios are started at once and share the cluster; each test waits for its own. Where a protection is
what saves the run, the same scenario without it has to fail its check.
"""

import functools
from concurrent.futures import Future, ThreadPoolExecutor

import faults
import pytest

# Name -> (scenario, check, whether the expected numbers are those of the other learning rate).
SCENARIOS = {
    "killed": (faults.killed, faults.went_on, False),
    "out of time": (faults.out_of_time, faults.went_on, False),
    "cancelled": (faults.cancelled, faults.went_on, False),
    "requeued": (faults.requeued, faults.went_on, False),
    "lost head": (faults.lost_head, faults.fitted_once, False),
    "full disk": (faults.full_disk, faults.survived, False),
    "truncated state": (faults.damaged_state, faults.fell_back, False),
    "other bytes in a state": (
        functools.partial(faults.damaged_state, truncate=False),
        faults.fell_back,
        False,
    ),
    "spec changed during a fit": (faults.changed_spec, faults.began_anew, True),
}

# Protection -> the scenarios that need it.
NEEDED = {
    "lock": ["lost head"],
    "atomic writes": ["full disk"],
    "state check": ["other bytes in a state", "spec changed during a fit"],
}
WEAK = [(weak, name) for weak, names in NEEDED.items() for name in names]


@pytest.fixture(scope="module")
def expected(demo, tmp_path_factory, at_once) -> dict[bool, Future]:
    """Numbers of the undisturbed workflow, by whether the rate is the other one."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return {
        other: at_once.submit(faults.undisturbed, folder / str(other), **({"lr": 0.002} if other else {}))
        for other in (False, True)
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
def test_results_are_those_of_an_undisturbed_run(ended, expected, name):
    _, check, other = SCENARIOS[name]
    check(ended[None, name].result(), expected[other].result())


@pytest.mark.parametrize(("weak", "name"), WEAK, ids=[f"{name}, without {weak}" for weak, name in WEAK])
def test_the_protection_is_what_saves_them(ended, expected, weak, name):
    _, check, other = SCENARIOS[name]
    with pytest.raises(AssertionError):
        check(ended[weak, name].result(), expected[other].result())


def test_results_of_a_changed_spec_are_replaced(cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changed")
    expected = faults.undisturbed(folder / "expected", epochs=5, lr=0.002)
    faults.replaced(faults.changed_results(folder / "changed"), expected)
