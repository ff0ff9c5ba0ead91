"""Metrics against scikit-learn's, or against a plain loop over the images, for any predictions."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from container.modeling.evaluate import as_report
from container.modeling.insight_settings import Evaluation
from container.report.facts import Judgement, Threshold
from container.report.judging import CALIBRATION_BINS, PredictionError, calibration_bins, judge

# scikit-learn remarks on classes without images, on a k that is all classes, and on what adds up to 1 only nearly.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:sklearn")
few_examples = settings(max_examples=40)
ANY_COUNT = st.integers(1, 5)


@dataclass(frozen=True, eq=False)
class Case:
    """Predictions, and what is said of them."""

    labels: NDArray[Any]
    probabilities: NDArray[Any]
    settings: Evaluation

    @property
    def classes(self) -> list[str]:
        return [f"class {position}" for position in range(self.probabilities.shape[1])]

    @property
    def predicted(self) -> NDArray[Any]:
        return self.probabilities.argmax(axis=1)

    @property
    def judged(self) -> Judgement:
        return judge(self.labels, self.probabilities, self.classes, self.settings)

    @property
    def threshold(self) -> Threshold:
        """Of two classes."""
        found = self.judged.threshold
        assert found is not None
        return found


@st.composite
def cases(draw: st.DrawFn, class_counts: st.SearchStrategy[int] = ANY_COUNT) -> Case:
    """Predictions for few images; classes may never occur, or never be predicted, and probabilities may be equal."""
    count = draw(class_counts)
    labels = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    # A small concentration makes probabilities of nearly 0 and 1, as trained models do.
    probabilities = random.dirichlet(np.full(count, draw(st.sampled_from([0.01, 1.0]))), len(labels))
    probabilities = probabilities.round(draw(st.sampled_from([1, 2, 17])))
    rules = Evaluation(
        top_k=draw(st.integers(1, 6)),
        false_positive_cost=draw(st.sampled_from([0, 0.5, 1, 7])),
        false_negative_cost=draw(st.sampled_from([0, 0.5, 1, 7])),
    )
    return Case(np.array(labels, np.int32), probabilities.astype(np.float32), rules)


BINARY = cases(st.just(2))


class TestScores:
    @few_examples
    @given(case=cases())
    def test_they_are_those_of_scikit_learn(self, case: Case) -> None:
        judged, positions = case.judged, range(len(case.classes))
        report = sklearn_metrics.classification_report(
            case.labels,
            case.predicted,
            labels=positions,
            target_names=case.classes,
            output_dict=True,
            zero_division=0,
        )
        ours = as_report(judged)
        assert ours.keys() == report.keys()
        for row, values in report.items():
            assert ours[row] == pytest.approx(values)
        assert judged.images == len(case.labels)
        assert judged.accuracy == sklearn_metrics.accuracy_score(case.labels, case.predicted)
        assert judged.balanced_accuracy == pytest.approx(
            sklearn_metrics.balanced_accuracy_score(case.labels, case.predicted)
        )
        np.testing.assert_array_equal(
            judged.confusion_matrix,
            sklearn_metrics.confusion_matrix(case.labels, case.predicted, labels=positions),
        )

    @pytest.mark.slow
    @few_examples
    @given(case=cases())
    def test_specificity_is_the_recall_of_all_other_classes(self, case: Case) -> None:
        judged = case.judged
        for position, scores in enumerate(judged.classes):
            others = sklearn_metrics.recall_score(
                case.labels == position, case.predicted == position, pos_label=False, zero_division=0
            )
            assert scores.specificity == pytest.approx(others)
            assert scores.geometric_mean == pytest.approx(math.sqrt(scores.recall * others))

    @few_examples
    @given(case=cases())
    def test_averages_are_of_the_classes_and_by_support(self, case: Case) -> None:
        judged = case.judged
        support = [scores.support for scores in judged.classes]
        for name in ("specificity", "geometric_mean", "precision", "recall", "f1"):
            of_classes = [getattr(scores, name) for scores in judged.classes]
            assert getattr(judged.macro_average, name) == pytest.approx(np.mean(of_classes))
            assert getattr(judged.weighted_average, name) == pytest.approx(np.average(of_classes, weights=support))
        assert judged.macro_average.support == judged.weighted_average.support == len(case.labels)

    @few_examples
    @given(case=cases())
    def test_always_guessing_the_most_frequent_class(self, case: Case) -> None:
        guesses = [np.mean(case.labels == position) for position in range(len(case.classes))]
        assert case.judged.majority_accuracy == pytest.approx(max(guesses))

    @few_examples
    @given(case=cases())
    def test_the_interval_is_the_set_of_shares_that_the_accuracy_speaks_for(self, case: Case) -> None:
        judged, z = case.judged, 1.959963984540054
        assert 0 <= judged.accuracy_interval[0] <= judged.accuracy <= judged.accuracy_interval[1] <= 1
        for share in judged.accuracy_interval:
            # Wilson's: the accuracy lies z standard deviations of the share away; at the ends of the scale, it is one.
            distance = abs(judged.accuracy - share)
            deviation = math.sqrt(share * (1 - share) / judged.images)
            assert distance == pytest.approx(z * deviation, abs=1e-7)


class TestProbabilities:
    @few_examples
    @given(case=cases(st.integers(2, 5)))
    def test_the_loss_is_that_of_scikit_learn(self, case: Case) -> None:
        expected = sklearn_metrics.log_loss(case.labels, case.probabilities, labels=range(len(case.classes)))
        assert case.judged.loss == pytest.approx(expected, rel=1e-5, abs=1e-7)

    @few_examples
    @given(case=cases())
    def test_areas_are_those_of_scikit_learn_where_a_class_has_some(self, case: Case) -> None:
        judged = case.judged
        for position, scores in enumerate(judged.classes):
            is_of_class, probabilities = case.labels == position, case.probabilities[:, position]
            if is_of_class.all() or not is_of_class.any():
                assert (scores.roc_auc, scores.average_precision) == (None, None)
            else:
                assert scores.roc_auc == sklearn_metrics.roc_auc_score(is_of_class, probabilities)
                assert scores.average_precision == sklearn_metrics.average_precision_score(is_of_class, probabilities)
        for name in ("roc_auc", "average_precision"):
            known = [getattr(row, name) for row in judged.classes if getattr(row, name) is not None]
            assert getattr(judged, name) == (pytest.approx(np.mean(known)) if known else None)

    @few_examples
    @given(case=cases(st.integers(3, 5)))
    def test_areas_of_all_classes_are_scikit_learns_mean_of_one_against_the_rest(self, case: Case) -> None:
        count = len(case.classes)
        labels = np.concatenate([case.labels, np.arange(count)])
        random = np.random.default_rng(len(case.labels)).dirichlet(np.ones(count), len(labels))
        judged = judge(labels, random, case.classes, case.settings)
        assert judged.roc_auc == pytest.approx(sklearn_metrics.roc_auc_score(labels, random, multi_class="ovr"))
        assert judged.average_precision == pytest.approx(
            sklearn_metrics.average_precision_score(np.eye(count)[labels], random, average="macro")
        )

    @few_examples
    @given(case=cases(st.integers(3, 5)))
    def test_top_k_is_that_of_scikit_learn(self, case: Case) -> None:
        judged, last = case.judged, len(case.classes) - 1
        assert judged.top_k == min(case.settings.top_k, len(case.classes))
        # Of equal probabilities scikit-learn takes the last one for the larger, so it gets them in reverse.
        expected = sklearn_metrics.top_k_accuracy_score(
            last - case.labels, case.probabilities[:, ::-1], k=judged.top_k, labels=range(last + 1)
        )
        assert judged.top_k_accuracy == pytest.approx(expected)

    @given(case=cases())
    @settings(max_examples=15)
    def test_top_1_is_the_accuracy_and_top_all_is_all(self, case: Case) -> None:
        def top(k: int) -> float:
            return judge(case.labels, case.probabilities, case.classes, Evaluation(top_k=k)).top_k_accuracy

        assert (top(1), top(len(case.classes))) == (case.judged.accuracy, 1.0)

    @few_examples
    @given(case=cases())
    def test_the_calibration_error_is_that_of_a_loop_over_the_bins(self, case: Case) -> None:
        confidences = case.probabilities.max(axis=1).astype(np.float64)
        is_right = case.predicted == case.labels
        expected = 0.0
        for number in range(CALIBRATION_BINS):
            is_in = (confidences > number / CALIBRATION_BINS) & (confidences <= (number + 1) / CALIBRATION_BINS)
            if is_in.any():
                expected += abs(is_right[is_in].mean() - confidences[is_in].mean()) * is_in.mean()
        assert case.judged.calibration_error == pytest.approx(expected)

    def test_an_edge_belongs_to_the_bin_below_it(self) -> None:
        assert calibration_bins(np.array([0, 1e-9, 0.2, 0.2000001, 1])).tolist() == [0, 0, 2, 3, 14]


def counts_at(case: Case, threshold: float) -> tuple[int, int]:
    """False positives and false negatives of a threshold, image by image."""
    pairs = [(label, float(row[1]) >= threshold) for label, row in zip(case.labels, case.probabilities, strict=True)]
    return sum(label == 0 and is_second for label, is_second in pairs), sum(
        label == 1 and not is_second for label, is_second in pairs
    )


def cost_at(case: Case, threshold: float) -> float:
    positives, negatives = counts_at(case, threshold)
    total = positives * case.settings.false_positive_cost + negatives * case.settings.false_negative_cost
    return total / len(case.labels)


class TestThreshold:
    @given(case=cases(st.sampled_from([1, 3, 5])))
    @settings(max_examples=10)
    def test_there_is_none_unless_there_are_two_classes(self, case: Case) -> None:
        assert case.judged.threshold is None

    @few_examples
    @given(case=BINARY)
    def test_none_costs_less(self, case: Case) -> None:
        found = case.threshold
        every_one = [-1.0, 0.5, 2.0, *case.probabilities[:, 1].astype(float)]
        assert found.cost == pytest.approx(min(cost_at(case, threshold) for threshold in every_one))
        assert found.cost == pytest.approx(cost_at(case, found.probability))
        assert (found.false_positives, found.false_negatives) == counts_at(case, found.probability)

    @few_examples
    @given(case=BINARY)
    def test_one_half_is_kept_unless_another_costs_less(self, case: Case) -> None:
        found = case.threshold
        assert (found.probability == 0.5) == (cost_at(case, 0.5) == pytest.approx(found.cost))

    @few_examples
    @given(case=BINARY)
    def test_applied_again_it_gives_the_same(self, case: Case) -> None:
        found = case.threshold
        again = judge(case.labels, case.probabilities, case.classes, case.settings, found.probability)
        assert again.threshold == found

    @few_examples
    @given(case=BINARY)
    # In single precision it is more than 0.699999988, which nine digits make of it.
    @example(case=Case(np.array([0, 1]), np.array([[0.4, 0.6], [0.3, 0.7]], np.float32), Evaluation()))
    def test_probabilities_as_predictions_csv_has_them_lie_on_the_same_side(self, case: Case) -> None:
        found = case.threshold
        written = np.array([[float(f"{value:.9g}") for value in row] for row in case.probabilities])
        again = judge(case.labels, written, case.classes, case.settings, found.probability)
        assert again.threshold == found

    @pytest.mark.slow
    @few_examples
    @given(chosen=BINARY, judged=BINARY)
    def test_that_of_another_set_is_taken_as_it_is(self, chosen: Case, judged: Case) -> None:
        found = chosen.threshold
        applied = judge(judged.labels, judged.probabilities, judged.classes, judged.settings, found.probability)
        assert applied.threshold is not None
        assert applied.threshold.probability == found.probability
        counts = applied.threshold.false_positives, applied.threshold.false_negatives
        assert counts == counts_at(judged, found.probability)

    @pytest.mark.parametrize("label", [0, 1])
    def test_neighbors_in_single_precision_are_told_apart(self, label: int) -> None:
        half = np.float32(0.3)
        values = np.array([half, np.nextafter(half, np.float32(1))])
        case = Case(np.array([label, 1 - label]), np.stack([1 - values, values], axis=1), Evaluation())
        found = case.threshold
        assert found.cost == (0.0 if label == 0 else 0.5)


class TestFewImages:
    def test_one_image_of_one_class(self) -> None:
        judged = judge(np.array([0]), np.array([[1.0]], dtype=np.float32), ["only"], Evaluation())
        assert (judged.accuracy, judged.majority_accuracy, judged.classes[0].support) == (1.0, 1.0, 1)
        assert judged.loss == pytest.approx(0, abs=1e-6)
        assert (judged.roc_auc, judged.average_precision, judged.threshold) == (None, None, None)

    @pytest.mark.parametrize(("label", "accuracy"), [(0, 0.0), (1, 1.0)])
    def test_one_image_of_two_classes(self, label: int, accuracy: float) -> None:
        judged = judge(np.array([label]), np.array([[0.2, 0.8]], dtype=np.float32), ["a", "b"], Evaluation())
        assert (judged.accuracy, judged.balanced_accuracy) == (accuracy, accuracy)
        assert judged.loss == pytest.approx(-math.log(0.8 if label else 0.2), rel=1e-6)
        assert judged.threshold is not None
        assert judged.threshold.cost == 0


class TestRefusals:
    @pytest.mark.parametrize("shape", [(0, 2), (3, 2), (2, 3), (2,)])
    def test_shapes_must_fit(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="do not fit"):
            judge(np.zeros(2 if shape[0] else 0, int), np.zeros(shape, np.float32), ["a", "b"], Evaluation())

    @pytest.mark.parametrize("label", [-1, 2])
    def test_labels_must_be_positions(self, label: int) -> None:
        with pytest.raises(ValueError, match="from 0 to 1"):
            judge(np.array([0, label]), np.full((2, 2), 0.5, np.float32), ["a", "b"], Evaluation())

    @pytest.mark.parametrize(("value", "count"), [(np.nan, 1), (np.nan, 3), (np.inf, 1), (np.inf, 3)])
    def test_what_is_no_number_is_refused(self, value: float, count: int) -> None:
        probabilities = np.full((2, count), 1 / count, np.float32)
        probabilities[1, 0] = value
        with pytest.raises(PredictionError, match=r"for 1 of 2 images.*training\.learning_rate"):
            judge(np.zeros(2, int), probabilities, [f"class {position}" for position in range(count)], Evaluation())
