"""Tune a causal language model, for conversations or for texts: what is particular to it of a job's run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from pgml.runtime.conversations import ensure_chat_template
from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.reading import reading
from pgml.runtime.tuning import artefacts, attention, lora
from pgml.runtime.tuning.causal_trainer import CausalTrainer, summarise
from pgml.runtime.tuning.channel import Channel
from pgml.runtime.tuning.examples import packing
from pgml.runtime.tuning.examples.makers import Limits, Maker, conversation_maker, prompt_maker, text_maker
from pgml.runtime.tuning.examples.prompt_template import PromptTemplate
from pgml.runtime.tuning.examples.samples import Samples
from pgml.runtime.tuning.examples.tokenised import Count, Part, tokenise_examples
from pgml.runtime.tuning.fit import final_metrics, make_trainer
from pgml.runtime.tuning.precision import choose_precision, quantization
from pgml.runtime.tuning.resuming.job_trainer import JobTrainer


class CausalTuning:
    """One job; see `train.py` for the order of things."""

    def __init__(self, job: Path, plan: dict[str, Any]) -> None:
        self._job = job
        self._plan = plan
        self._hyperparams: dict[str, Any] = plan["hyperparams"]
        self._lora: dict[str, Any] | None = self._hyperparams["lora_config"]
        self._adapter: str | None = plan["adapter"]
        self._given_template = ""

    def load(self, channel: Channel) -> None:
        """Model and tokenizer, the model with an adapter if one is to be tuned."""
        base = self._plan["base"]
        options = reading(remote_code=self._plan["remote_code"])
        self._tokenizer = AutoTokenizer.from_pretrained(base, **options)
        self._given_template = self._tokenizer.chat_template
        self._prepare_template()
        dtype, self._bf16 = choose_precision(self._hyperparams["training_args"], adapts=self._lora is not None)
        model = AutoModelForCausalLM.from_pretrained(
            base, **options, use_safetensors=True, dtype=dtype, **quantization(self._hyperparams)
        )
        if packing.computes_the_same(model):
            model.set_attn_implementation(attention.NAME)
        else:
            channel.notice("the model mixes examples that are packed, so each is computed by itself")
        if self._adapter is not None:
            channel.notice("training goes on from the weights of the adapter")
            model = lora.load_adapter(model, self._adapter)
        elif self._lora is not None:
            model = lora.add_adapter(model, self._lora, "CAUSAL_LM")
        self.model = model
        sizes = lora.count_parameters(model)
        how = "an adapter of" if self._lora is not None else "all"
        channel.notice(f"training {how} {sizes['trainable_parameters']} of {sizes['parameters']} parameters")

    def tokenise(self, part: str, count: Count) -> Part:
        """Examples of the rows of a part."""
        limits = Limits(
            self._hyperparams["tokenizer_args"]["max_length"], self._hyperparams["dataset_args"]["on_overflow"]
        )
        rows = tokenise_examples(self._job, part, self._maker(limits), limits.on_overflow, count)
        if not rows.tokens:
            raise RuntimeFault(
                f"the {part} part has no row with anything to learn",
                sqlstate=INVALID_PARAMETER_VALUE,
                hint="Rows need an answer, and one that fits into max_seq_length.",
            )
        return rows

    def make_trainer(self, channel: Channel, train: Part, test: Part) -> JobTrainer:
        """The Trainer for packed examples."""
        return make_trainer(
            channel,
            self.model,
            train,
            test,
            {**self._hyperparams["training_args"], **self._bf16},
            self._job / "output",
            trainer_class=CausalTrainer,
            data_collator=packing.collate,
            compute_metrics=summarise,
            samples=Samples(test.rows, self._tokenizer),
        )

    def evaluate(self, trainer: JobTrainer, test: Part) -> dict[str, Any]:
        """Metrics of the weights as they are stored, on the test part."""
        if self._lora is not None:
            lora.round_adapter(trainer.model)
        return final_metrics(trainer, test) | lora.count_parameters(trainer.model)

    def save(self, directory: Path) -> None:
        """The adapter alone, or everything."""
        if self._lora is None:
            artefacts.save_model(directory, self.model, self._tokenizer, self._about())
            return
        artefacts.save_adapter(directory, self.model, self._about(), self._plan)
        self._add_template(directory)

    def complete(self, directory: Path) -> None:
        """Write what belongs to the weights of a checkpoint."""
        if self._lora is None:
            artefacts.complete_model(directory, self._tokenizer, self._about())
            return
        artefacts.complete_adapter(directory, self._about(), self._plan)
        self._add_template(directory)

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = {"task": self._plan["task"], "tokenizer_args": self._hyperparams["tokenizer_args"]}
        template = self._hyperparams.get("prompt_template")
        return {**about, "prompt_template": template} if template else about

    def _add_template(self, directory: Path) -> None:
        """Beside an adapter: the base has none, or another one."""
        if self._plan["task"] == "conversation" and self._tokenizer.chat_template != self._given_template:
            (directory / "chat_template.jinja").write_text(self._tokenizer.chat_template)

    def _prepare_template(self) -> None:
        if self._plan["task"] != "conversation":
            return
        if template := self._hyperparams.get("prompt_template"):
            self._tokenizer.chat_template = PromptTemplate.parse(template).chat_template()
        elif self._adapter and (own := Path(self._adapter, "chat_template.jinja")).exists():
            self._tokenizer.chat_template = own.read_text()
        else:
            ensure_chat_template(self._tokenizer)

    def _maker(self, limits: Limits) -> Maker:
        if self._plan["task"] == "conversation":
            return conversation_maker(self._tokenizer, limits)
        columns = self._hyperparams["dataset_args"]
        if "text_column" in columns:
            return text_maker(self._tokenizer, limits)
        template = PromptTemplate.parse(self._hyperparams.get("prompt_template") or "{prompt}{completion}")
        return prompt_maker(self._tokenizer, template, columns, limits)
