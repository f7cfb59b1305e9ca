-- Sets PostgresML aside: its tables, types and views leave its extension and stay, in the schema postgresml; the extension goes.
-- pg_dump, which leaves out the rows of an extension's tables, takes them along then. migrate_postgresml.sql begins with this.
--
--   psql -X -d DATABASE -f set_aside_postgresml.sql
\set ON_ERROR_STOP on
DO $$
DECLARE
    member record;
    dependents text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    -- Tables with the names of the registry, but without the owners that pgml has added.
    IF to_regclass('pgml.projects') IS NULL OR to_regclass('pgml.files') IS NULL
       OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('pgml.projects') AND attname = 'owner') THEN
        RETURN;
    END IF;
    FOR member IN
        SELECT object.type, object.identity
        FROM pg_depend d
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS object
        WHERE e.extname = 'pgml'
          AND (d.classid IN ('pg_class'::regclass, 'pg_type'::regclass)
               OR d.classid = 'pg_proc'::regclass AND d.objid IN (SELECT tgfoid FROM pg_trigger))
    LOOP
        EXECUTE format('ALTER EXTENSION pgml DROP %s %s', member.type, member.identity);
    END LOOP;
    DROP EXTENSION IF EXISTS pgml;
    ALTER SCHEMA pgml RENAME TO postgresml;
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS dependents = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'objects of this database need functions of PostgresML, which go'
        USING ERRCODE = 'dependent_objects_still_exist', DETAIL = dependents,
              HINT = 'Change or drop these objects, and run this again. Nothing was changed.';
END
$$;
