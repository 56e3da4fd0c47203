"""The base of all models: frozen, strict about unknown fields, tuples not lists."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A frozen value; two equal values are interchangeable."""

    model_config = ConfigDict(frozen=True, extra="forbid")
