"""Models that were tuned before are tuned on: adapters on their base, whole models with their head."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from serving import directory_model, stored_model
from test_check import fault_of, request
from tuning import easy_rows, easy_talks, make_job
from tuning_here import run

from pgml.runtime.bases import weights_digest
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.check import check_tune

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # peft asks for it

TRAINING = {"num_train_epochs": 2, "per_device_train_batch_size": 6, "use_cpu": True, "eval_strategy": "no"}
STILL = {**TRAINING, "max_steps": 1, "learning_rate": 0}
LORA = {"r": 4, "lora_alpha": 12}


@pytest.fixture(scope="module")
def chat(tiny_model, tmp_path_factory):
    """An adapter of a chat model, with a template of its own."""
    hyperparams = {
        "training_args": {**TRAINING, "learning_rate": 1e-2},
        "lora_config": LORA,
        "max_seq_length": 100,
        "prompt_template": "{system}Q: {user} A: {assistant}",
    }
    job = make_job(tmp_path_factory.mktemp("chat") / "job", tiny_model("llama-chat"), easy_talks(), hyperparams)
    run(job)
    return job / "model"


@pytest.fixture(scope="module")
def classifier(tiny_model, tmp_path_factory):
    """An adapter that gives labels."""
    hyperparams = {"training_args": TRAINING, "lora_config": LORA, "tokenizer_args": {"max_length": 20}}
    job = make_job(tmp_path_factory.mktemp("classifier") / "job", tiny_model("bert"), easy_rows(), hyperparams)
    run(job)
    return job / "model"


def named(adapter):
    return {"name": "earlier", "path": str(adapter)}


def plan_of(job):
    return json.loads((job / "job.json").read_text())["plan"]


def weights_of(directory):
    return load_file(directory / "adapter_model.safetensors")


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def test_an_adapter_is_trained_on_from_its_weights_on_the_same_base(chat, tiny_model, tmp_path):
    base = tiny_model("llama-chat")
    hyperparams = {"training_args": {**TRAINING, "learning_rate": 1e-2}}
    job = make_job(tmp_path / "job", base, easy_talks(), hyperparams, adapter=named(chat))
    plan = plan_of(job)
    assert (plan["base"], plan["base_name"], plan["adapter"]) == (str(base), "tiny", str(chat))
    assert plan["hyperparams"]["lora_config"] == {
        **LORA,
        "target_modules": plan["hyperparams"]["lora_config"]["target_modules"],
    }
    done = run(job)
    assert "training goes on from the weights of the adapter" in done.notices
    before, after = weights_of(chat), weights_of(job / "model")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    about = json.loads((job / "model" / "pgml.json").read_text())
    assert about["base"] == {"name": "tiny", "revision": None, "digest": weights_digest(str(base))}
    trained = [name for name, parameter in done.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_what_is_not_trained_stays_as_it_was(chat, classifier, tiny_model, tmp_path):
    for adapter, base, rows in ((chat, "llama-chat", easy_talks()), (classifier, "bert", easy_rows())):
        job = make_job(tmp_path / base, tiny_model(base), rows, {"training_args": STILL}, adapter=named(adapter))
        run(job)
        assert_same(weights_of(adapter), weights_of(job / "model"))
        earlier, now = (json.loads((at / "pgml.json").read_text()) for at in (adapter, job / "model"))
        assert (now["tokenizer_args"], now["base"], now.get("labels")) == (
            earlier["tokenizer_args"],
            earlier["base"],
            earlier.get("labels"),
        )


def test_template_and_lengths_are_kept_unless_given_anew(chat, tiny_model, tmp_path):
    kept = make_job(
        tmp_path / "a", tiny_model("llama-chat"), easy_talks(), {"training_args": STILL}, adapter=named(chat)
    )
    run(kept)
    assert plan_of(kept)["hyperparams"]["tokenizer_args"] == {"max_length": 100}
    template = (chat / "chat_template.jinja").read_text()
    assert (kept / "model" / "chat_template.jinja").read_text() == template
    anew = {"training_args": STILL, "max_seq_length": 50, "prompt_template": "{user}={assistant}"}
    talks = {name: values for name, values in easy_talks().items() if name != "system"}
    changed = make_job(tmp_path / "b", tiny_model("llama-chat"), talks, anew, adapter=named(chat))
    run(changed)
    assert plan_of(changed)["hyperparams"]["tokenizer_args"] == {"max_length": 50}
    assert (changed / "model" / "chat_template.jinja").read_text() != template


def test_rows_of_other_labels_are_refused_before_training(classifier, tiny_model, tmp_path):
    rows = easy_rows()
    rows["label"][0] = "new"
    job = make_job(tmp_path / "job", tiny_model("bert"), rows, {"training_args": STILL}, adapter=named(classifier))
    with pytest.raises(RuntimeFault, match="the rows have other labels than the adapter") as caught:
        run(job)
    assert caught.value.sqlstate == "22023"
    assert caught.value.detail == "The rows have bad, good, late, new; the adapter has bad, good, late."
    assert "base model" in caught.value.hint


CHAT = {
    "task": "conversation",
    "columns": {"user": "text", "assistant": "text"},
    "hyperparams": {},
}


@pytest.mark.parametrize(
    ("lora_config", "message"),
    [
        ({"r": 8}, '"r" in lora_config is 4 in adapter "earlier", not 8'),
        ({"lora_alpha": 16}, '"lora_alpha" in lora_config is 12 in adapter "earlier", not 16'),
        ({"lora_dropout": 0.5}, '"lora_dropout" in lora_config is 0.0 in adapter "earlier", not 0.5'),
        ({"target_modules": ["q_proj"]}, '"target_modules" in lora_config is '),
        ({"rank": 4}, 'unknown key "rank" in lora_config'),
        (None, 'adapter "earlier" cannot be tuned whole'),
        (False, 'adapter "earlier" cannot be tuned whole'),
    ],
)
def test_settings_of_the_adapter_stay(chat, tiny_model, lora_config, message):
    changes = {**CHAT, "hyperparams": {"lora_config": lora_config}, "adapter": named(chat)}
    fault = fault_of(str(tiny_model("llama-chat")), **changes)
    assert fault.message.startswith(message)
    assert fault.hint


def test_settings_that_are_the_same_may_be_given(chat, tiny_model):
    first = check_tune(request(**CHAT, adapter=named(chat)), str(tiny_model("llama-chat")))["hyperparams"]
    for lora_config in ({"r": 4}, {**LORA, "target_modules": "all-linear"}, {}, first["lora_config"]):
        again = {"hyperparams": {**first, "lora_config": lora_config}}
        plan = check_tune(request(**{**CHAT, **again}, adapter=named(chat)), str(tiny_model("llama-chat")))
        assert plan["hyperparams"] == first


def test_an_adapter_of_another_kind_is_refused(chat, tiny_model):
    fault = fault_of(str(tiny_model("llama")), adapter=named(chat))
    assert fault.message == 'adapter "earlier" is of type CAUSAL_LM, and cannot be tuned for classification'
    assert (fault.sqlstate, fault.hint) == (
        "0A000",
        'Name its base model, "tiny", to have another adapter trained.',
    )


def test_the_server_finds_the_base_of_an_adapter(chat, backend, tiny_model, tmp_path):
    base = tiny_model("llama-chat")
    adapter = stored_model(chat, "conversation")
    header = request(**CHAT, model=adapter, job_directory=str(tmp_path))
    backend.send({"op": "check_tune", **header})
    assert backend.read()[0] == {"need": "files", "digest": adapter["digest"]}
    backend.send_files(chat, adapter)
    need, _ = backend.read()
    assert (need["need"], need["name"]) == ("model", "tiny")
    backend.send({"model": {**directory_model(base), "name": "tiny"}})
    plan = backend.read()[0]["plan"]
    assert (plan["base"], plan["base_name"]) == (str(base), "tiny")
    assert plan["adapter"] == str(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {path.name for path in chat.iterdir()}


def test_a_whole_model_is_tuned_on_with_its_head_weights_and_settings(tiny_model, tmp_path):
    hyperparams = {"training_args": {**TRAINING, "learning_rate": 1e-2}, "tokenizer_args": {"max_length": 20}}
    first = make_job(tmp_path / "first", tiny_model("bert"), easy_rows(), hyperparams)
    run(first)
    second = make_job(tmp_path / "second", first / "model", easy_rows(), {"training_args": STILL})
    assert "the model has these labels already, training goes on from its weights" in run(second).notices
    before, after = (load_file(job / "model" / "model.safetensors") for job in (first, second))
    assert_same(before, after)
    assert plan_of(second)["hyperparams"]["tokenizer_args"] == {"max_length": 20}


def test_a_whole_chat_model_keeps_its_template(tiny_model, tmp_path):
    hyperparams = {"training_args": STILL, "lora_config": None, "prompt_template": "{system}Q: {user} A: {assistant}"}
    first = make_job(tmp_path / "first", tiny_model("llama-chat"), easy_talks(), hyperparams)
    run(first)
    second = make_job(tmp_path / "second", first / "model", easy_talks(), {"training_args": STILL})
    run(second)
    first_template, second_template = ((job / "model" / "chat_template.jinja").read_text() for job in (first, second))
    assert first_template == second_template
