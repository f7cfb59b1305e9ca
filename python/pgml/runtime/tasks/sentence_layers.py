"""How the vectors of a text's tokens become the vector of the text, as the files of a sentence-transformers model say.

Of its layers only those named here are built, from JSON and safetensors: nothing in the files can name other code or
other files. Knows torch; knows nothing of tokenizers and texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.serving.directories import architectures, read_json

MODULES = "modules.json"
NAMESPACE = "sentence_transformers."
POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""How older files name what is pooled, in the order in which several are put together."""

ACTIVATIONS = ("ELU", "GELU", "Identity", "LeakyReLU", "Mish", "ReLU", "Sigmoid", "SiLU", "Softplus", "Tanh")


def _sum(tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (weights.unsqueeze(1) @ tokens).squeeze(1)


def _at(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return tokens[torch.arange(len(tokens), device=tokens.device), positions]


def _count(mask: torch.Tensor) -> torch.Tensor:
    return mask.sum(1, keepdim=True).clamp(min=1e-9)


def _weighted_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _sum(tokens, weights) / _count(weights)


POOLINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": lambda tokens, mask: _at(tokens, mask.argmax(1)),
    "lasttoken": lambda tokens, mask: _at(tokens, mask.shape[1] - 1 - mask.flip(1).argmax(1)),
    "max": lambda tokens, mask: tokens.masked_fill(mask.unsqueeze(2) == 0, -torch.inf).amax(1),
    "mean": lambda tokens, mask: _sum(tokens, mask) / _count(mask),
    "mean_sqrt_len_tokens": lambda tokens, mask: _sum(tokens, mask) / _count(mask).sqrt(),
    "weightedmean": _weighted_mean,
}


class Pooling(torch.nn.Module):
    """One vector per text, out of those of its tokens."""

    def __init__(self, modes: list[str], *, include_prompt: bool = True) -> None:
        super().__init__()
        self._modes = modes
        self.include_prompt = include_prompt

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, prompt_tokens: int = 0) -> torch.Tensor:
        """Texts are padded on the right; their first `prompt_tokens` are left out if the model wants that."""
        mask = mask.float()
        if not self.include_prompt:
            mask[:, :prompt_tokens] = 0
        return torch.cat([POOLINGS[mode](tokens, mask) for mode in self._modes], 1)


class Dense(torch.nn.Module):
    """A linear layer with an activation, and perhaps what it got added to what it gives."""

    def __init__(
        self, inputs: int, outputs: int, activation: str, *, bias: bool = True, residual: bool = False
    ) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(inputs, outputs, bias=bias)
        self._activation = getattr(torch.nn, activation)()
        self._adds = residual
        self.residual = torch.nn.Linear(inputs, outputs, bias=False) if residual and inputs != outputs else None

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._activation(self.linear(vectors))
        if not self._adds:
            return result
        return result + (vectors if self.residual is None else self.residual(vectors))


class LayerNorm(torch.nn.Module):
    """A layer norm under the name that its weights have."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(dimension)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(vectors)
        return result


class Normalize(torch.nn.Module):
    """Vectors of length 1."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors, dim=1)


def read_layers(directory: str) -> tuple[Path, Pooling, torch.nn.Sequential]:
    """Where the transformer of a model is, how its tokens are pooled, and what comes after that."""
    if not Path(directory, MODULES).exists():
        return Path(directory), _default_pooling(directory), torch.nn.Sequential()
    modules = _modules(directory)
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or (unknown := set(kinds[2:]) - set(LAYERS)):
        named = ", ".join(sorted(unknown)) if kinds[:2] == ["Transformer", "Pooling"] else ", ".join(kinds)
        raise RuntimeFault(
            f"its layers cannot be used for embedding: {named}",
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail=f"What can be used is a Transformer, its Pooling, and after that: {', '.join(LAYERS)}.",
        )
    layers = [LAYERS[kind](path) for kind, path in modules[2:]]
    return modules[0][1], _pooling(modules[1][1]), torch.nn.Sequential(*layers)


def _modules(directory: str) -> list[tuple[str, Path]]:
    """The layers of a model: what each is, and where its files are."""
    try:
        entries = [
            (str(entry["type"]), Path(entry["path"])) for entry in json.loads(Path(directory, MODULES).read_text())
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RuntimeFault(f'its file "{MODULES}" is no list of layers', sqlstate=INVALID_PARAMETER_VALUE) from error
    for kind, path in entries:
        if not kind.startswith(NAMESPACE):
            raise RuntimeFault(
                f'it has a layer with code of its own, which is not run: "{kind}"', sqlstate=FEATURE_NOT_SUPPORTED
            )
        if path.is_absolute() or ".." in path.parts:
            raise RuntimeFault(f'its layer "{path}" lies outside of it', sqlstate=INVALID_PARAMETER_VALUE)
    return [(kind.rpartition(".")[2], Path(directory, path)) for kind, path in entries]


def _default_pooling(directory: str) -> Pooling:
    """What sentence-transformers does with a model that is none of its own."""
    config = read_json(Path(directory, "config.json"), directory)
    causal = any(name.endswith("ForCausalLM") for name in architectures(directory, directory)[:1])
    return Pooling(["lasttoken" if causal and config.get("is_causal", True) else "mean"])


def _pooling(path: Path) -> Pooling:
    config = _config(path)
    modes = config.get("pooling_mode") or [mode for key, mode in POOLING_KEYS.items() if config.get(key)] or "mean"
    modes = [modes] if isinstance(modes, str) else list(modes)
    if unknown := [mode for mode in modes if mode not in POOLINGS]:
        raise RuntimeFault(f'it has an unknown pooling: "{unknown[0]}"', sqlstate=FEATURE_NOT_SUPPORTED)
    return Pooling(modes, include_prompt=bool(config.get("include_prompt", True)))


def _dense(path: Path) -> torch.nn.Module:
    config = _config(path)
    _, _, activation = str(config.get("activation_function", "Tanh")).rpartition(".")
    sentence = "sentence_embedding"
    places = {config.get(key) or sentence for key in ("module_input_name", "module_output_name")}
    if activation not in ACTIVATIONS or places != {sentence}:
        raise RuntimeFault(
            f'its layer "{path.name}" is not supported',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail=f"It has the activation {activation}, and is for: {', '.join(sorted(places))}.",
        )
    sizes = config["in_features"], config["out_features"]
    layer = Dense(*sizes, activation, bias=config.get("bias", True), residual=config.get("use_residual", False))
    return _with_weights(layer, path)


def _with_weights(layer: torch.nn.Module, path: Path) -> torch.nn.Module:
    file = path / "model.safetensors"
    if not file.exists():
        raise RuntimeFault(
            f'its layer "{path.name}" has no weights in a safetensors file, and pickle files are not read',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail="Reading a pickle file could run any code that is in it.",
            hint="Load it with sentence-transformers where you trust it, and save it again with save_pretrained.",
        )
    layer.load_state_dict(load_file(file))
    return layer


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    return read_json(file, path.name) if file.exists() else {}


LAYERS: dict[str, Callable[[Path], torch.nn.Module]] = {
    "Dense": _dense,
    "Dropout": lambda _: torch.nn.Identity(),  # it is for training
    "LayerNorm": lambda path: _with_weights(LayerNorm(_config(path)["dimension"]), path),
    "Normalize": lambda _: Normalize(),
}
