"""One function per flag of `project_manager.py` that has to do with endpoints."""

from collections.abc import Sequence
from pathlib import Path

from container.words import plural
from manager import (
    endpoint,
    labeled_predictions,
    names,
    predicting,
    pricing,
    served_model,
    training,
)
from manager import serving_monitoring as monitoring
from manager.aws import FAILURES
from manager.endpoint import DELETING, FAILED, IN_SERVICE, EndpointState
from manager.errors import AwsError, EndpointError
from manager.predictor import Predictor
from manager.pricing import Machines
from manager.session import Session

HOURS_OF_A_DAY = 24


def deploy(session: Session, job: str) -> str:
    """Let the project's endpoint serve the model of a training job; return the endpoint configuration it will serve by.

    Args:
        session: the session.
        job: the training job.

    Raises:
        ProjectError: the job left no model, the role is not as it must be, the endpoint is being changed, the user says
            no, or AWS refuses.
    """
    settings, place, hosting = session.settings, session.aws.place, session.settings.endpoint
    name = names.endpoint(settings)
    model = served_model.model_request(settings, place, served_model.trained_model(session, job, hosting), hosting)
    config = endpoint.config_request(settings, job, model["ModelName"], hosting)
    session.terminal.heading(f"Endpoint {name} with the model of {job}")
    if not session.aws.endpoint_url and (url := names.console_url(place, name, "endpoints")):
        session.terminal.plain(f"  its page in the console is {url}")
    plan = endpoint.plan_deployment(settings, model, config, endpoint.read_served(session.aws, settings))
    _confirm_cost(session, Machines(hosting.instance_type, hosting.instance_count), asks=bool(plan.calls))
    session.carry_out(plan)
    return str(config["EndpointConfigName"])


def await_deployment(session: Session, config: str, *, is_removed_next: bool = False) -> bool:
    """Follow the endpoint until it serves by a configuration, and remove what it does not use any more.

    Args:
        session: the session.
        config: the endpoint configuration.
        is_removed_next: whether the endpoint is removed after this, whatever becomes of it.

    Returns:
        Whether it was followed so far; where Ctrl-C ended that, it is told how the endpoint is looked at and removed.

    Raises:
        ProjectError: it failed, with the reason and the last lines of its log, or AWS refuses.
    """
    settings, terminal, name = session.settings, session.terminal, names.endpoint(session.settings)
    is_over, state = monitoring.wait_for_endpoint(session.aws, name, terminal)
    if not is_over:
        if not is_removed_next:
            # To deploy anew would not be to look: without the same --set it changes the endpoint again.
            still = f" ({state.status})" if state else ""
            tells, removes = f"{session.command} --status", f"{session.command} --undeploy"
            terminal.prose(f"\n{name} goes on{still}. `{tells}` tells how it is, `{removes}` removes it.")
        return False
    if state is None:
        raise EndpointError(f"the endpoint {name} was deleted meanwhile")
    if state.status != IN_SERVICE or state.config != config:
        _raise_failure(session, state)
    served = endpoint.read_served(session.aws, settings)
    session.carry_out(endpoint.plan_cleanup(served, config, endpoint.models_of(session.aws, config)))
    terminal.done(f"{name} is in service")
    _tell_running(session, state)
    return True


def predict(session: Session, named: Sequence[str], output: Path | None = None) -> None:
    """Show what the endpoint says of images.

    Args:
        session: the session.
        named: files, folders and URLs.
        output: a CSV file that the predictions are written to; None: none.

    Raises:
        EndpointError: there is no endpoint, or it refused some of the images.
        ProjectError: there is no image, or AWS refuses.
    """
    images = predicting.sources(named, session.terminal)
    predictor = Predictor(names.endpoint(session.settings), session.aws)
    rows, refusals = predicting.predict_all(predictor, images, session.terminal)
    predicting.show(rows, refusals, session.terminal)
    if output:
        labeled_predictions.write_predictions(output, rows)
        session.terminal.plain(f"the predictions are in {output}")
    if refusals:
        were = "was" if len(refusals) == 1 else "were"
        raise EndpointError(f"{len(refusals):,} of {plural(len(images), 'image')} {were} not predicted: see above")


