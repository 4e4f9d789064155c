#!/usr/bin/env bash
# One line for each entry that a source backup holds: type, mode, link target, path; then a SHA-256 for each file.
# Kanbu's excludes are left out. Two trees with the same lines are the same tree.   demo/listing.sh DIRECTORY
set -euo pipefail

excluded=(
    -name node_modules -o -name .git -o -name .turbo -o -name dist -o -name .next -o -name '*.log' -o -name .env.local
    -o -name .DS_Store -o -name coverage -o -name .nyc_output
)

cd "$1"
find . -mindepth 1 \( "${excluded[@]}" \) -prune -o -type l -printf '%y - %l %p\n' -o -printf '%y %m - %p\n' | LC_ALL=C sort
find . -mindepth 1 \( "${excluded[@]}" \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
