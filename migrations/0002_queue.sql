-- The queue: what was asked (job), every attempt at it (execution), who may not go now (queue_control), who works (worker).
--
-- The rules that matter are constraints: one open execution per exclusive subject, one per job, one open job per
-- dedupe key. The functions below are the only writers of job and execution. The owner of an execution writes it under
-- one fence everywhere: `ended_at is null and lease_until > clock_timestamp()`.
-- Lock order: execution before job, several executions by id. Whoever locks a job first waits for no execution of it.

-- One line per kind: whether a handler exists yet (`accepted`), and what a job of that kind starts with.
create table kanbu_backup.kind_rule (
  kind         text primary key check (kind in ('backup', 'restore', 'prune', 'verify', 'notify')),
  accepted     boolean not null,
  exclusive    boolean not null,
  max_attempts smallint not null check (max_attempts > 0),
  backoff_base interval not null,
  backoff_cap  interval not null
);

insert into kanbu_backup.kind_rule (kind, accepted, exclusive, max_attempts, backoff_base, backoff_cap) values
  ('backup',  true,  true,  4,  '30 seconds', '30 minutes'),
  ('restore', true,  true,  1,  '30 seconds', '30 minutes'),
  ('prune',   false, true,  5,  '1 minute',   '1 hour'),
  ('verify',  true,  true,  3,  '1 minute',   '1 hour'),
  ('notify',  false, false, 12, '5 seconds',  '1 hour');

create table kanbu_backup.job (
  id                  uuid primary key,
  kind                text not null check (kind in ('backup', 'restore', 'prune', 'verify', 'notify')),
  subject             text not null check (subject <> '' and octet_length(subject) <= 1024),
  exclusive           boolean not null,
  payload             jsonb not null check (jsonb_typeof(payload) = 'object'),
  payload_version     integer not null check (payload_version > 0),
  state               text not null default 'queued'
                      check (state in ('queued', 'running', 'succeeded', 'dead', 'cancelled')),
  priority            smallint not null default 0,
  run_at              timestamptz not null default now(),
  attempts            smallint not null default 0,
  max_attempts        smallint not null,
  backoff_base        interval not null,
  backoff_cap         interval not null,
  dedupe_key          text,
  request_key         text unique,
  request_digest      bytea,
  origin              text not null check (origin in ('api', 'cron', 'follow_up', 'operator')),
  schedule_id         uuid,
  parent_job_id       uuid references kanbu_backup.job (id) on delete set null,
  requested_by        text,
  cancel_requested_at timestamptz,
  cancel_requested_by text,
  error_code          text,
  error               text,
  hint                text,
  created_at          timestamptz not null default now(),
  finished_at         timestamptz,
  check (attempts between 0 and max_attempts),
  check ((request_key is null) = (request_digest is null)),
  check ((finished_at is null) = (state in ('queued', 'running')))
) with (autovacuum_vacuum_scale_factor = 0.01);

create index job_ready on kanbu_backup.job (kind, priority desc, run_at, id) where state = 'queued';
create index job_due on kanbu_backup.job (kind, run_at) where state = 'queued';
create index job_waiting_on_subject on kanbu_backup.job (subject) where state = 'queued' and exclusive;
create index job_dead on kanbu_backup.job (finished_at desc) where state = 'dead';
create index job_children on kanbu_backup.job (parent_job_id) where parent_job_id is not null;
-- The key frees itself when the job ends.
create unique index job_one_open_per_key on kanbu_backup.job (kind, subject, dedupe_key)
  where state in ('queued', 'running');

