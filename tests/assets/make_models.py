"""Make tiny models with random weights, so that tests need no network: `python tests/assets/make_models.py DIRECTORY`.

Seeded, but for the tokenizers: they are trained here, on the sentences below, and number their tokens as they like.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

SENTENCES = [
    "The film was wonderful, a joy from the first minute to the last.",
    "What a terrible waste of an evening; the plot made no sense at all.",
    "The delivery arrived two days late and the box was broken.",
    "Our new phone has a bright screen, a good camera and a weak battery.",
    "PostgreSQL keeps the tables, the runtime keeps the models.",
    "Maria lives in Berlin and works for a small company in Paris.",
    "How do I reset my password? I can not find the page.",
    "This example is about politics, sports, science and business.",
    "The quick brown fox jumps over the lazy dog 0 1 2 3 4 5 6 7 8 9.",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LABELS = ["negative", "neutral", "positive"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def wordpiece() -> PreTrainedTokenizerFast:
    """A BERT-like tokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def bytelevel(
    end: str, pad: str | None = None, more: list[str] | None = None, length: int = 128
) -> PreTrainedTokenizerFast:
    """A GPT-like tokenizer: every text can be written with it, and it adds no tokens by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [*([] if pad is None else [pad]), end, *(more or [])]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        eos_token=end,
        pad_token=pad,
        additional_special_tokens=more,
        model_input_names=["input_ids", "attention_mask"],
    )


def bert(model_class: type[PreTrainedModel], labels: list[str] | None = None) -> Callable[[Path], Path]:
    """A maker of a BERT with the head of a class."""

    def make(target: Path) -> Path:
        tokenizer = wordpiece()
        names = (
            {}
            if labels is None
            else {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
        )
        config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=0, **SIZE, **names)
        return _save(target, model_class, config, tokenizer)

    return make


def llama(model_class: type[PreTrainedModel], labels: list[str] | None = None) -> Callable[[Path], Path]:
    """A maker of a decoder-only model without a padding token."""

    def make(target: Path) -> Path:
        tokenizer = bytelevel("</s>")
        end = tokenizer.eos_token_id
        names = (
            {}
            if labels is None
            else {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
        )
        config = LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=128, bos_token_id=end, eos_token_id=end, **SIZE, **names
        )
        return _save(target, model_class, config, tokenizer)

    return make


def llama_chat(length: int, *, ends: bool = True) -> Callable[[Path], Path]:
    """A decoder-only chat model, whose template adds no system message; one that never ends samples."""

    def make(target: Path) -> Path:
        tokenizer = bytelevel("<|im_end|>", pad="<|endoftext|>", more=["<|im_start|>"], length=length)
        tokenizer.chat_template = CHATML
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=length,
            bos_token_id=tokenizer.convert_tokens_to_ids("<|im_start|>"),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **SIZE,
        )
        _save(target, LlamaForCausalLM, config, tokenizer)
        if not ends:
            GenerationConfig(do_sample=True).save_pretrained(target)
        return target

    return make


def t5(target: Path) -> Path:
    """A small encoder-decoder."""
    tokenizer = bytelevel("</s>", pad="<pad>")
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return _save(target, T5ForConditionalGeneration, config, tokenizer)


MODELS: dict[str, Callable[[Path], Path]] = {
    "bert": bert(BertModel),
    "bert-classifier": bert(BertForSequenceClassification, LABELS),
    "bert-masked": bert(BertForMaskedLM),
    "bert-nli": bert(BertForSequenceClassification, ["contradiction", "entailment", "neutral"]),
    "bert-qa": bert(BertForQuestionAnswering),
    "bert-tokens": bert(BertForTokenClassification, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]),
    "llama": llama(LlamaForCausalLM),
    "llama-chat": llama_chat(512),
    "llama-classifier": llama(LlamaForSequenceClassification, LABELS),
    "llama-endless": llama_chat(1_000_000, ends=False),
    "t5": t5,
}


def make_model(name: str, directory: Path) -> Path:
    """Make one model in `directory/name`, and say where it is."""
    return MODELS[name](directory / name)


def _save(target: Path, model_class: type[PreTrainedModel], config: object, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(42)
    model = model_class(config)
    # Weights as small as a fresh model's make all scores alike; a test could not tell one text from another.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


if __name__ == "__main__":
    for model_name in MODELS:
        print(make_model(model_name, Path(sys.argv[1])))
