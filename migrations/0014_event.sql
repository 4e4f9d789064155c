-- What is worth telling: events, each with one Notify job that brings it to the channels, made in the transaction in which
-- the thing itself becomes true; and the log of what became of each message.

-- A UUID of version 7 for callers in SQL: it begins with the time, as those made in Rust do.
create function kanbu_backup.new_id() returns uuid
language sql volatile
return encode(set_bit(set_bit(overlay(
         uuid_send(gen_random_uuid())
         placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
       52, 1), 53, 1), 'hex')::uuid;

create table kanbu_backup.event (
  id           uuid primary key,
  at           timestamptz not null default clock_timestamp(),
  -- `noun.what_happened`; which there are stands in docs/notifications.md.
  event        text not null check (event ~ '^[a-z_]+\.[a-z_]+$'),
  severity     text not null check (severity in ('info', 'warning', 'error')),
  -- What is protected, without a facet.
  subject      text not null check (subject <> '' and octet_length(subject) <= 1024 and position('#' in subject) = 0),
  -- Not references: an event outlives the history that it tells of.
  execution_id uuid,
  schedule_id  uuid,
  data         jsonb not null default '{}' check (jsonb_typeof(data) = 'object')
);

create index event_newest on kanbu_backup.event (at desc, id desc);
-- What was last said of a storage.
create index event_of_storage on kanbu_backup.event ((data ->> 'storage'), at desc) where event like 'storage.%';

-- The channels that workers have in their settings, each entered by a worker at its start. Empty: there is nobody to
-- tell, and events make no jobs.
create table kanbu_backup.channel (
  name          text primary key check (octet_length(name) between 1 and 64),
  kind          text not null,
  first_seen_at timestamptz not null default now(),
  last_seen_at  timestamptz not null default now()
);

-- What became of each attempt to deliver a message. `skipped`: it was not to be sent, and `error` says why; `failed`: it
-- will be tried again; `gave_up`: it won't.
create table kanbu_backup.delivery (
  id           uuid primary key,
  event_id     uuid not null,
  channel      text not null,
  job_id       uuid not null,
  execution_id uuid not null,
  attempt      integer not null check (attempt > 0),
  at           timestamptz not null default clock_timestamp(),
  status       text not null check (status in ('delivered', 'skipped', 'failed', 'gave_up')),
  http_status  smallint,
  duration_ms  bigint not null check (duration_ms >= 0),
  error_code   text,
  error        text,
  check (status not in ('failed', 'gave_up') or error_code is not null)
);

create index delivery_newest on kanbu_backup.delivery (at desc, id desc);
create index delivery_of_job on kanbu_backup.delivery (job_id, at);

-- Records an event in the caller's transaction, and one Notify job for it. Without `enqueue`: its checks are for what
-- comes from outside, and the end of an execution must not fail by them.
create function kanbu_backup.record_event(
  p_event text, p_severity text, p_subject text, p_data jsonb default '{}', p_execution uuid default null,
  p_schedule uuid default null
) returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  made  uuid := new_id();
  about text := split_part(p_subject, '#', 1);
begin
  insert into event (id, event, severity, subject, execution_id, schedule_id, data)
  values (made, p_event, p_severity, about, p_execution, p_schedule, coalesce(p_data, '{}'));
  if not exists (select from channel) then
    return made;
  end if;
  insert into job (id, kind, subject, exclusive, payload, payload_version, max_attempts, backoff_base, backoff_cap,
                   dedupe_key, origin, parent_job_id)
  select new_id(), k.kind, about, k.exclusive, jsonb_build_object('subject', about, 'event', made), 1,
         k.max_attempts, k.backoff_base, k.backoff_cap, 'event:' || made, 'follow_up',
         (select e.job_id from execution e where e.id = p_execution)
    from kind_rule k where k.kind = 'notify';
  perform pg_notify('kanbu_backup_job', 'notify');
  return made;
end
$$;

-- What a job's end is called: Kanbu's words where Kanbu has one.
create function kanbu_backup.event_noun(p_kind text, p_payload jsonb) returns text
language sql immutable
return case when p_kind <> 'verify' then p_kind when p_payload ->> 'level' = 'proven' then 'test_restore'
            else 'verification' end;

-- What people and receivers may want to know of an execution.
create function kanbu_backup.execution_facts(e kanbu_backup.execution, j kanbu_backup.job) returns jsonb
language plpgsql stable set search_path = kanbu_backup, pg_temp as $$
declare
  scheduled text;
begin
  if j.schedule_id is not null then
    select s.name into scheduled from schedule s where s.id = j.schedule_id;
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'job', j.id, 'kind', j.kind, 'outcome', e.outcome, 'origin', j.origin, 'requested_by', j.requested_by,
    'attempt', e.attempt, 'started_at', e.started_at, 'ended_at', e.ended_at,
    'duration_ms', floor(extract(epoch from e.ended_at - e.started_at) * 1000)::bigint,
    'error_code', e.error_code, 'error', left(e.error, 2000), 'hint', e.hint,
    'artifact', coalesce(e.artifact_id::text, e.result ->> 'artifact', j.payload ->> 'artifact'),
    'label', left(j.payload ->> 'label', 200),
    'warnings', (select jsonb_agg(w.warning order by w.place)
                   from jsonb_array_elements(e.warnings) with ordinality as w (warning, place) where w.place <= 20),
    'schedule_name', scheduled));
