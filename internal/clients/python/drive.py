"""Drives a running Leadglass with boto3, unmodified.

Endpoint, region and credentials come from the ordinary environment. Exits
non-zero at the first thing that is not as AWS's own service would have it.
"""

import json
import os
import time
import urllib.request

import boto3
from botocore.exceptions import ClientError

# Versions before 1.28 do not know AWS_ENDPOINT_URL.
endpoint = os.environ["AWS_ENDPOINT_URL"]
kms, sts, iam, trail = (boto3.client(s, endpoint_url=endpoint) for s in ("kms", "sts", "iam", "cloudtrail"))
name = f"py-{time.time_ns()}"


def refused(code, call, **arguments):
    """Expects call to fail with the error code, and returns the exception."""
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        return e
    raise AssertionError(f"{call.__name__} was not refused with {code}")


account = sts.get_caller_identity()["Account"]

# A presigned GetCallerIdentity is how other systems authenticate AWS principals.
with urllib.request.urlopen(sts.generate_presigned_url("get_caller_identity", HttpMethod="GET")) as answer:
    assert account.encode() in answer.read()

# IAM
user = iam.create_user(UserName=name, Tags=[{"Key": "ward", "Value": "Zürich = 3"}])["User"]
assert user["Arn"] == f"arn:aws:iam::{account}:user/{name}"
assert iam.list_user_tags(UserName=name)["Tags"] == [{"Key": "ward", "Value": "Zürich = 3"}]
refused("EntityAlreadyExists", iam.create_user, UserName=name)
refused("NoSuchEntity", iam.get_user, UserName="nobody")
e = refused("MalformedPolicyDocument", iam.put_user_policy, UserName=name, PolicyName="p",
            PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Extra":1}]}')
policy = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:GenerateRandom", "Resource": "*"}}))["Policy"]
iam.attach_user_policy(UserName=name, PolicyArn=policy["Arn"])
assert [p["PolicyName"] for p in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]] == [name]
refused("DeleteConflict", iam.delete_policy, PolicyArn=policy["Arn"])
key = iam.create_access_key(UserName=name)["AccessKey"]
assert len(key["SecretAccessKey"]) == 40
theirs = boto3.client("kms", endpoint_url=endpoint, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
assert len(theirs.generate_random(NumberOfBytes=16)["Plaintext"]) == 16
refused("AccessDeniedException", theirs.list_keys)
iam.update_access_key(UserName=name, AccessKeyId=key["AccessKeyId"], Status="Inactive")
refused("UnrecognizedClientException", theirs.generate_random, NumberOfBytes=16)  # at once
iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
iam.detach_user_policy(UserName=name, PolicyArn=policy["Arn"])
iam.delete_policy(PolicyArn=policy["Arn"])
iam.delete_user(UserName=name)

# KMS
arn = kms.create_key(Description="from Python")["KeyMetadata"]["Arn"]
kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=arn)
blob = kms.encrypt(KeyId=f"alias/{name}", Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})["Plaintext"] == b"x"
refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob)
refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=b"garbage")
refused("ValidationException", kms.encrypt, KeyId=arn, Plaintext=b"x" * 4097)
if "DryRun" in kms.meta.service_model.operation_model("Encrypt").input_shape.members:  # as of 1.28
    refused("DryRunOperationException", kms.encrypt, KeyId=arn, Plaintext=b"x", DryRun=True)
assert sorted(a["AliasName"] for p in kms.get_paginator("list_aliases").paginate(KeyId=arn, PaginationConfig={"PageSize": 1})
              for a in p["Aliases"]) == [f"alias/{name}"]
grant = kms.create_grant(KeyId=arn, GranteePrincipal=f"arn:aws:iam::{account}:root", Operations=["Decrypt"])
assert kms.list_grants(KeyId=arn)["Grants"][0]["GrantId"] == grant["GrantId"]
kms.revoke_grant(KeyId=arn, GrantId=grant["GrantId"])
assert kms.list_grants(KeyId=arn)["Grants"] == []
kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
refused("KMSInvalidStateException", kms.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "b"})

# CloudTrail
events = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "ScheduleKeyDeletion"}])["Events"]
assert any(json.loads(e["CloudTrailEvent"])["requestParameters"]["keyId"] == arn for e in events)
refused("InvalidLookupAttributesException", trail.lookup_events,
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "a"}, {"AttributeKey": "EventId", "AttributeValue": "b"}])

print("python ok")
