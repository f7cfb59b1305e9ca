"""What an extension consists of, as text, so that two databases can be compared."""

from __future__ import annotations

from tests.cluster import Database

EXTENSION = "(SELECT oid FROM pg_extension WHERE extname = 'pgml')"
MEMBERS = f"SELECT objid FROM pg_depend WHERE refobjid = {EXTENSION} AND deptype = 'e'"
RELATIONS = f"SELECT oid FROM pg_class WHERE oid IN ({MEMBERS})"

QUERIES = {
    "objects": f"""
        SELECT pg_describe_object(classid, objid, objsubid), obj_description(objid, classid::regclass::text)
        FROM pg_depend WHERE refobjid = {EXTENSION} AND deptype = 'e'""",
    "functions": f"""
        SELECT oid::regprocedure, prosrc, probin, prolang, provolatile, proparallel, procost, prorows, prosecdef,
               proisstrict, proleakproof, proconfig, proacl, pg_get_function_arguments(oid), pg_get_function_result(oid)
        FROM pg_proc WHERE oid IN ({MEMBERS})""",
    "relations": f"""
        SELECT oid::regclass, relkind, relpersistence, reloptions, relacl, relrowsecurity, relforcerowsecurity,
               CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END
        FROM pg_class WHERE oid IN ({MEMBERS})""",
    "columns": f"""
        SELECT attrelid::regclass, row_number() OVER (PARTITION BY attrelid ORDER BY attnum), attname,
               format_type(atttypid, atttypmod), attnotnull, attstorage, attidentity, attacl,
               pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
        FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
        WHERE attrelid IN ({RELATIONS}) AND attnum > 0 AND NOT attisdropped""",
    "constraints": f"""
        SELECT conrelid::regclass, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid IN ({RELATIONS})""",
    "indexes": f"SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN ({RELATIONS})",
    "triggers": f"SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid IN ({RELATIONS}) AND NOT tgisinternal",
    "policies": f"""
        SELECT polrelid::regclass, polname, polcmd, polpermissive, polroles::regrole[],
               pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
        FROM pg_policy WHERE polrelid IN ({RELATIONS})""",
    "labels": f"""
        SELECT enumtypid::regtype, row_number() OVER (PARTITION BY enumtypid ORDER BY enumsortorder), enumlabel
        FROM pg_enum WHERE enumtypid IN ({MEMBERS})""",
    "sequences": f"""
        SELECT seqrelid::regclass, seqtypid::regtype, seqstart, seqincrement, seqmax, seqcache
        FROM pg_sequence WHERE seqrelid IN ({RELATIONS})""",
    "schema": "SELECT nspname, nspacl, obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'pgml'",
    "dumped": """
        SELECT config::regclass, condition
        FROM pg_extension, unnest(extconfig, extcondition) AS dumped(config, condition) WHERE extname = 'pgml'""",
    "version": "SELECT extversion FROM pg_extension WHERE extname = 'pgml'",
}


def contents(database: Database) -> dict[str, list[str]]:
    """All that CREATE EXTENSION made, but its rows; each kind sorted."""
    return {kind: sorted(map(str, database.run(query))) for kind, query in QUERIES.items()}
