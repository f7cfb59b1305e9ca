//! `pgml.deploy`: which model of a project answers.

use crate::catalog::{self, Project};
use crate::error::{Error, OrReport, Result};
use crate::runtime::models;
use pgrx::prelude::*;

type Deployed = TableIterator<'static, (name!(project, String), name!(strategy, String), name!(algorithm, String))>;

#[pg_extern(sql = false)]
fn deploy_model(model_id: i64) -> Deployed {
    TableIterator::once(deploy(model_id, "specific").or_report())
}

// An enum's datum is the OID of its label.
#[pg_extern(sql = false)]
fn deploy_project(project_name: Option<&str>, strategy: Option<pg_sys::Oid>, algorithm: Option<&str>) -> Deployed {
    TableIterator::once(by_strategy(project_name, strategy, algorithm).or_report())
}

fn deploy(model_id: i64, strategy: &str) -> Result<(String, String, String)> {
    const MODEL: &str = "
        SELECT p.id, p.name, m.algorithm, m.status
        FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE m.id = $1";
    let row = catalog::first_row(MODEL, &[model_id.into()], |row| {
        let (id, name): (i64, String) = (catalog::required(row, 1)?, catalog::required(row, 2)?);
        Ok((id, name, catalog::required::<String>(row, 3)?, catalog::required::<String>(row, 4)?))
    })?;
    let Some((project_id, project, algorithm, status)) = row else {
        return Err(Error::undefined(format!("model {model_id} does not exist")).hint(LIST));
    };
    if status != "successful" {
        let message = format!("model {model_id} cannot be deployed because its status is {status}");
        return Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).hint(LIST));
    }
    catalog::insert_deployment(project_id, model_id, strategy)?;
    Ok((project, strategy.into(), algorithm))
}

const LIST: &str = "SELECT id, name FROM pgml.trained_models; lists the models that can be deployed.";

fn by_strategy(
    project: Option<&str>,
    strategy: Option<pg_sys::Oid>,
    algorithm: Option<&str>,
) -> Result<(String, String, String)> {
    let (Some(name), Some(strategy)) = (project, strategy) else {
        let message = "project_name and strategy cannot be NULL";
        return Err(Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, message));
    };
    let strategy = enum_label(strategy);
    let project = catalog::project(name)?.ok_or_else(|| models::no_project(name))?;
    let model_id = choose(&project, &strategy, algorithm)?.ok_or_else(|| {
        let message = format!("project \"{name}\" has no model that strategy {strategy} could deploy");
        Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).hint(LIST)
    })?;
    deploy(model_id, &strategy)
}

/// The label of an enum value.
pub fn enum_label(value: pg_sys::Oid) -> String {
    // SAFETY: PostgreSQL checked the argument's type; enum_out takes the OID of a label and gives its text.
    let label = unsafe { pgrx::direct_function_call::<&core::ffi::CStr>(pg_sys::enum_out, &[value.into_datum()]) };
    label.map(|l| l.to_string_lossy().into_owned()).unwrap_or_default()
}

const FINISHED: &str = "
    SELECT m.id FROM pgml.models m
    WHERE m.project_id = $1 AND m.status = 'successful' AND m.algorithm = COALESCE($2, m.algorithm)";

// The model that was deployed before the one that is deployed now.
const PREVIOUS: &str = "
    SELECT d.model_id
    FROM pgml.deployments d JOIN pgml.models m ON m.id = d.model_id
    WHERE d.project_id = $1 AND m.status = 'successful' AND m.algorithm = COALESCE($2, m.algorithm)
      AND d.model_id <> (SELECT model_id FROM pgml.deployments WHERE project_id = $1 ORDER BY id DESC LIMIT 1)
    ORDER BY d.id DESC LIMIT 1";

fn choose(project: &Project, strategy: &str, algorithm: Option<&str>) -> Result<Option<i64>> {
    let (metric, more_is_better) = catalog::target_metric(&project.task);
    let direction = if more_is_better { "DESC" } else { "ASC" };
    let query = match strategy {
        "most_recent" | "new_score" => format!("{FINISHED} ORDER BY m.id DESC LIMIT 1"),
        "best_score" => {
            format!("{FINISHED} ORDER BY (m.metrics->>'{metric}')::float8 {direction} NULLS LAST, m.id DESC LIMIT 1")
        }
        "rollback" => PREVIOUS.to_string(),
        _ => {
            let error = Error::invalid("strategy specific needs the id of a model");
            return Err(error.hint("SELECT pgml.deploy(<model_id>);"));
        }
    };
    catalog::first_row(&query, &[project.id.into(), algorithm.into()], |row| catalog::required(row, 1))
}
