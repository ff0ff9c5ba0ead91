"""Jobs of several instances: containers on a network of their own, and one result."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.docker.conftest import DockerAws

RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}

# The first host waits for a message of the second one, by its name and its port, and answers.
TALK = """\
#!/usr/bin/env python3
import json, socket, time
me = json.load(open("/opt/ml/input/config/resourceconfig.json"))
assert me["hosts"] == ["algo-1", "algo-2"], me
if me["current_host"] == "algo-1":
    with socket.create_server(("algo-1", 7000)) as server:
        connection, address = server.accept()
        assert address[0] == socket.gethostbyname("algo-2")
        print(connection.recv(100).decode())
        connection.sendall(b"hello second")
else:
    for attempt in range(200):
        try:
            connection = socket.create_connection(("algo-1", 7000))
            break
        except OSError:
            time.sleep(0.05)
    connection.sendall(b"hello first")
    print(connection.recv(100).decode())
"""

# Tries the gateway of its network, which is this machine where it is anything.
REACH_OUT = """\
#!/usr/bin/env python3
import json, socket
port = int(json.load(open("/opt/ml/input/config/hyperparameters.json"))["port"])
routes = [line.split() for line in open("/proc/net/route").read().splitlines()[1:]]
(gateway,) = [route[2] for route in routes if route[1] == "00000000"]
try:
    socket.create_connection((socket.inet_ntoa(bytes.fromhex(gateway)[::-1]), port), timeout=2)
    print("reached")
except OSError:
    print("not reached")
"""


@pytest.mark.parametrize("isolated", [False, True])
def test_the_hosts_reach_each_other_by_name(aws: DockerAws, isolated: bool) -> None:
    job = aws.run(TALK, ResourceConfig=RESOURCES, EnableNetworkIsolation=isolated)
    name = job["TrainingJobName"]
    assert job["TrainingJobStatus"] == "Completed", aws.log(name) + aws.log(name, "algo-2")
    assert aws.lines(name, "algo-1") == ["hello first"]
    assert aws.lines(name, "algo-2") == ["hello second"]
    assert aws.containers() == []
    assert aws.networks() == []


def test_isolated_hosts_do_not_reach_this_machine(aws: DockerAws) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        image = aws.push(aws.image_directory(REACH_OUT))
        jobs = {}
        for isolated in (False, True):
            request = aws.request(
                image,
                ResourceConfig=RESOURCES,
                EnableNetworkIsolation=isolated,
                HyperParameters={"port": str(port)},
            )
            aws.sagemaker.create_training_job(**request)
            jobs[isolated] = request["TrainingJobName"]
        for name in jobs.values():
            assert aws.finish(name)["TrainingJobStatus"] == "Completed", aws.log(name)
    assert aws.lines(jobs[False]) == ["reached"]
    assert aws.lines(jobs[True]) == ["not reached"]


def test_what_the_hosts_leave_becomes_one_archive(aws: DockerAws) -> None:
    aws.put(data__1="a", data__2="b")
    job = aws.run(
        """
        host=$(hostname)
        cp -r /opt/ml/input/data/training /opt/ml/model/$host
        echo same > /opt/ml/model/same
        echo $host > /opt/ml/model/different
        echo $host > /opt/ml/output/data/$host
        """,
        ResourceConfig=RESOURCES,
        InputDataConfig=[sharded(aws)],
    )
    name = job["TrainingJobName"]
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {
        "algo-1/1": b"a",
        "algo-2/2": b"b",
        "same": b"same\n",
        "different": b"algo-2\n",
    }
    assert aws.archive(f"out/{name}/output/output.tar.gz") == {"algo-1": b"algo-1\n", "algo-2": b"algo-2\n"}
    assert aws.warnings(name).splitlines() == [
        "local_aws: warning: the hosts left different files different: model.tar.gz has the last host's"
    ]


def test_one_failed_host_fails_the_job_and_the_others_are_asked_to_end(aws: DockerAws) -> None:
    job = aws.run(
        """
        trap 'echo told; exit 0' TERM
        if [ "$(hostname)" = algo-2 ]; then echo broken > /opt/ml/output/failure; sleep 0.3; exit 4; fi
        while true; do sleep 0.02; done
        """,
        ResourceConfig=RESOURCES,
    )
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: broken, exit code: 4"
    assert aws.lines(job["TrainingJobName"], "algo-1") == ["told"]
    assert aws.keys() == []
    assert aws.containers() == []
    assert aws.networks() == []


def test_a_stopped_job_stops_on_all_hosts(aws: DockerAws) -> None:
    name = aws.start(
        """
        trap 'hostname > /opt/ml/model/$(hostname); exit 0' TERM
        echo ready
        while true; do sleep 0.02; done
        """,
        ResourceConfig=RESOURCES,
    )
    aws.eventually(lambda: aws.lines(name, "algo-1") == aws.lines(name, "algo-2") == ["ready"])
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    assert aws.finish(name)["TrainingJobStatus"] == "Stopped"
    assert set(aws.archive(f"out/{name}/output/model.tar.gz")) == {"algo-1", "algo-2"}


def test_more_hosts_than_this_machine_can_stand_in_for(aws: DockerAws) -> None:
    name = aws.start("true", ResourceConfig={**RESOURCES, "InstanceCount": 9})
    assert aws.finish(name)["TrainingJobStatus"] == "Completed"
    assert "InstanceCount is 9, but the job has 8 hosts here" in aws.warnings(name)
    assert aws.stream(name, "algo-8")
    assert not aws.stream(name, "algo-9")


def sharded(aws: DockerAws) -> dict[str, Any]:
    channel = aws.channel("training", "data")
    channel["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    return channel
