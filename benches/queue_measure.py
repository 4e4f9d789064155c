#!/usr/bin/env python3
"""Runs one course of a contender and adds what it took to the JSON line that it prints.

  queue_measure.py --server PID -- COMMAND [ARGUMENT…]

cpu_s         user and system time of the contender's process, its start included
server_cpu_s  the same of the PostgreSQL server and all its processes meanwhile
rss_bytes     the most memory that the contender's process held
"""

import argparse
import json
import os
import subprocess
import sys
import time

from measure import family, processor_seconds

# A backend whose client has gone ends soon after it, and counts only once it was waited for.
SETTLE_SECONDS = 0.5


def seconds_of_server(postmaster):
    return sum(processor_seconds(pid) for pid in family([postmaster]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=int, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    began = seconds_of_server(options.server)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    time.sleep(SETTLE_SECONDS)
    result = json.loads(said)
    result["cpu_s"] = round(usage.ru_utime + usage.ru_stime, 3)
    result["server_cpu_s"] = round(seconds_of_server(options.server) - began, 3)
    result["rss_bytes"] = usage.ru_maxrss * 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
