-- Everybody may use pgml; rows belong to the owner of their project and to the members of that role.

GRANT USAGE ON SCHEMA pgml TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON pgml.projects, pgml.snapshots, pgml.models, pgml.deployments, pgml.files, pgml.logs TO PUBLIC;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA pgml TO PUBLIC;
GRANT SELECT ON pgml.overview, pgml.deployed_models, pgml.trained_models, pgml.jobs, pgml.loaded_models TO PUBLIC;
REVOKE EXECUTE ON FUNCTION pgml.restart_runtime() FROM PUBLIC;

ALTER TABLE pgml.projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.models ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.deployments ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.files ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.logs ENABLE ROW LEVEL SECURITY;

CREATE POLICY members ON pgml.projects USING (pg_catalog.pg_has_role(owner::oid, 'MEMBER'));
CREATE POLICY members ON pgml.snapshots USING (pg_catalog.pg_has_role(owner::oid, 'MEMBER'));
CREATE POLICY members ON pgml.models USING (EXISTS (SELECT FROM pgml.projects p WHERE p.id = project_id));
CREATE POLICY members ON pgml.deployments USING (EXISTS (SELECT FROM pgml.projects p WHERE p.id = project_id));
CREATE POLICY members ON pgml.files USING (EXISTS (SELECT FROM pgml.models m WHERE m.id = model_id));
CREATE POLICY members ON pgml.logs USING (EXISTS (SELECT FROM pgml.projects p WHERE p.id = project_id));
