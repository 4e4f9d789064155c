-- Objects of the kinds that PostgreSQL's own regression tests make, each with something in it: what comes back from a
-- restore must dump to the same text.
create schema app;

-- Types: composite, enum in an order that isn't the alphabet's, ranges with a function, domains over domains, arrays.
create type app.point3 as (x integer, y numeric(10, 2), label text collate "C");
create type app.priority as enum ('low', 'high', 'none');
alter type app.priority add value 'mid' before 'high';
create function app.span(a float8, b float8) returns float8 language sql immutable strict as 'select b - a';
create type app.floatrange as range (subtype = float8, subtype_diff = app.span);
create domain app.positive as integer default 1 check (value > 0);
create domain app.small as app.positive constraint "is small" check (value < 1000) not null;

-- Collations and text search.
create collation app.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create text search dictionary app.plain (template = pg_catalog.simple, stopwords = english);
create text search configuration app.words (copy = pg_catalog.english);
alter text search configuration app.words alter mapping for asciiword with app.plain, english_stem;

-- Functions, procedures, aggregates, operators, casts.
create function app.twice(n integer, out doubled integer) language plpgsql stable as $fn$
begin
    doubled := n * 2; -- a $$ inside
end $fn$;
create function app.modern(a integer, b integer default 3) returns integer language sql begin atomic select a + b; end;
create procedure app.nothing(inout a text) language plpgsql as $$ begin a := upper(a); end $$;
create aggregate app.product(integer) (sfunc = int4mul, stype = integer, initcond = '1');
create operator app.@+ (leftarg = integer, rightarg = integer, function = int4pl, commutator = operator(app.@+));
create cast (app.point3 as text) with inout;

-- Tables: identity, generated, inheritance, unlogged, storage options, exclusion, circles of foreign keys.
create table app.item (
    id       integer generated always as identity (start 10 increment 5) primary key,
    parent   integer,
    kind     app.priority not null default 'low',
    size     app.small,
    spot     app.point3,
    period   app.floatrange,
    name     text collate app.nocase unique,
    area     numeric generated always as (coalesce((spot).x, 0) * 2) stored,
    words    tsvector,
    extra    jsonb default '{"a": [1, null]}',
    tags     app.priority[],
    "ODD ""q"" name" text,
    constraint "no overlap" exclude using gist (period with &&) deferrable initially deferred
) with (fillfactor = 70);
alter table app.item alter column extra set storage external, alter column name set statistics 500;
create table app.box (
    id      serial primary key,
    main    integer references app.item deferrable initially deferred,
    foreign key (main) references app.item on update cascade on delete set null not valid
);
alter table app.item add constraint item_parent foreign key (parent) references app.box deferrable initially deferred;
create table app.bigger_box (lid boolean default false) inherits (app.box);
create unlogged table app.scratch (n integer primary key, t text);
create table app.empty ();

-- Partitions: by range and below it by hash, a default, one that was attached, with indexes of their own.
create table app.log (at date not null, what text, n bigint) partition by range (at);
create table app.log_2025 partition of app.log for values from ('2025-01-01') to ('2026-01-01') partition by hash (n);
create table app.log_2025_0 partition of app.log_2025 for values with (modulus 2, remainder 0);
create table app.log_2025_1 partition of app.log_2025 for values with (modulus 2, remainder 1);
create table app.log_rest partition of app.log default;
create table app.log_2026 (n bigint, what text default 'attached', at date not null);
alter table app.log attach partition app.log_2026 for values from ('2026-01-01') to ('2027-01-01');
create index log_what on app.log (what, n desc nulls last) include (at);
create unique index item_lower on app.item (lower(name collate "C") text_pattern_ops) where kind <> 'none';
create index item_words on app.item using gin (words);
create index item_brin on app.item using brin (id) with (pages_per_range = 16);
alter table app.item cluster on item_pkey;
alter table app.log replica identity full;

