-- Putting jobs into the queue, for every language: what may be asked, one entry, and a function per kind for callers.
--
-- Bad input raises 22023 with a hint, here and not later in a worker, and inserts nothing. What Rust can decode and what
-- `payload_flaw` lets pass is the same; a test compares them. The checks of form come first, then the request key (a
-- request that is repeated gets its job again, whatever has changed since), then the looks at the world.
--
-- Callers have rights to functions and to no table, hence `security definer`. Every function has a search path of its own,
-- or a body (`return …`) whose names were resolved here.

-- What workers can back up, each entered by a worker at its start. Empty: no worker has ever started.
create table kanbu_backup.subject (
  subject       text primary key check (octet_length(subject) between 1 and 1024),
  first_seen_at timestamptz not null default now(),
  last_seen_at  timestamptz not null default now()
);

create function kanbu_backup.refuse(p_message text, p_hint text) returns void
language plpgsql set search_path = kanbu_backup, pg_temp as $$
begin
  raise exception using errcode = '22023', message = p_message, hint = p_hint;
end
$$;

-- `scope:name`, perhaps with a facet; without it there is room for the longest one within 1024 bytes.
create function kanbu_backup.is_subject(p_text text) returns boolean
language sql immutable
return p_text ~ '^(database|source|cluster|directory):[^#\u0001-\u001f\u007f-\u009f]+(#(prune|verify))?$'
   and octet_length(split_part(p_text, '#', 1)) <= 1017;

-- The four spellings of a UUID.
create function kanbu_backup.is_id(p_text text) returns boolean
language sql immutable
return p_text ~* '^([0-9a-f]{32}|(urn:uuid:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\})$';

create function kanbu_backup.id_of(p_text text) returns uuid
language sql immutable
return replace(lower(p_text), 'urn:uuid:', '')::uuid;

-- The definition of the payloads: what is wrong with this one, or null.
create function kanbu_backup.payload_flaw(p_kind text, p_payload jsonb) returns text
language plpgsql immutable set search_path = kanbu_backup, pg_temp as $$
declare
  flaw text;
