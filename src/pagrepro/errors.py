"""Errors whose message is meant for the person who runs the workflow.

Each says what was found, what was expected and where to change it. Scripts print the message
without a traceback (`pagrepro.script.main`); everything else is a bug and keeps its traceback.
"""

from pathlib import Path


class UserError(Exception):
    """Base class: something outside the code has to change."""


class ConfigError(UserError):
    """A configuration file holds a value that cannot be used."""

    def __init__(self, file: str | Path, key: str, found: object, allowed: str):
        self.file, self.key = str(file), key
        super().__init__(f"{file}: {key}\n  found:   {found}\n  allowed: {allowed}")


class DataError(UserError):
    """A data file is missing, damaged or not of the declared form."""


class RangeError(UserError):
    """Values given to an attack or a measurement lie outside the data set's declared range."""


class StateError(UserError):
    """Resume state or a lock cannot be used."""


class Diverged(Exception):
    """A fit produced a value that is not finite. It is a result, not a failure (`fit.py`)."""

    def __init__(self, term: str, step: int):
        self.term, self.step = term, step
        super().__init__(f"{term} is not finite at step {step}")
