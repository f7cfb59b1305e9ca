//! `pgml.push_to_hub`: a stored model to the Hugging Face Hub, whenever it was tuned.

use crate::catalog::{self, StoredModel};
use crate::error::{Error, OrReport, Result};
use crate::hub;
use crate::runtime::client;
use crate::runtime::models::{self, Model};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};

type Pushed = TableIterator<
    'static,
    (name!(model_id, i64), name!(repo_id, String), name!(url, Option<String>), name!(commit, Option<String>)),
>;

#[pg_extern(sql = false)]
fn push_project(
    project_name: Option<&str>,
    repo_id: Option<&str>,
    private: Option<bool>,
    token: Option<&str>,
    revision: Option<&str>,
) -> Pushed {
    let name = project_name.ok_or_else(|| Error::invalid("project_name cannot be NULL"));
    let model = name.and_then(models::deployed).and_then(stored).or_report();
    push(&model, repo_id, private, token, revision).or_report()
}

#[pg_extern(sql = false)]
fn push_model(
    model_id: Option<i64>,
    repo_id: Option<&str>,
    private: Option<bool>,
    token: Option<&str>,
    revision: Option<&str>,
) -> Pushed {
    let id = model_id.ok_or_else(|| Error::invalid("model_id cannot be NULL"));
    let model = id.and_then(|id| models::stored_by_id(&format!("pgml:{id}"), &id.to_string())).and_then(stored);
    push(&model.or_report(), repo_id, private, token, revision).or_report()
}

fn stored(model: Model) -> Result<StoredModel> {
    match model {
        Model::Stored(model) => Ok(model),
        other => Err(Error::invalid(format!("model \"{}\" is not stored in pgml.files", other.name()))),
    }
}

fn push(
    stored: &StoredModel,
    repo_id: Option<&str>,
    private: Option<bool>,
    token: Option<&str>,
    revision: Option<&str>,
) -> Result<Pushed> {
    let hub = hub::settings(token.filter(|t| !t.is_empty()).map(hub::given))?;
    let card = card(stored.id)?;
    let private = private.unwrap_or(true);
    let header = json!({
        "op": "push_to_hub", "repo_id": repo_id, "project": card["project"], "private": private, "revision": revision,
        "card": card, "hub": hub,
    });
    let answer = client::ask(header, b"", Some(&Model::Stored(stored.clone())))?.header;
    let text = |key: &str| answer[key].as_str().map(str::to_string);
    let repo_id = text("repo_id").ok_or_else(|| Error::protocol("The answer names no repository."))?;
    // A repository that was there before is as private as it was.
    let private = answer["private"].as_bool().unwrap_or(private);
    let pushed = json!({"repo_id": repo_id, "url": answer["url"], "commit": answer["commit"], "private": private});
    catalog::set_hub(stored.id, pushed)?;
    Ok(TableIterator::once((stored.id, repo_id, text("url"), text("commit"))))
}

/// What the registry knows of a model, for its card: never the data itself.
fn card(model_id: i64) -> Result<Value> {
    const FACTS: &str = "
        SELECT pg_catalog.jsonb_build_object(
            'project', p.name, 'task', pg_catalog.replace(p.task::text, '_', '-'), 'model_id', m.id,
            'base_model', m.base_model, 'base_revision', m.base_revision,
            'relation', s.relation_name, 'train_rows', s.train_rows, 'test_rows', s.test_rows,
            'test_sampling', s.test_sampling, 'test_size', s.test_size, 'seed', s.seed, 'digest', s.digest,
            'labels', (SELECT pg_catalog.jsonb_agg(label ORDER BY label COLLATE \"C\")
                       FROM pg_catalog.jsonb_object_keys(
                           CASE pg_catalog.jsonb_typeof(s.analysis->'labels') WHEN 'object' THEN s.analysis->'labels' END) AS label),
            'metrics', m.metrics, 'hyperparams', m.hyperparams,
            'lora', EXISTS (SELECT FROM pgml.files f WHERE f.model_id = m.id AND f.path = 'adapter_config.json'))
        FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id LEFT JOIN pgml.snapshots s ON s.id = m.snapshot_id
        WHERE m.id = $1";
    let facts: Option<JsonB> = catalog::first_row(FACTS, &[model_id.into()], |row| catalog::required(row, 1))?;
    let mut facts = facts.map(|f| f.0).unwrap_or_default();
    facts["pgml_version"] = json!(env!("CARGO_PKG_VERSION"));
    Ok(facts)
}
