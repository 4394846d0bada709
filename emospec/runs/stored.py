"""JSON objects of a run folder as typed, frozen values: read from files of this version and earlier ones, and written.

What an earlier version did not write has a default. Keys that are not known are kept.
"""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from emospec.files import write_json

Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
"""A float whose NaN is null in JSON."""


class Stored(BaseModel):
    """A JSON object. Its keys are written in the order of the fields, without those that were never set."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the object as JSON holds it."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class StoredFile(Stored):
    """A JSON file of a run folder. Its format is 1 where it names none."""

    FORMAT: ClassVar[int] = 1

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            OSError: it cannot be opened.
            ValueError: it is damaged, or of a later format.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{path.name} holds no object")
        if (version := content.get("format", cls.FORMAT)) != cls.FORMAT:
            raise ValueError(f"{path.name} is of format {version}, this emospec reads {cls.FORMAT}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"{path.name}: {mistake_of(error)}") from error

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.to_dict())


def mistake_of(error: ValidationError) -> str:
    """Return the first mistake of a validation in one line."""
    mistake = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, mistake['loc']))} is not as it should be ({mistake['msg']})"
