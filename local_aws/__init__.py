"""An AWS on this machine that really runs the jobs it is asked to run.

moto's server keeps the state (S3, IAM, ECR, CloudWatch Logs and everything else that moto knows), and this
package adds what moto only pretends to do: a SageMaker training job fetches its channels, runs the image's
program, streams its output to CloudWatch Logs and uploads its artifacts. Clients (boto3, the `aws` command
line, any SDK) meet it over HTTP at an endpoint URL and need to know nothing else; nothing here knows them.

Where a Docker engine and docker-registry are, ECR is a registry to push to and images run as containers
(`local_aws.containers`); elsewhere images are directories and run as processes.

    python -m local_aws            in the foreground
    python -m local_aws start      in the background; `status` and `stop` go with it

It runs programs for whoever can reach it, so it listens on the loopback interface only and refuses what a
browser sent (`local_aws.guards`). It checks no signature: on a machine with several users, each of them can
reach it.
"""
