#!/usr/bin/env python3
"""Turns the measurements of `./bench restore` into a Markdown table of medians.

  restore_report.py RESULTS FACTS [--record PAGE]

RESULTS holds a JSON line for each run, as measure.py prints it with a "variant" in front; FACTS a line of text for each
fact about machine and data. With --record the table also replaces what PAGE has between the markers of the section restore.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from report import largest, mib, record

VARIANTS = {
    "ours": "kanbu-backup: every byte checked, decrypted, loaded, compared",
    "ours-2": "kanbu-backup `--jobs 2`",
    "pg_restore": "`pg_restore` of a local file",
    "pg_restore-2": "`pg_restore -j 2` of a local file",
    "psql": "`psql --single-transaction` of a local file",
}
PEERS = ["pg_restore", "pg_restore-2", "psql"]
HEAD = ["", "wall s", "(range)", "× the best of the others", "CPU s", "peak RSS of all", "largest process", "temporary disk"]


def row(name, runs, best):
    if not runs:
        return [name, "fails"] + [""] * (len(HEAD) - 2)
    walls = [run["wall_s"] for run in runs]
    return [
        name,
        f"**{median(walls):.1f}**",
        f"{min(walls):.1f}–{max(walls):.1f}",
        f"{median(walls) / best:.2f}" if best else "–",
        f"{median(run['cpu_s'] for run in runs):.1f}",
        mib(max(run["rss_sum_bytes"] for run in runs)),
        largest(runs),
        mib(max(run["temporary_bytes"] for run in runs)),
    ]


def table(results):
    good = {variant: [run for run in results if run["variant"] == variant and run["status"] == 0] for variant in VARIANTS}
    asked = [variant for variant in VARIANTS if any(run["variant"] == variant for run in results)]
    best = min((median(run["wall_s"] for run in good[peer]) for peer in PEERS if good[peer]), default=None)
    lines = [HEAD, ["---"] + ["---:"] * (len(HEAD) - 1)]
    lines += [row(VARIANTS[variant], good[variant], best) for variant in asked]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("facts", type=Path)
    parser.add_argument("--record", metavar="PAGE", type=Path)
    options = parser.parse_args()
    results = [json.loads(line) for line in options.results.read_text().splitlines()]
    facts = options.facts.read_text().splitlines()
    text = "\n".join([facts[0], "", table(results), ""] + [f"- {fact}" for fact in facts[1:]])
    print(text)
    if options.record:
        record(options.record, "restore", text)


if __name__ == "__main__":
    main()
