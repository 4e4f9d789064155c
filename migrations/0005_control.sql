-- What people do to jobs and to the queue, and the views that they look at.

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
