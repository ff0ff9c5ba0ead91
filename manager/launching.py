"""What the launch of a training job and that of a tuning job share: an image, an earlier model, a word on the cost."""

from typing import Any

from container.errors import DataError
from container.modeling.own_parts.sources import check_parts
from manager import data_bucket, image, names, pretrained, pricing, processing_results, role
from manager.plan import Plan
from manager.session import Session
from manager.training import is_split_by_job


def launchable_image(session: Session, pushed: image.Image | None, *, initialized: bool, uploaded: bool) -> image.Image:
    """Return the image that a job runs, once all else that the job needs is known to be there.

    Args:
        session: the session.
        pushed: the image that this command line has just pushed; None: it is looked up.
        initialized: whether this command line has just made buckets and role and uploaded the images, or shown how;
            otherwise it is checked that the bucket holds the present split and the role may do what the job needs.
        uploaded: whether it has just uploaded the images, or shown how.

    Raises:
        ProjectError: a function of the user's own does not exist, there is no image of the present code, the images are
            not in the bucket or were prepared from others, the role is not as the job needs it, or AWS refuses.
    """
    settings, root = session.settings, session.project_root
    check_parts(settings.container_settings(), root / "container" / "parts")
    if not (initialized or uploaded or is_split_by_job(settings)):
        data_bucket.check_uploaded(session.aws, settings, root)
        if not settings.data.prepared_by:
            data_bucket.check_shards(session.aws, settings, root)
            processing_results.check_shards(session.aws, settings)
    processing_results.check_prepared(session.aws, settings)
    if pushed is None:
        pushed = image.pushed(session.aws, settings, root / "container", session.flavor)
    if not initialized:
        role.check_role(session.aws, settings)
    if install := image.missing_extras(settings, root / "container", session.flavor):
        session.terminal.warn(f"the job will run without some trackers, whose packages are missing here: {install}")
    return pushed


def check_still_uploaded(session: Session, fingerprint: str, *, shown: bool) -> None:
    """See that no upload began since a fingerprint was read: a question may have waited long for its answer.

    Args:
        session: the session.
        fingerprint: of the data, as the request has it.
        shown: whether an upload was carried out by this command line, or perhaps only shown.

    Raises:
        DataError: the data have changed.
        AwsError: AWS refuses to tell.
    """
    settings = session.settings
    if not (shown or is_split_by_job(settings)):
        data_bucket.check_finished(session.aws, settings)
    if processing_results.fingerprint(session.aws, settings) != fingerprint:
        raise DataError(
            f"the images in s3://{names.data_bucket(settings)} have changed since this launch began: type it again"
        )


def pretrained_channel(session: Session) -> tuple[str, Plan]:
    """Return where the channel `pretrained` reads, and what brings the earlier model there; empty: no such channel.

    Raises:
        ProjectError: the model's file does not exist, or AWS refuses.
    """
    model = pretrained.of_settings(session.settings, session.project_root)
    if model is None:
        return "", Plan()
    in_place = pretrained.is_in_place(session.aws, session.settings, model)
    return str(model.path), pretrained.plan_pretrained(session.settings, model, in_place=in_place)


def confirm_cost(session: Session, request: Any, jobs: int = 1) -> None:
    """Tell the most that training jobs can cost, and ask where that is much.

    Args:
        session: the session.
        request: the CreateTrainingJob request of each.
        jobs: how many there are.

    Raises:
        RefusedError: the user said no, or nobody is there to say yes.
        AwsError: there are no credentials or no region.
    """
    confirm_most(session, pricing.most_cost(session.aws, request, jobs))


def confirm_most(session: Session, most: pricing.MostCost) -> None:
    """Tell the most that something can cost, and ask where that is much.

    Raises:
        RefusedError: the user said no, or nobody is there to say yes.
    """
    limit = session.settings.aws.ask_above_usd
    session.terminal.prose(f"  {most}")
    if most.usd is not None and most.usd > limit:
        session.confirm(f"This can cost {most.usd:,.2f} USD, more than {limit:,.2f} (aws.ask_above_usd)", "yes")