end
$$;

-- Records how an execution ended whose job has come to its end. A failure that is tried again is no event, and neither is
-- what somebody cancelled.
create function kanbu_backup.record_end(p_execution uuid) returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  alarms   constant jsonpath := '$[*] ? (@.code == "content.shrunk" || @.code == "content.small")';
  e        execution;
  j        job;
  facts    jsonb;
  noun     text;
  what     text;
  severity text;
begin
  select * into e from execution x where x.id = p_execution;
  select * into j from job x where x.id = e.job_id;
  facts := execution_facts(e, j);
  noun := event_noun(j.kind, j.payload);
  what := case when e.outcome <> 'succeeded' then e.outcome
               when noun = 'test_restore' then 'succeeded' else 'completed' end;
  severity := case when e.outcome = 'failed' or e.warnings @> '[{"code": "backup.lost"}]' then 'error'
                   when e.outcome = 'degraded' then 'warning' else 'info' end;
  perform record_event(noun || '.' || what, severity, e.subject, facts, e.id, j.schedule_id);
  if e.warnings @? alarms then
    perform record_event('content.alarm', 'warning', e.subject,
                         facts || jsonb_build_object('warnings', jsonb_path_query_array(e.warnings, alarms)),
                         e.id, j.schedule_id);
  end if;
  perform record_storages(e, j.schedule_id);
end
$$;

create function kanbu_backup.record_ends(p_executions uuid[]) returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  this uuid;
begin
  foreach this in array p_executions loop
    begin
      perform record_end(this);
    exception
      -- What can't be told must not keep an execution from ending.
      when data_exception or integrity_constraint_violation then
        raise warning 'no event was recorded for the end of execution %: %', this, sqlerrm;
    end;
  end loop;
end
$$;

-- Trouble with storages and its end, each told once: what an execution has seen (`result.storages`: a storage's name to
-- {"trouble": "unreachable" or "damaged", "text"}, or to null) beside what was last said of it. That one can't be reached
-- is so for every subject; copies are bad of one.
create function kanbu_backup.record_storages(e kanbu_backup.execution, p_schedule uuid) returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
declare
  about text := split_part(e.subject, '#', 1);
  seen  record;
  last  text;
