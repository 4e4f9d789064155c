-- The life of an execution: claimed, renewed, finished by its owner, or reaped when its owner is gone.
-- The fence and the lock order stand at the head of the queue's tables.

-- What a worker calls all day is planned once in a session, perhaps while the tables are nearly empty, and any plan is
-- good enough for those. So the functions are told not to scan and sort, and name every row that they touch by its own
-- id, even where a join would do: then the only plan is the one that is still right when the tables have grown.

-- Locks the next ready jobs of a kind, at most `p_room`, passing over those that others hold and over blocked subjects.
create function kanbu_backup.pick(p_kind text, p_max_version integer, p_room bigint, p_paused text[]) returns setof uuid
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  alone   boolean := exists (select from kind_rule k where k.kind = p_kind and k.exclusive);
  -- Where rows are named by id: a constant would also open the partial indexes of queued jobs to the planner.
  queued  constant text := 'queued';
  blocked text[];
begin
  if not alone then
    return query
    select j.id from job j
     where j.state = 'queued' and j.kind = p_kind and j.run_at <= now() and j.payload_version <= p_max_version
       and j.subject <> all (p_paused)
       and not (j.exclusive and exists (select from execution e
             where e.subject = j.subject and e.exclusive and e.ended_at is null))
     order by j.priority desc, j.run_at, j.id
     limit p_room for update of j skip locked;
    return;
  end if;

  -- RACE: this is an old snapshot; where two claims meet on a subject, the unique index decides.
  blocked := p_paused || array(select e.subject from execution e where e.exclusive and e.ended_at is null);

  -- Nearly always, the first in the queue can go.
  return query
  select j.id from job j
   where j.id = any (array(
           select h.id from job h
            where h.state = 'queued' and h.kind = p_kind and h.run_at <= now() and h.payload_version <= p_max_version
            order by h.priority desc, h.run_at, h.id limit 100))
     and j.state = queued and j.run_at <= now() and j.subject <> all (blocked)
   order by j.priority desc, j.run_at, j.id
   limit p_room for update of j skip locked;
  if found then
    return;
  end if;

  -- However many wait for a blocked subject, none of them is looked at: the first job of every other subject is. The
  -- comparisons of pairs leave the planner the one index that has that order, and no other to wade through.
  return query
  with recursive waiting (subject, kind) as (
    (select j.subject, j.kind from job j where j.state = 'queued' and j.exclusive order by j.subject, j.kind limit 1)
    union all
    select n.subject, n.kind from waiting w cross join lateral (
      select j.subject, j.kind from job j
       where j.state = 'queued' and j.exclusive and (j.subject, j.kind) > (w.subject, w.kind)
       order by j.subject, j.kind limit 1) n
  ), first as (
    select f.id from waiting w cross join lateral (
      select j.subject, j.kind, j.priority, j.run_at, j.id from job j
       where j.state = 'queued' and j.exclusive and (j.subject, j.kind) >= (w.subject, w.kind)
         and j.run_at <= now() and j.payload_version <= p_max_version
       order by j.subject, j.kind, j.priority desc, j.run_at, j.id limit 1) f
     where w.kind = p_kind and w.subject <> all (blocked) and (f.subject, f.kind) = (w.subject, w.kind)
     order by f.priority desc, f.run_at, f.id limit p_room + 20
  )
  select j.id from job j
   where j.id = any (array(select f.id from first f)) and j.state = queued and j.run_at <= now()
   order by j.priority desc, j.run_at, j.id
   limit p_room for update of j skip locked;
end
$$;

-- Opens executions of ready jobs under the ids given, at most one per id. With nothing to claim it answers one row
-- without an execution, which says in how many seconds the next job of this kind comes due, if any is queued.
create function kanbu_backup.claim(
  p_worker uuid, p_kind text, p_max_version integer, p_lease interval, p_ids uuid[]
) returns table (
  execution_id uuid, job_id uuid, attempt smallint, subject text, payload jsonb, due_in double precision
)
language plpgsql security definer set search_path = kanbu_backup, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  room   bigint := cardinality(p_ids);
  paused text[];
  cap    integer;
  picked uuid[];
