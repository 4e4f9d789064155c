-- A database shaped like Kanbu's, filled with text that compresses like real text.
--
--   psql -v ON_ERROR_STOP=1 -v scale=1 -f demo/kanbu.sql DATABASE_URL
--
-- Scale 1 is about 60 MB; each further unit adds as much again. The content is a function of the scale (on one major
-- version of PostgreSQL): the seed is fixed, and nothing depends on the clock or on a plan that runs in parallel.

\set QUIET on
\if :{?scale}
\else
  \set scale 1
\endif

set client_min_messages = warning;
set max_parallel_workers_per_gather = 0;
set synchronous_commit = off;
set timezone = 'UTC';

-- Kanbu's schema as far as a backup can tell the difference: quoted enums, serial and bigint keys, numeric, bytea, jsonb,
-- two tsvector columns that a trigger fills outside the ORM, cascading and restricting foreign keys.

create type "AppRole"       as enum ('ADMIN', 'MANAGER', 'USER');
create type "TaskPriority"  as enum ('LOW', 'MEDIUM', 'HIGH', 'URGENT');
create type "BackupType"    as enum ('DATABASE', 'SOURCE');
create type "BackupTrigger" as enum ('SCHEDULED', 'MANUAL', 'EXTERNAL');
create type "BackupStatus"  as enum ('RUNNING', 'COMPLETED', 'FAILED');

create table users (
    id         serial primary key,
    email      varchar(255) not null unique,
    name       varchar(255) not null,
    role       "AppRole" not null default 'USER',
    is_active  boolean not null default true,
    avatar     bytea,
    created_at timestamp(3) not null default current_timestamp
);

create table workspaces (
    id         serial primary key,
    name       varchar(255) not null,
    slug       varchar(255) not null unique,
    logo       bytea,
    settings   jsonb not null default '{}',
    created_at timestamp(3) not null default current_timestamp
);

create table workspace_users (
    workspace_id integer not null references workspaces on delete cascade,
    user_id      integer not null references users on delete cascade,
    role         "AppRole" not null default 'USER',
    primary key (workspace_id, user_id)
);

create table projects (
    id           serial primary key,
    workspace_id integer not null references workspaces on delete cascade,
    name         varchar(255) not null,
    identifier   varchar(50) not null,
    budget       numeric(14, 2),
    created_by   integer not null references users
);

create table boards (
    id         serial primary key,
    project_id integer not null references projects on delete cascade,
    title      varchar(255) not null,
    position   integer not null
);

create table tasks (
    id             bigserial primary key,
    board_id       integer not null references boards on delete cascade,
    assignee_id    integer references users on delete set null,
    title          varchar(255) not null,
    description    text,
    priority       "TaskPriority" not null default 'MEDIUM',
    time_estimated numeric(8, 2),
    time_spent     numeric(8, 2) not null default 0,
    metadata       jsonb not null default '{}',
    due_at         timestamp(3),
    created_at     timestamp(3) not null,
    updated_at     timestamp(3) not null
);
create index tasks_board_id_idx on tasks (board_id);
create index tasks_due_at_idx on tasks (due_at) where due_at is not null;

create table comments (
    id         bigserial primary key,
    task_id    bigint not null references tasks on delete cascade,
    user_id    integer not null references users,
    content    text not null,
    created_at timestamp(3) not null
);
create index comments_task_id_idx on comments (task_id);

create table attachments (
    id         bigserial primary key,
    task_id    bigint not null references tasks on delete cascade,
    file_name  varchar(255) not null,
    size_bytes bigint not null,
    sha256     bytea not null,
    thumbnail  bytea
);

create table wiki_pages (
    id            serial primary key,
    project_id    integer not null references projects on delete cascade,
    parent_id     integer references wiki_pages on delete set null,
    title         varchar(255) not null,
    content       text not null,
    search_vector tsvector,
    updated_at    timestamp(3) not null
);
create index wiki_pages_search_idx on wiki_pages using gin (search_vector);

create table workspace_wiki_pages (
    id            serial primary key,
    workspace_id  integer not null references workspaces on delete cascade,
    title         varchar(255) not null,
    content       text not null,
    search_vector tsvector
);
create index workspace_wiki_pages_search_idx on workspace_wiki_pages using gin (search_vector);