begin
  if p_payload is null or jsonb_typeof(p_payload) <> 'object' then
    return 'the payload is not a JSON object';
  end if;
  select case when d.member is null then format('%s takes no %s', p_kind, quote_ident(m.key))
              when m.key is null then format('%s lacks %s', p_kind, d.member)
              else format('%s is not %s', d.member, d.type) end
    into flaw
    from (
      select * from (values
        ('backup',  'subject',    true,  false, 'a subject'),
        ('backup',  'label',      false, true,  'a text'),
        ('backup',  'pin',        false, false, 'true or false'),
        ('backup',  'schedule',   false, true,  'an id'),
        ('backup',  'storages',   false, false, 'a list of texts'),
        ('backup',  'verify',     false, true,  'quick, checked or proven'),
        ('backup',  'timeout',    false, true,  'a whole number of seconds'),
        ('restore', 'artifact',   true,  false, 'an id'),
        ('restore', 'into',       true,  false, 'a database or a directory'),
        ('restore', 'storage',    false, true,  'a text'),
        ('restore', 'no_owner',   false, false, 'true or false'),
        ('restore', 'keep',       false, false, 'true or false'),
        ('restore', 'tables',     false, false, 'a list of texts'),
        ('restore', 'schemas',    false, false, 'a list of texts'),
        ('restore', 'jobs',       false, true,  'a whole number from 1 to 255'),
        ('restore', 'confirm',    false, true,  'a text'),
        ('restore', 'no_safety_backup', false, true, 'a text'),
        ('restore', 'keep_old_days', false, true, 'a whole number from 1 to 365'),
        ('prune',   'subject',    true,  false, 'a subject'),
        ('prune',   'schedule',   false, true,  'an id'),
        ('verify',  'subject',    true,  false, 'a subject'),
        ('verify',  'artifact',   false, true,  'an id'),
        ('verify',  'level',      false, false, 'quick, checked or proven'),
        ('verify',  'repair',     false, false, 'true or false'),
        ('verify',  'sample',     false, true,  'a whole number from 1 to 100'),
        ('verify',  'older_than', false, true,  'a whole number of seconds'),
        ('verify',  'checks',     false, false, 'a list of texts'),
        ('verify',  'keep',       false, false, 'true or false'),
        ('verify',  'schedule',   false, true,  'an id'),
        ('verify',  'timeout',    false, true,  'a whole number of seconds'),
        ('notify',  'subject',    true,  false, 'a subject'),
        ('notify',  'event',      true,  false, 'an id'),
        ('notify',  'channel',    false, true,  'a text')
      ) as v (kind, member, required, nullable, type) where v.kind = p_kind
    ) d
    full join jsonb_each(p_payload) m on m.key = d.member
   where d.member is null
      or (m.key is null and d.required)
      or (m.key is not null and not (d.nullable and m.value = 'null') and not case d.type
            when 'a text'                    then jsonb_typeof(m.value) = 'string'
            when 'true or false'             then jsonb_typeof(m.value) = 'boolean'
            when 'a subject'                 then jsonb_typeof(m.value) = 'string' and is_subject(m.value #>> '{}')
            when 'an id'                     then jsonb_typeof(m.value) = 'string' and is_id(m.value #>> '{}')
            when 'quick, checked or proven'  then m.value in ('"quick"', '"checked"', '"proven"')
            when 'a list of texts'           then
                 jsonb_typeof(m.value) = 'array' and not m.value @? 'strict $[*] ? (@.type() <> "string")'
            -- Between two numbers there are only numbers: jsonb sorts by type first.
            when 'a whole number from 1 to 100' then
                 m.value between '1' and '100' and m.value #>> '{}' ~ '^[0-9]+$'
            when 'a whole number from 1 to 255' then
                 m.value between '1' and '255' and m.value #>> '{}' ~ '^[0-9]+$'
            when 'a whole number from 1 to 365' then
                 m.value between '1' and '365' and m.value #>> '{}' ~ '^[0-9]+$'
            when 'a whole number of seconds' then
                 m.value between '0' and '4294967295' and m.value #>> '{}' ~ '^[0-9]+$'
            when 'a database or a directory' then
                 (m.value #>> '{database,name}' is not null and m.value = jsonb_build_object(
                    'database', jsonb_build_object('name', m.value #>> '{database,name}')))
              or (m.value #>> '{directory,path}' is not null and m.value = jsonb_build_object(
                    'directory', jsonb_build_object('path', m.value #>> '{directory,path}')))
              or (m.value #>> '{live,name}' is not null and m.value = jsonb_build_object(
                    'live', jsonb_build_object('name', m.value #>> '{live,name}')))
              or (m.value #>> '{rollback,name}' is not null and is_id(m.value #>> '{rollback,restore}')
                  and m.value = jsonb_build_object('rollback', jsonb_build_object(
                    'name', m.value #>> '{rollback,name}', 'restore', m.value #>> '{rollback,restore}')))
          end)
   order by d.member, m.key
   limit 1;
  return flaw;
end
$$;

-- What a job of a sound payload works on, its key of exclusion. A restore occupies what it fills or replaces, so that
-- backups of a database that is being replaced wait; a name that can't be a subject is refused by the restore itself, with
-- its reason, and only needs a stable key here.
create function kanbu_backup.subject_of(p_kind text, p_payload jsonb) returns text
language plpgsql immutable set search_path = kanbu_backup, pg_temp as $$
declare
  place text;
begin
  case p_kind
    when 'prune', 'verify' then
      return split_part(p_payload ->> 'subject', '#', 1) || '#' || p_kind;
    when 'restore' then
      place := coalesce('database:' || coalesce(p_payload #>> '{into,database,name}', p_payload #>> '{into,live,name}',
                                                p_payload #>> '{into,rollback,name}'),
                        'directory:' || (p_payload #>> '{into,directory,path}'));
      if is_subject(place) and position('#' in place) = 0 then
        return place;
      end if;
      return split_part(place, ':', 1) || ':' || id_of(p_payload ->> 'artifact');
    else
      return p_payload ->> 'subject';
  end case;
end
$$;

-- Which requests are the same while one of them is open: one backup of a subject is as good as another; of every other
-- kind only the same payload is the same.
create function kanbu_backup.request_dedupe_key(p_kind text, p_payload jsonb) returns text
language sql immutable
return case p_kind when 'backup' then 'request'
                   else 'request:' || encode(sha256(convert_to(p_payload::text, 'UTF8')), 'hex') end;

-- A subject is known if a worker can back it up or a backup of it is there. Asked of people and programs: what follows
-- from work already done was known when that began.
create function kanbu_backup.require_known(p_subject text) returns void
language plpgsql stable set search_path = kanbu_backup, pg_temp as $$
declare
  known text;
begin
  if not exists (select from subject)
     or exists (select from subject s where s.subject = p_subject)
     or exists (select from artifact a where a.subject = p_subject and a.deletion_decided_at is null) then
    return;
  end if;
  select string_agg(s.subject, ', ' order by s.subject) into known
    from (select subject from subject
          union
          select subject from artifact where deletion_decided_at is null
          order by 1 limit 20) s;
  perform refuse(format('no worker knows the subject %L', p_subject),
                 format('known are %s; a worker has to start with the settings of a new one', known));
end
$$;

-- Puts a job into the queue, in the caller's transaction. The answer is the new job, or the open one that it repeats.
-- With `p_unless_open` a request is not made twice while the same is open; a dedupe key of the caller's own comes first.
create function kanbu_backup.enqueue(
  p_id uuid, p_kind text, p_subject text, p_payload jsonb, p_payload_version integer, p_origin text,
  p_priority smallint default 0, p_run_at timestamptz default null, p_max_attempts smallint default null,
  p_dedupe_key text default null, p_request_key text default null, p_requested_by text default null,
  p_parent_job_id uuid default null, p_unless_open boolean default false
) returns table (job_id uuid, is_new boolean)
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  rule        kind_rule;
  flaw        text;
  digest      bytea;
  known       bytea;
  is_repeated boolean := false;
begin
  select * into rule from kind_rule k where k.kind = p_kind;
  if not found then
    perform refuse(format('there is no job kind %L', p_kind),
                   'backup, restore, prune, verify and notify are the kinds of job');
  end if;
  if p_id is null or p_origin is null or p_priority is null or p_unless_open is null then
    perform refuse('id, origin, priority and unless_open are never null', 'leave out what has a default');
  end if;
  if p_origin not in ('api', 'cron', 'follow_up', 'operator') then
    perform refuse(format('there is no origin %L', p_origin), 'api, cron, follow_up and operator are the origins');
  end if;
  if p_payload_version is distinct from 1 then
    perform refuse(format('there is no payload of version %s', coalesce(p_payload_version::text, 'null')),
                   'version 1 is the only one yet');
  end if;
  if octet_length(p_payload::text) > 65536 then
    perform refuse(format('the payload has %s bytes', octet_length(p_payload::text)), '65536 bytes are allowed');
  end if;
  flaw := payload_flaw(p_kind, p_payload);
  if flaw is not null then
    perform refuse(flaw, 'docs/enqueue.md has the options of every kind, with their types');
  end if;
  if p_subject is distinct from subject_of(p_kind, p_payload) then
    perform refuse(format('%L is not the subject of this payload', p_subject),
                   'it is ' || subject_of(p_kind, p_payload));
  end if;
  if p_priority not between 0 and 1000 then
    perform refuse(format('priority %s is not within 0 and 1000', p_priority), '0 is usual; higher goes first');
  end if;
  if not isfinite(p_run_at)
     or p_run_at not between now() - interval '24 hours' and now() + interval '400 days' then
    perform refuse(format('run_at %s is not within the last 24 hours and the next 400 days', p_run_at),
                   'see to its unit and time zone, or leave it out for now');
  end if;
  if p_max_attempts not between 1 and 1000 then
    perform refuse(format('max_attempts %s is not within 1 and 1000', p_max_attempts),
                   'leave it out for what is usual for the kind');
  end if;
  if octet_length(p_dedupe_key) not between 1 and 255 or octet_length(p_request_key) not between 1 and 255 then
    perform refuse('a key must have 1 to 255 bytes', 'leave it out if there is none');
  end if;

  if p_request_key is not null then
    digest := sha256(convert_to(concat_ws(chr(31), p_kind, p_subject, p_payload_version, p_payload), 'UTF8'));
    is_repeated := exists (select from job j where j.request_key = p_request_key);
  end if;
  if not is_repeated and not rule.accepted then
    raise exception using
      errcode = '0A000', message = p_kind || ' jobs are not accepted yet',
      hint = 'no worker of this release can do them', table = 'kind_rule';
  end if;
  if not is_repeated and p_origin in ('api', 'operator') and p_kind in ('backup', 'prune', 'verify') then
    perform require_known(p_payload ->> 'subject');
  end if;
  if p_unless_open then
    p_dedupe_key := coalesce(p_dedupe_key, request_dedupe_key(p_kind, p_payload));
  end if;

  -- RACE: the open job that made the insert give way may end before it is read. Then insert again.
  for round in 1..3 loop
    insert into job (id, kind, subject, exclusive, payload, payload_version, priority, run_at, max_attempts,
                     backoff_base, backoff_cap, dedupe_key, request_key, request_digest, origin, schedule_id,
                     parent_job_id, requested_by)
    values (p_id, p_kind, p_subject, rule.exclusive, p_payload, p_payload_version, p_priority,
            greatest(coalesce(p_run_at, now()), now()), coalesce(p_max_attempts, rule.max_attempts),
            rule.backoff_base, rule.backoff_cap, p_dedupe_key, p_request_key, digest, p_origin,
            id_of(p_payload ->> 'schedule'), p_parent_job_id, p_requested_by)
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
  raise exception 'the open job of dedupe key % keeps changing', quote_nullable(p_dedupe_key)
    using errcode = '40001', hint = 'try again';
end
$$;

-- What every request of a caller must be: about a plain subject, and with no option that nobody reads.
create function kanbu_backup.check_request(p_subject text, p_options jsonb, p_known text[]) returns void
language plpgsql immutable set search_path = kanbu_backup, pg_temp as $$
declare
  unknown text;
begin
  if p_subject is null or not is_subject(p_subject) or position('#' in p_subject) > 0 then
    perform refuse(format('%L is not a subject', p_subject), 'write scope:name, for instance database:kanbu');
  end if;
  if p_options is null or jsonb_typeof(p_options) <> 'object' then
    perform refuse('the options are not a JSON object', 'leave them out for what is usual');
  end if;
  select string_agg(quote_ident(o.key), ', ' order by o.key) into unknown
    from jsonb_object_keys(p_options) as o (key) where o.key <> all (p_known);
  if unknown is not null then
    perform refuse('unknown option: ' || unknown,
                   coalesce('the options are ' || nullif(array_to_string(p_known, ', '), ''), 'there are no options'));
  end if;
end
$$;

-- The backup of a subject that the options mean: its id, or `latest` for the newest that is stored.
create function kanbu_backup.meant_backup(p_subject text, p_options jsonb, p_request_key text) returns uuid
language plpgsql stable set search_path = kanbu_backup, pg_temp as $$
declare
  word  text := p_options ->> 'backup';
  place text := p_options ->> 'storage';
  meant uuid;
begin
  if jsonb_typeof(p_options -> 'backup') is distinct from 'string' or (word <> 'latest' and not is_id(word)) then
    perform refuse('backup is neither an id nor latest', '`kanbu-backup list --json` tells the ids');
  end if;
  -- A request that is repeated means the backup that it meant the first time, and that one may have gone since.
  select id_of(j.payload ->> 'artifact') into meant
    from job j where j.request_key = p_request_key and j.payload ? 'artifact';
  if found then
    return case when word = 'latest' then meant else id_of(word) end;
  end if;
  select a.id into meant from artifact a
   where a.subject = p_subject and a.deletion_decided_at is null
     and case when word = 'latest' then true else a.id = id_of(word) end
     and ((word <> 'latest' and place is null)
          or exists (select from artifact_copy c where c.artifact_id = a.id and c.state = 'stored'
                        and c.storage = coalesce(place, c.storage)))
   order by a.created_at desc, a.id desc limit 1;
  if not found then
    perform refuse(format('%s has no backup %s%s', p_subject, word, ' on storage ' || quote_literal(place)),
                   '`kanbu-backup list` tells the backups, and `show` where one is stored');
  end if;
  return meant;
end
$$;

-- Where a caller's backup is restored to: a new database of that name, or for a source a directory by its absolute path.
create function kanbu_backup.meant_place(p_subject text, p_into jsonb) returns jsonb
language plpgsql immutable set search_path = kanbu_backup, pg_temp as $$
declare
  place text := p_into #>> '{}';
begin
  if jsonb_typeof(p_into) is distinct from 'string' or place ~ '[\u0001-\u001f\u007f-\u009f]' then
    perform refuse('into does not say where to restore to', 'name a new database, or for a source an empty directory');
  end if;
  if p_subject like 'source:%' then
    if place not like '/%' then
      perform refuse(format('%L is not an absolute path', place), 'name an empty or absent directory');
    end if;
    return jsonb_build_object('directory', jsonb_build_object('path', place));
  end if;
  if octet_length(place) not between 1 and 63 then
    perform refuse(format('%L can''t be the name of a database', place), 'a name has 1 to 63 bytes');
  end if;
  return jsonb_build_object('database', jsonb_build_object('name', place));
end
$$;

-- The live database that a caller's backup takes the place of, if the caller has typed what will give way. The worker
-- compares it with the name of its environment, which isn't known here.
create function kanbu_backup.meant_live(p_subject text, p_options jsonb) returns jsonb
language plpgsql immutable set search_path = kanbu_backup, pg_temp as $$
declare
  live  text := substr(p_subject, length('database:') + 1);
  typed text := p_options ->> 'confirm';
begin
  if p_subject not like 'database:%' then
    perform refuse(format('%s can''t be replaced', p_subject), 'only a database can; name an empty directory with into');
  end if;
  if p_options ? 'into' then
    perform refuse('with replace there is no into', 'the live database is replaced, or a new one is named');
  end if;
  if jsonb_typeof(p_options -> 'confirm') is distinct from 'string' or typed !~ '^[^/]+/'
     or substr(typed, position('/' in typed) + 1) <> live then
    perform refuse(format('nobody confirmed that %s is replaced', p_subject),
                   format('set confirm to the environment and the database: prod/%s', live));
  end if;
  return jsonb_build_object('live', jsonb_build_object('name', live));
end
$$;

create function kanbu_backup.request(p_kind text, p_payload jsonb, p_request_key text) returns uuid
language sql set search_path = kanbu_backup, pg_temp as $$
  select e.job_id
    from enqueue(gen_random_uuid(), p_kind, subject_of(p_kind, p_payload), p_payload, 1, 'api',
                 p_request_key => p_request_key, p_requested_by => session_user::text, p_unless_open => true) e
$$;

-- For callers, and stable: signatures only grow by defaulted parameters.
-- `select kanbu_backup.enqueue_backup('database:kanbu', '{"label": "before import"}')`
create function kanbu_backup.enqueue_backup(subject text, options jsonb default '{}', request_key text default null)
returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
begin
  perform check_request(subject, options, '{label,pin}');
  return request('backup', options || jsonb_build_object('subject', subject), request_key);
end
$$;

create function kanbu_backup.enqueue_restore(subject text, options jsonb default '{}', request_key text default null)
returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  artifact uuid;
  place    jsonb;
begin
  perform check_request(subject, options,
                        '{backup,into,no_owner,storage,keep,replace,confirm,no_safety_backup,keep_old_days}');
  artifact := meant_backup(subject, options, request_key);
  place := case when options -> 'replace' = 'true' then meant_live(subject, options)
                else meant_place(subject, options -> 'into') end;
  return request('restore', options - '{backup,replace}'::text[] || jsonb_build_object(
    'artifact', artifact, 'into', place), request_key);
end
$$;

create function kanbu_backup.enqueue_prune(subject text, options jsonb default '{}', request_key text default null)
returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
begin
  perform check_request(subject, options, '{schedule}');
  return request('prune', options || jsonb_build_object('subject', subject), request_key);
end
$$;

create function kanbu_backup.enqueue_verify(subject text, options jsonb default '{}', request_key text default null)
returns uuid
language plpgsql security definer set search_path = kanbu_backup, pg_temp as $$
declare
  payload jsonb := jsonb_build_object('level', 'checked', 'subject', subject);
begin
  perform check_request(subject, options, '{backup,level,repair,sample,older_than}');
  payload := payload || options - 'backup';
  if options ? 'backup' then
    payload := payload || jsonb_build_object('artifact', meant_backup(subject, options, request_key));
  end if;
  return request('verify', payload, request_key);
end
$$;

-- Grows by one with every addition that callers can see; what an earlier number promised goes on to hold.
create function kanbu_backup.api_version() returns integer
language sql immutable
return 1;
