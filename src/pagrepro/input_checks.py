"""Whether an input suits the one who asks for it: data, range, weights; processes of a job; what can be
compiled. Torch-free."""

from typing import Any

from pagrepro import plugins
from pagrepro.declare import Declared
from pagrepro.expansion import Field, Run
from pagrepro.finished import run_weights
from pagrepro.spec import Cost

FORM = ("shape", "classes", "low", "high")
RANGE = ("low", "high")

# What `fitted_on` gives for a run that has to be fitted on the very data of the field.
OWN = ""


def fitted_on(chosen: dict[str, Any], role: str) -> str | None:
    """The data set that the run of a role has to be fitted on: a name, OWN for that of the field itself, None
    where any of the same form will do.

    chosen: the part of a spec that names plugins. A field names such roles in SAME_DATA; its option
    `fitted_on` names another data set than its own.
    """
    field = chosen.get("field")
    if field is None or role not in plugins.constant("fields", field["name"], "SAME_DATA", ()):
        return None
    return field.get("fitted_on") or OWN


def check_data(
    declared: Declared[Any], key: str, found: Run | Field, rows: dict[str, Any], fitted: str | None = None
) -> None:
    """Raise ConfigError unless an input suits `rows`, a data set and a split.

    A field with values per row is made on the rows it serves; a run takes data of the same form. fitted: what
    `fitted_on` gives; a run on a data set of that name need only have the same range of values.
    """
    if isinstance(found, Field):
        _check_rows(declared, key, found, rows)
        return
    mine, theirs = rows["dataset"], found.spec["dataset"]
    there = f"{found.name}, fitted on {theirs['name']}"
    if fitted == OWN and mine != theirs:
        raise declared.error(
            key, there, f"a run fitted on {mine['name']}; or `fitted_on: {theirs['name']}`, if it is meant"
        )
    if fitted and theirs["name"] != fitted:
        raise declared.error(key, there, f"a run fitted on {fitted} (fitted_on)")
    form = RANGE if fitted else FORM
    if any(mine[k] != theirs[k] for k in form):
        have, wanted = ({k: data[k] for k in form} for data in (theirs, mine))
        raise declared.error(key, f"{found.name} with {have}", f"a run on data with {wanted}")


def _check_rows(declared: Declared[Any], key: str, found: Field, rows: dict[str, Any]) -> None:
    mine, theirs = rows["dataset"], found.spec["dataset"]
    anywhere = plugins.constant("fields", found.spec["field"]["name"], "ANY_ROWS", False)
    if mine != theirs or (rows["split"] != found.spec["split"] and not anywhere):
        here = f"{mine['name']} ({rows['split']['name']}, data seed {mine['seed']})"
        there = f"{theirs['name']} ({found.spec['split']['name']}, data seed {theirs['seed']})"
        raise declared.error(key, f"{found.name}, made on {there}", f"a field made on {here}")


def check_weights(declared: Declared[Any], key: str, run: Run, weights: str) -> None:
    """Raise ConfigError unless the weights asked for are among those the run writes."""
    allowed = run_weights(run.spec)
    if weights not in allowed:
        raise declared.error(key, weights, f"weights that {run.name} writes: {', '.join(allowed)}")


def check_compiled(declared: Declared[Any]) -> None:
    """Raise ConfigError where `fit.compiled` is asked for and cannot be.

    The compiled network is handed to the objective, which must differentiate it once only; an attack must
    not change the number of examples, for each of which it would be compiled again.
    """
    fit, task = declared.template.fit, declared.template.task
    if not fit or not fit.compiled:
        return
    objective = task.get("objective")
    allowed = None
    if objective is None:
        allowed = f"false: task {task['name']} is not compiled"
    elif not plugins.constant("objectives", objective["name"], "FIRST_ORDER", False):
        allowed = f"false: {objective['name']} differentiates the network twice; where it has an option"
        allowed += " `compiled` of its own, use that (task.objective.compiled)"
    elif (objective.get("attack") or {}).get("drop_fooled"):
        allowed = "false, or drop_fooled: false for the attack, whose batches would have ever other sizes"
    elif declared.template.cost.devices > 1:
        allowed = "false: compiled fits are in one process (cost.devices: 1)"
    if allowed is not None:
        raise declared.error("fit.compiled", fit.compiled, allowed)


def check_processes(declared: Declared[Any], task: str | None = None) -> Cost:
    """What a job needs: one GPU for each of its processes, where any are asked for.

    task: what a fit fits; other jobs are one process. Raises ConfigError for micro-batches that the task does
    not take, and for processes that cannot share them out evenly.
    """
    cost, fit = declared.template.cost, getattr(declared.template, "fit", None)
    shares = fit.micro_batches if fit else 1
    if shares > 1 and not plugins.constant("tasks", task, "MICRO_BATCHES", False):
        raise declared.error("fit.micro_batches", shares, f"1: task {task} takes every batch as a whole")
    if shares % cost.devices:
        allowed = f"a divisor of fit.micro_batches ({shares})" if fit else "1: only fits have more processes"
        raise declared.error("cost.devices", cost.devices, allowed)
    return cost.model_copy(update={"gpus": cost.gpus and max(cost.gpus, cost.devices)})
