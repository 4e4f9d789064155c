#!/usr/bin/env bash
# A source tree as Kanbu's is: a few hundred files, modes, symbolic links, and what Kanbu's excludes leave out.
# The content is the same each time.   demo/source.sh DIRECTORY
set -euo pipefail

[ $# = 1 ] || { echo "usage: demo/source.sh DIRECTORY" >&2; exit 2; }
tree=$1
umask 022
[ ! -e "$tree" ] || { echo "$tree exists already" >&2; exit 1; }

# module PATH NUMBER: a TypeScript file of some 2 KiB, each a little different.
module() {
    local path=$1 number=$2 line
    mkdir -p "${path%/*}"
    {
        echo "import { db } from '../lib/db'"
        for line in {1..24}; do
            echo "export async function step${line}(id: number) { return db.task.findMany({ where: { id: id * $((number * line % 977)) } }) }"
        done
    } >"$path"
}

number=0
for package in api web shared cli; do
    for folder in routes services components lib; do
        for file in {01..18}; do
            number=$((number + 1))
            module "$tree/packages/$package/src/$folder/module$file.ts" "$number"
        done
    done
    echo "{ \"name\": \"@kanbu/$package\", \"version\": \"1.0.0\" }" >"$tree/packages/$package/package.json"
    module "$tree/packages/$package/dist/index.js" 1
done

mkdir -p "$tree"/{scripts,docs,uploads/2025,empty,node_modules/left-pad,packages/api/node_modules/.bin,.git}
echo '# Kanbu' >"$tree/README.md"
printf 'name with spaces and ümlauts\n' >"$tree/docs/über uns.md"
printf '#!/bin/sh\nexec node dist/index.js\n' >"$tree/scripts/start.sh"
echo 'DATABASE_URL=postgresql://kanbu@localhost/kanbu' >"$tree/.env"
: >"$tree/uploads/2025/empty.bin"
# Bytes of all values that don't compress: a cipher's key stream would need a tool; a hash chain needs none.
chain=seed
for _ in {1..200}; do
    chain=$(printf '%s' "$chain" | sha256sum)
    printf '%b' "$(sed 's/ .*//; s/../\\x&/g' <<<"$chain")"
done >"$tree/uploads/2025/photo.jpg"

ln -s ../README.md "$tree/docs/README.md"
ln -s scripts "$tree/bin"
ln -s /nowhere/at/all "$tree/docs/dangling"

# Left out by the default excludes.
echo 'module.exports = () => {}' >"$tree/node_modules/left-pad/index.js"
ln -s ../tsc "$tree/packages/api/node_modules/.bin/tsc"
echo 'ref: refs/heads/main' >"$tree/.git/HEAD"
echo 'started' >"$tree/packages/api/server.log"
echo 'SECRET=1' >"$tree/.env.local"

chmod 755 "$tree/scripts/start.sh"
chmod 600 "$tree/.env"
chmod 700 "$tree/uploads"
chmod 444 "$tree/README.md"
find "$tree" -exec touch -h -d 2025-06-01T12:00:00Z {} +
