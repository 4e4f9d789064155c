-- Objects of every kind that a dump carries, for comparing a database with what became of it.
create type mood as enum ('sad', 'happy');
create type place as (street text, number integer);
create type span as range (subtype = float8);
create domain slug as varchar(40) constraint slug_form check (value in ('a', 'b') or value ~ '^[a-z-]+$');
create collation german_phone (provider = icu, locale = 'de-u-co-phonebk');
create sequence counter increment 3 start 10;
create text search configuration plain_words (copy = simple);

create function twice(n integer) returns integer language sql immutable return n * 2;
create function touched() returns trigger language plpgsql as $$ begin return new; end $$;
create function noticed() returns event_trigger language plpgsql as $$ begin null; end $$;
create procedure nothing() language plpgsql as $$ begin null; end $$;
create function same(integer, integer) returns boolean language sql immutable as 'select $1 = $2';
create operator === (leftarg = integer, rightarg = integer, function = same);
create aggregate product(integer) (sfunc = int4mul, stype = integer, initcond = '1');

create table item (
    id    integer generated always as identity primary key,
    label varchar(80) collate "C" not null,
    kind  varchar(10) default 'a' constraint item_kind check (kind in ('a', 'b', 'c')),
    price numeric(10, 2) default 1.50,
    twice numeric generated always as (price * 2) stored,
    feel  mood,
    home  place,
    slug  slug,
    valid span,
    at    timestamptz default '2025-01-01 00:00+00'
);
create index item_label on item (lower(label)) where kind in ('a', 'b');
create statistics item_together (dependencies) on kind, price from item;
create trigger item_touched before update on item for each row when (old.kind in ('a', 'b')) execute function touched();
alter table item enable row level security;
create policy item_mine on item for select to public using (kind in ('a', 'b') and price > 1);
create rule item_forever as on delete to item where old.price > 100 do instead nothing;
comment on column item.label is 'what people read';
insert into item (label) values ('one'), ('two');

create view cheap as select id, label from item where price < 10 and kind in ('a', 'b');
create materialized view totals as select kind, count(*) as items from item group by kind;
create unique index totals_kind on totals (kind);

create table log (at date not null, what text, primary key (at, what)) partition by range (at);
create table log_2025 partition of log for values from ('2025-01-01') to ('2026-01-01');
create table log_rest partition of log default;
create table log_note (at date, what text, foreign key (at, what) references log);
create unlogged table log_old (what text);
create table parent (a integer check (a > 0));
create table child (b integer) inherits (parent);

create table ring_a (id integer primary key, b integer);
create table ring_b (id integer primary key, a integer references ring_a deferrable initially deferred);
alter table ring_a add constraint ring_a_b foreign key (b) references ring_b;

create publication items for table item (id, label) where (id > 0);
create event trigger noticed on ddl_command_end execute function noticed();
select lo_create(9001);
grant select (kind) on item to pg_read_all_stats;
alter default privileges grant select on tables to pg_monitor;
