-- What people do to jobs and to the queue, and the views that they look at.

-- 'done': it was queued and is out. 'requested': its worker will stop it. Otherwise the state it has ended in; null
-- when there is no such job.
create function kanbu_backup.cancel(p_job uuid, p_by text default null) returns text
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  was text;
begin
  select j.state into was from job j where j.id = p_job for no key update;
  if was = 'queued' then
    update job j
       set state = 'cancelled', finished_at = now(), cancel_requested_at = now(),
           cancel_requested_by = coalesce(p_by, session_user)
     where j.id = p_job;
    perform pg_notify('kanbu_backup_end', p_job::text);
    return 'done';
  elsif was = 'running' then
    update job j
       set cancel_requested_by = case when j.cancel_requested_at is null then coalesce(p_by, session_user)
                                      else j.cancel_requested_by end,
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
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
#variable_conflict use_column
declare
  dead job;
begin
  if p_budget is null or p_budget not between 1 and 1000 then
    perform refuse(format('a budget of %L attempts is not within 1 and 1000', p_budget), 'one more is usual');
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

-- Makes a job due that waits for its time: 'due', or the state in which it waits for none; null when there is no such job.
create function kanbu_backup.run_now(p_job uuid) returns text
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  was job;
begin
  select * into was from job j where j.id = p_job for no key update;
  if was.state is distinct from 'queued' then
    return was.state;
  end if;
  update job j set run_at = least(j.run_at, now()) where j.id = p_job;
  perform pg_notify('kanbu_backup_job', was.kind);
  return 'due';
end
$$;

-- What a pause is for: a kind, a subject, both, or ('*', '*') everything. What could match no job is a mistake.
create function kanbu_backup.refuse_unless_pausable(p_kind text, p_subject text) returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
begin
  if p_kind is null or p_kind <> '*' and not exists (select from kind_rule k where k.kind = p_kind) then
    perform refuse(format('there is no job kind %L', p_kind),
                   'backup, restore, prune, verify and notify are the kinds of job; * is any');
  end if;
  if p_subject is null or p_subject <> '*' and not is_subject(p_subject) then
    perform refuse(format('%L is not a subject', p_subject),
                   'write scope:name, for instance database:kanbu; * is any');
  end if;
end
$$;

-- Keeps jobs of a kind, of a subject or of both ('*' is any) from being claimed. What runs goes on. Said again, it is
-- the same pause with a new end and reason.
create function kanbu_backup.pause(
  p_kind text default '*', p_subject text default '*', p_until timestamptz default null,
  p_reason text default null, p_by text default null
) returns void
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
begin
  perform refuse_unless_pausable(p_kind, p_subject);
  if p_until <= now() then
    perform refuse(format('a pause until %s would be over already', p_until),
                   'name a time that is still to come, or none');
  end if;
  insert into queue_control as c (kind, subject, paused_at, paused_until, reason, paused_by)
  values (p_kind, p_subject, now(), p_until, p_reason, coalesce(p_by, session_user))
  on conflict (kind, subject) do update
    set paused_at = case when c.paused_until <= now() then now() else coalesce(c.paused_at, now()) end,
        paused_until = excluded.paused_until, reason = excluded.reason, paused_by = excluded.paused_by;
end
$$;

-- Ends a pause; false when none was in force under exactly this kind and subject.
create function kanbu_backup.resume(p_kind text default '*', p_subject text default '*') returns boolean
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  was_paused boolean;
begin
  perform refuse_unless_pausable(p_kind, p_subject);
  select coalesce(c.paused_until > now(), true) into was_paused from queue_control c
   where c.kind = p_kind and c.subject = p_subject and c.paused_at is not null for update;
  update queue_control c set paused_at = null, paused_until = null, reason = null, paused_by = null
   where c.kind = p_kind and c.subject = p_subject and c.paused_at is not null;
  delete from queue_control c
   where c.kind = p_kind and c.subject = p_subject and c.paused_at is null and c.max_running is null;
  perform pg_notify('kanbu_backup_job', p_kind);
  return coalesce(was_paused, false);
end
$$;

-- At most so many executions of a kind at once, over all workers; null lifts the cap.
create function kanbu_backup.limit_running(p_kind text, p_max integer) returns void
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
begin
  perform refuse_unless_pausable(p_kind, '*');
  if p_kind = '*' or p_max < 1 then
    perform refuse(format('a limit is a number of at least 1 for one kind, not %s for %L', p_max, p_kind),
                   'a pause lets none run');
  end if;
  insert into queue_control as c (kind, max_running) values (p_kind, p_max)
  on conflict (kind, subject) do update set max_running = p_max;
  delete from queue_control c
   where c.kind = p_kind and c.subject = '*' and c.paused_at is null and c.max_running is null;
  perform pg_notify('kanbu_backup_job', p_kind);