begin
  select coalesce(array_agg(c.subject) filter (
           where c.paused_at is not null and (c.paused_until is null or c.paused_until > now())), '{}'),
         max(c.max_running) filter (where c.subject = '*' and c.kind = p_kind)
    into paused, cap
    from queue_control c where c.kind in (p_kind, '*');
  if '*' = any (paused) then
    room := 0;
  elsif cap is not null then
    -- Only capped kinds are serialised, and counted in a new statement, hence after the lock.
    select c.max_running into cap from queue_control c
     where c.kind = p_kind and c.subject = '*' and c.max_running is not null for update;
    select least(room, cap - count(*)) into room from execution e where e.kind = p_kind and e.ended_at is null;
  end if;

  if room > 0 then
    picked := array(select pick(p_kind, p_max_version, room, paused));
  end if;
  if cardinality(picked) > 0 then
    -- A new statement, hence it sees the jobs as they were locked.
    return query
    with opened as (
      -- By subject: two batches can't deadlock on the unique index. Of several for one subject the first in line wins.
      insert into execution as e (id, job_id, kind, subject, exclusive, worker_id, attempt, started_at, lease_until)
      select p_ids[row_number() over (order by j.subject, j.priority desc, j.run_at, j.id)], j.id, p_kind, j.subject,
             j.exclusive, p_worker, j.attempts + 1, (select clock_timestamp()), now() + p_lease
        from job j where j.id = any (picked) order by j.subject, j.priority desc, j.run_at, j.id
      on conflict (subject) where ended_at is null and exclusive do nothing
      returning e.id, e.job_id, e.attempt
    )
    update job j set state = 'running', attempts = o.attempt
      from opened o where j.id = any (picked) and j.id = o.job_id
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
language sql security definer set search_path = kanbu_backup, pg_temp as $$
  update execution e set lease_until = now() + p_lease
    from job j
   where e.id = any (p_ids) and e.ended_at is null and e.lease_until > clock_timestamp() and j.id = e.job_id
  returning e.id, j.id, e.attempt, j.subject, j.payload
$$;

-- Extends the leases of all executions of one process and takes their progress and new log lines along:
-- `[{"id", "progress", "log_from", "log"}]`. An id missing from the answer is lost.
create function kanbu_backup.renew(p_renewals jsonb, p_lease interval)
returns table (execution_id uuid, cancel_requested boolean)
language sql security definer set search_path = kanbu_backup, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
  with asked as (
    select a.id, a.progress, a.log_from, a.log
      from jsonb_to_recordset(p_renewals) as a (id uuid, progress jsonb, log_from integer, log text[])
  ), fenced as materialized (
    select e.id from execution e
     where e.id = any (array(select a.id from asked a)) and e.ended_at is null and e.lease_until > clock_timestamp()
     order by e.id for no key update
  )
  update execution e
     set lease_until = now() + p_lease,
         progress = coalesce(a.progress, e.progress),
         -- A repeated request finds its lines there already and appends only what is new.
         log = case when a.log is null then e.log
                    else e.log || a.log[cardinality(e.log) - a.log_from + 1 :] end
    from asked a join fenced f on f.id = a.id
   where e.id = any (array(select a.id from asked a)) and e.id = a.id
  returning e.id, (select j.cancel_requested_at is not null from job j where j.id = e.job_id)
$$;

-- `base * 2^(attempt - 1)`, at most `cap`, give or take a fifth.
create function kanbu_backup.backoff(p_attempt integer, p_base interval, p_cap interval) returns interval
language sql volatile as $$
  select least(p_cap, p_base * power(2, least(p_attempt - 1, 30))) * (0.8 + 0.4 * random())
$$;

-- The state table: what becomes of a running job whose execution has been closed.
create function kanbu_backup.settled_state(p_job kanbu_backup.job, p_outcome text, p_fault text, p_charged boolean)
returns text
language sql immutable as $$
  select case
    when p_outcome in ('succeeded', 'degraded') then 'succeeded'
    when p_job.cancel_requested_at is not null then 'cancelled'
    when not p_charged then 'queued'
    when p_outcome = 'cancelled' then 'cancelled'
    when p_fault = 'permanent' or p_job.attempts >= p_job.max_attempts then 'dead'
    else 'queued' end
$$;

-- Settles the jobs of executions that this transaction has closed, and wakes whoever can go on because of it.
create function kanbu_backup.settle(p_executions uuid[]) returns void
language plpgsql set search_path = kanbu_backup, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
set plan_cache_mode = force_generic_plan as $$
declare
  wake text[];
  free uuid[];
  told uuid[];
