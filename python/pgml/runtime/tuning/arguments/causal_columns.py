"""Find the columns that tuning a causal language model reads: names and types in, roles out.

A conversation is in one column of messages or in a column per role; a text is in one column, in a prompt and its
completion, or in the columns that a prompt template names. Pure: knows no rows and no database.
"""

from __future__ import annotations

from typing import Any

from pgml.runtime.mistakes import Mistakes, shown
from pgml.runtime.nearest import quoted_list
from pgml.runtime.tuning.arguments.columns import OWNER, Relation, Role, check_distinct, check_type, exists, named
from pgml.runtime.tuning.examples.prompt_template import EOS, BadTemplate, PromptTemplate

Columns = list[dict[str, str]]

MESSAGES = Role("messages", "messages_column", ("messages", "conversations", "conversation"))
SYSTEM = Role("system", "system_column", ("system", "system_prompt"))
USER = Role("user", "user_column", ("user", "question", "prompt", "instruction"))
ASSISTANT = Role("assistant", "assistant_column", ("assistant", "answer", "completion", "response", "output"))
TURNS = (SYSTEM, USER, ASSISTANT)

TEXT = Role("text", "text_column", ("text",))
PROMPT = Role("prompt", "prompt_column", ("prompt", "question", "instruction"))
COMPLETION = Role("completion", "completion_column", ("completion", "answer", "response", "output"))

FIELD = "field:"
"""Begins the role of a column that a prompt template names."""
ON_OVERFLOW = "on_overflow"
OVERFLOWS = {"conversation": ("truncate", "drop", "error"), "text-generation": ("truncate", "split", "drop", "error")}
KEYS = {
    "conversation": (MESSAGES.key, *(role.key for role in TURNS), ON_OVERFLOW),
    "text-generation": (TEXT.key, PROMPT.key, COMPLETION.key, ON_OVERFLOW),
}


def find_causal_columns(
    task: str, relation: Relation, dataset_args: dict[str, Any], template: Any, mistakes: Mistakes
) -> tuple[Columns, dict[str, str]]:
    """The columns by role, and `dataset_args` with what was found by habit; what is wrong goes to `mistakes`."""
    mistakes.add_unknown(dataset_args, KEYS[task], f"{OWNER} of {task}")
    dataset_args = {key: value for key, value in dataset_args.items() if value is not None}
    finder = _Finder(relation, dataset_args, mistakes)
    parsed = _parse(template, mistakes)
    if template is not None and parsed is None:
        return [], {}
    if task == "conversation":
        found = finder.conversation()
        _check_conversation_template(parsed, mistakes)
        plain = False
    else:
        found = finder.template(parsed) if parsed else finder.text()
        plain = found.keys() <= {TEXT.name}
    roles = {role.name: role.key for role in (MESSAGES, *TURNS, TEXT, PROMPT, COMPLETION)}
    used = {roles[name]: column for name, column in found.items() if name in roles}
    used |= {key: dataset_args[key] for key in (PROMPT.key, COMPLETION.key) if parsed and key in dataset_args}
    if parsed and task == "text-generation" and found:
        used[COMPLETION.key] = finder.completion(parsed)
    used[ON_OVERFLOW] = _on_overflow(task, dataset_args, plain, mistakes)
    return [{"role": role, "name": column} for role, column in found.items()], used


