"""Templates such as `Question: {question} Answer: {answer}`: take them apart, fill them in, and turn those
of conversations into chat templates. Pure: knows no tokenizers, no rows and no requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

EOS = "eos_token"
_PART = re.compile(r"(\{\{|\}\}|\{[^{}]*\})")


class BadTemplate(ValueError):
    """The message completes: "prompt_template …"."""


@dataclass(frozen=True)
class PromptTemplate:
    """Texts and names by turns: a text first and last, so one text more than names."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> PromptTemplate:
        """Take a template apart; `{{` and `}}` stand for braces."""
        texts, names = [""], []
        for part in _PART.split(template):
            if part in ("{{", "}}"):
                texts[-1] += part[0]
            elif part.startswith("{") and part.endswith("}") and len(part) > 1:
                if not part[1:-1].strip():
                    raise BadTemplate("has braces without a name in them")
                names.append(part[1:-1].strip())
                texts.append("")
            elif "{" in part or "}" in part:
                raise BadTemplate("has a brace without its other one; write {{ and }} for braces in the text")
            else:
                texts[-1] += part
        return cls(tuple(texts), tuple(names))

    @property
    def columns(self) -> list[str]:
        """The names that stand for contents, each once, in order."""
        return [name for name in dict.fromkeys(self.names) if name != EOS]

    def fill(self, values: Mapping[str, str], start: int = 0, end: int | None = None) -> str:
        """The text with each name replaced, from one name's position to another's, that one left out."""
        end = len(self.names) if end is None else end
        parts = [self.texts[0]] if start == 0 else []
        for position in range(start, end):
            parts += [values[self.names[position]], self.texts[position + 1]]
        return "".join(parts)

    def chat_template(self) -> str:
        """The Jinja template that renders a user's message up to `{assistant}`, and an answer with what follows it."""
        answer = self.names.index("assistant")
        before, after = self._jinja(0, answer), self._jinja(answer + 1, len(self.names), self.texts[answer + 1])
        if EOS not in self.names:
            # Else a model would never learn where an answer ends.
            after += "{{- eos_token -}}"
        return (
            "{%- set ns = namespace(system='') -%}"
            "{%- for message in messages -%}"
            "{%- if message['role'] == 'system' -%}{%- set ns.system = message['content'] -%}"
            "{%- elif message['role'] == 'user' -%}" + before + "{%- else -%}"
            "{{- message['content'] -}}" + after + "{%- endif -%}{%- endfor -%}"
        )

    def _jinja(self, start: int, end: int, first: str | None = None) -> str:
        values = {"system": "ns.system", "user": "message['content']", EOS: EOS}
        texts = [self.texts[0] if first is None else first, *self.texts[start + 1 : end + 1]]
        parts = [json.dumps(texts[0], ensure_ascii=False)]
        for name, text in zip(self.names[start:end], texts[1:], strict=True):
            parts += [values[name], json.dumps(text, ensure_ascii=False)]
        return "{{- " + " ~ ".join(part for part in parts if part != '""') + " -}}" if set(parts) != {'""'} else ""
