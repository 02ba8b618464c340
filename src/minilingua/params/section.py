"""What all sections of params.yaml have in common."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LanguageCode = Literal[
    "en", "de", "es", "fr", "it", "pt", "nl", "pl", "cs", "bg", "el", "fi", "sv", "code"
]
FilterName = Literal[
    "wrong_script", "refusal", "repetition", "translated_code", "markup_residue", "wrong_language"
]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Weight = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Strict: no unknown keys, no coercion, no NaN, immutable."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
