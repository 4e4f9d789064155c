-- The sequences that we may read: schema, sequence.
select json_build_array(n.nspname, c.relname)::text
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
 where c.relkind = 'S'
   and c.relpersistence <> 't'
   and n.nspname <> 'information_schema'
   and n.nspname !~ '^pg_'
   and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'select') end
   and not exists (select
                     from pg_depend as d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid
                      and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')
 order by n.nspname collate "C", c.relname collate "C"
