"""LoRA adapters that share a base: what they answer, what they cost, and when the base is not what it was."""

from __future__ import annotations

import shutil
import threading
import weakref

import pytest
import torch
from adapters import make_adapter
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.generation.requests import TextRequest
from pgml.runtime.serving.engine import Engine
from pgml.runtime.serving.models import ModelDirectory
from pgml.runtime.tasks import TaskSpec, causal

TEXT = "The film was"
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of transformers, for peft


@pytest.fixture(scope="module")
def base(tiny_model):
    return tiny_model("llama-chat")


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return [make_adapter(base, root / f"adapter-{seed}", seed) for seed in (1, 2)]


@pytest.fixture
def engine():
    return Engine(threads=1)


def directory(path, base):
    return ModelDirectory(path.name, str(path), base=ModelDirectory(base.name, str(base)))


def ask(engine, model, tokens=20, text=TEXT):
    request = TextRequest(
        TaskSpec("text-generation"), [text], {}, {"temperature": 0, "max_tokens": tokens, "return_full_text": False}
    )
    return request.results(engine.generate(model, request, lambda: False))[0][0]["generated_text"]


def direct(path, base, tokens=20):
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoPeftModelForCausalLM.from_pretrained(path)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    mask = torch.ones_like(ids)
    output = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    text = tokenizer.decode(output[0], skip_special_tokens=True)
    return text[len(TEXT) :].rstrip("\ufffd")


