#!/usr/bin/env python3
"""Turns the measurements of `./bench storage` into two Markdown tables of medians.

  storage_report.py RESULTS FACTS [--record PAGE]

RESULTS holds a JSON line for each run, as measure.py prints it with a "variant" in front; FACTS a line of text for each
fact about machine and data. With --record the tables also replace what PAGE has between the markers of the section storage.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from report import largest, mib, ratio, record

# For each table: what ratios are taken of, and the variants with their names.
TABLES = [
    (
        "backup to",
        "one",
        {
            "one": "one local directory",
            "two": "two local directories",
            "three": "two local directories and S3",
        },
    ),
    (
        "upload to S3 from a pipe",
        "rclone",
        {
            "ours": "kanbu-backup, parts of 5 MiB growing, two at once, SHA-256 for each part and for all",
            "rclone": "`rclone rcat`, as it comes",
            "aws": "`aws s3 cp -`, as it comes",
        },
    ),
]


def row(name, runs, reference):
    if not runs:
        return [name, "fails", "", "", "", "", ""]
    walls = [run["wall_s"] for run in runs]
    return [
        name,
        f"**{median(walls):.1f}**",
        f"{min(walls):.1f}–{max(walls):.1f}",
        ratio(median(walls), reference),
        f"{median(run['cpu_s'] for run in runs):.1f}",
        mib(max(run["rss_sum_bytes"] for run in runs)),
        largest(runs),
    ]


def table(results, title, reference, names):
    good = {variant: [run for run in results if run["variant"] == variant and run["status"] == 0] for variant in names}
    asked = [variant for variant in names if any(run["variant"] == variant for run in results)]
    head = [title, "wall s", "(range)", f"× {reference}", "CPU s", "peak RSS of all", "largest process"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    lines += [row(names[variant], good[variant], good[reference]) for variant in asked]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) if asked else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("facts", type=Path)
    parser.add_argument("--record", metavar="PAGE", type=Path)
    options = parser.parse_args()
    results = [json.loads(line) for line in options.results.read_text().splitlines()]
    facts = options.facts.read_text().splitlines()
    tables = [table(results, *one) for one in TABLES]
    text = "\n\n".join([facts[0]] + [one for one in tables if one] + ["\n".join(f"- {fact}" for fact in facts[1:])])
    print(text)
    if options.record:
        record(options.record, "storage", text)


if __name__ == "__main__":
    main()