create function update_search_vector() returns trigger language plpgsql as $$
begin
    new.search_vector := setweight(to_tsvector('simple', new.title), 'A')
                      || setweight(to_tsvector('simple', new.content), 'B');
    return new;
end
$$;
create trigger wiki_pages_search before insert or update on wiki_pages
    for each row execute function update_search_vector();
create trigger workspace_wiki_pages_search before insert or update on workspace_wiki_pages
    for each row execute function update_search_vector();

create table activities (
    id         bigserial primary key,
    project_id integer not null references projects on delete cascade,
    user_id    integer not null references users,
    action     varchar(50) not null,
    changes    jsonb not null default '{}',
    created_at timestamp(3) not null
);

create table notifications (
    id         serial primary key,
    user_id    integer not null references users on delete cascade,
    type       varchar(100) not null,
    title      varchar(255) not null,
    content    text,
    data       jsonb not null default '{}',
    is_read    boolean not null default false,
    created_at timestamp(3) not null default current_timestamp
);
create index notifications_user_id_is_read_idx on notifications (user_id, is_read);

create table backup_schedules (
    id              serial primary key,
    name            varchar(255) not null,
    type            "BackupType" not null,
    cron_expression varchar(100) not null,
    enabled         boolean not null default true,
    retention_days  integer not null default 30,
    keep_daily      integer not null default 7,
    keep_weekly     integer not null default 4,
    keep_monthly    integer not null default 3,
    last_run_at     timestamp(3),
    next_run_at     timestamp(3),
    created_at      timestamp(3) not null default current_timestamp,
    updated_at      timestamp(3) not null,
    created_by      integer not null references users
);

create table backup_executions (
    id             serial primary key,
    schedule_id    integer references backup_schedules on delete set null,
    type           "BackupType" not null,
    trigger        "BackupTrigger" not null,
    status         "BackupStatus" not null,
    filename       varchar(500),
    file_size      integer,
    error_message  text,
    started_at     timestamp(3) not null default current_timestamp,
    completed_at   timestamp(3),
    duration_ms    integer,
    is_encrypted   boolean not null default false,
    encryption_alg varchar(50),
    checksum       varchar(64),
    checksum_alg   varchar(20),
    verified       boolean,
    verified_at    timestamp(3)
);
create index backup_executions_type_started_at_idx on backup_executions (type, started_at);

create table system_settings (
    key        varchar(100) primary key,
    value      text,
    changed_by integer,
    changed_at timestamp(3) not null default current_timestamp
);

create view open_tasks as
    select p.identifier, b.title as board, t.id, t.title, t.priority, t.due_at
      from tasks t join boards b on b.id = t.board_id join projects p on p.id = b.project_id
     where t.due_at is not null;

-- The generator. Everything in pg_temp is gone with the session and so never part of a backup.

select setseed(0.42) \g /dev/null

