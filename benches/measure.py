#!/usr/bin/env python3
"""Runs a command and prints what it took, as one JSON line.

  measure.py [--service PID] [--temporary DIR] [--kept DIR] -- COMMAND [ARGUMENT…]

wall_s           from start to end of the command
cpu_s            user and system time of the command and all its children; with --service also of that process and its own
rss_sum_bytes    highest sum over all these processes at one moment, sampled every 50 ms (shared pages count each time)
rss_bytes        for each program the highest of a single process: sampled, and for the service the kernel's own high mark
temporary_bytes  highest disk space of files below --temporary and of any other file held open for writing outside --kept
kept_bytes       size of the files below --kept at the end

The service is a process that works for the command: its processor time counts from here on, and its high mark is reset.
"""

import argparse
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

SAMPLE_SECONDS = 0.05
# Looking at files costs more than looking at memory, and temporary files live for seconds.
SAMPLES_PER_FILE_LOOK = 10
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


def read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def family(roots):
    """The processes and all their descendants."""
    found, queue = [], list(roots)
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            queue.extend(int(child) for child in read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def resident(pid):
    fields = read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE if fields else 0


def program(pid):
    return read(f"/proc/{pid}/comm").strip()


def processor_seconds(pid):
    """Of a process and of its children that it has waited for."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS if fields else 0.0


def high_mark(pid):
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def files_below(directory):
    for folder, _, names in os.walk(directory or "/nowhere"):
        for name in names:
            try:
                yield os.lstat(os.path.join(folder, name))
            except OSError:
                pass


def files_written_by(pid, kept):
    """Regular files that a process holds open for writing, deleted ones too, outside of what is kept."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            info = os.stat(f"/proc/{pid}/fd/{descriptor}")
            flags = int(read(f"/proc/{pid}/fdinfo/{descriptor}").split("flags:")[1].split()[0], 8)
        except (OSError, IndexError):
            continue
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        inside = kept and target.startswith(kept + "/")
        # Memory files and logs are no temporary space.
        aside = target.startswith("/memfd:") or target.endswith(".log") or os.path.samestat(info, os.fstat(2))
        if writes and stat.S_ISREG(info.st_mode) and not inside and not aside:
            yield info


def space(infos):
    return sum({(info.st_dev, info.st_ino): info.st_blocks * 512 for info in infos}.values())


class Peaks:
    """The highest of everything that was seen."""

    def __init__(self, roots, temporary, kept):
        self.roots, self.temporary, self.kept = roots, temporary, kept
        self.rss_sum = 0
        self.rss = {}
        self.temporary_bytes = 0
        self.samples = 0

    def sample(self):
        pids = [pid for pid in family(self.roots) if pid != os.getpid()]
        sizes = {pid: resident(pid) for pid in pids}
        self.rss_sum = max(self.rss_sum, sum(sizes.values()))
        for pid, size in sizes.items():
            if size:
                name = program(pid)
                self.rss[name] = max(self.rss.get(name, 0), size)
        if self.samples % SAMPLES_PER_FILE_LOOK == 0:
            infos = list(files_below(self.temporary))
            for pid in pids:
                infos.extend(files_written_by(pid, self.kept))
            self.temporary_bytes = max(self.temporary_bytes, space(infos))
        self.samples += 1


def run(options):
    service = options.service
    if service:
        Path(f"/proc/{service}/clear_refs").write_text("5")
    service_began = processor_seconds(service) if service else 0.0
    began = time.monotonic()
    child = subprocess.Popen(options.command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    peaks = Peaks([child.pid] + ([service] if service else []), options.temporary, options.kept)
    while True:
        peaks.sample()
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(SAMPLE_SECONDS)
    wall = time.monotonic() - began
    if service:
        peaks.rss[program(service)] = high_mark(service)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "wall_s": round(wall, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime + (processor_seconds(service) - service_began if service else 0), 3),
        "rss_sum_bytes": peaks.rss_sum,
        "rss_bytes": peaks.rss,
        "temporary_bytes": peaks.temporary_bytes,
        "kept_bytes": sum(info.st_size for info in files_below(options.kept)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", type=int)
    parser.add_argument("--temporary")
    parser.add_argument("--kept")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    options.command = options.command[1:] if options.command[:1] == ["--"] else options.command
    options.kept = os.path.realpath(options.kept) if options.kept else None
    print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
