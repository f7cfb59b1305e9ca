\echo Use "ALTER EXTENSION pgml UPDATE" to load this file. \quit

CREATE FUNCTION pgml._sha256_step(state internal, data bytea) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sha256_step_wrapper';
CREATE FUNCTION pgml._sha256_end(state internal) RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sha256_end_wrapper';
CREATE AGGREGATE pgml._sha256(data bytea) (SFUNC = pgml._sha256_step, STYPE = internal, FINALFUNC = pgml._sha256_end, PARALLEL = SAFE);

-- tools/install-extension appends the comments.
