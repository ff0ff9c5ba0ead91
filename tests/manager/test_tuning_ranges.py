"""What a tuning job may vary, and what is refused before it is launched."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.errors import SettingsError
from container.modeling import overrides
from container.modeling.config_file import load_settings
from container.modeling.settings import Choice, ContainerSettings, Range, Settings, Tuning
from manager.tuning_ranges import Parameter, combinations, read_ranges

PARTS = Path(__file__).resolve().parents[2] / "container" / "parts"


def tuned(ranges: dict[str, Any], **assignments: str) -> Settings:
    """The project's settings with these ranges; `__` stands for a dot."""
    settings = load_settings(assignments={name.replace("__", "."): text for name, text in assignments.items()})
    return settings.model_copy(update={"tuning": Tuning(ranges=ranges)})


def read(ranges: dict[str, Any], **assignments: str) -> tuple[Parameter, ...]:
    return read_ranges(tuned(ranges, **assignments), PARTS)


class TestKinds:
    def test_a_number_is_continuous_and_an_integer_an_integer(self) -> None:
        rate, epochs = read(
            {
                "training.learning_rate": Range(minimum=1e-5, maximum=0.1, scaling="Logarithmic"),
                "training.epochs": Range(minimum=6, maximum=10),
            }
        )
        assert (rate.kind, epochs.kind) == ("Continuous", "Integer")
        name, scaling = "training.learning_rate", "Logarithmic"
        assert rate.range == {"Name": name, "MinValue": "1e-05", "MaxValue": "0.1", "ScalingType": scaling}
        assert (epochs.range["MinValue"], epochs.range["MaxValue"]) == ("6", "10")

    @pytest.mark.parametrize(
        ("name", "values", "texts"),
        [
            ("training.batch_size", [32, "64", 128], ("32", "64", "128")),
            ("training.xla", [True, False], ("true", "false")),
            ("optimizer.name", ["adam", "sgd"], ("adam", "sgd")),
            ("training.learning_rate", [1, 0.5], ("1.0", "0.5")),
            ("image.channels", [1, 3], ("1", "3")),
            ("model.filters", [(1, 2, 3, 4, 5), [2, 2, 2, 2, 2]], ("[1, 2, 3, 4, 5]", "[2, 2, 2, 2, 2]")),
            ("loss.class_weights.rose", [1, 2.5], ("1.0", "2.5")),
        ],
    )
    def test_a_choice_is_categorical_whatever_its_values_are(self, name: str, values: Any, texts: Any) -> None:
        (parameter,) = read({name: Choice(values=values)})
        assert parameter == Parameter(name, "Categorical", texts)

    def test_an_entry_of_a_table_of_numbers_is_a_number(self) -> None:
        (parameter,) = read({"loss.class_weights.rose": Range(minimum=1, maximum=3)})
        assert (parameter.kind, parameter.texts) == ("Continuous", ("1.0", "3.0"))

    def test_they_can_be_set_for_one_run(self) -> None:
        whole = {"tuning.ranges": '{"training.epochs": {"minimum": 6, "maximum": 10}}'}
        single = {"tuning.ranges.training.epochs": '{"minimum": 6, "maximum": 10}'}
        for assignments in (whole, single):
            (parameter,) = read_ranges(load_settings(assignments=assignments), PARTS)
            assert parameter == Parameter("training.epochs", "Integer", ("6", "10"), "Auto")

    @given(st.data())
    def test_every_value_comes_back_from_its_text(self, data: st.DataObject) -> None:
        values = {
            "training.batch_size": st.integers(1, 65_536),
            "training.learning_rate": st.floats(1e-9, 10),
            "training.xla": st.booleans(),
            "optimizer.name": st.sampled_from(["adam", "sgd"]),
            "model.filters": st.tuples(*[st.integers(1, 9)] * 5),
        }
        name = data.draw(st.sampled_from(sorted(values)))
        value = data.draw(values[name])
        (parameter,) = read({name: Choice(values=(value,))})
        settings = overrides.override(ContainerSettings(), {name: parameter.texts[0]})
        assert dict(overrides.flatten(settings))[name] == value


