"""Compare two folders of results, of two machines or commits; exit with 1 unless they are equal.

Compared are runs, results with their arrays, tables, numbers of figures, and verdicts. Timings do not count.
"""

import argparse
from pathlib import Path

from pagrepro import removal, script
from pagrepro.comparison import Tolerance, compare
from pagrepro.comparison_text import text

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A", help="results/<tier>")
    parser.add_argument("b", type=Path, metavar="B", help="the other one")
    parser.add_argument("--rtol", type=float, default=0.0, help="relative to the larger number; 0: same bits")
    parser.add_argument("--atol", type=float, default=0.0, help="absolute; either of both is enough")
    parser.add_argument("--weights", action="store_true", help="also checksums of weights and fields")
    parser.add_argument("--limit", type=int, default=20, help="lines shown of each kind of difference")
    parser.add_argument("--output", type=Path, help="CSV with every difference")
    args = parser.parse_args()
    with script.main():
        for folder in (args.a, args.b):
            removal.check_results(folder)
        tolerance = Tolerance(args.rtol, args.atol)
        found = compare(args.a, args.b, tolerance, args.weights)
        print(text(found, tolerance, args.limit), flush=True)
        if args.output:
            found.frame().to_csv(args.output, index=False)
        if not found.equal:
            raise SystemExit(1)