begin
  -- RACE: a cancel may hold the job. Everything is computed from the target row, which is read again after the wait.
  with closed as materialized (
    select e.id, e.job_id, e.exclusive, e.outcome, e.fault, e.charged, e.error_code, e.error, e.hint, e.retry_after
      from execution e where e.id = any (p_executions)
  ), settled as (
    update job j
       set state = settled_state(j, e.outcome, e.fault, e.charged),
           attempts = j.attempts - (not e.charged)::integer,
           finished_at = case when settled_state(j, e.outcome, e.fault, e.charged) <> 'queued' then now() end,
           run_at = case
             when settled_state(j, e.outcome, e.fault, e.charged) <> 'queued' then j.run_at
             when not e.charged then now()
             -- A first lost lease starts again at once: its worker died, the job is innocent.
             when e.fault = 'lease_lost' and not exists (select from execution p
                    where p.job_id = e.job_id and p.fault = 'lease_lost' and p.id <> e.id) then now()
             else now() + greatest(backoff(j.attempts, j.backoff_base, j.backoff_cap), e.retry_after) end,
           error_code = case when e.fault is null then null else coalesce(e.error_code, j.error_code) end,
           error = case when e.fault is null then null else coalesce(e.error, j.error) end,
           hint = case when e.fault is not null then e.hint end
      from closed e
     where j.id = any (array(select c.job_id from closed c)) and j.id = e.job_id
    returning j.kind, j.state, e.exclusive, e.id
  )
  select coalesce(array_agg(distinct s.kind) filter (where s.state = 'queued'), '{}'),
         coalesce(array_agg(s.id) filter (where s.exclusive), '{}'),
         -- Nobody is told that somebody was told.
         coalesce(array_agg(s.id) filter (where s.state in ('succeeded', 'dead') and s.kind <> 'notify'), '{}')
    into wake, free, told from settled s;
  if cardinality(told) > 0 then
    perform record_ends(told);
  end if;

  if cardinality(free) > 0 then
    wake := wake || array(
      select k.kind from execution e cross join kind_rule k cross join lateral (
        -- As in `pick`.
        select w.subject, w.kind from job w
         where w.state = 'queued' and w.exclusive and (w.subject, w.kind) >= (e.subject, k.kind) and w.run_at <= now()
         order by w.subject, w.kind, w.priority desc, w.run_at, w.id limit 1) n
       where e.id = any (free) and (n.subject, n.kind) = (e.subject, k.kind));
    -- Short jobs are followed by nobody, and their commits shouldn't queue behind the notification lock.
    perform pg_notify('kanbu_backup_end', e.job_id::text) from execution e where e.id = any (free);
  end if;
  wake := wake || array(
    select c.kind from queue_control c
     where c.subject = '*' and c.max_running is not null
       and exists (select from execution e where e.id = any (p_executions) and e.kind = c.kind)
       and (select true from job w where w.kind = c.kind and w.state = 'queued' and w.run_at <= now() limit 1));
  perform pg_notify('kanbu_backup_job', w.kind) from (select distinct unnest(wake)) w (kind);
end
$$;

-- Closes executions, each fenced alone, and settles their jobs. The answer per execution:
-- 'closed' now; 'already', by this owner, before a reply that was lost; 'lost', and nothing of it was written.
create function kanbu_backup.finish(p_endings jsonb) returns table (execution_id uuid, answer text)
language plpgsql security definer set search_path = kanbu_backup, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  closed uuid[];
begin
  with asked as materialized (
    select * from jsonb_to_recordset(p_endings) as a (
      id uuid, outcome text, fault text, charged boolean, error_code text, error text, hint text, progress jsonb,
      log_from integer, log text[], result jsonb, warnings jsonb, bytes_in bigint, bytes_out bigint, artifact_id uuid,
      retry_after double precision)
  ), held as materialized (
    select e.id, e.ended_at, e.lease_until from execution e
     where e.id = any (array(select a.id from asked a)) order by e.id for no key update
  ), ended as (
    update execution e
       set ended_at = clock_timestamp(), outcome = a.outcome, fault = a.fault, charged = a.charged,
           error_code = a.error_code, error = a.error, hint = a.hint,
           progress = coalesce(a.progress, e.progress),
           log = case when a.log is null then e.log
                      else e.log || a.log[cardinality(e.log) - a.log_from + 1 :] end,
           result = a.result, warnings = a.warnings,
           bytes_in = a.bytes_in, bytes_out = a.bytes_out, artifact_id = a.artifact_id,
           retry_after = a.retry_after * interval '1 second'
      from asked a join held h on h.id = a.id
     -- The fence. It asks the row as it was locked.
     where e.id = any (array(select a.id from asked a)) and e.id = a.id
       and h.ended_at is null and h.lease_until > clock_timestamp()
    returning e.id
  )
  select coalesce(array_agg(n.id), '{}') into closed from ended n;

  perform settle(closed);

  return query
  select a.id, case when a.id = any (closed) then 'closed'
                    -- Only its owner and the reaper ever close an execution.
                    when (select e.ended_at is not null and e.fault is distinct from 'lease_lost'
                            from execution e where e.id = a.id) then 'already'
                    else 'lost' end
    from jsonb_to_recordset(p_endings) as a (id uuid);
end
$$;

-- Closes executions whose lease has run out, a hundred at a time. Any worker may call it, as often as it likes.
create function kanbu_backup.reap() returns table (execution_id uuid, job_id uuid, kind text)
language plpgsql security definer set search_path = kanbu_backup, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  closed uuid[];
begin
  with late as materialized (
    select e.id from execution e where e.ended_at is null and e.lease_until < clock_timestamp()
  ), expired as materialized (
    select e.id from execution e
     where e.id = any (array(select l.id from late l)) and e.ended_at is null and e.lease_until < clock_timestamp()
     order by e.id limit 100 for no key update skip locked
  ), ended as (
    update execution e
       set ended_at = clock_timestamp(), outcome = 'failed', fault = 'lease_lost', error_code = 'lease.lost',
           error = 'the lease ran out before the worker said how the execution ended'
      from expired x
     where e.id = any (array(select x.id from expired x)) and e.id = x.id
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
