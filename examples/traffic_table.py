"""What a traffic costs a month, for several of them, as CSV.

    python traffic_table.py MODEL REQUESTS_PER_S...

Reads what `corral capacity --json` prints; its fields: corral schema capacity.
"""

import csv
import json
import subprocess
import sys

PROMISE = ("--input-tokens", "2k", "--output-tokens", "500", "--ttft", "2s", "--tpot", "50ms", "--spare", "1")
FITS, DOES_NOT = 0, 3


def answer(model: str, requests_per_s: str) -> dict:
    """What corral says of one traffic; its sentence and its exit code end this program where it says nothing."""
    command = ("corral", "capacity", model, "--requests-per-s", requests_per_s, *PROMISE, "--json")
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (FITS, DOES_NOT):
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def main(model: str, *traffics: str) -> None:
    table = csv.writer(sys.stdout)
    table.writerow(
        ("requests_per_s", "machines", "machine", "precision", "usd_per_month", "at_worst_usd", "basis")
    )
    for traffic in traffics:
        choices = [each for each in answer(model, traffic)["choices"] if each["feasible"]]
        if choices:
            best = choices[0]
            row = (best["machines"], best["machine"], best["precision"], best["usd_per_month"])
            table.writerow((traffic, *row, (best["at_worst"] or {}).get("usd_per_month"), best["basis"]))
        else:
            table.writerow((traffic, "", "nothing carries it"))


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[2:] else sys.exit(__doc__)
