//! `pgml.pull_from_hub`: a model of the Hugging Face Hub as a model of a project, its files in `pgml.files`.

use crate::catalog;
use crate::error::{Error, OrReport, Result};
use crate::hub;
use crate::runtime::client;
use crate::runtime::models::{self, Model};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::Path;

type Pulled = TableIterator<
    'static,
    (name!(project, String), name!(task, String), name!(model_id, i64), name!(commit, Option<String>)),
>;

/// Bytes of a file in one row of `pgml.files`, as the trainer sends them.
const PART: usize = 4 << 20;

#[pg_extern(sql = false)]
fn pull_from_hub(
    repo_id: Option<&str>,
    project_name: Option<&str>,
    revision: Option<&str>,
    token: Option<&str>,
) -> Pulled {
    let repo_id = repo_id.filter(|name| !name.is_empty());
    let repo_id = repo_id.ok_or_else(|| Error::invalid("repo_id cannot be NULL or empty")).or_report();
    pull(repo_id, project_name, revision, token).or_report()
}

fn pull(repo_id: &str, project: Option<&str>, revision: Option<&str>, token: Option<&str>) -> Result<Pulled> {
    let token = token.filter(|t| !t.is_empty()).map(hub::given);
    let model = models::repository(repo_id, revision, || hub::settings(token))?;
    let Model::Hub { name, .. } = &model else { return Err(Error::invalid("repo_id names no repository")) };
    let project = project.unwrap_or_else(|| name.rsplit('/').next().unwrap_or(name));
    let answer = client::ask(json!({"op": "pull_from_hub"}), b"", Some(&model))?.header;
    let text = |key: &str| answer[key].as_str().map(str::to_string);
    let (Some(task), Some(path)) = (text("task"), text("path")) else {
        return Err(Error::protocol("The answer names no task or no path."));
    };
    let task = task.replace('-', "_");
    let project_id = catalog::find_or_create_project(project, &task)?;
    let model_id = catalog::next_model_id()?;
    insert_model(model_id, project_id, &text("base_model").unwrap_or_else(|| model.name()))?;
    for file in answer["files"].as_array().into_iter().flatten() {
        store(model_id, Path::new(&path), file)?;
    }
    catalog::complete_model(model_id, &Value::Null)?;
    catalog::set_hub(model_id, json!({"repo_id": name, "commit": answer["commit"], "pulled": true}))?;
    catalog::insert_deployment(project_id, model_id, "most_recent")?;
    Ok(TableIterator::once((project.into(), task, model_id, text("commit"))))
}

fn insert_model(model_id: i64, project_id: i64, base_model: &str) -> Result<()> {
    const INSERT: &str = "
        INSERT INTO pgml.models (id, project_id, num_features, algorithm, hyperparams, status, base_model, started_at)
        VALUES ($1, $2, 1, 'transformers', $3, 'in_progress', $4, pg_catalog.clock_timestamp())";
    catalog::execute(INSERT, &[model_id.into(), project_id.into(), JsonB(json!({})).into(), base_model.into()])
}

/// Stores one file of the runtime's cache in parts.
fn store(model_id: i64, directory: &Path, file: &Value) -> Result<()> {
    let (Some(name), Some(size), Some(sha256)) =
        (file["path"].as_str(), file["size"].as_i64(), file["sha256"].as_str())
    else {
        return Err(Error::protocol("A file of the answer lacks its path, size or sha256."));
    };
    let fail = |e: std::io::Error| Error::io(&format!("read \"{name}\" of the model"), &e);
    let mut source = File::open(directory.join(name)).map_err(fail)?;
    for part in 0.. {
        let mut data = Vec::new();
        source.by_ref().take(PART as u64).read_to_end(&mut data).map_err(fail)?;
        if data.is_empty() && part > 0 {
            break;
        }
        catalog::insert_part(model_id, name, part, &data, size, sha256)?;
        pgrx::check_for_interrupts!();
    }
    Ok(())
}