def test_adapters_and_base_answer_together_as_each_does_alone(engine, base, adapters):
    models = [ModelDirectory(base.name, str(base)), *(directory(path, base) for path in adapters)]
    before = ask(engine, models[0])
    results = {}
    threads = [
        threading.Thread(target=lambda m=model: results.update({m.name: ask(engine, m)})) for model in models * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results["llama-chat"] == before
    # At the end there may be bytes that are no character.
    assert [results[path.name].rstrip("\ufffd") for path in adapters] == [direct(path, base) for path in adapters]
    assert len(set(results.values())) == 3


def test_an_adapter_beyond_plain_lora_is_computed_too(engine, base, adapters, tmp_path):
    dora = make_adapter(base, tmp_path / "dora", 4, config={"use_dora": True})
    saved = make_adapter(base, tmp_path / "saved", 5, config={"modules_to_save": ["lm_head"]})
    models = [ModelDirectory(base.name, str(base)), *(directory(path, base) for path in (*adapters, dora, saved))]
    alone = [ask(Engine(threads=1), model) for model in models]
    results = {}
    threads = [threading.Thread(target=lambda m=model: results.update({m.name: ask(engine, m)})) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [results[model.name] for model in models] == alone
    assert results["dora"].rstrip("\ufffd") == direct(dora, base)
    assert results["saved"].rstrip("\ufffd") == direct(saved, base)


def test_an_adapter_of_a_model_that_cannot_be_packed(base, adapters, monkeypatch):
    monkeypatch.setattr(causal, "can_pack", lambda module: False)
    engine = Engine(threads=1)
    for path in adapters:
        assert ask(engine, directory(path, base)).rstrip("\ufffd") == direct(path, base)
    engine.status()


@pytest.mark.parametrize("first", [True, False])
def test_an_adapter_that_cannot_be_read_leaves_its_base_as_it_was(engine, base, adapters, tmp_path, first):
    plain = ModelDirectory(base.name, str(base))
    before = ask(engine, plain)
    if not first:
        ask(engine, directory(adapters[0], base))
    broken = shutil.copytree(adapters[1], tmp_path / "broken")
    for change in (lambda tensor: tensor[:, :3].contiguous(), lambda tensor: None):
        weights = {key: change(tensor) for key, tensor in load_file(adapters[1] / "adapter_model.safetensors").items()}
        save_file({key: t for key, t in weights.items() if t is not None}, broken / "adapter_model.safetensors")
        with pytest.raises(RuntimeFault, match='could not load model "broken"'):
            ask(engine, directory(broken, base))
    assert ask(engine, plain) == before
    assert ask(engine, directory(adapters[1], base)).rstrip("\ufffd") == direct(adapters[1], base)


def test_only_lora_is_taken(engine, base, adapters, tmp_path):
    other = shutil.copytree(adapters[0], tmp_path / "other")
    (other / "adapter_config.json").write_text('{"peft_type": "PREFIX_TUNING"}')
    with pytest.raises(RuntimeFault, match="its adapter is of type PREFIX_TUNING, and only LORA can be used"):
        ask(engine, directory(other, base))
    (other / "adapter_config.json").write_text('{"peft_type": "LORA", "bias": "all"}')
    with pytest.raises(RuntimeFault, match="changes the base model's own weights"):
        ask(engine, directory(other, base))


def test_adapters_share_the_weights_of_their_base(engine, base, adapters):
    for path in adapters:
        ask(engine, directory(path, base))
    loaded = {status["name"]: status for status in engine.status()}
    assert set(loaded) == {"llama-chat", "adapter-1", "adapter-2"}
    assert "base" not in loaded["llama-chat"]
    for path in adapters:
        status = loaded[path.name]
        assert status["base"] == "llama-chat"
        assert 0 < status["bytes"] <= 1.1 * (path / "adapter_model.safetensors").stat().st_size
    parameters = engine._models._entries.copy().popitem()[1].model.module.parameters()
    assert sum(p.numel() * p.element_size() for p in parameters) <= sum(s["bytes"] for s in engine.status())


def sizes(engine, base, adapters):
    for path in adapters:
        ask(engine, directory(path, base))
    return {status["name"]: status["bytes"] for status in engine.status()}


def test_an_adapter_makes_room_for_another_and_can_come_back(engine, base, adapters):
    size = sizes(engine, base, adapters)
    small = Engine(memory_limit=size["llama-chat"] + size["adapter-1"] + size["adapter-2"] // 2, threads=1)
    answers = [ask(small, directory(path, base)) for path in (*adapters, adapters[0])]
    assert {status["name"] for status in small.status()} == {"llama-chat", "adapter-1"}
    assert answers == [ask(engine, directory(path, base)) for path in (*adapters, adapters[0])]


def test_an_adapter_goes_before_its_base(engine, base, adapters):
    size = sizes(engine, base, adapters)
    small = Engine(memory_limit=size["llama-chat"] + size["adapter-1"] // 2, threads=1)
    plain = ModelDirectory(base.name, str(base))
    ask(small, directory(adapters[0], base))
    ask(small, directory(adapters[1], base))
    assert {status["name"] for status in small.status()} == {"llama-chat", "adapter-2"}
    assert ask(small, plain) == ask(engine, plain)


def classify(engine, model, texts):
    return engine.transform(model, TaskSpec("text-classification"), texts, {"top_k": None}, lambda: False)


@pytest.mark.parametrize("name", ["bert", "bert-nli", "llama-chat"])
def test_an_adapter_may_be_a_classifier(engine, tiny_model, tmp_path, name):
    labels = ["bad", "good", "so-so"]
    base = tiny_model(name)
    path = make_adapter(base, tmp_path / "adapter", 3, labels, task="text-classification")
    results = classify(engine, directory(path, base), ["the film was wonderful", "terrible"])
    peft = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base, num_labels=3), path)
    inputs = AutoTokenizer.from_pretrained(base)("terrible", return_tensors="pt")
    with torch.no_grad():
        scores = peft.eval()(**inputs).logits.softmax(-1)[0].tolist()
    assert {result["label"]: result["score"] for result in results[1]} == pytest.approx(
        dict(zip(labels, scores, strict=True)), abs=1e-4
    )
    assert [status["base"] for status in engine.status()] == [name]


def test_an_evicted_base_is_out_of_memory(engine, base, adapters, tiny_model):
    size = sizes(engine, base, adapters)
    small = Engine(memory_limit=size["llama-chat"] + size["adapter-1"], threads=1)
    ask(small, directory(adapters[0], base))
    module = weakref.ref(next(iter(small._models._entries.values())).model.module)
    classifier = ModelDirectory("c", str(tiny_model("llama-classifier")))
    small.transform(classifier, TaskSpec("text-classification"), ["x"], {}, lambda: False)
    assert [status["name"] for status in small.status()] == ["c"]
    assert module() is None


def test_types_of_weights_have_their_own_adapters(engine, base, adapters):
    rough = TaskSpec("text-generation", dtype="bfloat16")
    model = directory(adapters[0], base)
    before = ask(engine, model)
    request = TextRequest(rough, [TEXT], {}, {"max_tokens": 3})
    assert request.results(engine.generate(model, request, lambda: False))
    assert sorted(status["name"] for status in engine.status()) == ["adapter-1"] * 2 + ["llama-chat"] * 2
    assert ask(engine, model) == before


def test_a_changed_base_takes_its_adapters_along(base, adapters, engine, tmp_path):
    copy = shutil.copytree(base, tmp_path / "copy")
    model = directory(adapters[0], copy)
    answer = ask(engine, model)
    (copy / "generation_config.json").write_text('{"eos_token_id": 5}')
    assert ask(engine, model) == answer
    assert {status["name"] for status in engine.status()} == {"copy", "adapter-1"}
