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
  -- No reference: jobs are forgotten earlier.
  job_id      uuid,
  made_at     timestamptz not null default clock_timestamp(),
  primary key (schedule_id, tick_at),
  check ((disposition = 'skipped') = (reason is not null)),
  check ((disposition = 'skipped') = (job_id is null))
);

-- The last job of a schedule is found at once; most jobs have none.
create index job_of_schedule on kanbu_backup.job (schedule_id, created_at desc) where schedule_id is not null;

-- The schedule that an id or a name means.
create function kanbu_backup.meant_schedule(p_schedule text) returns kanbu_backup.schedule
language plpgsql stable set search_path = kanbu_backup, pg_temp as $$
declare
  meant schedule;
begin
  select * into meant from schedule s
   where s.deleted_at is null and (s.name = p_schedule or (is_id(p_schedule) and s.id = id_of(p_schedule)))
   order by s.name = p_schedule desc limit 1;
  if not found then
    perform refuse(format('there is no schedule %L', p_schedule), '`kanbu-backup schedule list` tells their names');
  end if;
  return meant;
end
$$;

-- Whether the next backup is one of those that are verified. A period without such a backup that has come, or may yet come,
-- to a good end is still to have one.
create function kanbu_backup.is_to_be_verified(p_schedule kanbu_backup.schedule) returns boolean
language plpgsql stable set search_path = kanbu_backup, pg_temp as $$
declare
  period text := case p_schedule.verify_every when 'daily' then 'day' when 'weekly' then 'week' end;
begin
  if period is null then
    return p_schedule.verify_every = 'each';
  end if;
  return not exists (
    select from job j
     where j.schedule_id = p_schedule.id and j.kind = 'backup' and j.payload ? 'verify'
       and j.state in ('queued', 'running', 'succeeded')
       and j.created_at >= date_trunc(period, now() at time zone p_schedule.time_zone)
                             at time zone p_schedule.time_zone);
end
$$;

-- What a schedule asks for now.
create function kanbu_backup.schedule_payload(p_schedule kanbu_backup.schedule) returns jsonb
language sql stable set search_path = kanbu_backup, pg_temp as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'subject', p_schedule.subject, 'schedule', p_schedule.id,
    'timeout', extract(epoch from p_schedule.timeout)::bigint)
    || case p_schedule.kind
         when 'verify' then jsonb_build_object('level', p_schedule.verify_level)
         else jsonb_build_object(
           'storages', to_jsonb(p_schedule.storages),
           'verify', case when is_to_be_verified(p_schedule) then p_schedule.verify_level end)
       end)
$$;

-- Makes ticks of a schedule whose row the caller has locked, in the caller's transaction: of each a row, and a job unless it
-- is to be skipped. One that was made before is left out of the answer. `make` is for one in time, which a job that is open
-- makes unnecessary unless the schedule queues; `make_up` for a late one, which has a job of its own.
create function kanbu_backup.make_ticks(
  p_schedule uuid, p_ticks timestamptz[], p_deeds text[], p_run_at timestamptz[]
) returns table (tick_at timestamptz, disposition text, job_id uuid, refusal text)
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
#variable_conflict use_column
declare
  meant  schedule;
  asked  jsonb;
  is_new boolean;
begin
  select * into strict meant from schedule s where s.id = p_schedule;
  for nth in 1..cardinality(p_ticks) loop
    continue when exists (select from schedule_tick t where t.schedule_id = p_schedule and t.tick_at = p_ticks[nth]);
    job_id := null;
    refusal := null;
    if p_deeds[nth] <> 'skip' then
      begin
        asked := schedule_payload(meant);
        select e.job_id, e.is_new into job_id, is_new
          from enqueue(
            gen_random_uuid(), meant.kind, subject_of(meant.kind, asked), asked, 1, 'cron',
            p_run_at => greatest(p_run_at[nth], now()), p_max_attempts => meant.max_attempts,
            p_dedupe_key => 'schedule:' || p_schedule
              || case when p_deeds[nth] = 'make_up' or meant.overlap = 'queue'
                      then ':' || extract(epoch from p_ticks[nth])::bigint else '' end) e;
      exception when invalid_parameter_value or feature_not_supported then
        get stacked diagnostics refusal = message_text;
      end;
    end if;
    tick_at := p_ticks[nth];
    disposition := case when job_id is null then 'skipped' when is_new then 'enqueued' else 'already_open' end;
    insert into schedule_tick (schedule_id, tick_at, disposition, reason, job_id)
    values (p_schedule, tick_at, disposition,
            case when disposition = 'skipped' then case when refusal is null then 'late' else 'refused' end end, job_id);
    return next;
  end loop;
end
$$;

-- Says that ticks were missed, with what became of them; in the transaction that made them.
create function kanbu_backup.record_missed(p_schedule uuid, p_missed jsonb) returns void
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
begin
  perform record_event('schedule.missed', 'warning', s.subject, p_missed || jsonb_build_object('schedule', s.name),
                       p_schedule => s.id)
     from schedule s where s.id = p_schedule;
end
$$;

-- For callers, and stable as the enqueueing functions are. The schedule is named by its name or its id.
-- A job now, whatever its rule says and though it be disabled or paused; its ticks are not moved by it. While a job of the
-- schedule is open, that one is the answer.
create function kanbu_backup.run_schedule(schedule text, request_key text default null, requested_by text default null)
returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  meant  kanbu_backup.schedule := meant_schedule(run_schedule.schedule);
  asked  jsonb;
  answer uuid;
