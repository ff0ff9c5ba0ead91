"""What lies in /opt/ml/model, as far as it is read without TensorFlow: what is wrong there is told at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from container.errors import ProjectError
from container.modeling.container_settings import ContainerSettings
from container.modeling.overrides import explain
from container.modeling.serving_settings import Serving
from container.report import facts


class ModelFolderError(ProjectError):
    """The folder of the model does not hold what serving needs."""


@dataclass(frozen=True)
class ModelFolder:
    """A training job's model, as model.tar.gz has it."""

    path: Path
    settings: ContainerSettings
    """Those that it was trained by."""
    classes: tuple[str, ...]
    """Names, in the order of the model's outputs."""

    @classmethod
    def read(cls, path: Path, settings: Serving) -> Self:
        """Read what is known about the model, and see that there is one.

        Raises:
            ModelFolderError: a file is missing, or is not what a training job writes.
            DataError: the classes cannot be read.
        """
        if not path.is_dir():
            raise ModelFolderError(
                f"{path} does not exist: SageMaker unpacks model.tar.gz there before it runs `serve`"
            )
        needed = (facts.CONFIG_FILE, facts.CLASSES_FILE) + (() if settings.model_fn else (facts.KERAS_FILE,))
        for name in needed:
            if not (path / name).is_file():
                raise ModelFolderError(f"{path} holds no {name}: serve the model.tar.gz of a training job")
        return cls(path, _settings(path / facts.CONFIG_FILE), facts.read_classes(path / facts.CLASSES_FILE))

    @property
    def keras_file(self) -> Path:
        """The model as Keras saved it."""
        return self.path / facts.KERAS_FILE


def _settings(file: Path) -> ContainerSettings:
    try:
        return TypeAdapter(ContainerSettings).validate_json(file.read_bytes())
    except OSError as error:
        raise ModelFolderError(f"{file} cannot be read: {error}") from None
    except ValidationError as error:
        raise ModelFolderError(
            f"{file} is not what a training job of this image writes: {explain(ContainerSettings, error)}; serve the "
            "model in the image that it was trained in"
        ) from None
