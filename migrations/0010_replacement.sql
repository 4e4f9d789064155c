-- Replacements of a live database: one row each, written before the live database is fenced, so that whoever comes after a
-- crash knows what was going on. Which database is live is never read from here: its oid on the server tells.

create table kanbu_backup.replacement (
    -- The restore; and the rollback, once somebody asked for one.
    execution_id      uuid primary key,
    job_id            uuid not null,
    artifact_id       uuid not null,
    rollback_id       uuid,
    -- The protected server, where it tells.
    system_identifier text,
    -- The live name, under which one of the two oids is at any time.
    database          text not null check (database <> ''),
    old_oid           bigint not null,
    new_oid           bigint not null check (new_oid <> old_oid),
    -- Where the new one was loaded, where the old one goes, where the new one goes in a rollback.
    load_name         text not null,
    old_name          text not null,
    undone_name       text not null,
    state             text not null
                      check (state in ('replacing', 'replaced', 'reverted', 'undoing', 'undone', 'dropped')),
    keep_days         smallint not null check (keep_days between 1 and 365),
    -- Until when the database that gave way stays.
    keep_until        timestamptz,
    safety_backup     uuid,
    no_safety_backup  text,
    created_at        timestamptz not null default clock_timestamp(),
    changed_at        timestamptz not null default clock_timestamp(),
    check (safety_backup is null or no_safety_backup is null),
    check (rollback_id is not null or state not in ('undoing', 'undone')),
    check (keep_until is not null or state not in ('replaced', 'undoing', 'undone'))
);

-- One at a time, whatever the queue and the lock on the server say.
create unique index replacement_under_way on kanbu_backup.replacement (database, coalesce(system_identifier, ''))
    where state in ('replacing', 'undoing');

insert into kanbu_backup.role_right (role, privilege, object)
values ('worker', 'select', 'replacement'), ('worker', 'insert', 'replacement'), ('worker', 'update', 'replacement'),
       ('api', 'select', 'replacement'), ('read', 'select', 'replacement');

do $$ begin perform kanbu_backup.grant_roles(); end $$;
