-- The database as a whole: one JSON object.
select json_build_object(
           'taken_at', to_char(transaction_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
           'server_version_num', current_setting('server_version_num')::integer,
           'encoding', pg_encoding_to_char(d.encoding),
           'collation', d.datcollate,
           'ctype', d.datctype,
           'large_objects', (select count(*) from pg_largeobject_metadata),
           'extensions', (select coalesce(json_agg(json_build_object(
                                     'name', e.extname,
                                     'version', e.extversion,
                                     'needed', exists (select
                                                         from pg_depend as m
                                                         join pg_depend as u on u.refclassid = m.classid and u.refobjid = m.objid
                                                        where m.refclassid = 'pg_extension'::regclass and m.refobjid = e.oid
                                                          and m.deptype = 'e'
                                                          and u.deptype = 'n'
                                                          and (u.classid, u.objid) not in (
                                                              select o.classid, o.objid from pg_depend as o
                                                               where o.refclassid = 'pg_extension'::regclass
                                                                 and o.deptype = 'e')))
                                     order by e.extname collate "C"), '[]')
                            from pg_extension as e),
           'installable', (select coalesce(json_agg(a.name order by a.name collate "C"), '[]') from pg_available_extensions as a))::text
  from pg_database as d
 where d.datname = current_database()
