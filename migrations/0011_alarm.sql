-- Alarms about the content of backups that a person has seen. The alarms themselves stand in the manifests; one that nobody
-- has acknowledged holds the last good backup before it.

create table kanbu_backup.acknowledgement (
    artifact_id     uuid primary key references kanbu_backup.artifact (id),
    acknowledged_at timestamptz not null default clock_timestamp(),
    acknowledged_by text not null check (acknowledged_by <> ''),
    reason          text not null
);

insert into kanbu_backup.role_right (role, privilege, object)
values ('worker', 'select', 'acknowledgement'),
       ('worker', 'insert', 'acknowledgement'),
       ('worker', 'update', 'acknowledgement');

do $$ begin perform kanbu_backup.grant_roles(); end $$;
