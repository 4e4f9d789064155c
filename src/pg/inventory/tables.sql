-- The tables whose rows a dump carries, the smallest first: schema, table, estimated rows, bytes on disk, and whether we may
-- read all of it.
select json_build_array(n.nspname, c.relname, greatest(c.reltuples, 0)::bigint, coalesce(pg_table_size(c.oid), 0),
                        has_table_privilege(c.oid, 'select') and not row_security_active(c.oid))::text
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
 where c.relkind = 'r'
   and c.relpersistence <> 't'
   and n.nspname <> 'information_schema'
   and n.nspname !~ '^pg_'
   and not exists (select
                     from pg_depend as d
                     join pg_extension as e on e.oid = d.refobjid
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid
                      and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
                      and c.oid <> all (coalesce(e.extconfig, '{}')))
 order by c.relpages, n.nspname collate "C", c.relname collate "C"