begin
  if jsonb_typeof(e.result -> 'storages') is distinct from 'object' then
    return;
  end if;
  for seen in
    select s.key as storage, s.value ->> 'trouble' as trouble, s.value ->> 'text' as text
      from jsonb_each(e.result -> 'storages') s order by s.key
  loop
    select v.event into last from event v
     where v.event like 'storage.%' and v.data ->> 'storage' = seen.storage
       and (v.subject = about or v.event = 'storage.unreachable' or v.data ->> 'from' = 'storage.unreachable')
     order by v.at desc limit 1;
    if seen.trouble is not null and last is distinct from 'storage.' || seen.trouble then
      perform record_event('storage.' || seen.trouble,
                           case seen.trouble when 'unreachable' then 'error' else 'warning' end, about,
                           jsonb_build_object('storage', seen.storage, 'text', seen.text), e.id, p_schedule);
    elsif seen.trouble is null and last in ('storage.unreachable', 'storage.damaged') then
      perform record_event('storage.recovered', 'info', about,
                           jsonb_build_object('storage', seen.storage, 'from', last), e.id, p_schedule);
    end if;
  end loop;
end
$$;

-- Records that an execution has begun, for those who want to know that too. Nothing where it has ended already.
create function kanbu_backup.record_start(p_execution uuid) returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  e execution;
  j job;
begin
  select * into e from execution x where x.id = p_execution and x.ended_at is null;
  if not found then
    return null;
  end if;
  select * into j from job x where x.id = e.job_id;
  return record_event(event_noun(j.kind, j.payload) || '.started', 'info', e.subject, execution_facts(e, j), e.id,
                      j.schedule_id);
end
$$;

-- Sends a message once more: an event to every channel that wants it, or to the one that is named.
create function kanbu_backup.replay(p_event uuid, p_channel text default null) returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  about text := (select v.subject from event v where v.id = p_event);
  made  uuid := new_id();
begin
  if about is null then
    perform refuse(format('there is no event %L', p_event), '`kanbu-backup notify log` tells the events');
  end if;
  insert into job (id, kind, subject, exclusive, payload, payload_version, max_attempts, backoff_base, backoff_cap, origin)
  select made, k.kind, about, k.exclusive,
         jsonb_strip_nulls(jsonb_build_object('subject', about, 'event', p_event, 'channel', p_channel)), 1,
         k.max_attempts, k.backoff_base, k.backoff_cap, 'operator'
    from kind_rule k where k.kind = 'notify';
  perform pg_notify('kanbu_backup_job', 'notify');
  return made;
end
$$;

-- Forgets at most `p_batch` events of so long ago with the deliveries of their messages, and answers how many.
create function kanbu_backup.thin_events(p_keep interval, p_batch integer default 500) returns integer
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  deliveries integer;
  events     integer;
begin
  if p_keep is null or p_keep < interval '2 days' then
    perform refuse(format('events are kept for two days at least, not for %L', p_keep), 'name a longer time');
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('kanbu_backup.thin_events', 0)) then
    return 0;
  end if;
  delete from delivery d
   where d.id = any (array(select o.id from delivery o where o.at < now() - p_keep order by o.at limit p_batch));
  get diagnostics deliveries = row_count;
  -- What was last said of a storage stays: the next word on it depends on that.
  delete from event v
   where v.id = any (array(
     select o.id from event o
      where o.at < now() - p_keep
        and not (o.event like 'storage.%' and not exists (
              select from event n
               where n.event like 'storage.%' and n.data ->> 'storage' = o.data ->> 'storage' and n.at > o.at
                 and n.subject = o.subject))
      order by o.at limit p_batch));
  get diagnostics events = row_count;
  return deliveries + events;
end
$$;

insert into kanbu_backup.role_right (role, privilege, object)
select g.role, g.privilege, object
  from (values
    ('worker', 'execute', '{record_event, record_start, thin_events, replay}'),
    ('worker', 'select',  '{event, delivery, channel}'),
    ('worker', 'insert',  '{delivery, channel}'),
    ('worker', 'update',  '{channel}'),
    ('api',    'execute', '{replay}'),
    ('api',    'select',  '{event, delivery, channel}'),
    ('read',   'select',  '{event, delivery, channel}')
  ) as g (role, privilege, objects), unnest(g.objects::text[]) as object;

do $$ begin perform kanbu_backup.grant_roles(); end $$;
