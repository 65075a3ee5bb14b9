"""Makes the bucket and the role that agents run with. LocalStack runs this when it is ready, in a container or without one.

Run again on the same LocalStack it changes nothing. What it prints is in LocalStack's log.
"""

import os
import pathlib
import string

import boto3
from botocore.config import Config
from localstack import config

names = {"bucket": os.environ.get("LEAT_BUCKET", "leat"), "prefix": os.environ.get("LEAT_PREFIX", "dev")}
ROLE = "leat-agent"
here = pathlib.Path(config.dirs.init) / "ready.d"


def document(file):
    return string.Template((here / file).read_text()).substitute(names)


def client(service):
    return boto3.client(
        service,
        endpoint_url=config.internal_service_url(),
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


s3, iam = client("s3"), client("iam")
if names["bucket"] not in [b["Name"] for b in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=names["bucket"])
    s3.put_public_access_block(
        Bucket=names["bucket"],
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
try:
    iam.get_role(RoleName=ROLE)
except iam.exceptions.NoSuchEntityException:
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=document("trust.json"), Description="What a Leat agent may do")
iam.put_role_policy(RoleName=ROLE, PolicyName="bucket", PolicyDocument=document("policy.json"))
print(f"s3://{names['bucket']}/{names['prefix']} is there for the role arn:aws:iam::000000000000:role/{ROLE}")
