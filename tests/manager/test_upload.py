"""What the upload of the sets sends, and what it leaves: only what is new or changed, and in the end all of it."""

import gzip
import hashlib
import io
import itertools
import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from container.dataset.record import CHECKSUMS, RECORD
from container.dataset.split import split_images
from container.errors import DataError, ProjectError
from container.modeling.settings import Data, Settings
from manager import bucket_aspects, buckets, data_bucket, manifest, names, upload_commands
from manager.aws import Aws
from manager.console import Terminal
from manager.errors import AwsError
from manager.local_sets import local_files
from manager.manifest import MANIFEST
from manager.plan import describe, execute
from manager.session import Session
from tests.aws import REGION, Server
from tests.container.dataset.unwatched import Unwatched
from tests.manager.wire import Answer, Wire, listening

NUMBERS = itertools.count()
REFUSED = Answer(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", 403)
ODD_NAMES = ("with space.png", "'quoted' \"twice\".png", "tab\t&<>.png", "🌷.png", f"{'x' * 251}.png")


@dataclass(frozen=True)
class Uploads:
    """A project of its own, with split images on this machine and an empty bucket in the account."""

    session: Session
    wire: Wire

    @property
    def sets(self) -> Path:
        return self.session.project_root / "images-sets"

    @property
    def bucket(self) -> str:
        return names.data_bucket(self.session.settings)

    @property
    def s3(self) -> Any:
        return self.session.aws.client("s3")

    def __call__(self, *, prune: bool = False) -> list[str]:
        """Upload; return the keys of the objects that were written."""
        before = self.versions()
        upload_commands.upload_data(self.session, prune=prune)
        return sorted(key for key, version in self.versions().items() if before.get(key) != version)

    def versions(self) -> dict[str, str]:
        """The version of each object."""
        found = self.s3.list_object_versions(Bucket=self.bucket).get("Versions", [])
        return {item["Key"]: item["VersionId"] for item in found if item["IsLatest"]}

    def content(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def files(self) -> dict[str, bytes]:
        """The files on this machine by their keys."""
        return {
            key: file.path.read_bytes() for key, file in local_files(self.session.settings, self.sets.parent).items()
        }

    def is_whole(self) -> bool:
        """Whether the bucket holds the files, nothing else, and a manifest that tells them."""
        held = {key: self.content(key) for key in self.versions() if key != MANIFEST}
        head, *rows = [json.loads(line) for line in gzip.decompress(self.content(MANIFEST)).splitlines()]
        told = {row["path"]: row["sha256"] for row in rows}
        sums = {key: hashlib.sha256(content).hexdigest() for key, content in self.files().items()}
        whole = head["fingerprint"] == self.fingerprint() and head["files"] == len(sums)
        return held == self.files() and told == sums and whole

    def fingerprint(self) -> str | None:
        return manifest.read_fingerprint(self.session.aws, self.bucket)


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[tuple[Wire, Aws]]:
    """One wire for all tests, since clients take long to make."""
    with listening(server.endpoint_url) as wire:
        yield wire, wire.aws()


@pytest.fixture
def uploads(shared: tuple[Wire, Aws], tmp_path: Path, terminal: Terminal) -> Uploads:
    """Ten small images in two classes."""
    wire, aws = shared
    wire.answers.clear()
    for name in (f"{kind}/{number}" for kind in ("cat", "dog") for number in range(5)):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    settings = Settings(project_name=f"pets-{next(NUMBERS)}", algorithm_name="pets", data=Data(directory="images"))
    split_images(settings.data, tmp_path, Unwatched())
    session = Session(settings, aws, terminal, execute, "directory", tmp_path, lambda *_: None, "manage")
    wanted = bucket_aspects.aspects(settings, names.data_bucket(settings), session.aws.place)
    chosen = [aspect for aspect in wanted if aspect.title in ("tags", "encryption", "versioning")]
    absent = buckets.BucketState(False, {})
    execute(buckets.plan_bucket(settings, names.data_bucket(settings), REGION, chosen, absent), session.aws, terminal)
    return Uploads(session, wire)


def test_all_is_sent_once_and_told_by_the_manifest(uploads: Uploads) -> None:
    assert uploads() == sorted([*uploads.files(), MANIFEST])
    assert uploads.is_whole()


def test_a_second_time_only_questions_are_asked(uploads: Uploads) -> None:
    uploads()
    uploads.wire.operations.clear()
    assert uploads() == []
    assert set(uploads.wire.operations) <= {"GET", "HEAD", "GetCallerIdentity"}
    assert len(uploads.wire.operations) < 20


def test_what_is_changed_is_sent_be_its_size_and_time_the_same(uploads: Uploads) -> None:
    image = next((uploads.sets / "training/cat").iterdir())
    os.utime(image, (0, 0))
    uploads()
    before = uploads.fingerprint()
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content[::-1])
    os.utime(image, (0, 0))
    assert uploads() == [MANIFEST, f"training/cat/{image.name}"]
    assert uploads.is_whole()
    assert uploads.fingerprint() != before


def test_what_others_did_to_the_bucket_is_mended(uploads: Uploads) -> None:
    uploads()
    first, second, *_ = sorted(uploads.files())
    size = len(uploads.files()[first])
    uploads.s3.put_object(Bucket=uploads.bucket, Key=first, Body=b"x" * size)
    uploads.s3.delete_object(Bucket=uploads.bucket, Key=second)
    assert uploads() == sorted([first, second, MANIFEST])
    assert uploads.is_whole()


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"[1]\n"), gzip.compress(b'{"version": 1}\n{}\n')],
    ids=["empty", "no gzip", "a list", "fields missing"],
)
def test_without_a_manifest_s3s_own_checksums_tell(uploads: Uploads, content: bytes) -> None:
    uploads()
    uploads.s3.put_object(Bucket=uploads.bucket, Key=MANIFEST, Body=content)
    assert uploads() == [MANIFEST]
    uploads.s3.delete_object(Bucket=uploads.bucket, Key=MANIFEST)
    assert uploads() == [MANIFEST]
    assert uploads.is_whole()