begin
  -- A request that is repeated asks for what it asked the first time.
  select j.payload into asked from job j
   where j.request_key = run_schedule.request_key and j.schedule_id = meant.id;
  asked := coalesce(asked, schedule_payload(meant));
  select e.job_id into answer
    from enqueue(
      gen_random_uuid(), meant.kind, subject_of(meant.kind, asked), asked, 1,
      case when requested_by is null then 'api' else 'operator' end,
      p_max_attempts => meant.max_attempts, p_dedupe_key => 'schedule:' || meant.id,
      p_request_key => run_schedule.request_key, p_requested_by => coalesce(requested_by, session_user)) e;
  return answer;
end
$$;

-- No ticks until then, or until somebody resumes it. What falls into a pause is not made up for.
create function kanbu_backup.pause_schedule(schedule text, until timestamptz default null, requested_by text default null)
returns void
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  meant kanbu_backup.schedule := meant_schedule(pause_schedule.schedule);
begin
  if until <= now() then
    perform refuse(format('a pause until %s would be over already', until),
                   'name a time that is still to come, or none');
  end if;
  update kanbu_backup.schedule s
     set paused_at = now(), paused_until = until, paused_by = coalesce(requested_by, session_user),
         next_tick_at = now(), revision = s.revision + 1, updated_at = now(), updated_by = coalesce(requested_by, session_user)
   where s.id = meant.id;
end
$$;

-- Ends a pause; false when there was none.
create function kanbu_backup.resume_schedule(schedule text, requested_by text default null) returns boolean
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  meant kanbu_backup.schedule := meant_schedule(resume_schedule.schedule);
begin
  update kanbu_backup.schedule s
     set paused_at = null, paused_until = null, paused_by = null, last_tick_at = now(), next_tick_at = now(),
         revision = s.revision + 1, updated_at = now(), updated_by = coalesce(requested_by, session_user)
   where s.id = meant.id and s.paused_at is not null;
  return found and coalesce(meant.paused_until > now(), true);
end
$$;

-- Turns a schedule on or off; false when it already was. Nothing from before is made up for.
create function kanbu_backup.enable_schedule(schedule text, enabled boolean default true, requested_by text default null)
returns boolean
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  meant kanbu_backup.schedule := meant_schedule(enable_schedule.schedule);
begin
  update kanbu_backup.schedule s
     set enabled = enable_schedule.enabled, last_tick_at = now(),
         next_tick_at = case when enable_schedule.enabled then now() end,
         revision = s.revision + 1, updated_at = now(), updated_by = coalesce(requested_by, session_user)
   where s.id = meant.id and s.enabled <> enable_schedule.enabled;
  return found;
end
$$;

-- Producers look again when a person has changed something. What they write themselves leaves the revision as it is.
create function kanbu_backup.announce_schedule() returns trigger
language plpgsql set search_path = kanbu_backup, pg_temp as $$
begin
  perform pg_notify('kanbu_backup_schedule', '');
  return null;
end
$$;

create trigger schedule_is_announced after insert or update of revision on kanbu_backup.schedule
  for each statement execute function kanbu_backup.announce_schedule();

create view kanbu_backup.schedule_overview as
select s.id as schedule_id, s.name, s.kind, s.subject, s.cron, s.time_zone, s.enabled, s.catch_up, s.catch_up_limit,
       s.overlap, s.jitter, s.retention, s.storages, s.verify_every, s.verify_level, s.timeout, s.max_attempts,
       s.paused_at is not null and coalesce(s.paused_until > now(), true) as paused, s.paused_until, s.paused_by,
       s.next_tick_at, s.revision, s.created_at, s.created_by, s.updated_at, s.updated_by,
       j.job_id as last_job_id, j.status as last_status, j.created_at as last_run_at, j.finished_at as last_finished_at
  from kanbu_backup.schedule s
  left join lateral (
    select x.id from kanbu_backup.job x
     where x.schedule_id = s.id and x.kind = s.kind and x.parent_job_id is null order by x.created_at desc limit 1
  ) last on true
  left join kanbu_backup.job_overview j on j.job_id = last.id
 where s.deleted_at is null;

-- Schedules that no producer has looked at though they were due: there is none, or it can't make their ticks.
create view kanbu_backup.late_ticks as
select s.id as schedule_id, s.name, s.subject, s.next_tick_at as due_at, now() - s.next_tick_at as late
  from kanbu_backup.schedule s
 where s.enabled and s.next_tick_at < now() - interval '60 seconds'
   and not (s.paused_at is not null and coalesce(s.paused_until > now(), true));

insert into kanbu_backup.role_right (role, privilege, object)
select g.role, privilege, object
  from (values
    ('worker', '{select, insert, update, delete}', '{schedule, schedule_tick}'),
    ('worker', '{execute}', '{make_ticks, record_missed, run_schedule, pause_schedule, resume_schedule, enable_schedule}'),
    ('worker', '{select}',  '{schedule_overview, late_ticks}'),
    ('api',    '{execute}', '{run_schedule, pause_schedule, resume_schedule, enable_schedule}'),
    ('api',    '{select}',  '{schedule_overview, late_ticks}'),
    ('read',   '{select}',  '{schedule_overview, late_ticks}')
  ) as g (role, privileges, objects),
  unnest(g.privileges::text[]) as privilege, unnest(g.objects::text[]) as object;

do $$ begin perform kanbu_backup.grant_roles(); end $$;
