"""What serves models, as AWS keeps it, for the wire: models, endpoint configurations, endpoints and transform jobs."""

from dataclasses import dataclass, field
from typing import Any

from tests.manager.wire import Answer, Wire

ARN = "arn:aws:sagemaker:eu-central-1:123456789012"
JOB = "digits-cnn-2030-01-02-03-04-05"
IMAGE = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/p@sha256:{'0' * 64}"
DATA = f"s3://serving-tests.output/{JOB}/output/model.tar.gz"
BEGUN = 1893456000
OURS = {"Project": "serving-tests", "Algorithm": "digits-cnn"}
KINDS = {"Model": "model", "EndpointConfig": "endpoint-config", "Endpoint": "endpoint", "TransformJob": "transform-job"}


def missing(what: str) -> Answer:
    """SageMaker's answer where there is none of these."""
    return Answer.of_json({"__type": "ValidationException", "message": f'Could not find {what} "{ARN}"'}, 400)


@dataclass
class Account:
    """What the answers change and tell."""

    kept: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    """By kind, and by name: what was given when it was made."""
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """By ARN."""
    statuses: list[str] = field(default_factory=list)
    """What the next looks at an endpoint tell of it; then, and from then on, it is `settled`."""
    settled: str = "InService"
    failure: str = ""
    rolls_back: bool = False
    """Whether an update fails, so that the endpoint serves as before."""
    calls: list[str] = field(default_factory=list)
    """What was made, changed and deleted, in words: `CreateModel x`."""
    trained: dict[str, Any] = field(default_factory=dict)
    """What is different of the training job."""

    def answer_on(self, wire: Wire) -> "Account":
        """Let a wire tell of this account."""
        for kind in KINDS:
            wire.answers[f"Create{kind}"] = lambda asked, kind=kind: self.create(kind, asked)
            wire.answers[f"Delete{kind}"] = lambda asked, kind=kind: self.delete(kind, asked)
            wire.answers[f"List{kind}s"] = lambda asked, kind=kind: self.listed(kind, asked)
        wire.answers["UpdateEndpoint"] = self.update
        wire.answers["DescribeEndpoint"] = self.describe_endpoint
        wire.answers["DescribeEndpointConfig"] = self.describe_config
        wire.answers["DescribeTransformJob"] = self.describe_transform_job
        wire.answers["StopTransformJob"] = lambda asked: self.noted(f"StopTransformJob {asked['TransformJobName']}")
        wire.answers["ListTags"] = lambda asked: Answer.of_json({"Tags": listed(self.tags[asked["ResourceArn"]])})
        wire.answers["DescribeTrainingJob"] = self.describe_training_job
        return self

    def put(self, kind: str, name: str, content: dict[str, Any] | None = None, **tags: str) -> None:
        """Let something be there, by itself as the project's own."""
        self.kept[kind][name] = {f"{kind}Name": name, **(content or {})}
        self.tags[f"{ARN}:{KINDS[kind]}/{name}"] = tags or OURS

    def create(self, kind: str, asked: Any) -> Answer:
        name = asked[f"{kind}Name"]
        if name in self.kept[kind]:
            text = f'Cannot create already existing {kind} "{name}".'
            return Answer.of_json({"__type": "ValidationException", "message": text}, 400)
        self.put(kind, name, asked, **{tag["Key"]: tag["Value"] for tag in asked["Tags"]})
        return self.noted(f"Create{kind} {name}", **{f"{kind}Arn": f"{ARN}:{KINDS[kind]}/{name}"})

    def delete(self, kind: str, asked: Any) -> Answer:
        name = asked[f"{kind}Name"]
        if self.kept[kind].pop(name, None) is None:
            return missing(kind)
        return self.noted(f"Delete{kind} {name}")

    def update(self, asked: Any) -> Answer:
        name = asked["EndpointName"]
        if not self.rolls_back:
            self.kept["Endpoint"][name] |= asked
        return self.noted(f"UpdateEndpoint {asked['EndpointConfigName']}", EndpointArn=f"{ARN}:endpoint/{name}")

    def noted(self, call: str, **answer: str) -> Answer:
        self.calls.append(call)
        return Answer.of_json(answer)

    def listed(self, kind: str, asked: Any) -> Answer:
        found = [
            {f"{kind}Name": name, f"{kind}Arn": f"{ARN}:{KINDS[kind]}/{name}", "CreationTime": BEGUN}
            | {f"{kind}Status": content.get("Status", "InService"), "LastModifiedTime": BEGUN}
            for name, content in self.kept[kind].items()
            if asked.get("NameContains", "") in name
            and asked.get("StatusEquals") in (None, content.get("Status", "InService"))
        ]
        return Answer.of_json({"TransformJobSummaries" if kind == "TransformJob" else f"{kind}s": found})

    def describe_endpoint(self, asked: Any) -> Answer:
        found = self.kept["Endpoint"].get(asked["EndpointName"])
        if found is None:
            return missing("endpoint")
        status = self.statuses.pop(0) if self.statuses else self.settled
        variant = {"VariantName": "AllTraffic", "CurrentInstanceCount": 2}
        return Answer.of_json(
            {
                "EndpointName": found["EndpointName"],
                "EndpointArn": f"{ARN}:endpoint/{found['EndpointName']}",
                "EndpointConfigName": found["EndpointConfigName"],
                "EndpointStatus": status,
                "ProductionVariants": [variant],
                **({"FailureReason": self.failure} if self.failure else {}),
            }
        )

    def describe_config(self, asked: Any) -> Answer:
        found = self.kept["EndpointConfig"].get(asked["EndpointConfigName"])
        return Answer.of_json(found) if found else missing("endpoint configuration")

    def describe_transform_job(self, asked: Any) -> Answer:
        name = asked["TransformJobName"]
        found = self.kept["TransformJob"].get(name)
        if found is None:
            return Answer.of_json({"__type": "ResourceNotFound", "message": "no"}, 400)
        arn = {"TransformJobArn": f"{ARN}:transform-job/{name}"}
        return Answer.of_json(found | arn | {"TransformJobStatus": found.get("Status", "Completed")})

    def describe_training_job(self, asked: Any) -> Answer:
        job = {
            "TrainingJobName": asked["TrainingJobName"],
            "TrainingJobStatus": "Completed",
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "ModelArtifacts": {"S3ModelArtifacts": DATA.replace(JOB, asked["TrainingJobName"])},
        }
        return Answer.of_json(job | self.trained)


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as AWS has them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def running_transform_job(account: Account, model: str) -> None:
    """Let a transform job run with a model."""
    account.put("TransformJob", "digits-cnn-batch-300102-030405", {"ModelName": model, "Status": "InProgress"})
