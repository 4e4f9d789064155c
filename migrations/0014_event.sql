-- What is worth telling: events, each with one Notify job that brings it to the channels, made in the transaction in which
-- the thing itself becomes true. Nobody changes an event; it goes when history is thinned.

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

insert into kanbu_backup.role_right (role, privilege, object)
values ('worker', 'execute', 'record_event'), ('worker', 'select', 'event'),
       ('api', 'select', 'event'), ('read', 'select', 'event');

do $$ begin perform kanbu_backup.grant_roles(); end $$;
