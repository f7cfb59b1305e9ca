//! What a model's name means: a project's deployed model, one model of the registry, a directory that an administrator
//! allows, or a repository of the Hugging Face Hub.

use crate::catalog::{self, StoredModel};
use crate::error::{Error, Result};
use crate::{gucs, hub};
use pgml_core::names::nearest;
use pgrx::PgSqlErrorCode;
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};

/// A model that was found.
#[derive(Clone, Debug)]
pub enum Model {
    Stored(StoredModel),
    Directory {
        name: String,
        path: PathBuf,
    },
    /// `hub` is what `hub::settings` gave: the runtime finds out whether there is such a repository.
    Hub {
        name: String,
        revision: Option<String>,
        hub: Value,
    },
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
            Self::Hub { name, revision, hub } => json!({"kind": "hub", "name": name, "revision": revision, "hub": hub}),
        })
    }

    /// The name under which the registry remembers a base model.
    pub fn name(&self) -> String {
        match self {
            Self::Stored(model) => format!("pgml:{}", model.id),
            Self::Directory { name, .. } => name.clone(),
            Self::Hub { name, revision, .. } => {
                revision.as_ref().map_or_else(|| name.clone(), |revision| format!("{name}{AT}{revision}"))
            }
        }
    }
}

/// Between the name of a repository and its revision: `org/name@v1`.
const AT: char = '@';

/// Finds the model of a name: project, `pgml:<id>`, directory, repository of the Hub; in this order. `hub` gives what the
/// request may do there, for a repository only.
pub fn resolve(name: &str, revision: Option<&str>, hub: impl FnOnce() -> Result<Value>) -> Result<Model> {
    if let Some(model) = catalog::deployed_model(name)? {
        return Ok(Model::Stored(model));
    }
    if catalog::project(name)?.is_some() {
        return Err(not_deployed(name));
    }
    if let Some(id) = name.strip_prefix("pgml:") {
        return stored_by_id(name, id);
    }
    outside_the_registry(name, revision, hub)
}

/// Finds the base of an adapter by the name that `Model::name` gave it. Never a project: what it has deployed may change.
/// `hub` is what the request may do on the Hub.
pub fn resolve_base(name: &str, revision: Option<&str>, hub: Option<&Value>) -> Result<Model> {
    match name.strip_prefix("pgml:") {
        Some(id) => stored_by_id(name, id),
        None => outside_the_registry(name, revision, || hub.cloned().map_or_else(|| hub::settings(None), Ok)),
    }
}

fn outside_the_registry(name: &str, revision: Option<&str>, hub: impl FnOnce() -> Result<Value>) -> Result<Model> {
    match directory(name)? {
        Some(model) => Ok(model),
        None => repository(name, revision, hub),
    }
}

/// A name that a repository of the Hub may have; whether there is one, the runtime asks.
pub fn repository(name: &str, revision: Option<&str>, hub: impl FnOnce() -> Result<Value>) -> Result<Model> {
    let (repository, own_revision) = match name.split_once(AT) {
        Some((repository, revision)) => (repository, Some(revision)),
        None => (name, None),
    };
    if !is_repository_name(repository) || own_revision.is_some_and(str::is_empty) {
        return Err(not_found(name));
    }
    let revision = revision.or(own_revision).map(str::to_string);
    Ok(Model::Hub { name: repository.into(), revision, hub: hub()? })
}

/// `name` or `owner/name`, of letters, digits, `-`, `_` and `.`, as the Hub wants it.
fn is_repository_name(name: &str) -> bool {
    let is_word = |word: &str| {
        word.len() <= 96
            && word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !word.contains("..")
    };
    let words: Vec<_> = name.split('/').collect();
    words.len() <= 2 && words.into_iter().all(is_word)
}

/// A name without an owner that is not on the Hub is most often a misspelt project or directory.
pub fn explain(error: Error, model: Option<&Model>) -> Error {
    let Some(Model::Hub { name, revision: None, .. }) = model else { return error };
    let is_about_name = !name.contains('/') && !error.message.starts_with("base model");
    if error.code != PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT || !is_about_name {
        return error;
    }
    let mut cause = error.message.chars();
    let cause: String = cause.next().into_iter().flat_map(char::to_uppercase).chain(cause).collect();
    let detail = error.detail.map(|detail| format!(" {detail}")).unwrap_or_default();
    let hints: Vec<_> = similar_project(name).or(Some(WHAT_TO_NAME.into())).into_iter().chain(error.hint).collect();
    Error::undefined(format!("model \"{name}\" does not exist"))
        .detail(format!("There is no project and no directory of that name. {} {cause}.{detail}", searched()))
        .hint(hints.join(" "))
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

pub fn stored_by_id(name: &str, id: &str) -> Result<Model> {
    let model = id.parse().ok().map(catalog::model_by_id).transpose()?.flatten();
    let model = model.ok_or_else(|| {
        Error::undefined(format!("model \"{name}\" does not exist or is not finished"))
            .hint("SELECT id, name FROM pgml.trained_models; lists the models that can be used.")
    })?;
    Ok(Model::Stored(model))
}

fn directory(name: &str) -> Result<Option<Model>> {
    if Path::new(name).is_absolute() && Path::new(name).components().any(|part| part == Component::ParentDir) {
        return Err(outside(name)); // whether it leads out shows only where it is there
    }
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
        .detail(format!(
            "There is no project and no directory of that name, and no repository of the Hub can have it. {}",
            searched()
        ))
        .hint(WHAT_TO_NAME)
        .maybe_hint(similar_project(name))
}

const WHAT_TO_NAME: &str =
    "Name a project, a model as 'pgml:<id>', a directory below pgml.model_directories, or a repository of the Hub.";

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