def test_s3_can_verify_what_comes(uploads: Uploads) -> None:
    (uploads.sets / "training/cat/large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9 << 20))
    uploads()
    for key, content in uploads.files().items():
        kept = uploads.s3.head_object(Bucket=uploads.bucket, Key=key, ChecksumMode="ENABLED")
        assert kept["ChecksumSHA256"] == b64encode(hashlib.sha256(content).digest()).decode()


def test_a_refusal_names_the_file(uploads: Uploads) -> None:
    message = b"<Error><Code>BadDigest</Code><Message>it is not what you sent</Message></Error>"
    pass_only(uploads.wire, 3, Answer(message, 400))
    told = rf"could not upload {re.escape(str(uploads.sets))}/\w+/\w+/\w.png to s3://{uploads.bucket}: it is not what"
    with pytest.raises(AwsError, match=told):
        uploads()


def test_what_s3_is_too_busy_for_is_tried_again(uploads: Uploads) -> None:
    busy = Answer(b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>", 503)
    numbers = itertools.count()
    # The first request is the note in the manifest, which boto3 sends.
    uploads.wire.answers["PUT"] = lambda _: busy if next(numbers) in (1, 2, 5) else None
    uploads()
    assert next(numbers) > len(uploads.files()) + 3
    uploads.wire.answers.clear()
    assert uploads.is_whole()


def test_whatever_is_refused_the_next_time_completes_it_and_sends_nothing_twice(uploads: Uploads) -> None:
    gone = uploads.sets / "training/cat/gone.png"
    gone.write_bytes(b"\x89PNG\r\n\x1a\n")
    uploads()
    gone.unlink()
    fresh = [key for key in uploads.files() if key != RECORD]
    for number, key in enumerate(fresh):
        (uploads.sets / key).unlink()
        (uploads.sets / key).write_bytes(f"\x89PNG {number} again".encode())
    # Of all these the note in the manifest and one image pass each time, and the deletion at first.
    for attempt in itertools.count():
        pass_only(uploads.wire, 3 if attempt == 0 else 2, REFUSED)
        before = uploads.versions()
        try:
            upload_commands.upload_data(uploads.session, prune=True)
            break
        except AwsError:
            with pytest.raises(DataError, match="was begun and not finished: finish it by --upload_data --prune"):
                data_bucket.check_uploaded(uploads.session.aws, uploads.session.settings, uploads.sets.parent)
        written = [key for key, version in uploads.versions().items() if before.get(key) != version]
        assert len(written) == 2
    assert attempt == len(fresh)
    uploads.wire.answers.clear()
    assert uploads.is_whole()
    data_bucket.check_uploaded(uploads.session.aws, uploads.session.settings, uploads.sets.parent)
    assert uploads() == []


def test_an_upload_finds_out_about_another_that_began_meanwhile(uploads: Uploads) -> None:
    other = upload_commands.upload_data
    shown = io.StringIO()
    told = replace(uploads.session, terminal=replace(uploads.session.terminal, err=Console(file=shown, width=500)))
    uploads.wire.before[f"PUT /{uploads.bucket}/{RECORD}"] = [lambda: other(told)]
    with pytest.raises(AwsError, match=f"another upload to s3://{uploads.bucket} began before this one ended"):
        upload_commands.upload_data(uploads.session)
    assert re.search(r"an upload that began at [-\d: ]{19} has not ended: if it was interrupted,", shown.getvalue())
    # The other one said that the bucket is whole, which nobody knows now.
    with pytest.raises(DataError, match="was begun and not finished"):
        data_bucket.check_uploaded(uploads.session.aws, uploads.session.settings, uploads.sets.parent)
    uploads()
    assert uploads.is_whole()


def test_what_begins_as_the_record_does_is_none_of_the_sets(uploads: Uploads) -> None:
    uploads.s3.put_object(Bucket=uploads.bucket, Key=f"{RECORD}.mine", Body=b"mine")
    uploads(prune=True)
    assert uploads.content(f"{RECORD}.mine") == b"mine"


def test_what_is_in_no_set_is_told_and_with_prune_deleted(uploads: Uploads) -> None:
    for name in ODD_NAMES:
        (uploads.sets / "training/dog" / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    uploads()
    assert uploads.is_whole()
    for name in ODD_NAMES:
        (uploads.sets / "training/dog" / name).unlink()
    with pytest.raises(DataError, match=r"5 objects in s3://.*, such as training/dog/.*: add --prune"):
        uploads()
    uploads(prune=True)
    assert uploads.is_whole()


def test_the_fingerprint_is_of_paths_and_contents_alone(uploads: Uploads, tmp_path: Path) -> None:
    uploads()
    before = uploads.fingerprint()
    record = uploads.sets / RECORD
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    assert uploads() == sorted([MANIFEST, RECORD])
    assert uploads.fingerprint() == before
    image = next((uploads.sets / "training/cat").iterdir())
    image.rename(image.with_name("renamed.png"))
    uploads(prune=True)
    assert uploads.fingerprint() != before


def test_nothing_is_sent_from_a_dry_run(uploads: Uploads) -> None:
    shown = io.StringIO()
    told = replace(uploads.session.terminal, out=Console(file=shown, width=500))
    upload_commands.upload_data(replace(uploads.session, terminal=told, executor=describe))
    assert uploads.versions() == {}
    text = shown.getvalue()
    assert f"# upload {len(uploads.files())} images and records (0.0 MB) and their manifest to s3://" in text
    assert f"# {len(uploads.files()) - 1} more like this one" in text
    assert f"# {MANIFEST}, which tells of all files" in text


def test_images_that_changed_since_the_split_are_told_of(uploads: Uploads) -> None:
    shown = io.StringIO()
    told = replace(uploads.session, terminal=replace(uploads.session.terminal, err=Console(file=shown, width=500)))
    upload_commands.upload_data(told)
    assert "has changed" not in shown.getvalue()
    (uploads.session.project_root / "images/cat/0.png").unlink()
    upload_commands.upload_data(told)
    assert "images has changed since it was split into images-sets: run python data_handler.py" in shown.getvalue()


class TestTheBucket:
    """It must be there, and ours, and as the settings say."""

    def test_a_missing_one(self, uploads: Uploads) -> None:
        uploads.s3.delete_bucket(Bucket=uploads.bucket)
        with pytest.raises(AwsError, match=r"does not exist: create it by --init_s3_buckets"):
            upload_commands.upload_data(uploads.session)

    def test_another_projects(self, uploads: Uploads) -> None:
        tags = {"TagSet": [{"Key": "Project", "Value": "other"}]}
        uploads.s3.put_bucket_tagging(Bucket=uploads.bucket, Tagging=tags)
        with pytest.raises(AwsError, match="belongs to the project other"):
            upload_commands.upload_data(uploads.session)

    def test_one_that_encrypts_otherwise(self, uploads: Uploads) -> None:
        key = f"arn:aws:kms:{REGION}:123456789012:key/11111111-2222-3333-4444-555555555555"
        storage = uploads.session.settings.storage.model_copy(update={"kms_key": key})
        changed = uploads.session.settings.model_copy(update={"storage": storage})
        with pytest.raises(AwsError, match="is not as the settings want it: --init_s3_buckets makes it so"):
            upload_commands.upload_data(replace(uploads.session, settings=changed))


class TestFiles:
    """What cannot be uploaded is named, and nothing is sent."""

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda folder: (folder / os.fsdecode(b"\xff.png")).touch(), r"\\xff.png' is no name in UTF-8"),
            (lambda folder: long_path(folder).touch(), r"has 1,\d\d\d bytes in its path within the sets"),
            (lambda folder: os.truncate(touched(folder / "huge.png"), 6 << 30), "has 6,442 MB, and S3 takes 5 GB"),
        ],
    )
    def test_a_file_that_s3_does_not_take(
        self, uploads: Uploads, spoil: Callable[[Path], object], message: str
    ) -> None:
        spoil(uploads.sets / "training/cat")
        with pytest.raises(ProjectError, match=message):
            uploads()
        assert uploads.versions() == {}

    def test_hidden_files_and_folders_that_are_links_are_none_of_the_sets(self, uploads: Uploads) -> None:
        folder = uploads.sets / "training/cat"
        (folder / ".hidden.png").touch()
        (folder / "loop").symlink_to(folder)
        (folder / "dangling.png").symlink_to(folder / "nowhere")
        assert not {"loop", "hidden", "dangling"} & {part for key in uploads() for part in re.split(r"[/.]", key)}


class TestMemory:
    """Checksums are remembered where that is possible, and only of files that have settled."""

    def test_damaged_it_is_begun_anew(self, uploads: Uploads) -> None:
        (uploads.sets / CHECKSUMS).write_bytes(b"no database" * 1000)
        uploads()
        assert uploads() == []
        assert (uploads.sets / CHECKSUMS).read_bytes().startswith(b"SQLite format 3")

    def test_a_folder_in_its_place_does_not_matter(self, uploads: Uploads) -> None:
        (uploads.sets / CHECKSUMS).mkdir()
        uploads()
        assert uploads() == []


def pass_only(wire: Wire, count: int, refusal: Answer) -> None:
    """Let so many further requests pass that change something; refuse the others."""
    passed = itertools.count()

    def judge(_: Any) -> Answer | None:
        return None if next(passed) < count else refusal

    wire.answers.update(dict.fromkeys(("PUT", "POST", "DELETE"), judge))


def long_path(folder: Path) -> Path:
    for _ in range(5):
        folder = folder / ("x" * 240)
    folder.mkdir(parents=True)
    return folder / "image.png"


def touched(path: Path) -> Path:
    path.touch()
    return path
