-- Every object that a dump carries, by the identity that the server itself gives it, with a print of its definition. A row is
-- a JSON array: kind, schema, name, print.
--
-- A definition names other objects with their schemas (the caller empties search_path) and holds no oid. What the server
-- writes from a parsed tree (`deparsed`) is stripped of casts, brackets and blanks before it is printed: a dump that was
-- loaded shows `x = any ((array['a', 'b'])::text[])` as `x = any (array[('a')::text, ('b')::text])`, and means the same.
-- Objects of extensions are their extensions' matter.
with member as materialized (
    select classid, objid from pg_depend where refclassid = 'pg_extension'::regclass and deptype = 'e'
),
space as materialized (
    select oid, nspname, nspowner, nspacl
      from pg_namespace
     where nspname <> 'information_schema' and nspname !~ '^pg_'
),
relation as materialized (
    select c.*, s.nspname
      from pg_class as c
      join space as s on s.oid = c.relnamespace
     where c.relpersistence <> 't'
),
object (classid, objid, schema, deparsed, definition, owner, acl, acl_default) as materialized (
    select 'pg_namespace'::regclass, s.oid, s.nspname, false, '', s.nspowner, s.nspacl, acldefault('n', s.nspowner)
      from space as s
    union all
    -- Tables, apart from their columns.
    select 'pg_class'::regclass, r.oid, r.nspname, true,
           concat_ws('|', r.relkind, r.relpersistence, r.relrowsecurity, r.relforcerowsecurity, r.relreplident,
                     (select string_agg(o, ',' order by o collate "C") from unnest(r.reloptions) as o),
                     (select a.amname from pg_am as a where a.oid = r.relam),
                     case when r.relkind = 'p' then pg_get_partkeydef(r.oid) end,
                     pg_get_expr(r.relpartbound, r.oid),
                     (select string_agg(i.inhparent::regclass::text, ',' order by i.inhseqno)
                        from pg_inherits as i where i.inhrelid = r.oid),
                     case when r.reloftype <> 0 then r.reloftype::regtype::text end,
                     (select concat_ws('|', v.srvname, (select string_agg(o, ',' order by o collate "C")
                                                          from unnest(f.ftoptions) as o))
                        from pg_foreign_table as f join pg_foreign_server as v on v.oid = f.ftserver
                       where f.ftrelid = r.oid)),
           r.relowner,
           r.relacl, acldefault('r', r.relowner)
      from relation as r
     where r.relkind in ('r', 'p', 'f')
    union all
    select 'pg_class'::regclass, r.oid, r.nspname, true,
           concat_ws('|', pg_get_viewdef(r.oid), r.relispopulated, r.reloptions), r.relowner, r.relacl, acldefault('r', r.relowner)
      from relation as r
     where r.relkind in ('v', 'm')
    union all
    select 'pg_class'::regclass, r.oid, r.nspname, false,
           concat_ws('|', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, q.seqcycle,
                     r.relpersistence,
                     (select concat_ws('.', d.refobjid::regclass, a.attname)
                        from pg_depend as d
                        join pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                       where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
                         and d.deptype in ('a', 'i') and d.refobjsubid > 0)),
           r.relowner, r.relacl, acldefault('s', r.relowner)
      from relation as r
      join pg_sequence as q on q.seqrelid = r.oid
    union all
    -- A dump leaves out indexes that are not valid.
    select 'pg_class'::regclass, r.oid, r.nspname, true,
           concat_ws('|', pg_get_indexdef(r.oid), i.indisclustered, i.indisreplident,
                     (select p.inhparent::regclass::text from pg_inherits as p where p.inhrelid = r.oid)),
           null, null, null
      from relation as r
      join pg_index as i on i.indexrelid = r.oid
     where i.indisvalid or r.relkind = 'I'
    union all
    -- What keys to partitions make by themselves is left out, and `not null`, which is the column's.
    select 'pg_constraint'::regclass, c.oid, s.nspname, true,
           concat_ws('|', pg_get_constraintdef(c.oid), c.convalidated), null, null, null
      from pg_constraint as c
      join space as s on s.oid = c.connamespace
     where c.contype <> 'n'
       and not (c.contype = 'f' and c.conparentid <> 0)
    union all
    select 'pg_proc'::regclass, p.oid, s.nspname, p.prosqlbody is not null,
           case when p.prokind = 'a'
                then (select concat_ws('|', pg_get_function_result(p.oid), a.aggkind, a.aggtransfn, a.aggfinalfn,
                                       a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn,
                                       a.aggmfinalfn, a.aggtranstype::regtype, a.aggsortop::regoperator, a.agginitval,
                                       p.proparallel)
                        from pg_aggregate as a where a.aggfnoid = p.oid)
                else pg_get_functiondef(p.oid)
           end,
           p.proowner, p.proacl, acldefault('f', p.proowner)
      from pg_proc as p
      join space as s on s.oid = p.pronamespace
    union all
    select 'pg_type'::regclass, t.oid, s.nspname, true,
           concat_ws('|', t.typtype,
                     (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum as e where e.enumtypid = t.oid),
                     case when t.typtype = 'd' then
                         concat_ws('|', format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typcollation::regcollation,
                                   t.typdefault)
                     end,
                     (select concat_ws('|', g.rngsubtype::regtype, g.rngmultitypid::regtype, g.rngcollation::regcollation,
                                       o.opcname, g.rngcanonical, g.rngsubdiff)
                        from pg_range as g join pg_opclass as o on o.oid = g.rngsubopc
                       where g.rngtypid = t.oid),
                     case when t.typtype = 'b' then concat_ws('|', t.typinput, t.typoutput, t.typlen, t.typalign) end),
           t.typowner, t.typacl, acldefault('T', t.typowner)
      from pg_type as t
      join space as s on s.oid = t.typnamespace
      left join pg_class as c on c.oid = t.typrelid
     where t.typtype in ('e', 'd', 'r')
        or (t.typtype = 'c' and c.relkind = 'c')
        or (t.typtype = 'b' and not exists (select from pg_type as element where element.typarray = t.oid))
    union all
    select 'pg_trigger'::regclass, t.oid, r.nspname, true,
           concat_ws('|', pg_get_triggerdef(t.oid), t.tgenabled), null, null, null
      from pg_trigger as t
      join relation as r on r.oid = t.tgrelid
     where not t.tgisinternal
    union all
    select 'pg_rewrite'::regclass, w.oid, r.nspname, true,
           concat_ws('|', pg_get_ruledef(w.oid), w.ev_enabled), null, null, null
      from pg_rewrite as w
      join relation as r on r.oid = w.ev_class
     where w.rulename <> '_RETURN'
    union all
    select 'pg_policy'::regclass, p.oid, r.nspname, true,
           concat_ws('|', p.polcmd, p.polpermissive,
                     (select string_agg(case role when 0 then 'public' else role::regrole::text end, ','
                                        order by role::regrole::text collate "C") from unnest(p.polroles) as role),
                     pg_get_expr(p.polqual, p.polrelid), '>', pg_get_expr(p.polwithcheck, p.polrelid)),
           null, null, null
      from pg_policy as p
      join relation as r on r.oid = p.polrelid
    union all
    select 'pg_event_trigger'::regclass, e.oid, '', false,
           concat_ws('|', e.evtevent, e.evtenabled, e.evtfoid::regprocedure, e.evttags), e.evtowner, null, null
      from pg_event_trigger as e
    union all
    select 'pg_publication'::regclass, p.oid, '', true,
           concat_ws('|', (to_jsonb(p) - 'oid' - 'pubowner')::text,
                     (select string_agg(concat_ws(' ', l.prrelid::regclass, pg_get_expr(l.prqual, l.prrelid),
                                                  (select string_agg(a.attname, ',' order by a.attname collate "C")
                                                     from pg_attribute as a
                                                    where a.attrelid = l.prrelid and a.attnum = any (l.prattrs::smallint[]))),
                                        ',' order by l.prrelid::regclass::text collate "C")
                        from pg_publication_rel as l where l.prpubid = p.oid),
                     (select string_agg(n.pnnspid::regnamespace::text, ',' order by n.pnnspid::regnamespace::text collate "C")
                        from pg_publication_namespace as n where n.pnpubid = p.oid)),
           p.pubowner, null, null
      from pg_publication as p
    union all
    -- Loaded, a subscription is another one: it is not connected.
    select 'pg_subscription'::regclass, u.oid, '', false, '', u.subowner, null, null
      from pg_subscription as u
     where u.subdbid = (select d.oid from pg_database as d where d.datname = current_database())
    union all
    select 'pg_statistic_ext'::regclass, x.oid, s.nspname, true, pg_get_statisticsobjdef(x.oid), x.stxowner, null, null
      from pg_statistic_ext as x
      join space as s on s.oid = x.stxnamespace
    union all
    -- The version of a collation is the library's, and changes with the machine.
    select 'pg_collation'::regclass, c.oid, s.nspname, false,
           (to_jsonb(c) - 'oid' - 'collnamespace' - 'collowner' - 'collversion')::text, c.collowner, null, null
      from pg_collation as c
      join space as s on s.oid = c.collnamespace
    union all
    select 'pg_ts_config'::regclass, c.oid, s.nspname, false,
           concat_ws('|', (pg_identify_object('pg_ts_parser'::regclass, c.cfgparser, 0)).identity,
                     (select string_agg(concat_ws(' ', k.alias, m.mapseqno, m.mapdict::regdictionary), ','
                                        order by k.alias collate "C", m.mapseqno)
                        from pg_ts_config_map as m
                        join ts_token_type(c.cfgparser) as k on k.tokid = m.maptokentype
                       where m.mapcfg = c.oid)),
           c.cfgowner, null, null
      from pg_ts_config as c
      join space as s on s.oid = c.cfgnamespace
    union all
    select 'pg_ts_dict'::regclass, d.oid, s.nspname, false,
           concat_ws('|', (pg_identify_object('pg_ts_template'::regclass, d.dicttemplate, 0)).identity, d.dictinitoption),
           d.dictowner, null, null
      from pg_ts_dict as d
      join space as s on s.oid = d.dictnamespace
    union all
    select 'pg_ts_parser'::regclass, p.oid, s.nspname, false,
           concat_ws('|', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype), null, null, null
      from pg_ts_parser as p
      join space as s on s.oid = p.prsnamespace
    union all
    select 'pg_ts_template'::regclass, t.oid, s.nspname, false, concat_ws('|', t.tmplinit, t.tmpllexize), null, null, null
      from pg_ts_template as t
      join space as s on s.oid = t.tmplnamespace
    union all
    select 'pg_operator'::regclass, o.oid, s.nspname, false,
           concat_ws('|', o.oprcode, o.oprrest, o.oprjoin, o.oprcanmerge, o.oprcanhash, o.oprcom::regoperator,
                     o.oprnegate::regoperator),
           o.oprowner, null, null
      from pg_operator as o
      join space as s on s.oid = o.oprnamespace
     where o.oprcode <> 0
    union all
    select 'pg_opfamily'::regclass, f.oid, s.nspname, false,
           concat_ws('|',
                     (select string_agg(concat_ws(' ', a.amopstrategy, a.amopopr::regoperator), ','
                                        order by a.amopstrategy, a.amopopr::regoperator::text collate "C")
                        from pg_amop as a where a.amopfamily = f.oid),
                     (select string_agg(concat_ws(' ', a.amprocnum, a.amproc), ','
                                        order by a.amprocnum, a.amproc::text collate "C")
                        from pg_amproc as a where a.amprocfamily = f.oid)),
           f.opfowner, null, null
      from pg_opfamily as f
      join space as s on s.oid = f.opfnamespace
    union all
    select 'pg_opclass'::regclass, o.oid, s.nspname, false,
           concat_ws('|', o.opcintype::regtype, o.opcdefault, o.opckeytype::regtype), o.opcowner, null, null
      from pg_opclass as o
      join space as s on s.oid = o.opcnamespace
    union all
    select 'pg_conversion'::regclass, c.oid, s.nspname, false,
           concat_ws('|', c.conforencoding, c.contoencoding, c.conproc, c.condefault), c.conowner, null, null
      from pg_conversion as c
      join space as s on s.oid = c.connamespace
    union all
    select 'pg_cast'::regclass, c.oid, '', false,
           concat_ws('|', c.castcontext, c.castmethod, case when c.castfunc <> 0 then c.castfunc::regprocedure end),
           null, null, null
      from pg_cast as c
    union all
    select 'pg_transform'::regclass, t.oid, '', false, concat_ws('|', t.trffromsql, t.trftosql), null, null, null
      from pg_transform as t
    union all
    select 'pg_language'::regclass, l.oid, '', false, l.lanpltrusted::text, l.lanowner, l.lanacl, acldefault('l', l.lanowner)
      from pg_language as l
    union all
    select 'pg_am'::regclass, a.oid, '', false, concat_ws('|', a.amtype, a.amhandler), null, null, null
      from pg_am as a
    union all
    select 'pg_foreign_data_wrapper'::regclass, w.oid, '', false,
           (select string_agg(o, ',' order by o collate "C") from unnest(w.fdwoptions) as o),
           w.fdwowner, w.fdwacl, acldefault('F', w.fdwowner)
      from pg_foreign_data_wrapper as w
    union all
    select 'pg_foreign_server'::regclass, v.oid, '', false,
           concat_ws('|', v.srvtype, v.srvversion, (select string_agg(o, ',' order by o collate "C") from unnest(v.srvoptions) as o)),
           v.srvowner, v.srvacl, acldefault('S', v.srvowner)
      from pg_foreign_server as v
    union all
    select 'pg_default_acl'::regclass, d.oid, '', false,
           (select string_agg(a::text, ' ' order by a::text collate "C") from unnest(d.defaclacl) as a), null, null, null
      from pg_default_acl as d
),
carried as materialized (
    select o.*, i.type, i.identity
      from object as o
     cross join lateral pg_identify_object(o.classid, o.objid, 0) as i
     where (o.objid >= 16384 or o.classid = 'pg_namespace'::regclass)
       and (o.classid, o.objid) not in (select m.classid, m.objid from member as m)
),
described (kind, schema, name, deparsed, definition) as (
    select c.type, c.schema, c.identity, c.deparsed, c.definition
      from carried as c
    union all
    -- An inheriting table may get its columns in another order.
    select 'columns', r.nspname, format('%I.%I', r.nspname, r.relname), true,
           string_agg(concat_ws('|', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                                case when a.attcollation <> t.typcollation then a.attcollation::regcollation end,
                                a.attstorage, a.attcompression, pg_get_expr(d.adbin, d.adrelid), a.attfdwoptions),
                      E'\n' order by case when r.inherits then 0 else a.attnum end, a.attname collate "C")
      from (select *, not relispartition and exists (select from pg_inherits as i where i.inhrelid = relation.oid) as inherits
              from relation
             where relkind in ('r', 'p', 'f', 'c')) as r
      join pg_attribute as a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
      join pg_type as t on t.oid = a.atttypid
      left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where ('pg_class'::regclass, r.oid) not in (select m.classid, m.objid from member as m)
     group by r.oid, r.nspname, r.relname
    union all
    select 'owner', c.schema, c.type || ' ' || c.identity, false, pg_get_userbyid(c.owner)
      from carried as c
     where c.owner is not null
    union all
    -- Those that nobody changed are not kept by a dump as such.
    select 'grants', c.schema, c.type || ' ' || c.identity, false, concat_ws('|', g.given, g.given_columns)
      from carried as c
     cross join lateral (
           select case when c.acl is not null
                       then (select coalesce(string_agg(a::text, ' ' order by a::text collate "C"), '') from unnest(c.acl) as a)
                  end as given,
                  (select string_agg(a::text, ' ' order by a::text collate "C") from unnest(c.acl_default) as a) as usual,
                  (select string_agg(t.attname || ' ' || a::text, ' ' order by t.attname collate "C", a::text collate "C")
                     from pg_attribute as t, unnest(t.attacl) as a
                    where c.classid = 'pg_class'::regclass and t.attrelid = c.objid and not t.attisdropped) as given_columns) as g
     where g.given <> coalesce(g.usual, '')
        or g.given_columns is not null
    union all
    select 'comment', coalesce(i.schema, ''), i.type || ' ' || i.identity, false, d.description
      from pg_description as d
     cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) as i
     where (d.objoid >= 16384 or d.classoid = 'pg_namespace'::regclass and d.objoid in (select s.oid from space as s))
       and d.classoid not in ('pg_largeobject'::regclass, 'pg_extension'::regclass)
       and (d.classoid, d.objoid) not in (select m.classid, m.objid from member as m)
       and i.schema is distinct from 'information_schema'
    union all
    select 'security label', coalesce(i.schema, ''), l.provider || ' on ' || i.type || ' ' || i.identity, false, l.label
      from pg_seclabel as l
     cross join lateral pg_identify_object(l.classoid, l.objoid, l.objsubid) as i
     where l.classoid <> 'pg_largeobject'::regclass
    union all
    -- Their options may hold passwords.
    select 'user mapping', '', format('%I on %I', m.usename, m.srvname), false, ''
      from pg_user_mappings as m
    union all
    select 'database setting', '', concat_ws(' of ', split_part(v, '=', 1), case when r.setrole <> 0 then r.setrole::regrole end),
           false, v
      from pg_db_role_setting as r
      join pg_database as b on b.oid = r.setdatabase, unnest(r.setconfig) as v
     where b.datname = current_database()
    union all
    select 'database owner', '', 'of the database', false, pg_get_userbyid(b.datdba)
      from pg_database as b
     where b.datname = current_database()
    union all
    select 'database grants', '', 'of the database', false,
           (select string_agg(a::text, ' ' order by a::text collate "C") from unnest(b.datacl) as a)
      from pg_database as b
     where b.datname = current_database() and b.datacl is not null
)
select json_build_array(
           kind, schema, name,
           left(encode(sha256(textsend(coalesce(
               case when deparsed
                    then regexp_replace(
                             regexp_replace(definition,
                                 '::[a-z_"][a-zA-Z0-9_".]*( varying| precision)?(\([0-9, ]+\))?( with(out)? time zone)?(\[\])*',
                                 '', 'g'),
                             '[()\s]', '', 'g')
                    else definition
               end, ''))), 'hex'), 16))::text
  from described
 order by kind collate "C", schema collate "C", name collate "C"
