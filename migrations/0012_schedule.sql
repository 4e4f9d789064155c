-- Schedules: rules that make jobs, and the ticks that were made of them.
--
-- A tick is the instant that a rule names, and its row is the right to make the job of it: whoever inserts the row makes the
-- job in the same transaction, so any number of producers make each tick once. What a rule's text means is known in Rust
-- alone (`src/schedule`); here `next_tick_at` is what it last said, and the producers keep it.

create table kanbu_backup.schedule (
  id             uuid primary key,
  name           text not null check (name ~ '^[^\u0001-\u001f\u007f-\u009f]{1,255}$' and name = btrim(name)),
  kind           text not null check (kind in ('backup', 'verify')),
  subject        text not null check (subject ~ '^(database|source):[^#\u0001-\u001f\u007f-\u009f]+$'),
  cron           text not null check (cron <> ''),
  time_zone      text not null check (time_zone <> ''),
  enabled        boolean not null default true,
  catch_up       text not null default 'latest' check (catch_up in ('none', 'latest', 'all')),
  catch_up_limit integer not null default 24 check (catch_up_limit between 1 and 1000),
  overlap        text not null default 'skip' check (overlap in ('skip', 'queue')),
  jitter         interval not null default '0' check (jitter between '0' and '1 hour'),
  -- What its backups are kept by: the fields of `retention::Policy`.
  retention      jsonb not null default '{}' check (jsonb_typeof(retention) = 'object'),
  -- Null: on all of the workers' storages.
  storages       text[] check (cardinality(storages) > 0),
  -- Its backups are verified like this: none of them, each, or the first of every day or ISO week of its zone.
  verify_every   text not null default 'never' check (verify_every in ('never', 'each', 'daily', 'weekly')),
  verify_level   text not null default 'checked' check (verify_level in ('quick', 'checked', 'proven')),
  -- Null: what is usual for the kind.
  timeout        interval check (timeout between '1 minute' and '7 days'),
  max_attempts   smallint check (max_attempts between 1 and 1000),
  paused_at      timestamptz,
  paused_until   timestamptz,
  paused_by      text,
  -- Everything up to here has been looked at.
  last_tick_at   timestamptz not null default now(),
  -- Null: the rule has no more ticks.
  next_tick_at   timestamptz,
  -- Grows with every change that a person makes.
  revision       bigint not null default 1,
  created_at     timestamptz not null default now(),
  created_by     text,
  updated_at     timestamptz not null default now(),
  updated_by     text,
  -- Kept after its deletion if its backups are to go on under its policy.
  deleted_at     timestamptz,
  deleted_by     text,
  check (paused_at is not null or (paused_until is null and paused_by is null)),
  check (deleted_at is null or not enabled)
);

create unique index schedule_name on kanbu_backup.schedule (name) where deleted_at is null;

create table kanbu_backup.schedule_tick (
  schedule_id uuid not null references kanbu_backup.schedule (id) on delete cascade,
  -- The instant of the rule, without jitter.
  tick_at     timestamptz not null,
  disposition text not null check (disposition in ('enqueued', 'already_open', 'skipped')),
  -- Why it was skipped: nobody looked in time, or the queue refused the job.
  reason      text check (reason in ('late', 'refused')),
  -- Of another kind than a reference: jobs are forgotten earlier.
  job_id      uuid,
  made_at     timestamptz not null default clock_timestamp(),
  primary key (schedule_id, tick_at),
  check ((disposition = 'skipped') = (reason is not null)),
  check ((disposition = 'skipped') = (job_id is null))
);

-- The last job of a schedule is found at once; most jobs have none.
create index job_of_schedule on kanbu_backup.job (schedule_id, created_at desc) where schedule_id is not null;

insert into kanbu_backup.role_right (role, privilege, object)
select g.role, privilege, object
  from (values
    ('worker', '{select, insert, update, delete}', '{schedule, schedule_tick}')
  ) as g (role, privileges, objects),
  unnest(g.privileges::text[]) as privilege, unnest(g.objects::text[]) as object;

do $$ begin perform kanbu_backup.grant_roles(); end $$;
