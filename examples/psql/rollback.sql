-- Let the model answer that was deployed before the current one. Takes effect with the next statement of every session.
\set ON_ERROR_STOP on
\if :{?project} \else \set project tags \endif

SELECT id AS "before" FROM pgml.deployed_models WHERE name = :'project';
SELECT project, strategy FROM pgml.deploy(:'project', 'rollback');
SELECT id AS "after" FROM pgml.deployed_models WHERE name = :'project';

\echo Who answered when:
SELECT d.model_id, d.strategy, d.created_at FROM pgml.deployments d JOIN pgml.projects p ON p.id = d.project_id
WHERE p.name = :'project' ORDER BY d.id DESC LIMIT 5;