create temp table lexicon as
with base as (
    select word, nr
      from regexp_split_to_table($$
the of to and a in is for that it on with as this we be are by not or at from an can will have if has when all our
which one must but they do new after so only up there was no more out also should time user page task team into about
these now then each per than them who first work list see use would any both may been how need every other before
board project column card sprint release review status label comment server client token error test build branch merge
deploy version table index query field value default number  deadline milestone customer invoice meeting agenda
decision proposal draft note action owner report summary budget estimate priority blocked waiting ready progress done
closed open reopen assign notify update create remove rename archive restore backup search filter group sort export
import upload download attach share invite member guest admin manager workspace profile avatar setting language theme
keyboard shortcut mobile desktop browser window button menu dialog panel header footer sidebar layout colour contrast
please check follow discuss agree change replace measure explain describe compare consider remember forget avoid
because although however therefore instead already usually sometimes never always probably clearly slowly quickly
Monday Tuesday Wednesday Thursday Friday week month quarter year yesterday today tomorrow morning afternoon
onderzoek oplevering afspraak vergadering klant gebruiker instelling beheerder wijziging planning voortgang achterstand
een het van voor met niet naar ook maar nog wel deze door over bij
$$, '\s+') with ordinality as w (word, nr)
     where word <> ''
), stems as (
    select unnest(array['con', 'inter', 're', 'trans', 'pro', 'sub', 'over', 'multi', 'de', 'ex', 'under', 'pre']) as a,
           unnest(array['form', 'port', 'tract', 'scrib', 'vers', 'ject', 'struct', 'mit', 'duc', 'press', 'pos', 'spec']) as c
), derived as (
    select x.a || y.c || ending as word
      from stems x, stems y, unnest(array['ation', 'ed', 'ing', 'able', 'ment', 's', 'ive', 'or', 'ally', 'ity']) as ending
), marked as (
    select word, nr from base
    union all
    select word || mark, nr + 120
      from base, unnest(array[',', '.', E'.\n\n', ':', E'\n- ', '?']) as mark
    union all
    select word || E'.\n\n## ' || initcap(word), nr + 900 from base
    union all
    select word, 500 + (row_number() over (order by md5(word)))::int from derived
    union all
    select word || mark, 900 + (row_number() over (order by md5(word || mark)))::int
      from derived, unnest(array[',', '.', ' ' || length(word) || '%', ' (#' || ascii(md5(word)) * 37 || ')']) as mark
)
select word, row_number() over (order by nr, word collate "C") as nr from marked;

-- Texts of `fewest` to `most` words. Frequent words come first in the lexicon, and the power favours them as language does.
create function pg_temp.prose(texts integer, fewest integer, most integer) returns setof text language plpgsql as $$
declare
    words text[] := (select array_agg(word order by nr) from lexicon);
    size  float8 := cardinality(words);
begin
    for i in 1 .. texts loop
        return query
            select string_agg(words[1 + floor(size * power(random(), 4))::integer], ' ')
              from generate_series(1, fewest + floor((most - fewest) * random())::integer);
    end loop;
end
$$;

-- Bytes that don't compress, as images don't. The argument only makes the function be called for each row.
create function pg_temp.noise(blocks integer, salt bigint) returns bytea language sql volatile as $$
    select decode(string_agg(md5(random()::text || salt), ''), 'hex') from generate_series(1, blocks)
$$;

create function pg_temp.pick(among bigint) returns bigint language sql volatile as $$
    select 1 + floor(among * random())::bigint
$$;

create function pg_temp.moment() returns timestamp(3) language sql volatile as $$
    select timestamp '2024-01-01' + random() * interval '700 days'
$$;

-- One unit of content: two workspaces with everything that belongs to them.
create procedure pg_temp.fill(unit integer) language plpgsql as $$
declare
    users_at      bigint := (unit - 1) * 60;
    workspaces_at bigint := (unit - 1) * 2;
    projects_at   bigint := (unit - 1) * 8;
    boards_at     bigint := (unit - 1) * 48;
    tasks_at      bigint := (unit - 1) * 12000;
