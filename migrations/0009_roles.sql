-- Who may do what: what is seen without a payload, five roles, and a table of what each of them may.
--
-- Roles belong to the cluster, not to this database, and have no login: an administrator gives them to logins. Whoever
-- owns the schema needs none of them, so with one login for everything they may be left alone. `kanbu_backup_owner` is for
-- whoever wants the owner to be a role: a login that migrates with `role = kanbu_backup_owner` makes everything its own.

-- Jobs as people see them. `status` says more than `state`: a queued job is scheduled when its time has not come, and
-- retrying when an execution of it has failed; a succeeded one is degraded when its backup is.
create view kanbu_backup.job_overview as
select j.id as job_id, j.kind, j.subject, j.state,
       case when j.state = 'queued' and j.attempts > 0 then 'retrying'
            when j.state = 'queued' and j.run_at > now() then 'scheduled'
            when j.state = 'succeeded' and e.outcome = 'degraded' then 'degraded'
            else j.state end as status,
       j.priority, j.run_at, j.attempts, j.max_attempts, j.origin, j.requested_by, j.parent_job_id, j.cancel_requested_at,
       j.error_code, j.error, j.hint, j.created_at, j.finished_at,
       e.id as execution_id, e.started_at, e.outcome, e.progress, e.artifact_id
  from kanbu_backup.job j
  left join lateral (
    select x.id, x.started_at, x.outcome, x.progress, x.artifact_id
      from kanbu_backup.execution x where x.job_id = j.id order by x.fence desc limit 1
  ) e on true;

create view kanbu_backup.execution_overview as
select e.id as execution_id, e.job_id, e.kind, e.subject, e.worker_id, e.attempt, e.charged, e.started_at, e.lease_until,
       e.ended_at, e.outcome, e.fault, e.error_code, e.error, e.hint, e.progress, e.bytes_in, e.bytes_out, e.artifact_id
  from kanbu_backup.execution e;

-- How a job stands, with its last execution: no row for a job that isn't there.
create function kanbu_backup.job_status(job uuid) returns table (
  job_id uuid, kind text, subject text, state text, status text, attempts smallint, max_attempts smallint,
  outcome text, progress jsonb, error_code text, error text, hint text, artifact_id uuid,
  run_at timestamptz, created_at timestamptz, started_at timestamptz, finished_at timestamptz
)
language sql stable security definer set search_path = kanbu_backup, pg_temp as $$
  select o.job_id, o.kind, o.subject, o.state, o.status, o.attempts, o.max_attempts,
         o.outcome, o.progress, o.error_code, o.error, o.hint, o.artifact_id,
         o.run_at, o.created_at, o.started_at, o.finished_at
    from job_overview o where o.job_id = job_status.job
$$;

-- What each role may. A later migration adds its rows and calls `grant_roles()`.
create table kanbu_backup.role_right (
  role      text not null check (role in ('worker', 'api', 'enqueue', 'read')),
  privilege text not null check (privilege in ('execute', 'select', 'insert', 'update', 'delete')),
  object    text not null,
  primary key (role, privilege, object)
);

insert into kanbu_backup.role_right (role, privilege, object)
select g.role, privilege, object
  from (values
    -- What destroys nothing.
    ('enqueue', '{execute}', '{enqueue_backup, enqueue_verify, job_status, api_version}'),
    ('api',     '{execute}', '{enqueue_backup, enqueue_verify, enqueue_restore, enqueue_prune, job_status, api_version}'),
    ('api',     '{execute}', '{cancel, retry, run_now, pause, resume, limit_running, drain}'),
    ('api',     '{select}',  '{job_overview, execution_overview, waiting, running, dead_letter, invariant_violation}'),
    ('read',    '{select}',  '{job_overview, execution_overview, waiting, running, dead_letter, invariant_violation}'),
    ('api',     '{select}',  '{worker_state, kind_overview, pause_in_force}'),
    ('read',    '{select}',  '{worker_state, kind_overview, pause_in_force}'),
    -- A worker writes jobs and executions through functions alone, and the rest itself.
    ('worker',  '{execute}', '{enqueue, claim, recover, renew, finish, reap, thin_history, job_status, api_version}'),
    ('worker',  '{select}',  '{job, execution, migration, job_overview, execution_overview, waiting, running}'),
    ('worker',  '{select}',  '{dead_letter, invariant_violation, queue_control, kind_rule}'),
    ('worker',  '{select}',  '{worker_state, kind_overview, pause_in_force}'),
    ('worker',  '{execute}',                        '{last_proof}'),
    ('worker',  '{select, insert}',                 '{proof}'),
    ('worker',  '{select, insert, update}',         '{artifact, artifact_copy, keyring, subject}'),
    ('worker',  '{select, insert, update, delete}', '{worker}')
  ) as g (role, privileges, objects),
  unnest(g.privileges::text[]) as privilege, unnest(g.objects::text[]) as object;

-- Makes the roles that are missing, if the caller may make roles, and grants each what it may. Any number of times, also
-- by several databases of one cluster at once.
create function kanbu_backup.grant_roles() returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  name    text;
  granted text;
begin
  -- Everybody may execute a function, unless somebody says otherwise.
  revoke execute on all functions in schema kanbu_backup from public;

  foreach name in array '{owner, worker, api, enqueue, read}'::text[] loop
    name := 'kanbu_backup_' || name;
    begin
      if to_regrole(name) is null then
        execute format('create role %I nologin', name);
      end if;
      execute format('grant usage on schema kanbu_backup to %I', name);
    exception
      -- RACE: another database of the cluster makes the same role; its row is there when the conflict is.
      when duplicate_object or unique_violation then
        execute format('grant usage on schema kanbu_backup to %I', name);
      when insufficient_privilege then
        raise notice '% may not make the role %', current_user, name
          using hint = 'have it made by an administrator, then call kanbu_backup.grant_roles()';
    end;
  end loop;

  -- By name, because a function that gets a new parameter is a new function.
  for granted in
    select format('grant execute on function %s to %I', p.oid::regprocedure, 'kanbu_backup_' || r.role)
      from role_right r
      join pg_proc p on p.pronamespace = 'kanbu_backup'::regnamespace and p.proname = r.object
     where r.privilege = 'execute' and to_regrole('kanbu_backup_' || r.role) is not null
    union all
    select format('grant %s on %s to %I', r.privilege, c.oid::regclass, 'kanbu_backup_' || r.role)
      from role_right r
      join pg_class c on c.relnamespace = 'kanbu_backup'::regnamespace and c.relname = r.object
     where r.privilege <> 'execute' and to_regrole('kanbu_backup_' || r.role) is not null
  loop
    execute granted;
  end loop;
end
$$;

do $$ begin perform kanbu_backup.grant_roles(); end $$;
