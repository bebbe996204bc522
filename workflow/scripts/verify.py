"""Check an archive of export.py: every file by its checksum, every sidecar against the files it names.

Exits with 1 when anything is wrong. Nothing of the archive is unpacked or executed.
"""

import argparse
from pathlib import Path

from pagrepro import script
from pagrepro.verify import verify

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, metavar="FILE.zip")
    parser.add_argument("--limit", type=int, default=20, help="lines shown of what is wrong")
    args = parser.parse_args()
    with script.main():
        found = verify(args.archive)
        checks = ", ".join(f"{count} {what}" for what, count in found.checks.items())
        print(f"{args.archive}: {found.status or 'no status'}; {found.files} checksums, {checks}")
        if found.left_out:
            print(f"not compared: {found.left_out} references to files that were left out")
        for line in found.problems[: args.limit]:
            print(f"wrong: {line}")
        if found.problems:
            raise SystemExit(f"{len(found.problems)} problems")
        print("everything agrees", flush=True)
