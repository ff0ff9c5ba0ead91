"""Jobs of several instances: processes that reach each other over loopback, and one result."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import Any

import pytest

RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
THREE = {**RESOURCES, "InstanceCount": 3}

# The first host waits for a message of the second one, at the name that it is given and a port, and answers; both wait
# then until the test lets them go.
TALK = """\
#!/usr/bin/env python3
import json, os, pathlib, socket, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
me = json.loads((base / "input/config/resourceconfig.json").read_text())
first, second = me["hosts"]
if me["current_host"] == first:
    with socket.create_server((first, 7000)) as server:
        connection, _ = server.accept()
        print(connection.recv(100).decode(), me["network_interface_name"])
        connection.sendall(b"hello second")
else:
    assert me["current_host"] == second
    for attempt in range(200):
        try:
            connection = socket.create_connection((first, 7000), source_address=(second, 0))
            break
        except OSError:
            time.sleep(0.05)
    connection.sendall(b"hello first")
    print(connection.recv(100).decode(), me["network_interface_name"])
while not (base / "../../../go").exists():
    time.sleep(0.02)
"""

# `$host` is the number of the host, from 0; the hosts of a job have one directory above their own, `$shared`.
PREPARE = """
cd "$SAGEMAKER_BASE_DIR"; shared="$PWD/../../.."; config=input/config/resourceconfig.json
host=$(python3 -c "import json; me = json.load(open('$config')); print(me['hosts'].index(me['current_host']))")
wait_for() { until [ -e "$1" ]; do sleep 0.02; done; }
"""


def hosts_of(aws: Any, name: str, count: int = 2) -> list[list[str]]:
    """The lines of each host's log, the engine's own left out."""
    return [aws.lines(name, f"algo-{number}") for number in range(1, count + 1)]


def sharded(aws: Any, **changes: Any) -> dict[str, Any]:
    channel = aws.channel("training", "data/", **changes)
    channel["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    return channel


def statuses(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def test_the_hosts_of_jobs_side_by_side_reach_their_own_at_the_same_port(own_aws: Any) -> None:
    aws = own_aws
    image = aws.push(aws.image_directory(TALK))
    requests = [aws.request(image, ResourceConfig=RESOURCES) for _ in range(2)]
    names = [request["TrainingJobName"] for request in requests]
    for request in requests:
        aws.sagemaker.create_training_job(**request)
    for name in names:
        aws.eventually(lambda name=name: hosts_of(aws, name) == [["hello first lo"], ["hello second lo"]])
    for directory in aws.server.home.glob("jobs/*"):
        (directory / "go").touch()
    for name in names:
        assert aws.finish(name)["TrainingJobStatus"] == "Completed", aws.log(name) + aws.log(name, "algo-2")


def test_each_host_is_told_the_same_and_finds_all_that_a_single_one_does(aws: Any) -> None:
    name = aws.start(
        f'{PREPARE} tr -d \'\\n\' < $config; echo; ls; ls "$HOME/"; touch "$HOME/x" "$TMPDIR/x"',
        ResourceConfig=THREE,
        HyperParameters={"a": "b"},
    )
    assert aws.finish(name)["TrainingJobStatus"] == "Completed"
    configs = [json.loads(lines[0]) for lines in hosts_of(aws, name, 3)]
    hosts = [config.pop("current_host") for config in configs]
    assert len(set(hosts)) == 3
    assert all(host.startswith("127.") for host in hosts)
    (group,) = configs[0]["instance_groups"]
    assert configs[0]["hosts"] == group["hosts"] == hosts
    assert configs[0]["network_interface_name"] == "lo"
    assert configs[0] == configs[1] == configs[2]
    assert len({tuple(lines[1:]) for lines in hosts_of(aws, name, 3)}) == 1
    named = f"algo-1 is {hosts[0]}, algo-2 is {hosts[1]}, algo-3 is {hosts[2]}"
    assert f"local_aws: the hosts' names here: {named}" in aws.log(name)


def test_what_the_hosts_leave_becomes_one_archive(aws: Any) -> None:
    job = aws.run(
        f"{PREPARE} mkdir model/$host; echo $host | tee model/$host/own model/different > output/data/$host\n"
        "echo same > model/same",
        ResourceConfig=RESOURCES,
    )
    name = job["TrainingJobName"]
    assert job["TrainingJobStatus"] == "Completed"
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {
        "0/own": b"0\n",
        "1/own": b"1\n",
        "same": b"same\n",
        "different": b"1\n",
    }
    assert aws.archive(f"out/{name}/output/output.tar.gz") == {"0": b"0\n", "1": b"1\n"}
    assert "the hosts left different files different: model.tar.gz has the last host's" in aws.warnings(name)


@pytest.mark.parametrize("input_mode", ["File", "FastFile"])
def test_the_hosts_share_the_objects_of_a_channel(aws: Any, input_mode: str) -> None:
    keys = {f"{folder}/{number}" for folder in "ab" for number in range(4)}
    for key in keys:
        aws.put_key(f"data/{key}")
    name = aws.start(
        f"{PREPARE} cd input/data; (cd training; find . -type f | sort); echo --; (cd whole; find . -type f)",
        ResourceConfig=THREE,
        InputDataConfig=[sharded(aws, InputMode=input_mode), aws.channel("whole", "data/", InputMode=input_mode)],
    )
    assert aws.finish(name)["TrainingJobStatus"] == "Completed"
    shares = []
    for lines in hosts_of(aws, name, 3):
        end = lines.index("--")
        shares.append({line.removeprefix("./") for line in lines[:end]})
        assert {line.removeprefix("./") for line in lines[end + 1 :]} == keys
    assert set.union(*shares) == keys
    assert sorted(map(len, shares)) == [2, 3, 3]


def test_a_job_is_complete_only_when_all_hosts_are(aws: Any) -> None:
    job = aws.run(f"{PREPARE} [ $host = 0 ] && exit 0; sleep 0.5; echo later > model/late", ResourceConfig=RESOURCES)
    assert job["TrainingJobStatus"] == "Completed"
    assert aws.archive(f"out/{job['TrainingJobName']}/output/model.tar.gz") == {"late": b"later\n"}


@pytest.mark.parametrize("end", ["exit 4", "kill -KILL $$"])
def test_one_failed_host_fails_the_job_and_the_others_are_ended(aws: Any, end: str) -> None:
    # One of the others ends when it is told, and one does not.
    job = aws.run(
        f"""{PREPARE}
        if [ $host = 0 ]; then trap 'echo told; exit 0' TERM; else trap '' TERM; fi
        touch "$shared/ready-$host"
        if [ $host = 1 ]; then
            wait_for "$shared/ready-0"; wait_for "$shared/ready-2"
            echo broken > output/failure; {end}
        fi
        echo x > model/x
        while true; do sleep 0.02; done
        """,
        ResourceConfig=THREE,
    )
    assert job["TrainingJobStatus"] == "Failed"
    code = 4 if end == "exit 4" else 128 + signal.SIGKILL
    assert job["FailureReason"] == f"AlgorithmError: broken, exit code: {code}"
    assert hosts_of(aws, job["TrainingJobName"], 3) == [["told"], [], []]
    assert aws.keys() == []


def test_the_reason_is_the_first_failed_hosts_where_others_fail_without_it(aws: Any) -> None:
    job = aws.run(
        f"""{PREPARE}
        if [ $host = 2 ]; then
            echo cause > output/failure
            echo $$ > "$shared/new"; mv "$shared/new" "$shared/pid"
            exit 6
        fi
        if [ $host = 0 ]; then
            wait_for "$shared/pid"
            while kill -0 "$(cat "$shared/pid")" 2>/dev/null; do true; done
            sleep 0.02
            echo lost > output/failure
            exit 5
        fi
        while true; do sleep 0.02; done
        """,
        ResourceConfig=THREE,
    )
    assert job["FailureReason"] == "AlgorithmError: cause, exit code: 6"


def test_a_stop_goes_to_all_hosts(aws: Any) -> None:
    name = aws.start(
        f"{PREPARE} trap 'echo $host > model/$host; exit 0' TERM; echo ready; while true; do sleep 0.02; done",
        ResourceConfig=RESOURCES,
    )
    aws.eventually(lambda: hosts_of(aws, name) == [["ready"], ["ready"]])
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    assert aws.finish(name)["TrainingJobStatus"] == "Stopped"
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"0": b"0\n", "1": b"1\n"}


def test_an_interruption_goes_to_all_hosts_and_all_find_all_checkpoints(aws: Any) -> None:
    name = aws.start(
        f"""{PREPARE}
        cd checkpoints
        trap 'echo $host > of-$host; exit 1' TERM
        [ -e of-0 ] && [ -e of-1 ] && exec cat of-0 of-1
        echo ready
        while true; do sleep 0.02; done
        """,
        ResourceConfig=RESOURCES,
        CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/checkpoints"},
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    )
    aws.eventually(lambda: hosts_of(aws, name) == [["ready"], ["ready"]])
    url = f"{aws.server.endpoint_url}/_local_aws/training-jobs/{name}/interrupt"
    urllib.request.urlopen(urllib.request.Request(url, method="POST")).close()
    job = aws.finish(name)
    assert job["TrainingJobStatus"] == "Completed"
    assert statuses(job)[2:5] == ["Training", "Interrupted", "Starting"]


def test_more_hosts_than_this_machine_can_stand_in_for(aws: Any) -> None:
    name = aws.start("true", ResourceConfig={**RESOURCES, "InstanceCount": 9})
    assert aws.finish(name)["TrainingJobStatus"] == "Completed"
    assert "InstanceCount is 9, but the job has 8 hosts here" in aws.warnings(name)
    assert aws.stream(name, "algo-8")
    assert not aws.stream(name, "algo-9")


class TestCheckpoints:
    """All hosts have one folder in S3, and each keeps its own files there."""

    def objects(self, aws: Any) -> dict[str, str]:
        listed = aws.s3.list_objects_v2(Bucket=aws.bucket, Prefix="checkpoints/").get("Contents", [])
        contents = {
            entry["Key"].removeprefix("checkpoints/"): aws.s3.get_object(Bucket=aws.bucket, Key=entry["Key"])
            for entry in listed
        }
        return {name: answer["Body"].read().decode() for name, answer in contents.items()}

    @pytest.mark.slow
    def test_a_file_that_its_host_deletes_vanishes_and_no_other_brings_it_back(self, own_aws: Any) -> None:
        aws = own_aws
        aws.put(checkpoints__old="old", checkpoints__kept="kept")
        name = aws.start(
            f"""{PREPARE}
            cd checkpoints
            if [ $host = 0 ]; then
                rm old; echo 1 > first
                wait_for "$shared/go"
                rm first; echo 2 > second
            else
                wait_for "$shared/go"; ls
            fi
            """,
            ResourceConfig=RESOURCES,
            CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/checkpoints"},
        )
        aws.eventually(lambda: aws.keys() == ["checkpoints/first", "checkpoints/kept"])
        (directory,) = aws.server.home.glob("jobs/*")
        (directory / "go").touch()
        assert aws.finish(name)["TrainingJobStatus"] == "Completed"
        # Only what lay in S3 before the start came to the other host.
        assert aws.lines(name, "algo-2") == ["kept", "old"]
        assert self.objects(aws) == {"kept": "kept", "second": "2\n"}

    @pytest.mark.parametrize(("writer", "other"), [(0, 1), (1, 0)])
    def test_a_file_that_one_host_wrote_anew_is_not_deleted_with_anothers_copy(
        self, aws: Any, writer: int, other: int
    ) -> None:
        aws.put(checkpoints__latest="1", checkpoints__1="one")
        aws.run(
            f"{PREPARE} cd checkpoints\n"
            f"[ $host = {writer} ] && printf 2 > latest && printf two > 2\n"
            f"[ $host = {other} ] && rm latest\ntrue",
            ResourceConfig=RESOURCES,
            CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/checkpoints"},
        )
        assert self.objects(aws) == {"latest": "2", "1": "one", "2": "two"}
