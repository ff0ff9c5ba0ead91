"""Settings: the config files as shipped, the one way to override a setting, and what is said when one is wrong."""

import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, JsonValue, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from container.errors import SettingsError
from container.modeling import overrides
from container.modeling.config_file import CONFIG_FILE, load_settings
from container.modeling.settings import (
    Choice,
    ContainerSettings,
    Distribution,
    Model,
    Range,
    Schedule,
    Section,
    Settings,
    Tracking,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
WORD = st.text("abcXYZ019 .:/=+@-_", min_size=1, max_size=20)
PREAMBLE = """
from container.modeling.settings import *
PROJECT_NAME = "some-project"
ALGORITHM_NAME = "some-algorithm"
"""


def refusal(config_file: Path = CONFIG_FILE, assignments: dict[str, str] | None = None) -> str:
    """The one line that loading the settings fails with."""
    with pytest.raises(SettingsError) as raised:
        load_settings(config_file, assignments)
    text = str(raised.value)
    assert "\n" not in text
    return text


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def values(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Any value that a setting may have, made from its type and limits alone."""
    return of_type(field.annotation, field.metadata)


def of_type(annotation: Any, rules: Iterable[Any] = ()) -> st.SearchStrategy[Any]:
    """Any value of a type that keeps the rules."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    rules = [inner for rule in rules for inner in (rule.metadata if isinstance(rule, FieldInfo) else [rule])]
    limits = {
        limit: getattr(rule, limit)
        for rule in rules
        for limit in ("gt", "ge", "lt", "le", "pattern", "min_length", "max_length")
        if getattr(rule, limit, None) is not None
    }
    if origin is typing.Annotated:
        return of_type(arguments[0], annotation.__metadata__)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if annotation is bool:
        return st.booleans()
    if origin is tuple and arguments[-1] is ...:
        length = {"min_size": limits.get("min_length", 0), "max_size": min(limits.get("max_length", 5), 5)}
        return st.lists(of_type(arguments[0]), **length).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of_type, arguments))
    if origin is dict:
        return st.dictionaries(WORD.filter(lambda key: not key.startswith("aws:")), of_type(arguments[1]), max_size=5)
    if annotation is int:
        return st.integers(limits["ge"], limits.get("le", 10**6))
    if annotation is float:
        lowest, highest = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
        return st.floats(lowest, highest, exclude_min="gt" in limits, exclude_max="lt" in limits)
    if annotation is JsonValue:
        return st.recursive(st.booleans() | st.integers(-9, 9) | TEXT, lambda inner: st.lists(inner, max_size=2))
    if origin is typing.Union:
        return st.one_of(*map(of_type, arguments))
    if annotation in WHOLE:
        return WHOLE[annotation]
    assert annotation is str, f"no strategy for {annotation}"
    if limits.get("pattern"):
        return st.from_regex(limits["pattern"], fullmatch=True, alphabet=st.characters(codec="ascii")).filter(
            lambda text: len(text) <= 256 and not text.endswith("\n")
        )
    if any(isinstance(rule, AfterValidator) for rule in rules):
        return st.sampled_from([text for text in ("package.module:function", "VGG16") if accepted(text, rules)])
    return WORD if "max_length" in limits else TEXT


# What is no group of settings, and has rules of its own.
WHOLE: dict[Any, st.SearchStrategy[Any]] = {
    Range: st.builds(Range, minimum=st.floats(0.1, 1), maximum=st.floats(2, 1e9)),
    Choice: st.builds(Choice, values=st.lists(st.booleans() | st.floats(-9, 9) | TEXT, min_size=1, max_size=3)),
}

# Not every value of these goes with every value of other groups.
LIMITED_BY_OTHERS: dict[type[BaseModel], dict[str, st.SearchStrategy[Any]]] = {
    Model: {"output": st.just("softmax")},
    Distribution: {"synchronized_batch_normalization": st.just(False)},
    # It decides whether steps can be profiled.
    Tracking: {"tensorboard": st.just(True)},
    Schedule: {"warmup_epochs": st.floats(0, 0.9), "name": st.sampled_from(["constant", "exponential", "cosine"])},
}


def accepted(text: str, rules: Iterable[Any]) -> bool:
    """Whether a text keeps the rules of a setting."""
    try:
        TypeAdapter(typing.Annotated[str, *rules]).validate_python(text)
    except ValidationError:
        return False
    return True


