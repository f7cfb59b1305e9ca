"""LoRA adapters on a base model that they share: attach, detach, and say which one computes. Knows peft."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, RuntimeFault
from pgml.runtime.generation.lora_layers import Shares, is_plain, restore_layers, share_layers
from pgml.runtime.serving.directories import ADAPTER_CONFIG, read_json


class Adapters:
    """The adapters of one loaded model. All methods are for the computing thread.

    Plain LoRA of linear layers is computed for all adapters in one pass, each for its own tokens, if the model's runner
    has the tokens of all sequences in one row (`packed`). Whatever else peft knows is left to peft, one adapter a pass.
    """

    def __init__(self, module: Any, *, packed: bool) -> None:
        self._module = module
        self._packed = packed
        self._peft: Any = None
        self._names = (f"adapter{number}" for number in itertools.count(1))
        self._attached: set[str] = set()
        self._plain: set[str] = set()
        self._active: str | None = None
        self._shares = Shares()

    def attach(self, path: str) -> str:
        """Read an adapter from its directory; the name that `activate` takes."""
        _check_shareable(check_kind(path))
        name = next(self._names)
        try:
            with _strictly():
                self._read(path, name)
        except BaseException:
            self._remove(name)
            raise
        self._attached.add(name)
        self._active = name
        self._switch(None)  # what was read last computes, by peft
        if self._packed and is_plain(self._peft, name):
            self._plain.add(name)
            share_layers(self._module, self._shares)
        return name

    def detach(self, name: str) -> None:
        """Forget an adapter."""
        self._attached.discard(name)
        self._plain.discard(name)
        self._remove(name)

    def passes(self, names: set[str | None]) -> list[set[str | None]]:
        """The sets of adapters, None for the base alone, that can be computed in one pass each."""
        together = {name for name in names if self._packed and (name is None or name in self._plain)}
        return [*([together] if together else []), *({name} for name in names - together)]

    def activate(self, shares: list[tuple[str | None, int]]) -> None:
        """Say for the next pass which adapter computes how many tokens, in order."""
        names = {name for name, _ in shares}
        alone = next(iter(names - self._plain), None) if len(names) == 1 else None
        if alone != self._active:
            self._switch(alone)
        self._shares.set([] if alone else shares)

    def _read(self, path: str, name: str) -> None:
        from peft import PeftModel  # noqa: PLC0415 a second, and only for those who have adapters

        options: dict[str, Any] = {"adapter_name": name, "low_cpu_mem_usage": True}
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(self._module, path, **options)
        else:
            found = self._peft.load_adapter(path, **options)
            if lacking := [key for key in found.missing_keys if name in key]:
                raise ValueError(f"Missing adapter keys: {', '.join(lacking[:5])}")
        self._peft.eval()

    def _remove(self, name: str) -> None:
        if self._attached:
            if name in self._peft.peft_config:
                self._peft.delete_adapter(name)
            self._active = next(iter(self._attached))
            self._switch(None)
            return
        if self._peft is None:
            restore_layers(self._module)
        else:
            self._peft.unload()  # which gives the model its own layers back
        self._peft = self._active = None

    def _switch(self, name: str | None) -> None:
        if name is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            if self._active is None:
                self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(name, inference_mode=True)
        self._active = name


def merged(module: Any, path: str) -> Any:
    """A model with an adapter made one with its weights, for this model alone."""
    from peft import PeftModel  # noqa: PLC0415 as above

    check_kind(path)
    dtype = module.dtype
    with _strictly():
        whole = PeftModel.from_pretrained(module, path, low_cpu_mem_usage=True).merge_and_unload()
    return whole.to(dtype).eval()  # a head that comes whole is as it was stored


@contextmanager
def _strictly() -> Iterator[None]:
    """Weights that an adapter's file lacks are an error, of which peft only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is going away
        warnings.filterwarnings("error", "Found missing adapter keys")
        yield


def check_kind(path: str) -> dict[str, Any]:
    """The configuration of an adapter; what peft has beside LoRA is refused."""
    config = read_json(Path(path, ADAPTER_CONFIG), path)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise RuntimeFault(f"its adapter is of type {kind}, and only LORA can be used", sqlstate=FEATURE_NOT_SUPPORTED)
    return config


def _check_shareable(config: dict[str, Any]) -> None:
    """Refuse what would change the base itself, which others use."""
    if config.get("bias", "none") != "none" or config.get("layer_replication"):
        raise RuntimeFault(
            "its adapter changes the base model's own weights",
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail="A base is shared by all its adapters.",
            hint='Tune it with "bias": "none" and without "layer_replication".',
        )
