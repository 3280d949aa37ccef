"""Answers in the forms that OpenAI's clients read (https://platform.openai.com/docs/api-reference)."""

from __future__ import annotations

import secrets
import time
from typing import Any

from .answerer import Ended
from .questions import Asked

_REASONS = {"end": "stop", "stop": "stop", "length": "length"}


def usage_of(ended: Ended) -> dict[str, int]:
    return {
        "prompt_tokens": ended.source_tokens,
        "completion_tokens": ended.answer_tokens,
        "total_tokens": ended.source_tokens + ended.answer_tokens,
    }


def reason_of(ended: Ended) -> str:
    return _REASONS[ended.ending]


class Form:
    """The records of one answer; is_chat: those of /v1/chat/completions, else of /v1/completions."""

    def __init__(self, asked: Asked, *, is_chat: bool) -> None:
        self._asked, self._is_chat = asked, is_chat
        self._id = f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}"
        self._created = int(time.time())

    def whole(self, text: str, ended: Ended) -> dict[str, Any]:
        """All of it at once."""
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self._is_chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason_of(ended)}
        record = self._record("chat.completion" if self._is_chat else "text_completion", [choice])
        return record | {"usage": usage_of(ended)} | self._warned(ended)

    def first(self) -> list[dict[str, Any]]:
        """What comes before the first text."""
        return [self._chunk({"role": "assistant", "content": ""})] if self._is_chat else []

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text} if self._is_chat else text)

    def last(self, ended: Ended) -> list[dict[str, Any]]:
        """What comes after the last text."""
        end = self._chunk({} if self._is_chat else "", reason_of(ended)) | self._warned(ended)
        if not self._asked.usage:
            return [end]
        return [end, self._record(self._kind, []) | {"usage": usage_of(ended)}]

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self._is_chat else "text_completion"

    def _chunk(self, said: Any, reason: str | None = None) -> dict[str, Any]:
        key = "delta" if self._is_chat else "text"
        choice = {"index": 0, key: said, "logprobs": None, "finish_reason": reason}
        # with usage asked for, every chunk has the field
        return self._record(self._kind, [choice]) | ({"usage": None} if self._asked.usage else {})

    def _record(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id, "object": kind, "created": self._created, "model": self._asked.question.model,
            "choices": choices,
        }  # fmt: skip

    def _warned(self, ended: Ended) -> dict[str, Any]:
        """Not OpenAI's: what a user should know of the answer, where there is something."""
        found = [*self._asked.warnings, *ended.warnings]
        return {"warnings": found} if found else {}