-- Statistics, rules, triggers, row-level security, event triggers, publications.
create statistics app.together (dependencies, mcv) on kind, size from app.item;
create statistics app.computed on (lower(name)) from app.item;
create function app.fill() returns trigger language plpgsql as $$
begin
    new.words := to_tsvector('app.words', coalesce(new.name, ''));
    return new;
end $$;
create trigger fill before insert or update of name on app.item for each row when (new.name is not null) execute function app.fill();
create constraint trigger late after insert on app.box deferrable initially deferred for each row execute function app.fill();
alter table app.box disable trigger late;
create rule keep as on delete to app.empty do instead nothing;
alter table app.item enable row level security;
alter table app.item force row level security;
create policy readers on app.item as restrictive for select using (kind <> 'none');
create policy writers on app.item for all using (true) with check (size < 900);
create function app.on_ddl() returns event_trigger language plpgsql as $$ begin null; end $$;
create event trigger watch on ddl_command_end when tag in ('CREATE TABLE') execute function app.on_ddl();
alter event trigger watch disable;
create publication "some of it" for table app.item (id, name), app.log where (n > 3) with (publish = 'insert, update', publish_via_partition_root);
create publication schema_wide for tables in schema app;

-- Views, with options and columns that are named anew; materialized ones with and without rows, and an index.
create view app.shown (number, title) with (security_barrier) as select id, name from app.item where kind = 'high' with local check option;
create view app.deep as with recursive n (i) as (select 1 union all select i + 1 from n where i < 5) select i, rank() over w from n window w as (order by i desc);
create materialized view app.counted as select kind, count(*) as n from app.item group by kind;
create unique index counted_kind on app.counted (kind);
create materialized view app.unfilled as select 1 as one with no data;

-- Foreign data, sequences, default privileges, comments, large objects.
create foreign data wrapper nobody options (debug 'true');
create server elsewhere foreign data wrapper nobody options (host 'a ''quoted'' one');
create foreign table app.far (a integer options (col 'A'), b text) server elsewhere options (t 'x');
create sequence app.countdown as smallint increment -3 start 100 minvalue -5 maxvalue 100 cycle cache 4;
select nextval('app.countdown'), setval('app.box_id_seq', 41, false);
alter default privileges in schema app grant select on tables to public;
grant usage on schema app to public;
grant select (id, name), update (name) on app.item to public;
revoke execute on function app.twice(integer) from public;
comment on schema app is 'a schema; -- with "everything"';
comment on column app.item."ODD ""q"" name" is E'two\nlines and a \\ backslash';
comment on constraint "no overlap" on app.item is 'kept apart';
comment on index app.log_what is 'an index';
comment on trigger fill on app.item is 'a trigger';
comment on type app.priority is 'a type';
comment on event trigger watch is 'an event trigger';
comment on statistics app.together is 'statistics';
select lo_from_bytea(777001, decode(repeat('00ff27', 3000), 'hex'));
comment on large object 777001 is 'large';
grant select on large object 777001 to public;

insert into app.item (kind, size, spot, period, name, tags, "ODD ""q"" name")
select (array['low', 'high', 'none'])[1 + n % 3]::app.priority, 1 + n % 899, row (n, n / 3.0, 'point ' || n)::app.point3,
       app.floatrange(n, n + 0.5), 'Näme ' || n, array['high', null, 'low']::app.priority[], nullif(n % 7, 0)::text
  from generate_series(1, 500) as n;
insert into app.box (main) select id from app.item where id % 3 = 0;
insert into app.bigger_box (main, lid) values (10, true);
update app.item set parent = (select min(id) from app.box) where id < 100;
insert into app.scratch select n, md5(n::text) from generate_series(1, 50) as n;
insert into app.log select date '2024-12-01' + n * 3, E'what\t' || n, n from generate_series(1, 300) as n;
insert into app.empty default values;
refresh materialized view app.counted;
