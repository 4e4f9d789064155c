-- How long finished jobs are remembered. What there is to keep is decided here; how long, by the workers' settings.

-- By subject, so that the newest of each is found at once, and what is old enough without looking at the rest.
create index job_finished on kanbu_backup.job (kind, subject, state, finished_at)
  where state in ('succeeded', 'cancelled');

create index artifact_of_job on kanbu_backup.artifact (job_id);
create index artifact_of_execution on kanbu_backup.artifact (execution_id);

-- Deletes at most `p_batch` jobs of a kind that succeeded or were cancelled longer ago than `p_keep`, with their
-- executions, and answers how many. Whatever their age these stay: dead jobs, until somebody has handled them; jobs that
-- a backup in the catalog came from; parents of open jobs; and per subject the last job of either state that was executed.
--
-- It locks finished jobs alone, and skips those that somebody else has locked: no claim, renewal or ending waits for it.
create function kanbu_backup.thin_history(p_kind text, p_keep interval, p_batch integer default 200) returns integer
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  thinned integer;
begin
  if p_keep is null or p_keep < interval '1 day' then
    perform refuse(format('history is kept for a day at least, not for %L', p_keep), 'name a longer time');
  end if;
  -- One worker at a time; what another one does needn't be done again.
  if not pg_try_advisory_xact_lock(hashtextextended('kanbu_backup.thin_history', 0)) then
    return 0;
  end if;

  with recursive groups as (
    (select j.subject, j.state from job j
      where j.kind = p_kind and j.state in ('succeeded', 'cancelled') order by j.subject, j.state limit 1)
    union all
    select n.subject, n.state from groups g cross join lateral (
      select j.subject, j.state from job j
       where j.kind = p_kind and j.state in ('succeeded', 'cancelled') and (j.subject, j.state) > (g.subject, g.state)
       order by j.subject, j.state limit 1) n
  ), old as materialized (
    select o.id from groups g
      left join lateral (
        select j.id from job j
         where j.kind = p_kind and j.subject = g.subject and j.state = g.state
           and j.state in ('succeeded', 'cancelled')
           and exists (select from execution e where e.job_id = j.id)
         order by j.finished_at desc limit 1) newest on true
      cross join lateral (
        select j.id from job j
         where j.kind = p_kind and j.subject = g.subject and j.state = g.state
           and j.state in ('succeeded', 'cancelled')
           and j.finished_at < now() - p_keep and j.id is distinct from newest.id
           and not exists (select from artifact a where a.job_id = j.id)
           and not exists (select from execution e join artifact a on a.execution_id = e.id where e.job_id = j.id)
           and not exists (select from job c where c.parent_job_id = j.id and c.state in ('queued', 'running'))
         order by j.finished_at limit p_batch for update of j skip locked) o
     limit p_batch
  )
  delete from job j using old o where j.id = o.id;
  get diagnostics thinned = row_count;
  return thinned;
end
$$;
