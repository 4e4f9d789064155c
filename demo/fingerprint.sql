-- One line for each table: name, rows, checksum of the rows in any order; then one for each sequence with its value.
-- Two databases with the same lines hold the same data.   psql -XqAt -f demo/fingerprint.sql DATABASE_URL
set timezone = 'UTC';
select format('select %L, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from %s t',
              oid::regclass::text, oid::regclass)
  from pg_class
 where relkind in ('r', 'p') and relnamespace::regnamespace::text !~ '^(pg_|information_schema$)' and not relispartition
 order by oid::regclass::text collate "C" \gexec
select format('%I.%I', schemaname, sequencename), 'sequence', last_value
  from pg_sequences
 order by schemaname collate "C", sequencename collate "C";
