"""Runs Snakemake again and again without importing it again: every request gets a fork of a warm process.

Starting Snakemake costs 2 to 3 s of CPU, nearly all of it imports. One JSON object per line comes in on
standard input ({"folder", "arguments", "environment", "output"}); the exit status goes out, one per line.
Nothing of `pagrepro` is imported here, so each request reads the package of its own folder.
"""

import json
import os
import signal
import sys
import traceback

import numpy  # noqa: F401
import pydantic  # noqa: F401
import snakemake.cli
import yaml  # noqa: F401

# A call that hangs ends with status -14.
LONGEST_S = 400


def run(request: dict) -> None:
    """In the fork: what the command `snakemake <arguments>` does in that folder. Does not return."""
    signal.alarm(LONGEST_S)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = request["environment"]["PYTHONPATH"].split(os.pathsep)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(stream, target)
    sys.argv = ["snakemake", *request["arguments"]]
    status = 1
    try:
        snakemake.cli.main(request["arguments"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    snakemake.cli.get_argument_parser()  # looks for Snakemake's own plugins and imports them
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(request)
        _, ended = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)
