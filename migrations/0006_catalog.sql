-- What we possess. Derived from the manifests on the storages and rebuilt from them; written by catalog alone.
-- An execution is named without a foreign key: a catalog that was rebuilt names executions of another control database.

create table kanbu_backup.artifact (
    id                  uuid primary key,
    kind                text not null check (kind in ('database', 'source')),
    subject             text not null check (octet_length(subject) between 1 and 1024),
    folder              text not null unique check (folder <> ''),
    execution_id        uuid not null,
    job_id              uuid not null,
    label               text,
    pinned              boolean not null,
    created_at          timestamptz not null,
    -- Where it comes from, and so whose policy keeps it. A schedule is named without a reference, as an execution is.
    reason              text not null default 'manual' check (reason in ('manual', 'schedule', 'safety', 'api')),
    schedule_id         uuid,
    schedule_name       text,
    -- The backup that its content alarm holds.
    holds               uuid,
    content             text not null check (content in ('pg_dump-custom', 'sql', 'tar')),
    compression         text not null check (compression in ('zstd', 'gzip', 'none')),
    key_id              text check (key_id ~ '^[0-9a-f]{32}$'),
    content_bytes       bigint not null check (content_bytes >= 0),
    payload_bytes       bigint not null check (payload_bytes >= 0),
    payload_sha256      bytea not null check (octet_length(payload_sha256) = 32),
    stored_bytes        bigint not null check (stored_bytes >= 0),
    stored_sha256       bytea not null check (octet_length(stored_sha256) = 32),
    -- The file's exact text: the seal is over its bytes.
    manifest            text not null check (manifest <> ''),
    recorded_at         timestamptz not null default clock_timestamp(),
    -- The intent to delete, written before anything is deleted. Such a backup is in no list any more.
    deletion_decided_at timestamptz,
    deletion_decided_by text,
    deletion_reason     text,
    check ((reason = 'schedule') = (schedule_id is not null)),
    check ((schedule_id is null) = (schedule_name is null)),
    check ((deletion_decided_at is null) = (deletion_decided_by is null)),
    check ((deletion_decided_at is null) = (deletion_reason is null))
);

create index artifact_newest on kanbu_backup.artifact (subject, created_at desc, id desc)
    where deletion_decided_at is null;
create index artifact_listed on kanbu_backup.artifact (created_at desc, id desc)
    where deletion_decided_at is null;

create index artifact_deleted on kanbu_backup.artifact (deletion_decided_at desc, id desc)
    where deletion_decided_at is not null;
create index artifact_holding on kanbu_backup.artifact (subject, holds)
    where holds is not null and deletion_decided_at is null;

create index artifact_of_bytes on kanbu_backup.artifact (stored_sha256);

create table kanbu_backup.artifact_copy (
    artifact_id uuid not null references kanbu_backup.artifact (id),
    storage     text not null check (storage <> ''),
    state       text not null check (state in ('pending', 'stored', 'missing', 'damaged', 'deleting', 'deleted')),
    -- Of the data object, as last seen there.
    bytes       bigint check (bytes >= 0),
    -- Why it isn't stored, or couldn't be deleted.
    error       text,
    -- When somebody last looked, and when every byte was last read and found right.
    seen_at     timestamptz not null default clock_timestamp(),
    checked_at  timestamptz,
    -- Since when it has been missing or damaged.
    bad_since   timestamptz,
    primary key (artifact_id, storage),
    check (state <> 'stored' or (error is null and bad_since is null)),
    check (state not in ('missing', 'damaged') or bad_since is not null)
);

create index artifact_copy_deleting on kanbu_backup.artifact_copy (artifact_id, storage)
    where state = 'deleting';

-- Test restores: what was restored where, how long it took, and how it ended. Not derived from the storages, and so lost
-- with this database; the next test restore makes up for it.
create table kanbu_backup.proof (
    execution_id uuid primary key,
    artifact_id  uuid not null references kanbu_backup.artifact (id),
    -- Whose copy was read; unknown when none could be.
    storage      text check (storage <> ''),
    place        text not null check (place in ('scratch', 'server', 'directory')),
    ended_at     timestamptz not null default clock_timestamp(),
    -- Until when it counts as *proven*; null: it failed.
    holds_until  timestamptz,
    seconds      double precision not null check (seconds >= 0),
    tables       bigint check (tables >= 0),
    "rows"       bigint check ("rows" >= 0),
    files        bigint check (files >= 0),
    -- Objects of weight, code and text.
    notes        jsonb not null check (jsonb_typeof(notes) = 'array'),
    error_code   text,
    error        text,
    check ((holds_until is null) = (error_code is not null)),
    check ((error_code is null) = (error is null))
);

create index proof_of_artifact on kanbu_backup.proof (artifact_id, ended_at desc, execution_id desc);

-- What the last test restore of a backup says; no row if there was none.
create function kanbu_backup.last_proof(p_artifact uuid)
returns table (ended_at timestamptz, is_good boolean, holds boolean, seconds double precision)
language sql stable
begin atomic
  select p.ended_at, p.holds_until is not null, coalesce(p.holds_until > clock_timestamp(), false), p.seconds
    from kanbu_backup.proof p
   where p.artifact_id = p_artifact
   order by p.ended_at desc, p.execution_id desc limit 1;
end;
