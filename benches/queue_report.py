#!/usr/bin/env python3
"""Turns measurements of queues into Markdown tables of medians.

  queue_report.py RESULTS --facts FACTS [--record PAGE SECTION]
  queue_report.py RESULTS --estimate CONTENDER JOBS

RESULTS holds a JSON line for each measurement, as queue_measure.py prints it with "contender" and "measure" in front; FACTS
a line of text for each fact about the machine. --estimate prints how many seconds a drain of so many jobs should take, by
what is known of smaller ones; 0 if nothing is.
"""

import argparse
import json
from math import ceil
from pathlib import Path
from statistics import median

from report import mib, record

CONTENDERS = {
    "ours": "kanbu-backup",
    "graphile": "graphile-worker, default",
    "graphile-batched": "graphile-worker, local queue of 500, completions in batches",
    "pg-boss": "pg-boss, by tens",
    "apalis-10": "apalis-postgres, batch 10",
    "apalis-1": "apalis-postgres, batch 1",
}
SITUATIONS = {
    "one": "single jobs",
    "ten": "tens",
    "busy": "nothing: all 100,000 wait for 50 busy subjects",
    "last_free": "single jobs of the one free subject, behind those 100,000",
}


def percentile(values, share):
    return sorted(values)[ceil(share * len(values)) - 1]


def spread(values, digits):
    """The median over the runs, and their range."""
    return f"**{median(values):,.{digits}f}** ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def of(results, measure):
    """What was measured, by contender."""
    found = {name: [r for r in results if r["measure"] == measure and r["contender"] == name] for name in CONTENDERS}
    return {name: runs for name, runs in found.items() if runs}


def latency_table(results):
    rows = []
    for name, runs in of(results, "latency").items():
        shares = [[percentile(run["latencies_ms"], share) for run in runs] for share in (0.5, 0.99)]
        rows.append([CONTENDERS[name]] + [spread(values, 1) for values in shares])
    return table(["enqueue to start, idle worker", "p50 ms", "p99 ms"], rows)


def speed(run):
    return run["jobs"] / run["seconds"]


def ratio(runs, reference):
    """How often the reference's speed; nothing if it wasn't measured."""
    return f"{median(map(speed, runs)) / median(map(speed, reference)):.1f}" if reference else "–"


def drain_table(results, jobs):
    measured = of(results, f"drain {jobs}")
    small = of(results, f"drain {min(drains(results))}")
    rows = []
    for name in small:
        runs = measured.get(name)
        if not runs:
            rows.append([CONTENDERS[name], "left out: more than a minute"] + ["–"] * 5)
            continue
        rows.append(
            [
                CONTENDERS[name],
                spread([speed(run) for run in runs], 0),
                ratio(runs, measured.get("graphile")),
                ratio(runs, measured.get("apalis-1")),
                f"{median(run['cpu_s'] for run in runs):.1f}",
                f"{median(run['server_cpu_s'] for run in runs):.1f}",
                mib(max(run["rss_bytes"] for run in runs)),
            ]
        )
    head = [f"drain of {jobs:,} jobs", "jobs/s", "× graphile-worker", "× apalis batch 1", "worker CPU s", "server CPU s", "worker peak RSS"]
    return table(head, rows)


def claims_table(results):
    rows = []
    for situation, text in SITUATIONS.items():
        runs = [run[situation] for run in results if run["measure"] == "claims"]
        cells = [text]
        for what in ("claims_ms", "finishes_ms"):
            for share in (0.5, 0.99):
                values = [percentile(run[what], share) for run in runs if run[what]]
                cells.append(spread(values, 1) if values else "–")
        rows.append(cells)
    return table(["a claim of", "claim p50 ms", "claim p99 ms", "finish p50 ms", "finish p99 ms"], rows)


def drains(results):
    return sorted({int(r["measure"].split()[1]) for r in results if r["measure"].startswith("drain ")})


def estimate(results, contender, jobs):
    runs = [run for run in results if run["contender"] == contender and run["measure"].startswith("drain ")]
    return jobs / median(map(speed, runs)) if runs else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--facts", type=Path)
    parser.add_argument("--estimate", nargs=2, metavar=("CONTENDER", "JOBS"))
    parser.add_argument("--record", nargs=2, metavar=("PAGE", "SECTION"))
    options = parser.parse_args()
    results = [json.loads(line) for line in options.results.read_text().splitlines()]
    if options.estimate:
        print(estimate(results, options.estimate[0], int(options.estimate[1])))
        return
    facts = options.facts.read_text().splitlines()
    parts = [facts[0], latency_table(results)] + [drain_table(results, jobs) for jobs in drains(results)]
    if any(run["measure"] == "claims" for run in results):
        parts.append(claims_table(results))
    text = "\n\n".join(parts + ["\n".join(f"- {fact}" for fact in facts[1:])])
    print(text)
    if options.record:
        page, section = options.record
        record(Path(page), section, text)


if __name__ == "__main__":
    main()
