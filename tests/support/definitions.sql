-- Every object of a database as one sorted list of texts, and the states that are not rows of tables.
select 'index '      || pg_get_indexdef(i.indexrelid) as definition
  from pg_index as i join pg_class as c on c.oid = i.indexrelid where c.relnamespace::regnamespace::text !~ '^pg_|^information_schema$'
union all
select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
  from pg_constraint where connamespace::regnamespace::text !~ '^pg_|^information_schema$'
union all
select 'trigger '    || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
union all
select 'function '   || pg_get_functiondef(oid) from pg_proc where pronamespace::regnamespace::text !~ '^pg_|^information_schema$'
union all
select 'view '       || oid::regclass || ' ' || pg_get_viewdef(oid)
  from pg_class where relkind in ('v', 'm') and relnamespace::regnamespace::text !~ '^pg_|^information_schema$'
union all
select 'column '     || attrelid::regclass || ' ' || attnum || ' ' || attname || ' ' || format_type(atttypid, atttypmod)
                     || ' ' || attnotnull || ' ' || coalesce(pg_get_expr(adbin, adrelid), '')
  from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
  join pg_class as c on c.oid = attrelid
 where attnum > 0 and not attisdropped and c.relkind in ('r', 'p', 'v', 'm')
   and c.relnamespace::regnamespace::text !~ '^pg_|^information_schema$'
union all
select 'owner '      || oid::regclass || ' ' || pg_get_userbyid(relowner) || ' ' || coalesce(relacl::text, '')
  from pg_class where relkind in ('r', 'p', 'v', 'm', 'S') and relnamespace::regnamespace::text !~ '^pg_|^information_schema$'
union all
select 'comment '    || objoid::regclass || ' ' || description from pg_description
 where classoid = 'pg_class'::regclass and objoid >= 16384
union all
select 'sequence '   || schemaname || '.' || sequencename || ' ' || coalesce(last_value::text, '') || ' ' || increment_by
  from pg_sequences
union all
select 'large object ' || oid || ' ' || md5(lo_get(oid)) from pg_largeobject_metadata
union all
select 'partition '  || inhrelid::regclass || ' of ' || inhparent::regclass from pg_inherits
union all
select 'enum '       || enumtypid::regtype || ' ' || enumlabel from pg_enum
order by definition
