"""Earlier models as files: an earlier training job's model.tar.gz, or a file that Keras saved. Nothing is unpickled."""

import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import keras

from container.errors import SettingsError
from container.report import facts

CHANNEL = "pretrained"
ARCHIVE = "model.tar.gz"
# What is taken of a job's results, the best first.
MODEL_FILES = (facts.KERAS_FILE, facts.H5_FILE)
SUFFIXES = (".tar.gz", ".keras", ".h5")


@dataclass(frozen=True)
class EarlierModel:
    """A model that was trained before, or its weights alone."""

    file: Path
    shown: str
    """The file as the user knows it."""
    classes: tuple[str, ...] | None
    """The names of its outputs, in their order; None: nobody knows."""

    @property
    def is_whole(self) -> bool:
        """Whether the file has the network as well as its weights."""
        if self.file.suffix == ".keras":
            return True
        try:
            with h5py.File(self.file) as file:
                return "model_config" in file.attrs
        except OSError as error:
            raise self._unreadable(error) from error

    def network(self) -> keras.Model:
        """Return the whole model.

        Raises:
            SettingsError: the file has weights only, cannot be read, or has parts that Keras does not know.
        """
        if not self.is_whole:
            raise SettingsError(f"{self.shown} has weights only: a whole model is needed, such as a job's {ARCHIVE}")
        try:
            network = keras.models.load_model(self.file, compile=False, safe_mode=True)
        # Keras raises whatever its layers do.
        except Exception as error:
            raise self._unreadable(error) from error
        if not isinstance(network, keras.Model) or len(network.inputs) != 1 or len(network.outputs) != 1:
            raise SettingsError(f"{self.shown} is no network with one input and one output")
        if len(network.input_shape) != 4:
            raise SettingsError(f"{self.shown} takes no images: its input is of shape {network.input_shape}")
        return network

    def load_into(self, network: keras.Model) -> None:
        """Give a network the weights of a file that has nothing else.

        Raises:
            SettingsError: they do not fit, or the file cannot be read.
        """
        try:
            # Keras warns of each layer that it misses, and then fails.
            with warnings.catch_warnings(action="ignore"):
                network.load_weights(self.file)
        except Exception as error:
            raise SettingsError(
                f"{self.shown} does not fit the network: {_one_line(error)}; the settings of the model and the images "
                "must be those that the weights were trained with"
            ) from error

    def _unreadable(self, error: Exception) -> SettingsError:
        return SettingsError(f"{self.shown} cannot be read as a model of Keras: {_one_line(error)}")


def source(value: str, setting: str, channel: Path | None) -> Path:
    """Return the file or folder that a setting names.

    Args:
        value: `pretrained` for the channel, or a path.
        setting: the setting's name, for the error.
        channel: the folder of the channel `pretrained`; None: the job has none.

    Raises:
        SettingsError: there is no such channel or file.
    """
    if value != CHANNEL:
        if not Path(value).exists():
            raise SettingsError(f"{setting}={value}: there is no such file in the container")
        return Path(value)
    if channel is None or not channel.is_dir():
        raise SettingsError(
            f"{setting}=pretrained needs the channel `pretrained`: set data.pretrained to an earlier training job, an "
            "s3:// URI or a file"
        )
    return channel


@contextmanager
def opened(path: Path) -> Iterator[EarlierModel]:
    """Give access to the earlier model in a file or a folder; what an archive holds is gone afterwards.

    Raises:
        SettingsError: there is no model, there are several, or the archive is damaged.
        DataError: its classes.json is damaged.
    """
    file = _file_in(path) if path.is_dir() else path
    if not file.name.endswith(SUFFIXES):
        raise SettingsError(f"{file} is no model: its name must end in {', '.join(SUFFIXES)}")
    if not file.name.endswith(".tar.gz"):
        yield EarlierModel(file, str(file), _classes_beside(file))
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = _unpack(file, Path(folder))
        yield EarlierModel(unpacked, f"{unpacked.name} in {file}", _classes_beside(unpacked))


def _file_in(folder: Path) -> Path:
    """Return the model in a folder: a job's results, packed or not, or else the only file that may be one."""
    for name in (ARCHIVE, *MODEL_FILES):
        if (folder / name).is_file():
            return folder / name
    found = sorted(file for file in folder.iterdir() if file.is_file() and file.name.endswith(SUFFIXES))
    if len(found) != 1:
        named = ", ".join(file.name for file in found) or "none"
        raise SettingsError(
            f"{folder} must hold one model, a file that ends in {', '.join(SUFFIXES)}; it holds {named}"
        )
    return found[0]


def _classes_beside(file: Path) -> tuple[str, ...] | None:
    classes = file.with_name(facts.CLASSES_FILE)
    return facts.read_classes(classes) if file.name in MODEL_FILES and classes.is_file() else None


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack what is needed of a model.tar.gz into a folder; return the model's file."""
    try:
        with tarfile.open(archive, "r:gz") as opened_archive:
            for member in opened_archive:
                name = PurePosixPath(member.name).as_posix()
                if member.isreg() and name in (*MODEL_FILES, facts.CLASSES_FILE):
                    opened_archive.extract(member, folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SettingsError(f"{archive} is no whole tar.gz archive: {_one_line(error)}") from error
    for name in MODEL_FILES:
        if (folder / name).is_file():
            return folder / name
    raise SettingsError(f"{archive} holds neither {' nor '.join(MODEL_FILES)}: it is no training job's model")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