class _Finder:
    def __init__(self, relation: Relation, dataset_args: dict[str, Any], mistakes: Mistakes) -> None:
        self._relation = relation
        self._given = dataset_args
        self._mistakes = mistakes

    def conversation(self) -> dict[str, str]:
        turns = [role.key for role in TURNS if role.key in self._given]
        if MESSAGES.key in self._given and turns:
            self._contradiction(MESSAGES.key, turns)
            return {}
        by_habit = [role for role in (MESSAGES, ASSISTANT) if self._habit(role)]
        if not self._given.keys() & {MESSAGES.key, *turns} and len(by_habit) != 1:
            self._unclear("the conversations", [self._habit(role) or "" for role in by_habit], MESSAGES, ASSISTANT)
            return {}
        if MESSAGES.key in self._given or (not turns and by_habit == [MESSAGES]):
            return self._find([MESSAGES])
        return self._find([ASSISTANT], optional=[SYSTEM, USER], order=TURNS)

    def text(self) -> dict[str, str]:
        pair = [role.key for role in (PROMPT, COMPLETION) if role.key in self._given]
        if TEXT.key in self._given and pair:
            self._contradiction(TEXT.key, pair)
            return {}
        if TEXT.key in self._given or (not pair and self._habit(TEXT)):
            return self._find([TEXT])
        if not pair and not (self._habit(PROMPT) and self._habit(COMPLETION)):
            self._unclear("the texts", [], TEXT, COMPLETION)
            return {}
        return self._find([PROMPT, COMPLETION])

    def template(self, template: PromptTemplate) -> dict[str, str]:
        if TEXT.key in self._given and self._given[TEXT.key] not in template.columns:
            self._contradiction("prompt_template", [TEXT.key])
            return {}
        found = {}
        for name in template.columns:
            column = self._aliases().get(name, name)
            if isinstance(column, str) and exists(column, self._relation, self._mistakes):
                found[FIELD + column] = column
        completion = self._given.get(COMPLETION.key)
        if completion is not None and found and FIELD + str(completion) not in found:
            self._mistakes.add(
                f'prompt_template does not name the column "{completion}"',
                hint=f'Put {{{completion}}} where the completion begins, or leave "{COMPLETION.key}" out.',
            )
        if not template.columns:
            self._mistakes.add(
                "prompt_template names no column", hint="Write a column's name in braces, such as {answer}."
            )
        return found

    def completion(self, template: PromptTemplate) -> str:
        """The column from whose place on a filled template is trained: the last one, unless another is named."""
        last = template.columns[-1]
        return str(self._given.get(COMPLETION.key, self._aliases().get(last, last)))

    def _aliases(self) -> dict[str, Any]:
        return {role.name: self._given[role.key] for role in (PROMPT, COMPLETION) if role.key in self._given}

    def _find(
        self, needed: list[Role], optional: list[Role] | None = None, order: tuple[Role, ...] = ()
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        for role in order or needed:
            column = named(role, self._given, self._mistakes)
            if column is None and role.key not in self._given:
                column = self._habit(role, set(found.values()))
                if column is None and role not in (optional or []):
                    self._unclear(f"the {role.name}", [], role)
            if column is not None and exists(column, self._relation, self._mistakes):
                if role is not MESSAGES or self._relation.types[column] not in ("json", "jsonb"):
                    check_type(role, column, self._relation.types[column], self._mistakes)
                found[role.name] = column
        check_distinct(found, self._mistakes)
        return found

    def _habit(self, role: Role, taken: set[str] | None = None) -> str | None:
        names = [name for name in role.defaults if name in self._relation.types and name not in (taken or ())]
        return names[0] if names else None

    def _unclear(self, what: str, present: list[str], *roles: Role) -> None:
        keys = " or ".join(f'{{"dataset_args": {{"{role.key}": "..."}}}}' for role in roles)
        choice = f": {' and '.join(present)} are both there" if present else ""
        self._mistakes.add(
            f'cannot tell which column of "{self._relation.name}" holds {what}{choice}',
            hint=f"Name it in hyperparams {keys}: one of {', '.join(self._relation.types)}.",
        )

    def _contradiction(self, one: str, others: list[str]) -> None:
        listed = " and ".join(f'"{other}"' for other in others)
        self._mistakes.add(f'"{one}" and {listed} contradict each other', hint=f'Leave out either "{one}" or {listed}.')


def _parse(template: Any, mistakes: Mistakes) -> PromptTemplate | None:
    if template is None:
        return None
    if not isinstance(template, str):
        mistakes.add(f"prompt_template must be a string, not {shown('prompt_template', template)}")
        return None
    try:
        return PromptTemplate.parse(template)
    except BadTemplate as bad:
        mistakes.add(f"prompt_template {bad}")
        return None


def _check_conversation_template(template: PromptTemplate | None, mistakes: Mistakes) -> None:
    if template is None:
        return
    roles = [role.name for role in TURNS]
    mistakes.add_unknown(template.columns, roles, "prompt_template of conversation")
    if template.names.count(ASSISTANT.name) != 1:
        mistakes.add(
            "prompt_template must hold {assistant} once",
            hint=f"It may hold {quoted_list(f'{{{name}}}' for name in (*roles, EOS))}.",
        )


def _on_overflow(task: str, dataset_args: dict[str, Any], plain: bool, mistakes: Mistakes) -> str:
    # Of a conversation its beginning matters least; of a text every part is as good to learn from.
    choices = [choice for choice in OVERFLOWS[task] if plain or choice != "split"]
    value = dataset_args.get(ON_OVERFLOW, "split" if plain else "truncate")
    if value not in choices:
        mistakes.add(f'"{ON_OVERFLOW}" in {OWNER} must be one of {", ".join(choices)}, not {shown(ON_OVERFLOW, value)}')
    return str(value)
