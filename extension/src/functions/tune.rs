//! `pgml.tune`: checks everything, reads the rows as the caller, hands the job to its worker, and waits with the caller.

use super::deploy::enum_label;
use crate::catalog::{self, Project};
use crate::error::{self, Error, OrReport, Result};
use crate::gucs;
use crate::hub;
use crate::relation::{self, Relation};
use crate::runtime::client;
use crate::runtime::models::{self, Model};
use crate::workers::attend::{self, End};
use crate::workers::directory::JobDirectory;
use crate::workers::in_process;
use crate::workers::spec::{self, JobSpec};
use pgml_core::redact::redact;
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};

pub type Tuned = TableIterator<
    'static,
    (
        name!(status, String),
        name!(task, String),
        name!(algorithm, String),
        name!(deployed, bool),
        name!(model_id, i64),
        name!(metrics, Option<JsonB>),
    ),
>;

/// The arguments of one call, with names for what SQL gives by position.
struct Arguments {
    project: String,
    task: Option<String>,
    relation: Option<String>,
    label_column: Option<String>,
    model: Option<String>,
    /// Without tokens.
    hyperparams: Value,
    tokens: Tokens,
    test_size: f32,
    test_sampling: String,
    automatic_deploy: bool,
    materialize: bool,
    wait: bool,
}

/// What a call gives for the Hub.
#[derive(Clone, Default)]
struct Tokens {
    read: Option<String>,
    push: Option<String>,
}

impl Tokens {
    /// Takes them out of the hyperparams: `token` is for the base model, `hub_token` for pushing, and one serves for both.
    fn take(hyperparams: &mut Value) -> Self {
        let read = hub::take_token(hyperparams, &["token", "hub_token", "use_auth_token"]);
        let push = hyperparams
            .get_mut("training_args")
            .and_then(|arguments| hub::take_token(arguments, &["hub_token", "push_to_hub_token", "token"]));
        Self { read, push }
    }
}

#[allow(clippy::too_many_arguments)] // as many as the SQL function has
#[pg_extern(sql = false)]
fn tune(
    project_name: Option<&str>,
    task: Option<&str>,
    relation_name: Option<&str>,
    y_column_name: Option<&str>,
    model_name: Option<&str>,
    hyperparams: Option<JsonB>,
    test_size: Option<f32>,
    test_sampling: Option<pg_sys::Oid>,
    automatic_deploy: Option<bool>,
    materialize_snapshot: Option<bool>,
    wait: Option<bool>,
    former_y_column_name: Option<&str>,
) -> Tuned {
    let mut hyperparams = hyperparams.map_or_else(|| json!({}), |h| h.0);
    let tokens = Tokens::take(&mut hyperparams);
    let project = project_name.map(str::trim).filter(|name| !name.is_empty());
    let arguments = Arguments {
        project: project.ok_or_else(|| Error::invalid("project_name cannot be NULL or empty")).or_report().into(),
        task: task.map(registry_task),
        relation: relation_name.map(str::to_string),
        label_column: y_column_name.or(former_y_column_name).map(str::to_string),
        model: model_name.map(str::to_string),
        hyperparams,
        tokens,
        test_size: test_size.unwrap_or(0.25),
        test_sampling: test_sampling.map_or_else(|| "stratified".into(), enum_label),
        automatic_deploy: automatic_deploy.unwrap_or(true),
        materialize: materialize_snapshot.unwrap_or(false),
        wait: wait.unwrap_or(true),
    };
    let (spec, end) = run(arguments).or_report();
    row(spec, end).or_report()
}

/// Deploys, and makes the row that the statement returns.
pub fn row(spec: JobSpec, end: End) -> Result<Tuned> {
    let deployed = deploy(&spec, &end)?;
    let metrics = Some(end.metrics).filter(|m| !m.is_null()).map(JsonB);
    Ok(TableIterator::once((end.status, spec.task, "transformers".into(), deployed, spec.model_id, metrics)))
}

/// The label of the enum `pgml.task` for a task as users write it.
fn registry_task(task: &str) -> String {
    let name = task.trim().to_lowercase().replace('-', "_");
    if name == "conversational" { "conversation".into() } else { name }
}

fn run(mut arguments: Arguments) -> Result<(JobSpec, End)> {
    if gucs::is_embedded() && !arguments.wait {
        return Err(in_process::needs_shared("pgml.tune cannot go on after its statement in embedded mode"));
    }
    let project = catalog::project(&arguments.project)?;
    fill_from_project(&mut arguments, project.as_ref())?;
    let relation_name = arguments.relation.clone().ok_or_else(no_relation)?;
    let relation = relation::resolve(&relation_name)?;
    let hub = hub::settings_to_push(arguments.tokens.read.clone(), arguments.tokens.push.clone())?;
    let model = arguments.model.as_deref().map(|name| base(name, &arguments, &hub)).transpose()?;
    let mut directory = JobDirectory::create(catalog::next_model_id()?)?;
    let plan = check(&arguments, &relation, &relation_name, model.as_ref(), &directory, &hub)?;
    announce(&plan);
    if relation.is_volatile()? && !arguments.materialize {
        error::warn(&format!("the definition of \"{relation_name}\" is volatile: its rows change at every read"));
    }
    let source = if arguments.materialize { relation.materialize(directory.model_id)? } else { relation };
    error::notice(&format!("reading the rows of {}", source.sql_name));
    source.write_arrow(&columns(&plan), &directory.files.rows())?;
    let analysis = prepare(&arguments, &relation_name, &plan, &directory)?;
    announce(&analysis);
    let spec = describe(arguments, relation_name, model, plan, analysis, directory.model_id);
    spec.write(&directory.files)?;
    let hub = (!spec.plan["push"].is_null()).then_some(hub);
    let end = if gucs::is_embedded() {
        in_process::run(&spec, &directory, hub.as_ref())?
    } else {
        attend::run("run", &spec, &mut directory, hub.as_ref())?
    };
    Ok((spec, end))
}

