"""The presets: valid settings, and models that can be built from them."""

from pathlib import Path

import pytest

from container.errors import SettingsError
from container.modeling.augmentation import build_augmentor
from container.modeling.config_file import CONFIG_FILE, load_settings
from container.modeling.networks.models import build_model
from container.modeling.overrides import hyperparameters, override
from container.modeling.presets import PRESETS, preset
from container.modeling.settings import ContainerSettings

EXAMPLES = (CONFIG_FILE, CONFIG_FILE.with_name("config_flowers.py"))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("config", EXAMPLES, ids=lambda path: path.name)
def test_each_goes_with_every_example(name: str, config: Path) -> None:
    settings = load_settings(config, preset(name)).container_settings()
    assert settings.model.name == name
    build_augmentor(settings.augmentation, settings.image, settings.training.seed)
    # What SageMaker hands on is the same.
    assert override(ContainerSettings(), hyperparameters(settings)) == settings


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_each_is_a_model(name: str) -> None:
    settings = override(ContainerSettings(), preset(name) | {"fine_tuning.weights": "none"})
    assert build_model(settings, 5).output_shape == (None, 5)


def test_one_override_changes_one_setting() -> None:
    settings = load_settings(assignments=preset("baseline") | {"optimizer.name": "sgd"})
    assert settings.optimizer.name == "sgd"
    assert settings.optimizer.weight_decay == PRESETS["baseline"]["optimizer.weight_decay"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fine_tuning", ": did you mean 'fine_tune'"),
        ("Baseline", ": did you mean 'baseline'"),
        ("x", "; there are baseline"),
    ],
)
def test_an_unknown_one_has_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"there is no preset '{name}'{hint}"):
        preset(name)