begin
    insert into users (email, name, role, avatar, created_at)
        select format('user%s@example.org', users_at + i), format('User %s', users_at + i),
               (enum_range(null::"AppRole"))[pg_temp.pick(3)], pg_temp.noise(256, i), pg_temp.moment()
          from generate_series(1, 60) as i;
    insert into workspaces (name, slug, logo, settings, created_at)
        select format('Workspace %s', workspaces_at + i), format('workspace-%s', workspaces_at + i),
               pg_temp.noise(1024, i), jsonb_build_object('theme', 'dark', 'limit', pg_temp.pick(100)), pg_temp.moment()
          from generate_series(1, 2) as i;
    insert into workspace_users
        select workspaces_at + 1 + i % 2, users_at + i, 'USER' from generate_series(1, 60) as i;
    insert into projects (workspace_id, name, identifier, budget, created_by)
        select workspaces_at + 1 + i % 2, format('Project %s', projects_at + i), format('P%s', projects_at + i),
               (random() * 1e6)::numeric(14, 2), users_at + pg_temp.pick(60)
          from generate_series(1, 8) as i;
    insert into boards (project_id, title, position)
        select projects_at + 1 + i % 8, initcap(split_part('backlog,ready,doing,review,done,later', ',', 1 + i / 8)), i / 8
          from generate_series(0, 47) as i;
    insert into tasks (board_id, assignee_id, title, description, priority, time_estimated, time_spent, metadata, due_at,
                       created_at, updated_at)
        select boards_at + pg_temp.pick(48), users_at + pg_temp.pick(60), left(translate(body, E'\n', ' '), 20 + pg_temp.pick(60)::int),
               body, (enum_range(null::"TaskPriority"))[pg_temp.pick(4)],
               case when random() < 0.4 then (random() * 80)::numeric(8, 2) end, (random() * 40)::numeric(8, 2),
               jsonb_build_object('labels', jsonb_build_array(pg_temp.pick(40), pg_temp.pick(40)), 'points', pg_temp.pick(13)),
               case when random() < 0.3 then pg_temp.moment() end, pg_temp.moment(), pg_temp.moment()
          from pg_temp.prose(12000, 20, 160) as body;
    insert into comments (task_id, user_id, content, created_at)
        select tasks_at + pg_temp.pick(12000), users_at + pg_temp.pick(60), body, pg_temp.moment()
          from pg_temp.prose(32000, 5, 90) as body;
    insert into attachments (task_id, file_name, size_bytes, sha256, thumbnail)
        select tasks_at + pg_temp.pick(12000), format('scan-%s.png', i), pg_temp.pick(40000000000), pg_temp.noise(2, i),
               case when random() < 0.5 then pg_temp.noise(180, i) end
          from generate_series(1, 1500) as i;
    insert into wiki_pages (project_id, title, content, updated_at)
        select projects_at + pg_temp.pick(8), left(translate(body, E'\n', ' '), 40), body, pg_temp.moment()
          from pg_temp.prose(800, 200, 1200) as body;
    insert into workspace_wiki_pages (workspace_id, title, content)
        select workspaces_at + pg_temp.pick(2), left(translate(body, E'\n', ' '), 40), body
          from pg_temp.prose(100, 200, 1200) as body;
    insert into activities (project_id, user_id, action, changes, created_at)
        select projects_at + pg_temp.pick(8), users_at + pg_temp.pick(60),
               split_part('task.created,task.moved,task.updated,comment.added,wiki.edited', ',', pg_temp.pick(5)::int),
               jsonb_build_object('task', tasks_at + pg_temp.pick(12000), 'from', pg_temp.pick(48), 'to', pg_temp.pick(48)),
               pg_temp.moment()
          from generate_series(1, 50000) as i;
    insert into notifications (user_id, type, title, content, created_at)
        select users_at + pg_temp.pick(60), 'task.assigned', left(translate(body, E'\n', ' '), 60), body, pg_temp.moment()
          from pg_temp.prose(4000, 8, 25) as body;
end
$$;

-- A transaction for each unit, so that a large database needs no large one.
create procedure pg_temp.fill_all(units integer) language plpgsql as $$
begin
    for unit in 1 .. units loop
        call pg_temp.fill(unit);
        commit;
    end loop;
end
$$;
call pg_temp.fill_all(:scale);

update wiki_pages set parent_id = id - 1 where id % 3 = 0;

insert into backup_schedules (name, type, cron_expression, next_run_at, created_at, updated_at, created_by) values
    ('Nightly database', 'DATABASE', '0 2 * * *', '2026-01-01 02:00', '2025-06-01', '2025-06-01', 1),
    ('Weekly source', 'SOURCE', '0 3 * * 0', '2026-01-04 03:00', '2025-06-01', '2025-06-01', 1);
insert into backup_executions (schedule_id, type, trigger, status, filename, file_size, started_at, completed_at,
                               duration_ms, checksum, checksum_alg)
    select 1, 'DATABASE', 'SCHEDULED', 'COMPLETED', format('kanbu_backup_%s.sql.gz', to_char(day, 'YYYY-MM-DD')),
           9000000 + extract(doy from day)::int, day, day + interval '12 seconds', 12000, encode(sha256(day::text::bytea), 'hex'), 'sha256'
      from generate_series(timestamp '2025-06-01 02:00', timestamp '2025-12-31 02:00', interval '1 day') as day;
insert into system_settings (key, value, changed_at) values ('backup_trigger_api_key', null, '2025-06-01');

analyze;