/// The model to start from; hyperparams may name its revision.
fn base(name: &str, arguments: &Arguments, hub: &Value) -> Result<Model> {
    let revision = arguments.hyperparams.get("revision").and_then(Value::as_str);
    models::resolve(name, revision, || Ok(hub.clone()))
}

/// A `tune` without a relation repeats the project's last job: its rows, label and hyperparams; one without a model, its base.
fn fill_from_project(arguments: &mut Arguments, project: Option<&Project>) -> Result<()> {
    let name = &arguments.project;
    let Some(project) = project else {
        return match catalog::hidden_owner(name)? {
            Some(owner) => Err(Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("project \"{name}\" belongs to another role"),
            )
            .hint(format!("Choose another name, or become a member of role {owner}."))),
            None if arguments.task.is_none() => Err(Error::invalid("task cannot be NULL for a new project")
                .hint("For example: task => 'text-classification'.")),
            None => Ok(()),
        };
    };
    let task = arguments.task.get_or_insert_with(|| project.task.clone());
    if *task != project.task {
        return Err(Error::invalid(format!("project \"{name}\" is for task {}, not {task}", project.task))
            .hint("A project keeps its task. Choose another project_name."));
    }
    let last = catalog::last_job(project.id)?;
    if let Some(last) = last {
        if arguments.relation.is_none() {
            arguments.relation = last.relation;
            arguments.label_column = arguments.label_column.take().or(last.label);
            if arguments.hyperparams.as_object().is_none_or(|h| h.is_empty()) {
                arguments.hyperparams = last.hyperparams;
            }
        }
        arguments.model = arguments.model.take().or(last.base_model);
    }
    Ok(())
}

fn no_relation() -> Error {
    Error::invalid("relation_name cannot be NULL for a new project").hint("Name a table or view: relation_name => '…'.")
}

fn check(
    arguments: &Arguments,
    relation: &Relation,
    relation_name: &str,
    model: Option<&Model>,
    directory: &JobDirectory,
    hub: &Value,
) -> Result<Value> {
    let header = json!({
        "op": "check_tune", "project": arguments.project, "task": arguments.task, "relation": relation.to_json(relation_name),
        "y_column_name": arguments.label_column, "hyperparams": arguments.hyperparams, "test_size": arguments.test_size,
        "test_sampling": arguments.test_sampling, "job_directory": directory.path(),
        "full_tuning_limit": gucs::full_tuning_limit(), "hub": hub,
    });
    let mut plan = client::ask(header, b"", model)?.header["plan"].take();
    redact(&mut plan["hyperparams"]);
    Ok(plan)
}

fn prepare(arguments: &Arguments, relation: &str, plan: &Value, directory: &JobDirectory) -> Result<Value> {
    let header = json!({
        "op": "prepare", "job_directory": directory.path(), "plan": plan, "relation": relation,
        "test_size": arguments.test_size, "test_sampling": arguments.test_sampling,
    });
    Ok(client::ask(header, b"", None)?.header["analysis"].take())
}

fn announce(answer: &Value) {
    let texts = |key: &str| answer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts("warnings").for_each(error::warn);
    texts("notices").for_each(error::notice);
}

/// Role and name of each column that the plan wants.
fn columns(plan: &Value) -> Vec<(String, String)> {
    let text = |column: &Value, key: &str| column[key].as_str().unwrap_or_default().to_string();
    plan["columns"].as_array().into_iter().flatten().map(|c| (text(c, "role"), text(c, "name"))).collect()
}

fn describe(
    arguments: Arguments,
    relation: String,
    model: Option<Model>,
    plan: Value,
    analysis: Value,
    model_id: i64,
) -> JobSpec {
    let label_column = columns(&plan).into_iter().find(|(role, _)| role == "label").map(|(_, column)| column);
    // SAFETY: reads this process' own database.
    let database = unsafe { pg_sys::MyDatabaseId };
    let (session_user, current_user) = spec::caller();
    JobSpec {
        model_id,
        database: database.to_u32(),
        session_user,
        current_user,
        project: arguments.project,
        task: arguments.task.unwrap_or_default(),
        relation,
        label_column,
        base_model: model.map(|m| m.name()).unwrap_or_default(),
        test_size: arguments.test_size,
        test_sampling: arguments.test_sampling,
        materialized: arguments.materialize,
        automatic_deploy: arguments.automatic_deploy,
        wait: arguments.wait,
        cancel_on_disconnect: gucs::on_disconnect() == gucs::OnDisconnect::Cancel,
        plan,
        analysis,
    }
}

/// The switch stays in the caller's transaction: a rollback leaves a finished model that is not deployed.
fn deploy(spec: &JobSpec, end: &End) -> Result<bool> {
    let Some(project_id) = end.project_id.filter(|_| end.status == "successful" && spec.automatic_deploy) else {
        return Ok(false);
    };
    if !catalog::is_improvement(project_id, &spec.task, &end.metrics)? {
        error::notice("the model is not deployed: the deployed model of the project is better");
        return Ok(false);
    }
    // Both ids come from the job worker. Under REPEATABLE READ the caller's own snapshot has no such project yet, and
    // row-level security would refuse the row.
    catalog::as_extension_owner(|| catalog::insert_deployment(project_id, spec.model_id, "new_score"))?;
    Ok(true)
}