end
$$;

-- Asks a worker, or all (null), to claim no more, to finish what it has begun and to go. Answers who was asked, now or
-- before; one that has gone isn't.
create function kanbu_backup.drain(p_worker uuid default null, p_by text default null) returns setof uuid
language sql security definer set search_path = kanbu_backup, pg_temp as $$
  with asked as (
    update worker w
       set drain_requested_by = case when w.drain_requested_at is null then coalesce(p_by, session_user)
                                     else w.drain_requested_by end,
           drain_requested_at = coalesce(w.drain_requested_at, now())
     where w.stopped_at is null and (p_worker is null or w.id = p_worker)
    returning w.id
  )
  -- Who doesn't hear this reads its row a few seconds later.
  select a.id from asked a, lateral pg_notify('kanbu_backup_drain', a.id::text) n
$$;

-- A living worker writes its row every five seconds at the latest.
create view kanbu_backup.worker_state as
select w.id, w.host, w.version, w.slots, w.listening, w.started_at, w.last_seen_at, w.drain_requested_at,
       w.drain_requested_by,
       case when w.stopped_at is not null then 'gone'
            when w.last_seen_at < now() - interval '30 seconds' then 'silent'
            when w.drain_requested_at is not null then 'draining'
            when w.stopping_at is not null then 'stopping'
            else 'working' end as state
  from kanbu_backup.worker w;

create view kanbu_backup.pause_in_force as
select c.kind, c.subject, c.paused_at, c.paused_until, c.paused_by, c.reason
  from kanbu_backup.queue_control c
 where c.paused_at is not null and (c.paused_until is null or c.paused_until > now());

-- Every kind in numbers: jobs by state, each state counted from its partial index; `slots` of the workers that claim.
create view kanbu_backup.kind_overview as
with queued as (
  select j.kind, count(*) filter (where j.run_at <= now()) as ready,
         count(*) filter (where j.run_at > now() and j.attempts = 0) as scheduled,
         count(*) filter (where j.run_at > now() and j.attempts > 0) as retrying,
         now() - min(j.run_at) filter (where j.run_at <= now()) as oldest_ready
    from kanbu_backup.job j where j.state = 'queued' group by j.kind
), ended as (
  select j.kind, count(*) filter (where j.state = 'succeeded') as succeeded,
         count(*) filter (where j.state = 'cancelled') as cancelled
    from kanbu_backup.job j where j.state in ('succeeded', 'cancelled') group by j.kind
)
select k.kind, coalesce(q.ready, 0) as ready, coalesce(q.scheduled, 0) as scheduled,
       coalesce(q.retrying, 0) as retrying, q.oldest_ready,
       (select count(*) from kanbu_backup.job j where j.state = 'running' and j.kind = k.kind) as running,
       coalesce(e.succeeded, 0) as succeeded,
       (select count(*) from kanbu_backup.job j where j.state = 'dead' and j.kind = k.kind) as dead,
       coalesce(e.cancelled, 0) as cancelled,
       (select count(*) from kanbu_backup.execution x where x.ended_at is null and x.kind = k.kind) as open,
       (select c.max_running from kanbu_backup.queue_control c where c.kind = k.kind and c.subject = '*') as max_running,
       (select coalesce(sum((w.slots ->> k.kind)::bigint), 0)::bigint
          from kanbu_backup.worker_state w where w.state = 'working') as slots
  from kanbu_backup.kind_rule k
  left join queued q on q.kind = k.kind
  left join ended e on e.kind = k.kind;

create view kanbu_backup.running as
select e.id as execution_id, e.job_id, e.kind, e.subject, e.attempt, j.max_attempts, e.worker_id, w.host as worker_host,
       e.started_at, e.lease_until, e.lease_until - clock_timestamp() as lease_left, e.progress,
       j.cancel_requested_at
  from kanbu_backup.execution e
  join kanbu_backup.job j on j.id = e.job_id
  left join kanbu_backup.worker w on w.id = e.worker_id
 where e.ended_at is null;

create view kanbu_backup.dead_letter as
select j.id as job_id, j.kind, j.subject, j.attempts, j.max_attempts, j.error_code, j.error, j.hint, j.created_at, j.finished_at, j.origin,
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
