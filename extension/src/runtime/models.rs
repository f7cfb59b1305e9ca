//! What a model's name means: a project's deployed model, one model of the registry, or a directory that an administrator allows.

use crate::catalog::{self, StoredModel};
use crate::error::{Error, Result};
use crate::gucs;
use pgml_core::names::nearest;
use pgrx::PgSqlErrorCode;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A model that was found.
#[derive(Clone, Debug)]
pub enum Model {
    Stored(StoredModel),
    Directory { name: String, path: PathBuf },
}

impl Model {
    /// As the protocol wants it.
    pub fn to_json(&self) -> Result<Value> {
        Ok(match self {
            Self::Stored(model) => json!({
                "kind": "stored", "name": format!("pgml:{}", model.id), "digest": model.digest, "task": model.task,
                "files": catalog::files(model.id)?,
            }),
            Self::Directory { name, path } => json!({"kind": "directory", "name": name, "path": path}),
        })
    }

    /// The name under which the registry remembers a base model.
    pub fn name(&self) -> String {
        match self {
            Self::Stored(model) => format!("pgml:{}", model.id),
            Self::Directory { name, .. } => name.clone(),
        }
    }
}

/// Finds the model of a name: project, `pgml:<id>`, directory; in this order.
pub fn resolve(name: &str) -> Result<Model> {
    if let Some(model) = catalog::deployed_model(name)? {
        return Ok(Model::Stored(model));
    }
    if catalog::project(name)?.is_some() {
        return Err(not_deployed(name));
    }
    if let Some(id) = name.strip_prefix("pgml:") {
        return stored_by_id(name, id);
    }
    directory(name)?.ok_or_else(|| not_found(name))
}

/// Finds the base of an adapter by the name that `Model::name` gave it. Never a project: what it has deployed may change.
pub fn resolve_base(name: &str) -> Result<Model> {
    match name.strip_prefix("pgml:") {
        Some(id) => stored_by_id(name, id),
        None => directory(name)?.ok_or_else(|| not_found(name)),
    }
}

/// The deployed model of a project, and nothing else.
pub fn deployed(project: &str) -> Result<Model> {
    if let Some(model) = catalog::deployed_model(project)? {
        return Ok(Model::Stored(model));
    }
    Err(if catalog::project(project)?.is_some() { not_deployed(project) } else { no_project(project) })
}

pub fn no_project(name: &str) -> Error {
    Error::undefined(format!("project \"{name}\" does not exist"))
        .hint("SELECT name FROM pgml.projects; lists the projects that you may use.")
        .maybe_hint(similar_project(name))
}

fn stored_by_id(name: &str, id: &str) -> Result<Model> {
    let model = id.parse().ok().map(catalog::model_by_id).transpose()?.flatten();
    let model = model.ok_or_else(|| {
        Error::undefined(format!("model \"{name}\" does not exist or is not finished"))
            .hint("SELECT id, name FROM pgml.trained_models; lists the models that can be used.")
    })?;
    Ok(Model::Stored(model))
}

fn directory(name: &str) -> Result<Option<Model>> {
    let roots: Vec<PathBuf> =
        gucs::model_directories().iter().filter_map(|d| Path::new(d).canonicalize().ok()).collect();
    let candidates = if Path::new(name).is_absolute() {
        vec![PathBuf::from(name)]
    } else {
        roots.iter().map(|root| root.join(name)).collect()
    };
    // Links are followed before the check, so that none leads out of the allowed directories.
    for path in candidates.iter().filter_map(|c| c.canonicalize().ok()).filter(|p| p.is_dir()) {
        if roots.iter().any(|root| path.starts_with(root) && path != *root) {
            return Ok(Some(Model::Directory { name: name.into(), path }));
        }
        if Path::new(name).is_absolute() {
            return Err(outside(name));
        }
    }
    if Path::new(name).is_absolute() && !roots.iter().any(|root| Path::new(name).starts_with(root)) {
        return Err(outside(name));
    }
    Ok(None)
}

// The same answer whether the path is there or not: what lies outside is nobody's business.
fn outside(name: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("model \"{name}\" is not below one of the allowed directories"),
    )
    .detail(searched())
    .hint("A superuser can allow its directory with pgml.model_directories.")
}

fn searched() -> String {
    match gucs::model_directories().join(", ") {
        none if none.is_empty() => "pgml.model_directories names no directory.".into(),
        list => format!("pgml.model_directories is {list}."),
    }
}

fn not_found(name: &str) -> Error {
    Error::undefined(format!("model \"{name}\" does not exist"))
        .detail(format!("There is no project and no directory of that name. {}", searched()))
        .hint("Name a project, a model as 'pgml:<id>', or a directory below pgml.model_directories.")
        .maybe_hint(similar_project(name))
}

fn not_deployed(project: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("project \"{project}\" has no deployed model"),
    )
    .hint("SELECT id, name FROM pgml.trained_models; lists finished models, SELECT pgml.deploy(<id>); deploys one.")
}

fn similar_project(name: &str) -> Option<String> {
    let names = catalog::project_names().ok()?;
    nearest(name, names.iter().map(String::as_str)).map(|n| format!("Did you mean the project \"{n}\"?"))
}
