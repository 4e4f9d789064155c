// Kanbu's present backup of its database, rebuilt from its description to be measured beside ours:
// dump to a file, gzip to a second file, SHA-256 of that, the whole file encrypted in memory into a third, copy into the
// storage, temporary files removed.
//
//   node kanbu_pipeline.mjs TEMPORARY_DIR STORAGE_DIR      database by PG…, key by BACKUP_ENCRYPTION_KEY (64 hex digits)
import { spawnSync } from 'node:child_process'
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { createReadStream, openSync } from 'node:fs'
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

const [temporary, storage] = process.argv.slice(2)
const key = Buffer.from(process.env.BACKUP_ENCRYPTION_KEY, 'hex')
const dump = join(temporary, 'kanbu.sql')
const compressed = `${dump}.gz`
const encrypted = `${compressed}.enc`

function toFile(path, program, args) {
  const { status } = spawnSync(program, args, { stdio: ['ignore', openSync(path, 'w'), 'inherit'] })
  if (status !== 0) throw new Error(`${program} ended with ${status}`)
}

try {
  toFile(dump, 'pg_dump', [])
  toFile(compressed, 'gzip', ['-c', dump])

  const hash = createHash('sha256')
  await pipeline(createReadStream(compressed), hash)

  const iv = randomBytes(16)
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  const sealed = Buffer.concat([cipher.update(await readFile(compressed)), cipher.final()])
  await writeFile(encrypted, Buffer.concat([iv, sealed, cipher.getAuthTag()]))

  await copyFile(encrypted, join(storage, 'kanbu_backup.sql.gz.enc'))
} catch (error) {
  console.error(`kanbu's pipeline: ${error.message}`)
  process.exitCode = 1
} finally {
  await Promise.all([dump, compressed, encrypted].map((path) => rm(path, { force: true })))
}
