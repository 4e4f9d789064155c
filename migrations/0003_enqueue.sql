-- Putting jobs into the queue.

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
