"""Trains every combination of what is registered that `check` admits, where the suite takes some in which any two meet.

    python -m tests.drivers.combinations [--every 10] [--first 0]

Eleven thousand of them, some three minutes of one core. Exit code 1 where a parameter is out of reach, or a refusal is
not one line that names a key.
"""

import argparse
import sys

from headwise.laws.reach import never_reached
from tests.laws.combinations import is_one_line, judged


def main() -> int:
    """Print what fails as it is found, then how many there were; exit code 1 if any did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take one of so many")
    parser.add_argument("--first", type=int, default=0, help="the one to begin with")
    options = parser.parse_args()
    failed = 0
    for causal in (False, True):
        arms, refusals = judged(causal)
        taken = arms[options.first :: options.every]
        for refusal in sorted({refusal for refusal in refusals if not is_one_line(refusal)}):
            failed += 1
            print(f"FAILED, refused in other words: {refusal!r}", flush=True)
        for arm in taken:
            if missing := never_reached(arm, causal):
                failed += 1
                print(f"FAILED, out of reach: {', '.join(sorted(missing))} of {arm}", flush=True)
        kind = "causal" if causal else "not causal"
        print(f"{kind}: {len(taken)} of {len(arms)} admitted, {len(refusals)} refused", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
