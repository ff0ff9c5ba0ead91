"""Watches a training by the rules of the settings: tells once of each that something looks wrong, and what may help."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import get_args

import keras

from container.modeling.diagnostics.checks import Check, makers
from container.modeling.diagnostics.errors import NotCheckedError
from container.modeling.diagnostics.rules import Symptom
from container.modeling.input_pipeline.batches import Batches
from container.modeling.insight_settings import Diagnostics, Rule
from container.modeling.optimization.history import History
from container.modeling.optimization.observing import ObservedEpoch, Observer
from container.report import facts

logger = logging.getLogger(__name__)


class Watch(Observer):
    """An observer of a training, which checks all rules but `exploding_gradient`: the training stops by that itself.

    A rule that fails is told of in the log, and not checked any more: nothing here ends a training.
    """

    def __init__(self, settings: Diagnostics) -> None:
        """Watch nothing yet, but `exploding_gradient` where it is not off."""
        self._off = settings.off
        self._checks: dict[Rule, Check] = {}
        self._findings: list[facts.Finding] = []

    @property
    def diagnostics(self) -> facts.Diagnostics:
        """What is looked for, and what was found so far."""
        stops: tuple[Rule, ...] = ("exploding_gradient",)
        checked = {*self._checks, *stops} - {*self._off}
        return facts.Diagnostics(
            rules=tuple(rule for rule in get_args(Rule) if rule in checked),
            findings=tuple(finding for finding in self._findings if finding.rule in checked),
        )

    def add(self, rule: Rule, make: Callable[[], Check]) -> None:
        """Check a rule from now on, unless it is off or cannot be checked here."""
        if rule not in self._off:
            with self._guarded(rule):
                self._checks[rule] = make()

    def go_on_from(self, findings: tuple[facts.Finding, ...]) -> None:
        """Take over what an interrupted run of this training found; it is not told of again."""
        self._findings = list(findings)

    def after_epoch(self, epoch: ObservedEpoch) -> None:
        """Check the rules by an epoch."""
        self._look(epoch.row.epoch, lambda check: check.after_epoch(epoch))

    def after_training(self, history: History) -> None:
        """Check the rules by the final model, which is that of the best epoch."""
        if history.best is not None:
            self._look(history.best.epoch, lambda check: check.after_training())

    def _look(self, epoch: int, look: Callable[[Check], Symptom | None]) -> None:
        found = {finding.rule for finding in self._findings}
        for rule, check in tuple(self._checks.items()):
            if rule not in found:
                with self._guarded(rule):
                    self._note(rule, epoch, look(check))

    def _note(self, rule: Rule, epoch: int, symptom: Symptom | None) -> None:
        if symptom is None:
            return
        self._findings.append(facts.Finding(rule=rule, epoch=epoch, message=symptom.message, remedy=symptom.remedy))
        logger.warning("%s: %s. What may help: %s", rule, symptom.message, symptom.remedy)

    @contextmanager
    def _guarded(self, rule: Rule) -> Iterator[None]:
        try:
            yield
        except NotCheckedError as reason:
            self._checks.pop(rule, None)
            logger.info("the rule %s is not checked: %s", rule, reason)
        # A rule looks at the user's own model and at the machine, which raise what they like.
        except Exception:
            self._checks.pop(rule, None)
            logger.exception("the rule %s failed, and is not checked any more", rule)


@contextmanager
def watch(
    settings: Diagnostics, model: keras.Model, training: Batches, validation: Batches, gpus: int
) -> Iterator[Watch]:
    """Return what watches a training while the context lasts.

    Args:
        settings: which rules, with which thresholds.
        model: that is trained.
        training: the images that it learns from.
        validation: the images that it is judged by.
        gpus: how many GPUs of this host train.
    """
    with ExitStack() as context:
        watching = Watch(settings)
        for rule, make in makers(settings, model, training, validation, gpus, context):
            watching.add(rule, make)
        yield watching