def undeploy(session: Session) -> None:
    """Remove the project's endpoint, and what it was made of.

    Raises:
        ProjectError: the endpoint is another project's, or AWS refuses.
    """
    served = endpoint.read_served(session.aws, session.settings)
    plan = endpoint.plan_removal(served)
    if not plan.calls:
        session.terminal.plain(f"there is no endpoint {names.endpoint(session.settings)}")
    session.carry_out(plan)


def settle(session: Session) -> None:
    """Wait until nothing of the project's endpoint changes any more: SageMaker takes no other change before.

    Raises:
        ProjectError: the endpoint is another project's, or AWS refuses.
    """
    found = endpoint.read_endpoint(session.aws, session.settings)
    if found and found.is_busy and found.status != DELETING:
        session.terminal.prose(f"{found.name} is {found.status}: SageMaker takes no other change before that is over")
    if found and found.is_busy and not monitoring.wait_for_endpoint(session.aws, found.name, session.terminal)[0]:
        raise EndpointError(f"the endpoint {found.name} still changes: --undeploy removes it when that is over")


def warn_of_endpoint(session: Session) -> None:
    """Warn of an endpoint of the project's that is left running, with its cost and how to end it, or that failed.

    Raises:
        AwsError: there are no credentials or no region.
    """
    name = names.endpoint(session.settings)
    try:
        state = endpoint.describe_endpoint(session.aws, name)
        if state is None or not training.is_own(session.aws, session.settings, state.arn):
            return
        if state.status == FAILED:
            session.terminal.warn(f"the endpoint {_failure(session, state)}")
            return
        machines, models = endpoint.machines_of(session.aws, state), endpoint.models_of(session.aws, state.config)
    except (AwsError, *FAILURES) as error:
        # Who trains may not be allowed to ask for what serves.
        session.terminal.prose(f"whether the endpoint {name} is running is unknown: {error}")
        return
    cost = pricing.hourly_cost(session.aws, machines, "Host")
    session.terminal.warn(
        f"the endpoint {name} is {state.status} with the model {', '.join(models)} on {cost}, until `{session.command} "
        "--undeploy`"
    )


def last_completed_job(session: Session) -> str:
    """Return the name of the training job that was launched last of those that are completed.

    Raises:
        ProjectError: there is none, or AWS refuses.
    """
    return served_model.last_completed_job(session.aws, session.settings)


def _confirm_cost(session: Session, machines: Machines, *, asks: bool) -> None:
    cost, limit = pricing.hourly_cost(session.aws, machines, "Host"), session.settings.aws.ask_above_usd
    session.terminal.prose(f"  {cost}, until `{session.command} --undeploy`")
    if asks and cost.usd is not None and (daily := cost.usd * HOURS_OF_A_DAY) > limit:
        session.confirm(f"This costs {daily:,.2f} USD a day, more than {limit:,.2f} (aws.ask_above_usd)", "yes")


def _raise_failure(session: Session, state: EndpointState) -> None:
    """Tell the last lines of the endpoint's log, and raise EndpointError with the reason."""
    for line in monitoring.last_log_lines(session.aws, state.name):
        session.terminal.prose(line)
    if state.status == IN_SERVICE:
        served = endpoint.read_served(session.aws, session.settings)
        session.carry_out(endpoint.plan_cleanup(served, state.config, endpoint.models_of(session.aws, state.config)))
        raise EndpointError(f"{state.name} was not changed, and serves by {state.config} as before: {_reason(state)}")
    raise EndpointError(_failure(session, state))


def _failure(session: Session, state: EndpointState) -> str:
    end = f"; `{session.command} --undeploy` removes it" if state.status == FAILED else ""
    return f"{state.name} is {state.status}: {_reason(state)}{end}"


def _reason(state: EndpointState) -> str:
    return state.failure or f"SageMaker gives no reason; its log {names.endpoint_log_group(state.name)} may"


def _tell_running(session: Session, state: EndpointState) -> None:
    cost = pricing.hourly_cost(session.aws, endpoint.machines_of(session.aws, state), "Host")
    session.terminal.prose(f"  {cost}, until `{session.command} --undeploy`")
