\echo Use "ALTER EXTENSION pgml UPDATE" to load this file. \quit

-- Only comments changed, which tools/install-extension appends.