def settings_of(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Any settings of a group, nested groups included."""
    nested = {name: settings_of(section) for name, section in overrides.sections(model)}
    plain = {name: values(field) for name, field in model.model_fields.items() if name not in nested}
    plain |= LIMITED_BY_OTHERS.get(model, {})
    return st.builds(model, **plain, **nested)


LEAVES = {name: field for name, field in overrides.leaves(Settings) if name not in ("project_name", "algorithm_name")}


class TestConfigFiles:
    @pytest.mark.parametrize("name", ["config.py", "config_flowers.py"])
    def test_each_shipped_file_loads(self, name: str) -> None:
        settings = load_settings(CONFIG_FILE.with_name(name))
        assert overrides.override(ContainerSettings(), overrides.hyperparameters(settings.container_settings())) == (
            settings.container_settings()
        )

    def test_the_default_file_is_set_for_the_sample_digits(self) -> None:
        settings = load_settings()
        assert (settings.data.directory, settings.image.channels) == ("data/digits", 1)

    def test_a_python_file_says_what_it_says_and_leaves_the_rest(self, tmp_path: Path) -> None:
        settings = load_settings(written(tmp_path / "my.py", PREAMBLE + "TRAINING = Training(epochs=3)"))
        assert (settings.project_name, settings.training.epochs) == ("some-project", 3)
        assert settings.image == Settings(project_name="abc", algorithm_name="a").image

    @pytest.mark.parametrize(
        "content",
        [
            "training:\n  learning_rate: 1e-4\nmodel:\n  filters: [1, 2, 3, 4, 5]\n",
            "training.learning_rate: 0.0001\nmodel.filters: [1, 2, 3, 4, 5]\n",
            "model: {filters: [1, 2, 3, 4, 5]}\ntraining.learning_rate: '1e-4'\n",
        ],
        ids=["nested", "dotted", "both"],
    )
    def test_a_yaml_file_overrides_the_default_file(self, tmp_path: Path, content: str) -> None:
        settings = load_settings(written(tmp_path / "run.yaml", content))
        assert (settings.training.learning_rate, settings.model.filters) == (1e-4, (1, 2, 3, 4, 5))
        assert settings.project_name == load_settings().project_name

    def test_an_empty_yaml_file_changes_nothing(self, tmp_path: Path) -> None:
        assert load_settings(written(tmp_path / "run.yml", "# nothing yet\n")) == load_settings()

    @pytest.mark.parametrize("name", ["no", "123", "2024-01-01", "0x10"])
    def test_a_name_in_yaml_is_the_text_that_is_written(self, tmp_path: Path, name: str) -> None:
        settings = load_settings(written(tmp_path / "run.yaml", f"algorithm_name: {name}\n"))
        assert settings.algorithm_name == name

    def test_assignments_come_last(self, tmp_path: Path) -> None:
        config_file = written(tmp_path / "run.yaml", "training.epochs: 3")
        assert load_settings(config_file, {"training.epochs": "4"}).training.epochs == 4


class TestBrokenConfigFiles:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("x = (", "SyntaxError"),
            ("import not_a_module_of_anybody", "ModuleNotFoundError"),
            ("raise SystemExit(3)", "SystemExit"),
            ("raise ValueError('two\\nlines')", "two lines"),
            ("", "project_name is missing"),
            (PREAMBLE + "TRAINNG = Training()", "did you mean 'TRAINING'?"),
            (PREAMBLE + "EPOCHS = 3", "there is no setting 'EPOCHS'"),
            (PREAMBLE + "TRAINING = 5", "training"),
            (PREAMBLE + "TRAINING = Model()", "training"),
            (PREAMBLE + "TRAINING = Training(epoch=3)", "did you mean 'training.epochs'?"),
            (PREAMBLE + "TRAINING = Training(epochs=0)", "training.epochs=0: "),
            (PREAMBLE + "TRAINING = Training(epochs='many')", "integer >= 1, <= 10,000"),
            (PREAMBLE + "TRAINING = {'epochs': 0}", "training.epochs=0: "),
            (PREAMBLE + "MODEL = Model(filters=(1, 2))", "model.filters"),
            (PREAMBLE + "DATA = Data(training_fraction=0.5)", "must add up to 1, not 0.7"),
            (PREAMBLE + "AWS = Aws(region='Frankfurt')", "aws.region='Frankfurt'"),
            (PREAMBLE + "ENDPOINT = Endpoint(instance_type='m5.xlarge')", "For example: ml.m5.xlarge"),
            (PREAMBLE + "PROJECT_NAME = 3", "project_name=3"),
        ],
    )
    def test_python(self, tmp_path: Path, content: str, said: str) -> None:
        config_file = written(tmp_path / "my.py", content)
        text = refusal(config_file)
        assert said in text
        assert str(config_file) in text

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("- 1", "must be a table of settings"),
            ("just words", "must be a table of settings"),
            ("a:\n\t- b", "cannot be read as YAML"),
            ("a: 1\n---\nb: 2", "cannot be read as YAML"),
            ("training: &a {x: *a}", "cannot be read as YAML"),
            ("model.filters: &a [*a]", "cannot be read as YAML"),
            ("trainin: {epochs: 5}", "did you mean 'training.epochs'?"),
            ("training: 5", "there is no setting 'training'"),
            ("1: 2", "there is no setting '1'"),
            ("training: {epochs: {a: 1}}", "training.epochs="),
            ("training: {epochs: true}", "training.epochs=true"),
            ("x: !!python/object/apply:os.getcwd []", "there is no setting 'x'"),
        ],
    )
    def test_yaml(self, tmp_path: Path, content: str, said: str) -> None:
        assert said in refusal(written(tmp_path / "run.yaml", content))

    def test_yaml_that_is_not_text(self, tmp_path: Path) -> None:
        config_file = tmp_path / "run.yaml"
        config_file.write_bytes(b"training.epochs: \xff")
        assert "cannot be read as YAML" in refusal(config_file)

    def test_a_file_that_is_missing_or_of_another_kind(self, tmp_path: Path) -> None:
        assert "does not exist" in refusal(tmp_path / "none.py")
        assert "neither a .py nor a .yaml file" in refusal(written(tmp_path / "settings.toml", ""))


class TestOverrides:
    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("training.epoch", "3", "did you mean 'training.epochs'?"),
            ("trainng.batch_size", "3", "did you mean 'training.batch_size'?"),
            ("something_of_nothing", "3", "the README's table lists them all"),
            ("training", "{}", "there is no setting 'training'"),
            ("training.epochs", "0", "integer >= 1, <= 10,000"),
            ("training.epochs", "", "integer >= 1, <= 10,000"),
            ("training.epochs", "5\n6", "training.epochs=5 6"),
            ("training.learning_rate", "1,5", "number > 0, <= 10"),
            ("training.learning_rate", "nan", "number > 0, <= 10"),
            ("data.validation_fraction", "0", "number > 0, < 1"),
            ("data.validation_fraction", "0.2", "must add up to 1, not 1.1"),
            ("image.channels", "2", "1 or 3"),
            ("model.name", "Baseline", "did you mean 'baseline'?"),
            ("model.name", "baseline:", "baseline, fine_tune or a function"),
            ("parts.loader", "folder", "empty or a function"),
            ("model.head", "[[128]]", "[integer, number]"),
            ("model.head", "[[128, 1]]", "less than 1"),
            ("loss.class_weights.rose", "0", "greater than 0"),
            ("model.filters", "1,2,3,4,5", "JSON"),
            ("model.filters", "[1, 2, 3, 4, 99999]", "2048"),
            ("training_job.instance_type", "g5", "training_job.instance_type=g5"),
        ],
    )
    def test_what_is_wrong_is_named_with_the_rule(self, name: str, text: str, said: str) -> None:
        refused = refusal(assignments={name: text})
        assert said in refused
        assert name.split(".")[0] in refused

    def test_a_group_is_no_setting_and_its_members_are_named(self) -> None:
        assert "it is a group; name one of training.epochs, " in refusal(assignments={"training": "5"})

    @pytest.mark.parametrize(("text", "value"), [("false", False), ("False", False), ("0", False), ("true", True)])
    def test_false_is_false(self, text: str, value: bool) -> None:
        class Switches(Section):
            """A group with a switch."""

            shuffle: bool = not value

        assert overrides.override(Switches(), {"shuffle": text}).shuffle is value

    @pytest.mark.parametrize("name", LEAVES)
    def test_every_value_survives_as_text(self, name: str) -> None:
        field = LEAVES[name]

        @given(value=values(field))
        def survives(value: Any) -> None:
            assert overrides.parse(name, field, overrides.to_text(value)) == value

        survives()

    @given(settings=settings_of(ContainerSettings))
    def test_hyperparameters_carry_the_settings(self, settings: ContainerSettings) -> None:
        texts = overrides.hyperparameters(settings)
        assert overrides.override(ContainerSettings(), texts) == settings

    def test_defaults_need_no_hyperparameters(self) -> None:
        assert overrides.hyperparameters(ContainerSettings()) == {}

    def test_a_value_longer_than_sagemaker_takes_is_refused(self) -> None:
        settings = overrides.override(ContainerSettings(), {"fine_tuning.weights": "w" * 2501})
        with pytest.raises(SettingsError, match=r"fine_tuning\.weights is 2501 characters long.* 2500 "):
            overrides.hyperparameters(settings)

    def test_every_setting_says_what_it_means(self) -> None:
        assert [name for name, field in overrides.leaves(Settings) if not overrides.description(field)] == []


class TestNames:
    @pytest.mark.parametrize("name", ["abc", "a.b", "flowers-2", "0.1", "a" * 54])
    def test_a_project_name_that_s3_takes(self, name: str) -> None:
        assert load_settings(assignments={"project_name": name}).project_name == name

    @pytest.mark.parametrize(
        "name", ["", "ab", "a" * 55, "Flowers", "a_b", "a..b", "a.-b", "-abc", "abc.", "a b c", "été", "abc\n"]
    )
    def test_a_project_name_that_s3_refuses(self, name: str) -> None:
        assert "3 to 54 lower-case letters and digits" in refusal(assignments={"project_name": name})

    @pytest.mark.parametrize("name", ["sthree-images", "amzn-s3-demo-images"])
    def test_a_project_name_that_s3_keeps_for_itself(self, name: str) -> None:
        assert "which S3 keeps for itself" in refusal(assignments={"project_name": name})

    @pytest.mark.parametrize("name", ["a", "Digits-CNN", "a" * 43])
    def test_an_algorithm_name_that_sagemaker_takes(self, name: str) -> None:
        assert load_settings(assignments={"algorithm_name": name}).algorithm_name == name

    @pytest.mark.parametrize("name", ["", "a" * 44, "a_b", "a.b", "a--b", "-a", "a-", "a b", "a\n"])
    def test_an_algorithm_name_that_sagemaker_refuses(self, name: str) -> None:
        assert "1 to 43 letters and digits" in refusal(assignments={"algorithm_name": name})


class TestSetsPath:
    @pytest.mark.parametrize(
        ("directory", "sets_directory", "expected"),
        [("data/x", "", "data/x-sets"), ("data/x/", "", "data/x-sets"), ("data/x", "elsewhere", "elsewhere")],
    )
    def test_it_stands_beside_the_images_unless_set(self, directory: str, sets_directory: str, expected: str) -> None:
        settings = load_settings(assignments={"data.directory": directory, "data.sets_directory": sets_directory})
        assert settings.data.sets_path == expected


def test_one_entry_of_a_table_is_set_and_the_others_stay() -> None:
    settings = ContainerSettings()
    for name, text in {"loss.class_weights": '{"rose": 1, "lily": 3}', "loss.class_weights.rose": "2.5"}.items():
        settings = overrides.override(settings, {name: text})
    settings = overrides.override(settings, {"parts.settings.width": "64", "parts.settings.a.b": '"'})
    assert settings.loss.class_weights == {"rose": 2.5, "lily": 3.0}
    assert settings.parts.settings == {"width": "64", "a.b": '"'}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"schedule.warmup_epochs": "20"}, "schedule.warmup_epochs=20 must be less than training.epochs=20"),
        (
            {"model.name": "fine_tune", "fine_tuning.epochs": "2", "schedule.warmup_epochs": "2"},
            "must be less than fine_tuning.epochs=2",
        ),
        ({"schedule.name": "plateau", "schedule.patience": "8"}, "schedule.patience=8 must be less than"),
        ({"model.name": "mine:build", "model.output": "sigmoid"}, "model.output=sigmoid is for baseline and fine_tune"),
    ],
)
def test_what_does_not_go_together_is_refused(chosen: dict[str, str], said: str) -> None:
    assert said in refusal(assignments=chosen)
