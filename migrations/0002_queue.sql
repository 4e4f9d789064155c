-- The queue: what was asked (job), every attempt at it (execution), who may not go now (queue_control), who works (worker).
--
-- The rules that matter are constraints: one open execution per exclusive subject, one per job, one open job per
-- dedupe key. The functions of the next migrations are the only writers of job and execution. The owner of an execution
-- writes it under one fence everywhere: `ended_at is null and lease_until > clock_timestamp()`.
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
  ('prune',   true,  true,  5,  '1 minute',   '1 hour'),
  ('verify',  true,  true,  3,  '1 minute',   '1 hour'),
  -- The waits between so many attempts are a day at least: a receiver may be away for so long.
  ('notify',  true,  false, 40, '5 seconds',  '1 hour');

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
  request_key         text,
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
create index job_waiting_on_subject on kanbu_backup.job (subject, kind, priority desc, run_at, id)
  where state = 'queued' and exclusive;
create index job_dead on kanbu_backup.job (finished_at desc) where state = 'dead';
-- Partial, as most jobs have none: what is not in an index need not be moved in it.
create unique index job_request_key on kanbu_backup.job (request_key) where request_key is not null;
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
  -- How long whoever failed it asked not to be asked again.
  retry_after interval check (retry_after >= interval '0'),
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
  -- Jobs of each kind at once: {"backup": 2, "verify": 1}.
  slots        jsonb not null check (jsonb_typeof(slots) = 'object' and slots <> '{}'),
  -- Whether it hears notifications; otherwise it looks every second.
  listening    boolean not null default false,
  started_at   timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  stopping_at  timestamptz,
  stopped_at   timestamptz,
  -- The one wish that a worker reads from its row: claim no more, finish, go.
  drain_requested_at timestamptz,
  drain_requested_by text,
  check (drain_requested_by is null or drain_requested_at is not null)
);
