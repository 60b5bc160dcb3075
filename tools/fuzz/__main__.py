"""Long runs: `python -m tools.fuzz --cases 10000` tries so many cases at every entrance, and prints a table.

Every case follows from --seed, the entrance and its number, so that --only and --first repeat one. Each runs in its own
process, killed and replaced where a case does not come back. Worst memory is the largest growth
of a process above what it held before a case (Linux; 0 elsewhere).
"""

from __future__ import annotations

import argparse
import sys

from .entrances import ENTRANCES
from .runs import try_entrance


def main() -> int:
    """The table on standard output, faults on standard error; 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", type=int, default=1000, help="at every entrance (1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case (0)")
    parser.add_argument("--only", choices=ENTRANCES, help="this entrance alone")
    args = parser.parse_args()
    print("| entrance | cases | refused | tracebacks | hangs | silent wrong | worst memory, MB | slowest, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    failed = False
    for name in [args.only] if args.only else ENTRANCES:
        t = try_entrance(name, args.seed, args.first, args.cases)
        counts = f"{t.cases} | {t.refused} | {t.tracebacks} | {t.hangs} | {t.wrong}"
        print(f"| {name} | {counts} | {t.memory / 2**20:.0f} | {t.slowest:.1f} |", flush=True)
        for fault in t.faults[:20]:
            print(f"{name}, case {fault}", file=sys.stderr, flush=True)
        failed |= bool(t.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
