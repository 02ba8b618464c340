"""A jinja chat template taken apart once, into the constant pieces around the contents.

    <|begin|><|user|>│content│<|end|><|assistant|>│content│<|end|>
    joint(start,user)         joint(user,assistant)        joint(assistant,end)

The pieces are found by rendering conversations of sentinels. What lies between two contents is a
``Joint``: plain text up to the first control token, the control tokens, plain text after the
last. Plain text is tokenized together with the content that it touches, so that any template
that bounds every content by control tokens (ours, ChatML and its relatives) gives the ids that
tokenizing the rendered text gives.
"""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from minilingua.core.errors import DataError
from minilingua.core.records import Message, Role
from minilingua.core.tokenizer_files import TEMPLATE_FILE, TokenizerFiles

Place = Role | None
"""A role, or None for the start and the end of a conversation."""

TURN_SHAPES: tuple[tuple[Role, ...], ...] = (
    ("user", "assistant"),
    ("user", "assistant", "user", "assistant", "user", "assistant"),
    ("system", "user", "assistant"),
    ("system", "user", "assistant", "user", "assistant"),
)
"""What a conversation may look like; longer ones continue the alternation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """What a template puts between two contents."""

    suffix: str
    """Plain text that ends the content before."""
    ids: tuple[int, ...]
    """From the first control token to the last."""
    prefix: str
    """Plain text that leads the content after."""


class _Generation(Extension):
    """The block ``{% generation %}`` around what a model writes; renders its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja's interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """The chat template of a tokenizer: renders, and knows its joints.

    Attributes:
        joints: (role before, role after) ─► what stands between.
        stripped: roles whose contents the template strips of surrounding white space.
        end_of_turn: id of the token that ends an assistant's turn.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        """Takes the template apart.

        Raises:
            DataError: it does not render, does not bound contents by control tokens, renders a
                turn depending on more than its neighbours, or ends answers with a token that is
                not the tokenizer's eos_token.
        """
        self._files = files
        self._where = files.path / TEMPLATE_FILE
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        try:
            self._template = environment.from_string(files.template)
        except TemplateError as error:
            raise DataError(f"{self._where}: not a jinja template: {error}") from error
        special = sorted(files.special_tokens(), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self.stripped: frozenset[Role] = self._probe_stripping()
        self.joints: dict[tuple[Place, Place], Joint] = {}
        for shape in TURN_SHAPES:
            self._probe_joints(shape)
        self.end_of_turn = self._check_ends()

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Returns the conversation as text, as transformers' ``apply_chat_template`` does.

        Raises:
            DataError: the template refuses these messages.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._template.render(
                messages=turns,
                add_generation_prompt=add_generation_prompt,
                **self._files.named_tokens,
            )
        except TemplateError as error:
            raise DataError(f"{self._where}: cannot render: {error}") from error

    def _probe_stripping(self) -> frozenset[Role]:
        stripped: set[Role] = set()
        for shape in TURN_SHAPES:
            contents = [f" \n{_sentinel(index)}\n " for index in range(len(shape))]
            rendered = self.render(_messages(shape, contents))
            stripped.update(
                role
                for role, content in zip(shape, contents, strict=True)
                if content not in rendered
            )
        return frozenset(stripped)

    def _probe_joints(self, shape: tuple[Role, ...]) -> None:
        contents = [_sentinel(index) for index in range(len(shape))]
        rendered = self.render(_messages(shape, contents))
        if any(rendered.count(content) != 1 for content in contents):
            raise DataError(f"{self._where}: does not render each content once, in order")
        pieces = re.split("|".join(map(re.escape, contents)), rendered)
        places: tuple[Place, ...] = (None, *shape, None)
        for (before, after), piece in zip(itertools.pairwise(places), pieces, strict=True):
            joint = self._joint(piece, before, after)
            if self.joints.setdefault((before, after), joint) != joint:
                raise DataError(
                    f"{self._where}: renders what stands between {before or 'start'} and "
                    f"{after or 'end'} differently from turn to turn, which is not supported"
                )

    def _joint(self, piece: str, before: Place, after: Place) -> Joint:
        controls = list(self._special.finditer(piece))
        if not controls:
            raise DataError(
                f"{self._where}: puts no control token between {before or 'start'} and "
                f"{after or 'end'}, only {piece!r}: content could imitate it"
            )
        begin = controls[0].start() if before else 0
        end = controls[-1].end() if after else len(piece)
        ids = self._files.tokenizer.encode(piece[begin:end], add_special_tokens=False).ids
        return Joint(suffix=piece[:begin], ids=tuple(ids), prefix=piece[end:])

    def _check_ends(self) -> int:
        """Returns the one control token that ends answers, after checking it and the start."""
        named, tokenizer = self._files.named_tokens, self._files.tokenizer
        ends = {joint.ids[0] for (before, _), joint in self.joints.items() if before == "assistant"}
        expected = tokenizer.token_to_id(named.get("eos_token", ""))
        if expected is None or ends != {expected}:
            found = ", ".join(repr(tokenizer.id_to_token(index)) for index in sorted(ends))
            raise DataError(
                f"{self._where}: ends an assistant's turn with {found}, but eos_token in "
                f"tokenizer_config.json is {named.get('eos_token')!r}: a model trained on it "
                "would never stop"
            )
        begin = tokenizer.token_to_id(named.get("bos_token", ""))
        for (before, _), joint in self.joints.items():
            if before is None and begin is not None and joint.ids[:2] == (begin, begin):
                raise DataError(f"{self._where}: begins with {named['bos_token']!r} twice")
        return expected


def _sentinel(index: int) -> str:
    return f"content{index}of"


def _messages(shape: Sequence[Role], contents: Sequence[str]) -> list[Message]:
    return [
        Message(role=role, content=content) for role, content in zip(shape, contents, strict=True)
    ]


def _tojson(value: Any, indent: int | None = None) -> str:
    """Like transformers', and unlike jinja's, this does not escape HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