class TestRefusals:
    @pytest.mark.parametrize(
        ("ranges", "message"),
        [
            ({}, r"there is nothing to tune: set tuning\.ranges"),
            (
                {"training.learning_rat": Choice(values=(1,))},
                r"no setting 'training\.learning_rat'.*mean 'training\.learning_rate'\?",
            ),
            ({"learning": Choice(values=(1,))}, r"there is no setting 'learning' of the container"),
            ({"training": Choice(values=(1,))}, r"there is no setting 'training': it is a group"),
            ({"training_job.spot": Choice(values=(True,))}, r"varies what the container reads, not training_job\.spot"),
            ({"optimizer.name": Range(minimum=0, maximum=1)}, r"the setting is no number: give it a choice"),
            ({"training.xla": Range(minimum=0, maximum=1)}, r"the setting is no number: give it a choice"),
            ({"training.epochs": Range(minimum=0, maximum=9)}, r"training\.epochs=0: .*integer >= 1"),
            ({"training.epochs": Range(minimum=1.5, maximum=9)}, r"training\.epochs=1\.5: .*integer"),
            ({"training.learning_rate": Range(minimum=1, maximum=11)}, r"training\.learning_rate=11\.0: .*<= 10"),
            ({"optimizer.name": Choice(values=("adam", "adm"))}, r"optimizer\.name=adm: must be adam or"),
            ({"training.batch_size": Choice(values=(32, "32"))}, r"training\.batch_size has a value twice: 32, 32"),
            ({"parts.settings.x": Choice(values=("y" * 257,))}, r"257 characters long; SageMaker takes at most 256"),
            ({"parts.settings.x": Choice(values=("1",))}, r"parts\.settings\.x is set, but no function of your own"),
            ({"model.name": Choice(values=("baseline", "mine:build"))}, r"container/parts/mine\.py does not exist"),
        ],
    )
    def test_it_is_named_with_the_rule(self, ranges: dict[str, Any], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            read(ranges)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"minimum": 3, "maximum": 2}', "minimum 3 must be less than its maximum 2"),
            ('{"minimum": 0, "maximum": 2, "scaling": "Logarithmic"}', "must be above 0 where scaling is Logarithmic"),
            ('{"minimum": 0, "maximum": 1, "scaling": "ReverseLogarithmic"}', "1 left out"),
            ('{"minimum": 1}', "maximum is missing"),
            ('{"min": 1}', "minimum is missing"),
            ('{"values": []}', "at least 1 item"),
            ('{"values": [1], "scaling": "Auto"}', "scaling is none of its fields"),
            ("3", "tuning.ranges.training.epochs"),
        ],
    )
    def test_a_range_that_is_none_is_refused_when_it_is_read(self, text: str, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            load_settings(assignments={"tuning.ranges.training.epochs": text})

    def test_values_that_do_not_go_together_are_named(self) -> None:
        warmup, epochs = Choice(values=(0, 1, 4)), Range(minimum=5, maximum=9)
        read({"schedule.warmup_epochs": warmup, "training.epochs": epochs})
        with pytest.raises(SettingsError, match=r"warmup_epochs=4\.0, training\.epochs=3\): .*must be less than"):
            read({"schedule.warmup_epochs": warmup, "training.epochs": Range(minimum=3, maximum=9)})

    def test_a_setting_that_is_tuned_need_not_fit_the_others_as_it_stands(self) -> None:
        ranges = {"schedule.warmup_epochs": Choice(values=(7,)), "training.epochs": Range(minimum=8, maximum=9)}
        read(ranges, training__epochs="5")

    def test_a_channel_that_only_some_trials_read_is_used(self) -> None:
        ranges = '{"model.initial_weights": {"values": ["", "pretrained"]}}'
        settings = load_settings(assignments={"data.pretrained": "an-earlier-job", "tuning.ranges": ranges})
        (parameter,) = read_ranges(settings, PARTS)
        assert parameter.texts == ("", "pretrained")


class TestGrid:
    def test_all_combinations_count(self) -> None:
        batch = Choice(values=(16, 32, 64))
        assert combinations(read({"training.batch_size": batch, "training.xla": Choice(values=(True, False))})) == 6

    def test_it_has_no_ranges(self) -> None:
        with pytest.raises(SettingsError, match=r"Grid combines the values of choices, and training\.epochs has a"):
            combinations(read({"training.epochs": Range(minimum=1, maximum=2)}))
