-- The suite's own tables, beside the queue's: what was ordered, what handlers did, what processes suffered.

create table fault_order (
  job        uuid primary key,
  script     text not null,
  want       text not null,
  code       text,
  executions bigint
);

create table fault_journal (
  pid       integer not null,
  what      text not null,
  execution uuid,
  job       uuid,
  subject   text,
  asked     timestamptz,
  at        timestamptz not null,
  note      text not null
);

create table fault_blow (
  pid   integer not null,
  what  text not null,
  since timestamptz not null,
  until timestamptz not null
);

-- Whether a process was frozen: by the suite, or with the whole machine.
create function fault_frozen(p_pid integer, p_since timestamptz, p_until timestamptz) returns boolean
language sql stable as $$
  select exists (select from fault_blow b
    where (b.pid = p_pid and b.what = 'frozen' or b.what = 'standstill')
      and b.since <= p_until and b.until >= p_since)
$$;

-- The work of an execution: from its handler's begin to the handler's end, or to the death of its process. An execution
-- whose handler never began has no work. `frozen`: its process was frozen at some time since its claim, perhaps on the very
-- last step to the handler; what it does awake is judged by the effects alone.
create view fault_work as
select b.execution, b.job, b.subject, b.pid, b.note as script, b.at as began,
       coalesce(e.at, a.at, d.until) as ended, e.note as how, (e.at is null) as died,
       fault_frozen(b.pid, x.started_at, coalesce(e.at, a.at, d.until, 'infinity')) as frozen
  from fault_journal b
  join kanbu_backup.execution x on x.id = b.execution
  left join fault_journal e on e.execution = b.execution and e.what = 'ended'
  left join fault_journal a on a.pid = b.pid and a.what = 'aborting'
  left join fault_blow d on d.pid = b.pid and d.what = 'dead'
 where b.what = 'began';

-- A step under a lease, with the execution it was taken for. `torn`: its process was frozen between the lease's answer
-- and the step, which is the one thing that no lease can prevent.
create view fault_effect as
select j.execution, j.job, j.subject, j.pid, j.at, w.began, fault_frozen(j.pid, j.asked, j.at) as torn
  from fault_journal j join fault_work w on w.execution = j.execution
 where j.what = 'effect' and j.execution is not null;
