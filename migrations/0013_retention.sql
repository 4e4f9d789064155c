-- What may go and why, written down before anything goes. A plan is performed item by item, and every item is decided anew in
-- the transaction that marks its backup for deletion; a plan that has not ended is carried on by the next Prune job.

create table kanbu_backup.prune_plan (
    id            uuid primary key,
    subject       text not null check (subject <> ''),
    -- Whose backups it is about: those of one schedule, those that somebody asked for, or those made before a restore.
    class         text not null check (class in ('schedule', 'manual', 'safety')),
    schedule_id   uuid,
    schedule_name text,
    job_id        uuid not null,
    execution_id  uuid not null,
    as_of         timestamptz not null,
    time_zone     text not null check (time_zone <> ''),
    policy        jsonb not null check (jsonb_typeof(policy) = 'object'),
    -- Why nothing was to go, whatever the policy says.
    held          jsonb check (jsonb_typeof(held) = 'object'),
    created_at    timestamptz not null default clock_timestamp(),
    ended_at      timestamptz,
    check ((class = 'schedule') = (schedule_id is not null)),
    check ((schedule_id is null) = (schedule_name is null))
);

create index prune_plan_open on kanbu_backup.prune_plan (subject, created_at) where ended_at is null;
create index prune_plan_of on kanbu_backup.prune_plan (subject, class, schedule_id, created_at desc);

create table kanbu_backup.prune_item (
    plan_id     uuid not null references kanbu_backup.prune_plan (id) on delete cascade,
    artifact_id uuid not null references kanbu_backup.artifact (id),
    verdict     text not null check (verdict in ('kept', 'expired')),
    -- Data, and the same in words.
    reasons     jsonb not null check (jsonb_typeof(reasons) = 'array'),
    words       text not null,
    -- Of an expired one: its deletion was decided, it was spared after all, nothing of it is left.
    fate        text check (fate in ('decided', 'spared', 'deleted')),
    -- Why it was spared.
    spared      text,
    settled_at  timestamptz,
    primary key (plan_id, artifact_id),
    check (verdict = 'expired' or fate is null),
    check ((fate is null) = (settled_at is null)),
    check ((fate is not distinct from 'spared') = (spared is not null))
);

create index prune_item_decided on kanbu_backup.prune_item (plan_id) where fate = 'decided';

-- Schedules that came from Kanbu: until when nothing of theirs goes, and the rule that must agree in the first cycle.
create table kanbu_backup.retention_state (
    schedule_id           uuid primary key,
    -- The four numbers.
    kanbu_rule            jsonb not null check (jsonb_typeof(kanbu_rule) = 'object'),
    held_until            timestamptz not null,
    first_cycle_ended_at  timestamptz
);

insert into kanbu_backup.role_right (role, privilege, object)
select 'worker', privilege, object
  from unnest('{select, insert, update, delete}'::text[]) as privilege,
       unnest('{prune_plan, prune_item, retention_state}'::text[]) as object
union all
values ('worker', 'execute', 'id_of');

do $$ begin perform kanbu_backup.grant_roles(); end $$;
