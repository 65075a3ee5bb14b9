"""The bucket and its key."""

import json


def same(got, want, what):
    """Fails unless what was read back is what was sent."""
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def kms_key(w, v):
    key = w.kms.create_key(Description=v["description"], Policy=v["policy"])["KeyMetadata"]
    w.stands(v, arn=key["Arn"], key_id=key["KeyId"], id=key["KeyId"])
    w.kms.enable_key_rotation(KeyId=key["KeyId"])
    same(w.kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"], v["enable_key_rotation"], "rotation")
    policy = w.kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"]
    same(json.loads(policy), json.loads(v["policy"]), "policy")


def kms_alias(w, v):
    w.kms.create_alias(AliasName=v["name"], TargetKeyId=w.real(v["target_key_id"]))


def bucket(w, v):
    w.s3.create_bucket(Bucket=v["bucket"], CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    w.stands(v, id=v["bucket"])


def public_access_block(w, v):
    name = w.real(v["bucket"])
    block = {
        "BlockPublicAcls": v["block_public_acls"], "IgnorePublicAcls": v["ignore_public_acls"],
        "BlockPublicPolicy": v["block_public_policy"], "RestrictPublicBuckets": v["restrict_public_buckets"],
    }
    same(block, dict.fromkeys(block, True), "what is blocked")
    w.s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
    same(w.s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"], block, "public access block")


def ownership(w, v):
    name, rules = w.real(v["bucket"]), [{"ObjectOwnership": r["object_ownership"]} for r in v["rule"]]
    w.s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls={"Rules": rules})
    same(w.s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"], rules, "ownership")


def encryption(w, v):
    name = w.real(v["bucket"])
    rules = []
    for r in v["rule"]:
        default = r["apply_server_side_encryption_by_default"][0]
        rules.append({
            "BucketKeyEnabled": r["bucket_key_enabled"],
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": default["sse_algorithm"], "KMSMasterKeyID": w.real(default["kms_master_key_id"]),
            },
        })
    w.s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    same(w.s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"], rules, "encryption")
    w.kms.describe_key(KeyId=rules[0]["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"])


def versioning(w, v):
    name, status = w.real(v["bucket"]), v["versioning_configuration"][0]["status"]
    w.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})
    same(w.s3.get_bucket_versioning(Bucket=name)["Status"], status, "versioning")


def lifecycle(w, v):
    name = w.real(v["bucket"])
    rules = []
    for r in v["rule"]:
        expiration = r["expiration"][0]
        if expiration["days"] or "-" in (expiration["date"] or ""):
            raise AssertionError(f"rule {r['id']} lets objects expire")
        rules.append({
            "ID": r["id"], "Status": r["status"], "Filter": {"Prefix": r["filter"][0]["prefix"]},
            "Expiration": {"ExpiredObjectDeleteMarker": expiration["expired_object_delete_marker"]},
            "NoncurrentVersionExpiration": {"NoncurrentDays": r["noncurrent_version_expiration"][0]["noncurrent_days"]},
            "AbortIncompleteMultipartUpload": {
                "DaysAfterInitiation": r["abort_incomplete_multipart_upload"][0]["days_after_initiation"]},
        })
    w.s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    got = w.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    same(sorted(got, key=lambda r: r["ID"]), sorted(rules, key=lambda r: r["ID"]), "rules")
    for r in got:
        for key in ("leat/journal/", "leat/journal/00000000000000000001"):
            if key.startswith(r["Filter"]["Prefix"]):
                raise AssertionError(f"rule {r['ID']} touches {key}")


def bucket_policy(w, v):
    name = w.real(v["bucket"])
    w.s3.put_bucket_policy(Bucket=name, Policy=v["policy"])
    policy = json.loads(w.s3.get_bucket_policy(Bucket=name)["Policy"])
    same(policy, json.loads(v["policy"]), "policy")
    for statement in policy["Statement"]:
        same((statement["Effect"], statement["Principal"]), ("Deny", "*"), "a statement")
        same(statement["Resource"], [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"], "its resources")