create table kanbu_backup.execution (
  id          uuid primary key,
  -- The order of claims, for people and logs; no decision reads it.
  fence       bigint generated always as identity,
  job_id      uuid not null references kanbu_backup.job (id) on delete cascade,
  kind        text not null check (kind in ('backup', 'restore', 'prune', 'verify', 'notify')),
  subject     text not null,
  exclusive   boolean not null,
  worker_id   uuid not null,
  attempt     smallint not null check (attempt > 0),
  charged     boolean not null default true,
  -- By the clock, not by the transaction's start: so an execution begins after the one it waited for has ended.
  started_at  timestamptz not null,
  lease_until timestamptz not null,
  ended_at    timestamptz,
  outcome     text check (outcome in ('succeeded', 'degraded', 'failed', 'cancelled')),
  fault       text check (fault in ('transient', 'permanent', 'lease_lost', 'cancelled')),
  error_code  text,
  error       text,
  hint        text,
  progress    jsonb,
  log         text[] not null default '{}',
  result      jsonb,
  warnings    jsonb,
  bytes_in    bigint,
  bytes_out   bigint,
  artifact_id uuid,
  check ((ended_at is null) = (outcome is null)),
  check (case outcome when 'failed' then fault is not null and fault <> 'cancelled'
                      when 'cancelled' then fault is not null and fault = 'cancelled'
                      else fault is null end),
  check (charged or (outcome is not null and outcome = 'cancelled'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);

create unique index execution_one_open_per_subject on kanbu_backup.execution (subject)
  where ended_at is null and exclusive;
create unique index execution_one_open_per_job on kanbu_backup.execution (job_id) where ended_at is null;
create index execution_history on kanbu_backup.execution (job_id, fence desc);

create table kanbu_backup.queue_control (
  kind         text not null default '*' check (kind in ('*', 'backup', 'restore', 'prune', 'verify', 'notify')),
  subject      text not null default '*' check (subject <> ''),
  paused_at    timestamptz,
  paused_until timestamptz,
  paused_by    text,
  reason       text,
  max_running  integer check (max_running > 0),
  primary key (kind, subject),
  check (paused_at is not null or (paused_until is null and paused_by is null and reason is null)),
  check (max_running is null or (kind <> '*' and subject = '*'))
);

-- For people: no decision about who is alive reads it.
create table kanbu_backup.worker (
  id           uuid primary key,
  host         text not null,
  version      text not null,
  kinds        text[] not null,
  slots        integer not null check (slots > 0),
  started_at   timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  stopping_at  timestamptz,
  stopped_at   timestamptz
);

-- ---------------------------------------------------------------------------------------------------------- enqueue

-- Puts a job into the queue, in the caller's transaction. The answer is the new job, or the open one that it repeats.
create function kanbu_backup.enqueue(
  p_id uuid, p_kind text, p_subject text, p_payload jsonb, p_payload_version integer, p_origin text,
  p_priority smallint default 0, p_run_at timestamptz default null, p_max_attempts smallint default null,
  p_dedupe_key text default null, p_request_key text default null, p_requested_by text default null,
  p_parent_job_id uuid default null
) returns table (job_id uuid, is_new boolean)
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  rule   kind_rule;
  digest bytea;
  known  bytea;
begin
  select * into rule from kind_rule k where k.kind = p_kind;
  if not found then
    raise exception 'there is no job kind %', quote_nullable(p_kind)
      using errcode = 'KB001', hint = 'backup, restore, prune, verify and notify are the kinds of job';
  end if;
  if not rule.accepted then
    raise exception '% jobs are not accepted yet', p_kind
      using errcode = 'KB001', hint = 'no worker of this release can do them';
  end if;
  if p_subject is null or octet_length(p_subject) > 1024
     or p_subject !~ '^(database|source|cluster|directory):[^#[:cntrl:]]+(#(prune|verify))?$' then
    raise exception '% is not a subject', quote_nullable(p_subject)
      using errcode = '22023', hint = 'write scope:name, for instance database:kanbu';
  end if;
  if p_payload is null or jsonb_typeof(p_payload) <> 'object' then
    raise exception 'the payload is not a JSON object' using errcode = '22023';
  end if;
  if octet_length(p_payload::text) > 65536 then
    raise exception 'the payload has % bytes; 65536 are allowed', octet_length(p_payload::text)
      using errcode = '22023';
  end if;
  if p_run_at > now() + interval '400 days' or not isfinite(p_run_at) then
    raise exception 'run_at % is more than 400 days ahead', p_run_at using errcode = '22023';
  end if;
  if p_max_attempts not between 1 and 1000 then
    raise exception 'max_attempts % is not within 1 and 1000', p_max_attempts using errcode = '22023';
  end if;
  if octet_length(p_dedupe_key) > 255 or octet_length(p_request_key) > 255
     or p_dedupe_key = '' or p_request_key = '' then
    raise exception 'a key must have 1 to 255 bytes' using errcode = '22023';
  end if;

  digest := case when p_request_key is not null then
    sha256(convert_to(concat_ws(chr(31), p_kind, p_subject, p_payload_version, p_payload), 'UTF8')) end;

  -- RACE: the open job that made the insert give way may end before it is read. Then insert again.
  for round in 1..3 loop
    insert into job (id, kind, subject, exclusive, payload, payload_version, priority, run_at, max_attempts,
                     backoff_base, backoff_cap, dedupe_key, request_key, request_digest, origin, parent_job_id,
                     requested_by)
    values (p_id, p_kind, p_subject, rule.exclusive, p_payload, p_payload_version, coalesce(p_priority, 0::smallint),
            greatest(coalesce(p_run_at, now()), now()), coalesce(p_max_attempts, rule.max_attempts),
            rule.backoff_base, rule.backoff_cap, p_dedupe_key, p_request_key, digest, p_origin, p_parent_job_id,
            p_requested_by)
    on conflict do nothing;
    if found then
      perform pg_notify('kanbu_backup_job', p_kind);
      return query select p_id, true;
      return;
    end if;

    -- The request first: it stays known after its job has ended.
    select j.id, j.request_digest into job_id, known from job j where j.request_key = p_request_key;
    if found then
      if known is distinct from digest then
        raise exception 'request key % was used for another request', quote_literal(p_request_key)
          using errcode = 'KB002', detail = job_id::text, hint = 'use a new key for a new request';
      end if;
      return query select job_id, false;
      return;
    end if;

    select j.id into job_id from job j
     where j.kind = p_kind and j.subject = p_subject and j.dedupe_key = p_dedupe_key
       and j.state in ('queued', 'running');
    if found then
      return query select job_id, false;
      return;
    end if;
  end loop;
  raise exception 'the open job of dedupe key % keeps changing', quote_nullable(p_dedupe_key) using errcode = '40001';
end
$$;

-- For every language: `select kanbu_backup.enqueue_backup('database:kanbu', '{"label": "before import"}')`.
create function kanbu_backup.enqueue_backup(subject text, options jsonb default '{}', request_key text default null)
returns uuid
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  unknown text;
begin
  select string_agg(o.key, ', ') into unknown
    from jsonb_each(options) o where o.key not in ('label', 'pin');
  if unknown is not null then
    raise exception 'unknown option: %', unknown using errcode = '22023', hint = 'label and pin are the options';
  end if;
  if jsonb_typeof(options -> 'label') not in ('string', 'null') then
    raise exception 'label is not a string' using errcode = '22023';
  end if;
  if jsonb_typeof(options -> 'pin') <> 'boolean' then
    raise exception 'pin is not true or false' using errcode = '22023';
  end if;
  return (
    select e.job_id from enqueue(gen_random_uuid(), 'backup', enqueue_backup.subject,
             options || jsonb_build_object('subject', enqueue_backup.subject), 1, 'api',
             p_dedupe_key => 'request', p_request_key => enqueue_backup.request_key,
             p_requested_by => session_user::text) e);
end
$$;

-- ------------------------------------------------------------------------------------------------------------ claim

-- Opens executions of ready jobs under the ids given, at most one per id. With nothing to claim it answers one row
-- without an execution, which says in how many seconds the next job of this kind comes due, if any is queued.
create function kanbu_backup.claim(
  p_worker uuid, p_kind text, p_max_version integer, p_lease interval, p_ids uuid[]
) returns table (
  execution_id uuid, job_id uuid, attempt smallint, subject text, payload jsonb, due_in double precision
)
language plpgsql set search_path = kanbu_backup, pg_temp as $$
#variable_conflict use_column
declare
  room bigint := cardinality(p_ids);
  cap  integer;
begin
  -- Only capped kinds are serialised, and counted in a new statement, hence after the lock.
  select c.max_running into cap from queue_control c
   where c.kind = p_kind and c.subject = '*' and c.max_running is not null for update;
  if found then
    select least(room, cap - count(*)) into room from execution e where e.kind = p_kind and e.ended_at is null;
  end if;

  if room > 0 then
    return query
    with picked as materialized (
      -- RACE: `not exists` sees an old snapshot; where two claims meet on a subject, the unique index decides.
      select j.id, j.subject, j.exclusive, j.attempts from job j
       where j.state = 'queued' and j.kind = p_kind and j.run_at <= now() and j.payload_version <= p_max_version
         and not exists (select from queue_control c
               where c.kind in (p_kind, '*') and c.subject in (j.subject, '*')
                 and c.paused_at is not null and (c.paused_until is null or c.paused_until > now()))
         and not (j.exclusive and exists (select from execution e
               where e.subject = j.subject and e.exclusive and e.ended_at is null))
       order by j.priority desc, j.run_at, j.id
       limit room for update of j skip locked
    ), opened as (
      -- By subject: two batches can't deadlock on the unique index.
      insert into execution as e (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at, lease_until)
      select p_ids[row_number() over (order by p.subject, p.id)], p.id, p_kind, p.subject, p.exclusive,
             p_worker, p.attempts + 1, (select clock_timestamp()), now() + p_lease
        from picked p order by p.subject, p.id
      on conflict (subject) where ended_at is null and exclusive do nothing
      returning e.id, e.job_id, e.attempt
    )
    update job j set state = 'running', attempts = o.attempt
      from opened o where j.id = o.job_id
    returning o.id, j.id, o.attempt, j.subject, j.payload, null::double precision;
    if found then
      return;
    end if;
  end if;

  return query
  select null::uuid, null::uuid, null::smallint, null::text, null::jsonb,
         extract(epoch from min(j.run_at) - now())::double precision
    from job j where j.state = 'queued' and j.kind = p_kind and j.run_at > now();
end
$$;

-- What a claim whose reply was lost has opened, with its leases extended.
create function kanbu_backup.recover(p_ids uuid[], p_lease interval) returns table (
  execution_id uuid, job_id uuid, attempt smallint, subject text, payload jsonb
)
language sql set search_path = kanbu_backup, pg_temp as $$
  update execution e set lease_until = now() + p_lease
    from job j
   where e.id = any (p_ids) and e.ended_at is null and e.lease_until > clock_timestamp() and j.id = e.job_id
  returning e.id, j.id, e.attempt, j.subject, j.payload
$$;

-- ------------------------------------------------------------------------------------------------------------ renew

-- Extends the leases of all executions of one process and takes their progress and new log lines along:
-- `[{"id", "progress", "log_from", "log"}]`. An id missing from the answer is lost.
create function kanbu_backup.renew(p_renewals jsonb, p_lease interval)
returns table (execution_id uuid, cancel_requested boolean)
language sql set search_path = kanbu_backup, pg_temp as $$
  with asked as (
    select a.id, a.progress, a.log_from, a.log
      from jsonb_to_recordset(p_renewals) as a (id uuid, progress jsonb, log_from integer, log text[])
  ), fenced as materialized (
    select e.id from execution e
     where e.id in (select a.id from asked a) and e.ended_at is null and e.lease_until > clock_timestamp()
     order by e.id for no key update
  )
  update execution e
     set lease_until = now() + p_lease,
         progress = coalesce(a.progress, e.progress),
         -- A repeated request finds its lines there already and appends only what is new.
         log = case when a.log is null then e.log
                    else e.log || a.log[cardinality(e.log) - a.log_from + 1 :] end
    from asked a join fenced f on f.id = a.id, job j
   where e.id = a.id and j.id = e.job_id
  returning e.id, j.cancel_requested_at is not null
$$;

-- ----------------------------------------------------------------------------------------------------------- finish

-- `base * 2^(attempt - 1)`, at most `cap`, give or take a fifth.
create function kanbu_backup.backoff(p_attempt integer, p_base interval, p_cap interval) returns interval
language sql volatile as $$
  select least(p_cap, p_base * power(2, least(p_attempt - 1, 30))) * (0.8 + 0.4 * random())
$$;

-- The state table: what becomes of a running job whose execution has been closed.
create function kanbu_backup.settled_state(p_job kanbu_backup.job, p_execution kanbu_backup.execution) returns text
language sql immutable as $$
  select case
    when p_execution.outcome in ('succeeded', 'degraded') then 'succeeded'
    when p_job.cancel_requested_at is not null then 'cancelled'
    when not p_execution.charged then 'queued'
    when p_execution.outcome = 'cancelled' then 'cancelled'
    when p_execution.fault = 'permanent' or p_job.attempts >= p_job.max_attempts then 'dead'
    else 'queued' end
$$;

-- Settles the jobs of executions that this transaction has closed, and wakes whoever can go on because of it.
create function kanbu_backup.settle(p_executions uuid[]) returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
begin
  -- RACE: a cancel may hold the job. Everything is computed from the target row, which is read again after the wait.
  update job j
     set state = settled_state(j, e),
         attempts = j.attempts - (not e.charged)::integer,
         finished_at = case when settled_state(j, e) <> 'queued' then now() end,
         run_at = case
           when settled_state(j, e) <> 'queued' then j.run_at
           when not e.charged then now()
           -- A first lost lease starts again at once: its worker died, the job is innocent.
           when e.fault = 'lease_lost' and not exists (select from execution p
                  where p.job_id = e.job_id and p.fault = 'lease_lost' and p.id <> e.id) then now()
           else now() + backoff(j.attempts, j.backoff_base, j.backoff_cap) end,
         error_code = case when e.fault is null then null else coalesce(e.error_code, j.error_code) end,
         error = case when e.fault is null then null else coalesce(e.error, j.error) end,
         hint = case when e.fault is not null then e.hint end
    from execution e
   where e.id = any (p_executions) and j.id = e.job_id;

  perform pg_notify('kanbu_backup_job', n.kind) from (
    select j.kind from execution e join job j on j.id = e.job_id
     where e.id = any (p_executions) and j.state = 'queued'
    union
    select w.kind from execution e
      join job w on w.subject = e.subject and w.state = 'queued' and w.exclusive and w.run_at <= now()
     where e.id = any (p_executions) and e.exclusive
    union
    select c.kind from execution e
      join queue_control c on c.kind = e.kind and c.subject = '*' and c.max_running is not null
     where e.id = any (p_executions)
       and exists (select from job w where w.kind = c.kind and w.state = 'queued' and w.run_at <= now())
  ) n;
  -- Short jobs are followed by nobody, and their commits shouldn't queue behind the notification lock.
  perform pg_notify('kanbu_backup_end', e.job_id::text) from execution e
    where e.id = any (p_executions) and e.exclusive;
end
$$;

-- Closes executions, each fenced alone, and settles their jobs. The answer per execution:
-- 'closed' now; 'already', by this owner, before a reply that was lost; 'lost', and nothing of it was written.
create function kanbu_backup.finish(p_endings jsonb) returns table (execution_id uuid, answer text)
language plpgsql set search_path = kanbu_backup, pg_temp as $$
#variable_conflict use_column
declare
  closed uuid[];
begin
  with asked as (
    select * from jsonb_to_recordset(p_endings) as a (
      id uuid, outcome text, fault text, charged boolean, error_code text, error text, hint text, progress jsonb,
      log_from integer, log text[], result jsonb, warnings jsonb, bytes_in bigint, bytes_out bigint, artifact_id uuid)
  ), fenced as materialized (
    select e.id from execution e
     where e.id in (select a.id from asked a) and e.ended_at is null and e.lease_until > clock_timestamp()
     order by e.id for no key update
  ), ended as (
    update execution e
       set ended_at = clock_timestamp(), outcome = a.outcome, fault = a.fault, charged = a.charged,
           error_code = a.error_code, error = a.error, hint = a.hint,
           progress = coalesce(a.progress, e.progress),
           log = case when a.log is null then e.log
                      else e.log || a.log[cardinality(e.log) - a.log_from + 1 :] end,
           result = a.result, warnings = a.warnings,
           bytes_in = a.bytes_in, bytes_out = a.bytes_out, artifact_id = a.artifact_id
      from asked a join fenced f on f.id = a.id
     where e.id = a.id
    returning e.id
  )
  select coalesce(array_agg(n.id), '{}') into closed from ended n;

  perform settle(closed);

  return query
  select a.id, case when a.id = any (closed) then 'closed'
                    -- Only its owner and the reaper ever close an execution.
                    when e.ended_at is not null and e.fault is distinct from 'lease_lost' then 'already'
                    else 'lost' end
    from jsonb_to_recordset(p_endings) as a (id uuid) left join execution e on e.id = a.id;
end
$$;

-- Closes executions whose lease has run out, a hundred at a time. Any worker may call it, as often as it likes.
create function kanbu_backup.reap() returns table (execution_id uuid, job_id uuid, kind text)
language plpgsql set search_path = kanbu_backup, pg_temp as $$
#variable_conflict use_column
declare
  closed uuid[];
begin
  with expired as materialized (
    select e.id from execution e
     where e.ended_at is null and e.lease_until < clock_timestamp()
     order by e.id limit 100 for no key update skip locked
  ), ended as (
    update execution e
       set ended_at = clock_timestamp(), outcome = 'failed', fault = 'lease_lost', error_code = 'lease.lost',
           error = 'the lease ran out before the worker said how the execution ended'
      from expired x where e.id = x.id
    returning e.id
  )
  select array_agg(n.id) into closed from ended n;
  if closed is null then
    return;
  end if;
  perform settle(closed);
  return query select e.id, e.job_id, e.kind from execution e where e.id = any (closed);
end
$$;

-- ---------------------------------------------------------------------------------------------------------- control

-- 'done': it was queued and is out. 'requested': its worker will stop it. Otherwise the state it has ended in; null
-- when there is no such job.
create function kanbu_backup.cancel(p_job uuid, p_by text default null) returns text
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  was text;
begin
  select j.state into was from job j where j.id = p_job for no key update;
  if was = 'queued' then
    update job j set state = 'cancelled', finished_at = now(), cancel_requested_at = now(), cancel_requested_by = p_by
     where j.id = p_job;
    perform pg_notify('kanbu_backup_end', p_job::text);
    return 'done';
  elsif was = 'running' then
    update job j
       set cancel_requested_by = case when j.cancel_requested_at is null then p_by else j.cancel_requested_by end,
           cancel_requested_at = coalesce(j.cancel_requested_at, now())
     where j.id = p_job;
    perform pg_notify('kanbu_backup_cancel', p_job::text);
    return 'requested';
  end if;
  return was;
end
$$;

-- Gives a dead job `p_budget` more attempts under its old id. 'retried' when it took, 'open' (and that job's id) when a
-- newer job holds its dedupe key, otherwise the state in which it can't be retried; null when there is no such job.
create function kanbu_backup.retry(p_job uuid, p_budget smallint default 1) returns table (answer text, job_id uuid)
language plpgsql set search_path = kanbu_backup, pg_temp as $$
#variable_conflict use_column
declare
  dead job;
begin
  if p_budget is null or p_budget not between 1 and 1000 then
    raise exception 'a budget of % attempts is not within 1 and 1000', quote_nullable(p_budget)
      using errcode = '22023';
  end if;
  select * into dead from job j where j.id = p_job for no key update;
  if not found or dead.state <> 'dead' then
    return query select dead.state, dead.id;
    return;
  end if;
  begin
    update job j
       set state = 'queued', finished_at = null, run_at = now(), max_attempts = j.attempts + p_budget,
           cancel_requested_at = null, cancel_requested_by = null
     where j.id = p_job;
  exception when unique_violation then
    return query
    select 'open', o.id from job o
     where o.kind = dead.kind and o.subject = dead.subject and o.dedupe_key = dead.dedupe_key
       and o.state in ('queued', 'running');
    return;
  end;
  perform pg_notify('kanbu_backup_job', dead.kind);
  return query select 'retried', p_job;
end
$$;

-- Keeps jobs of a kind, of a subject or of both ('*' is any) from being claimed. What runs goes on.
create function kanbu_backup.pause(
  p_kind text default '*', p_subject text default '*', p_until timestamptz default null,
  p_reason text default null, p_by text default null
) returns void
language sql set search_path = kanbu_backup, pg_temp as $$
  insert into queue_control as c (kind, subject, paused_at, paused_until, reason, paused_by)
  values (p_kind, p_subject, now(), p_until, p_reason, p_by)
  on conflict (kind, subject) do update
    set paused_at = coalesce(c.paused_at, now()), paused_until = p_until, reason = p_reason, paused_by = p_by
$$;

-- Ends a pause; false when there was none under exactly this kind and subject.
create function kanbu_backup.resume(p_kind text default '*', p_subject text default '*') returns boolean
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  was_paused boolean;
begin
  update queue_control c set paused_at = null, paused_until = null, reason = null, paused_by = null
   where c.kind = p_kind and c.subject = p_subject and c.paused_at is not null;
  was_paused := found;
  delete from queue_control c
   where c.kind = p_kind and c.subject = p_subject and c.paused_at is null and c.max_running is null;
  perform pg_notify('kanbu_backup_job', p_kind);
  return was_paused;
end
$$;

-- At most so many executions of a kind at once, over all workers; null lifts the cap.
create function kanbu_backup.limit_running(p_kind text, p_max integer) returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
begin
  insert into queue_control as c (kind, max_running) values (p_kind, p_max)
  on conflict (kind, subject) do update set max_running = p_max;
  delete from queue_control c
   where c.kind = p_kind and c.subject = '*' and c.paused_at is null and c.max_running is null;
  perform pg_notify('kanbu_backup_job', p_kind);
end
$$;

-- ------------------------------------------------------------------------------------------------------------- views

create view kanbu_backup.running as
select e.id as execution_id, e.job_id, e.kind, e.subject, e.attempt, j.max_attempts, e.worker_id, w.host as worker_host,
       e.started_at, e.lease_until, e.lease_until - clock_timestamp() as lease_left, e.progress,
       j.cancel_requested_at
  from kanbu_backup.execution e
  join kanbu_backup.job j on j.id = e.job_id
  left join kanbu_backup.worker w on w.id = e.worker_id
 where e.ended_at is null;

create view kanbu_backup.dead_letter as
select j.id as job_id, j.kind, j.subject, j.attempts, j.error_code, j.error, j.hint, j.created_at, j.finished_at, j.origin,
       j.requested_by
  from kanbu_backup.job j
 where j.state = 'dead';

-- Due and still queued. `blocked_by` is subject, pause, cap, or null: ready, and no worker has a free slot.
create view kanbu_backup.waiting as
select j.id as job_id, j.kind, j.subject, j.priority, j.run_at, now() - j.run_at as waited,
       case when held.id is not null then 'subject' when pause.reason_row is not null then 'pause'
            when cap.max_running is not null then 'cap' end as blocked_by,
       held.id as blocking_execution_id, pause.reason as pause_reason, pause.paused_until
  from kanbu_backup.job j
  left join kanbu_backup.execution held
    on j.exclusive and held.subject = j.subject and held.exclusive and held.ended_at is null
  left join lateral (
    select true as reason_row, c.reason, c.paused_until from kanbu_backup.queue_control c
     where c.kind in (j.kind, '*') and c.subject in (j.subject, '*')
       and c.paused_at is not null and (c.paused_until is null or c.paused_until > now())
     order by c.kind = '*', c.subject = '*' limit 1
  ) pause on true
  left join lateral (
    select c.max_running from kanbu_backup.queue_control c
     where c.kind = j.kind and c.subject = '*'
       and c.max_running <= (select count(*) from kanbu_backup.execution e
                              where e.kind = j.kind and e.ended_at is null)
  ) cap on true
 where j.state = 'queued' and j.run_at <= now();

-- What must never be found; asked after every integration test and exported as a metric.
create view kanbu_backup.invariant_violation as
select 'running_job_without_one_open_execution' as rule, j.id as job_id, null::uuid as execution_id
  from kanbu_backup.job j
 where j.state = 'running'
   and (select count(*) from kanbu_backup.execution e where e.job_id = j.id and e.ended_at is null) <> 1
union all
select 'open_execution_of_a_job_that_is_not_running', e.job_id, e.id
  from kanbu_backup.execution e join kanbu_backup.job j on j.id = e.job_id
 where e.ended_at is null and j.state <> 'running'
union all
select 'two_open_exclusive_executions_of_a_subject', e.job_id, e.id
  from kanbu_backup.execution e
 where e.ended_at is null and e.exclusive
   and exists (select from kanbu_backup.execution o
                where o.subject = e.subject and o.exclusive and o.ended_at is null and o.id <> e.id)
union all
select 'attempts_are_not_the_charged_executions', j.id, null
  from kanbu_backup.job j
 where j.state in ('queued', 'running')
   and j.attempts <> (select count(*) from kanbu_backup.execution e where e.job_id = j.id and e.charged);
