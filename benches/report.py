#!/usr/bin/env python3
"""Turns measurements into a Markdown table of medians.

  report.py RESULTS FACTS [--record PAGE SECTION]

RESULTS holds a JSON line for each run, as measure.py prints it with a "variant" in front; FACTS a line of text for each
fact about machine and data. With --record the table also replaces what PAGE has between the markers of SECTION.
"""

import argparse
import json
from pathlib import Path
from statistics import median

# Variant, its name in the table; the first three are what ratios are taken of.
VARIANTS = {
    "ours-3": "kanbu-backup, zstd 3, encrypted, flushed, read back",
    "ours-1": "kanbu-backup, zstd 1, encrypted, flushed, read back",
    "source": "`pg_dump -Fc -Z0` to `/dev/null`: the limit that the source sets",
    "shell": "`pg_dump -Fc -Z0 \\| zstd -3 -T0 \\| age`, flushed",
    "kanbu": "Kanbu's present pipeline",
}
HEAD = ["", "wall s", "(range)", "× source", "× shell", "CPU s", "peak RSS of all", "largest process", "temporary disk", "stored"]


def mib(size):
    return f"{size / 2**20:,.0f} MiB"


def ratio(wall, runs):
    """How often the reference's time; nothing if the reference wasn't run."""
    return f"{wall / median(run['wall_s'] for run in runs):.2f}" if runs else "–"


def largest(runs):
    """The program with the largest single process, over all runs."""
    peaks = {}
    for run in runs:
        for name, size in run["rss_bytes"].items():
            peaks[name] = max(peaks.get(name, 0), size)
    name = max(peaks, key=peaks.get)
    return f"{name} {mib(peaks[name])}"


def row(name, runs, good):
    if not runs:
        return [name, "fails"] + [""] * (len(HEAD) - 2)
    walls = [run["wall_s"] for run in runs]
    return [
        name,
        f"**{median(walls):.1f}**",
        f"{min(walls):.1f}–{max(walls):.1f}",
        ratio(median(walls), good["source"]),
        ratio(median(walls), good["shell"]),
        f"{median(run['cpu_s'] for run in runs):.1f}",
        mib(max(run["rss_sum_bytes"] for run in runs)),
        largest(runs),
        mib(max(run["temporary_bytes"] for run in runs)),
        mib(median(run["kept_bytes"] for run in runs)),
    ]


def table(results):
    good = {variant: [run for run in results if run["variant"] == variant and run["status"] == 0] for variant in VARIANTS}
    asked = [variant for variant in VARIANTS if any(run["variant"] == variant for run in results)]
    lines = [HEAD, ["---"] + ["---:"] * (len(HEAD) - 1)]
    lines += [row(VARIANTS[variant], good[variant], good) for variant in asked]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def record(page, section, text):
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    before, found, rest = page.read_text().partition(begin)
    if found:
        after = rest.partition(end)[2]
    else:
        before, after = before.rstrip("\n") + "\n\n", "\n"
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("facts", type=Path)
    parser.add_argument("--record", nargs=2, metavar=("PAGE", "SECTION"))
    options = parser.parse_args()
    results = [json.loads(line) for line in options.results.read_text().splitlines()]
    facts = options.facts.read_text().splitlines()
    text = "\n".join([facts[0], "", table(results), ""] + [f"- {fact}" for fact in facts[1:]])
    print(text)
    if options.record:
        page, section = options.record
        record(Path(page), section, text)


if __name__ == "__main__":
    main()
