#!/usr/bin/env python3
"""What boto3 sees at the S3 door. Needs boto3 and an endpoint:

    s3_boto3.py http://127.0.0.1:9000 ACCESS_KEY SECRET_KEY

Prints one line per check; ends with 1 if one of them failed. Works in a bucket of its own and removes it.
"""

import hashlib
import io
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

MIB = 1 << 20


def client(endpoint, access, secret, **config):
    settings = dict(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    settings.update(config)
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=access,
        aws_secret_access_key=secret, config=Config(**settings),
    )


def code_of(call, *args, **kwargs):
    """The error code of a call that must fail."""
    try:
        call(*args, **kwargs)
    except ClientError as error:
        return error.response["Error"]["Code"]
    raise AssertionError("the call succeeded")


class Checks:
    """Each method is one check; its name says what is true."""

    def __init__(self, endpoint, access, secret):
        self.endpoint, self.access, self.secret = endpoint, access, secret
        # As most people make it: it signs with Version 4, and presigns with Version 2.
        self.s3 = client(endpoint, access, secret)
        self.of_version = {
            "default": self.s3,
            "4": client(endpoint, access, secret, signature_version="s3v4"),
            "2": client(endpoint, access, secret, signature_version="s3"),
        }
        self.bucket = "boto3-" + uuid.uuid4().hex[:12]
        self.s3.create_bucket(Bucket=self.bucket)

    def close(self):
        uploads = self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        for upload in uploads:
            self.s3.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
            if keys:
                self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys})
        self.s3.delete_bucket(Bucket=self.bucket)

    def put(self, key, body=b"x", **kwargs):
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **kwargs)

    def get(self, key, **kwargs):
        return self.s3.get_object(Bucket=self.bucket, Key=key, **kwargs)

    def check_buckets_are_listed_and_found(self):
        assert self.bucket in [item["Name"] for item in self.s3.list_buckets()["Buckets"]]
        self.s3.head_bucket(Bucket=self.bucket)
        assert self.s3.get_bucket_location(Bucket=self.bucket)["LocationConstraint"] is None
        assert "Status" not in self.s3.get_bucket_versioning(Bucket=self.bucket)
        self.s3.create_bucket(Bucket=self.bucket)
        assert code_of(self.s3.head_bucket, Bucket="no-such-" + uuid.uuid4().hex) == "404"
        assert code_of(self.s3.create_bucket, Bucket="Not_A_Bucket.") in ("InvalidBucketName",)

    def check_an_object_round_trips_with_metadata(self):
        body = os.urandom(3 * MIB + 17)
        put = self.put("dir/with space+plus/ü.bin", body, Metadata={"color": "blue"}, ContentType="text/x", CacheControl="no-store")
        assert put["ETag"] == '"%s"' % hashlib.md5(body).hexdigest()
        got = self.get("dir/with space+plus/ü.bin")
        assert got["Body"].read() == body and got["Metadata"] == {"color": "blue"}
        assert got["ContentType"] == "text/x" and got["CacheControl"] == "no-store"

    def check_ranges_are_cut_and_refused(self):
        self.put("range", b"0123456789")
        assert self.get("range", Range="bytes=2-4")["Body"].read() == b"234"
        assert self.get("range", Range="bytes=-3")["Body"].read() == b"789"
        assert code_of(self.get, "range", Range="bytes=10-") == "InvalidRange"

    def check_conditions_hold(self):
        etag = self.put("cond", b"one")["ETag"]
        assert code_of(self.put, "cond", b"two", IfNoneMatch="*") == "PreconditionFailed"
        assert code_of(self.put, "cond", b"two", IfMatch='"0"') == "PreconditionFailed"
        self.put("cond", b"two", IfMatch=etag)
        assert code_of(self.get, "cond", IfMatch=etag) == "PreconditionFailed"
        assert code_of(self.get, "cond", IfNoneMatch=self.s3.head_object(Bucket=self.bucket, Key="cond")["ETag"]) == "304"

    def check_every_checksum_algorithm(self):
        for name in ("CRC32", "SHA1", "SHA256"):
            put = self.put("sum", b"123456789", ChecksumAlgorithm=name)
            got = self.get("sum", ChecksumMode="ENABLED")
            assert got["Checksum" + name] == put["Checksum" + name] and got["Body"].read() == b"123456789"

    def check_streams_of_unknown_kind(self):
        class Unseekable(io.RawIOBase):
            def __init__(self, data):
                self.data = io.BytesIO(data)

            def readable(self):
                return True

            def readinto(self, buffer):
                return self.data.readinto(buffer)

        body = os.urandom(MIB)
        self.s3.upload_fileobj(Unseekable(body), self.bucket, "stream")
        assert self.get("stream")["Body"].read() == body

    def check_lists_page_and_roll_up(self):
        keys = ["list/a/1", "list/a/2", "list/b", "list/c/d/1", "list/z"]
        for key in keys:
            self.put(key)
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="list/", PaginationConfig={"PageSize": 2})
        assert [item["Key"] for page in pages for item in page.get("Contents", [])] == keys
        page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="list/", Delimiter="/")
        assert [item["Key"] for item in page["Contents"]] == ["list/b", "list/z"]
        assert [item["Prefix"] for item in page["CommonPrefixes"]] == ["list/a/", "list/c/"]
        assert page["KeyCount"] == 4
        pages = self.s3.get_paginator("list_objects").paginate(Bucket=self.bucket, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 1})
        found = [item.get("Key", item.get("Prefix")) for page in pages for item in page.get("Contents", []) + page.get("CommonPrefixes", [])]
        assert found == ["list/a/", "list/b", "list/c/", "list/z"], found
        after = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="list/", StartAfter="list/b")
        assert [item["Key"] for item in after["Contents"]] == ["list/c/d/1", "list/z"]

    def check_multipart_by_the_transfer_manager(self):
        body = os.urandom(20 * MIB + 5)
        config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
        self.s3.upload_fileobj(io.BytesIO(body), self.bucket, "multi", Config=config, ExtraArgs={"Metadata": {"a": "b"}})
        head = self.s3.head_object(Bucket=self.bucket, Key="multi")
        assert head["ETag"].endswith('-5"') and head["Metadata"] == {"a": "b"}
        out = io.BytesIO()
        self.s3.download_fileobj(self.bucket, "multi", out, Config=config)
        assert out.getvalue() == body
        assert self.s3.head_object(Bucket=self.bucket, Key="multi", PartNumber=5)["PartsCount"] == 5
        parts = self.s3.get_object_attributes(Bucket=self.bucket, Key="multi", ObjectAttributes=["ObjectParts", "ETag", "ObjectSize"])
        assert parts["ObjectParts"]["TotalPartsCount"] == 5 and parts["ObjectSize"] == len(body)
        assert parts["ETag"] == head["ETag"].strip('"')

    def check_multipart_by_hand(self):
        key = "by-hand"
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
        listed = self.s3.list_multipart_uploads(Bucket=self.bucket)["Uploads"]
        assert [(item["Key"], item["UploadId"]) for item in listed] == [(key, upload)]
        parts = []
        for number in (1, 2):
            part = self.s3.upload_part(Bucket=self.bucket, Key=key, UploadId=upload, PartNumber=number, Body=b"%d" % number * (5 * MIB), ChecksumAlgorithm="SHA256")
            parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]})
        self.put("part-source", b"0123456789")
        copied = self.s3.upload_part_copy(Bucket=self.bucket, Key=key, UploadId=upload, PartNumber=3, CopySource=f"{self.bucket}/part-source", CopySourceRange="bytes=2-4")
        assert copied["CopyPartResult"]["ETag"] == '"%s"' % hashlib.md5(b"234").hexdigest()
        assert [part["PartNumber"] for part in self.s3.list_parts(Bucket=self.bucket, Key=key, UploadId=upload)["Parts"]] == [1, 2, 3]
        complete = lambda parts: self.s3.complete_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        assert code_of(complete, parts[::-1]) == "InvalidPartOrder"
        assert code_of(complete, [dict(parts[0], ETag='"%s"' % ("0" * 32))]) == "InvalidPart"
        done = complete(parts)
        assert done["ChecksumSHA256"].endswith("-2"), done
        assert self.get(key)["ContentLength"] == 10 * MIB
        assert complete(parts)["ETag"] == done["ETag"]
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)
        assert code_of(self.s3.list_parts, Bucket=self.bucket, Key=key, UploadId=upload) == "NoSuchUpload"

    def check_small_parts_are_refused(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="small")["UploadId"]
        parts = [{"PartNumber": n, "ETag": self.s3.upload_part(Bucket=self.bucket, Key="small", UploadId=upload, PartNumber=n, Body=b"x")["ETag"]} for n in (1, 2)]
        assert code_of(self.s3.complete_multipart_upload, Bucket=self.bucket, Key="small", UploadId=upload, MultipartUpload={"Parts": parts}) == "EntityTooSmall"
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="small", UploadId=upload)

    def check_copies(self):
        self.put("from", b"data", Metadata={"a": "1"})
        source = {"Bucket": self.bucket, "Key": "from"}
        self.s3.copy_object(Bucket=self.bucket, Key="to", CopySource=source)
        assert self.get("to")["Metadata"] == {"a": "1"}
        self.s3.copy_object(Bucket=self.bucket, Key="to", CopySource=source, Metadata={"b": "2"}, MetadataDirective="REPLACE")
        assert self.get("to")["Metadata"] == {"b": "2"}
        assert code_of(self.s3.copy_object, Bucket=self.bucket, Key="from", CopySource=source) == "InvalidRequest"

    def check_presigned_requests(self):
        for version, s3 in self.of_version.items():
            presign = lambda call, **params: s3.generate_presigned_url(call, Params={"Bucket": self.bucket, "Key": "pre signed", **params})
            assert version == "4" or "AWSAccessKeyId=" in presign("get_object"), version
            assert fetch(presign("put_object"), "PUT", b"presigned")[0] == 200, version
            status, headers, body = fetch(presign("get_object", ResponseContentType="text/y", ResponseContentDisposition='attachment; filename="a b"'))
            assert (status, body, headers["content-type"]) == (200, b"presigned", "text/y"), version
            assert headers["content-disposition"] == 'attachment; filename="a b"', version
            typed = presign("put_object", ContentType="text/z", Metadata={"color": "blue"})
            assert fetch(typed, "PUT", b"typed", {"content-type": "text/z", "x-amz-meta-color": "blue"})[0] == 200, version
            head = s3.head_object(Bucket=self.bucket, Key="pre signed")
            assert (head["ContentType"], head["Metadata"]) == ("text/z", {"color": "blue"}), version
            assert fetch(typed, "PUT", b"x", {"content-type": "text/other", "x-amz-meta-color": "blue"})[0] in (400, 403), version
            # Nothing that chooses what is done can be added, changed or left out.
            get = presign("get_object")
            for more in ("acl", "tagging", "attributes", "versionId=null", "uploadId=1", "response-content-type=text/html", "x-amz-acl=private", "retention", "encryption"):
                assert fetch(f"{get}&{more}")[0] in (400, 403), (version, more)
            for method in ("PUT", "DELETE", "POST"):
                assert fetch(get, method, b"" if method != "DELETE" else None)[0] == 403, (version, method)
            assert fetch(get.replace("pre%20signed", "other"))[0] == 403, version
            assert fetch(get)[2] == b"typed", version
            gone = s3.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "pre signed"}, ExpiresIn=1)
            time.sleep(2.1)
            assert fetch(gone)[0] == 403, version

    def check_the_old_signature_in_headers(self):
        s3 = self.of_version["2"]
        s3.put_object(Bucket=self.bucket, Key="old/ü +&.bin", Body=b"data", Metadata={"a": "b"})
        got = s3.get_object(Bucket=self.bucket, Key="old/ü +&.bin", Range="bytes=1-2")
        assert got["Body"].read() == b"at" and got["Metadata"] == {"a": "b"}
        assert [item["Key"] for item in s3.list_objects_v2(Bucket=self.bucket, Prefix="old/")["Contents"]] == ["old/ü +&.bin"]
        s3.copy_object(Bucket=self.bucket, Key="old/copy", CopySource={"Bucket": self.bucket, "Key": "old/ü +&.bin"})
        body = os.urandom(11 * MIB)
        config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
        s3.upload_fileobj(io.BytesIO(body), self.bucket, "old/multi", Config=config)
        assert s3.get_object(Bucket=self.bucket, Key="old/multi")["Body"].read() == body
        assert code_of(client(self.endpoint, self.access, "wrong", signature_version="s3").list_buckets) == "SignatureDoesNotMatch"
        assert code_of(s3.get_object_attributes, Bucket=self.bucket, Key="old/copy", ObjectAttributes=["ETag"]) == "InvalidArgument"
        keys = [{"Key": key} for key in ("old/ü +&.bin", "old/copy", "old/multi")]
        assert len(s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys})["Deleted"]) == 3

    def check_versions_and_settings_that_were_never_set(self):
        for key in ("v/1", "v/2", "v/3"):
            self.put(key)
        resource = boto3.resource("s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=self.access, aws_secret_access_key=self.secret)
        versions = resource.Bucket(self.bucket).object_versions
        assert [(item.key, item.id, item.is_latest) for item in versions.filter(Prefix="v/")] == [(f"v/{n}", "null", True) for n in (1, 2, 3)]
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix="v/", PaginationConfig={"PageSize": 1})
        assert [item["Key"] for page in pages for item in page.get("Versions", [])] == ["v/1", "v/2", "v/3"]
        versions.filter(Prefix="v/").delete()
        assert list(versions.filter(Prefix="v/")) == []
        bucket = {"Bucket": self.bucket}
        for call, code in (
            (self.s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
            (self.s3.get_bucket_cors, "NoSuchCORSConfiguration"),
            (self.s3.get_bucket_policy, "NoSuchBucketPolicy"),
            (self.s3.get_bucket_policy_status, "NoSuchBucketPolicy"),
            (self.s3.get_bucket_tagging, "NoSuchTagSet"),
            (self.s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
            (self.s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
            (self.s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
            (self.s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
            (self.s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
        ):
            assert code_of(call, **bucket) == code, code
        assert self.s3.get_bucket_request_payment(**bucket)["Payer"] == "BucketOwner"
        assert self.s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        assert "LoggingEnabled" not in self.s3.get_bucket_logging(**bucket)
        assert "Status" not in self.s3.get_bucket_accelerate_configuration(**bucket)
        self.s3.get_bucket_notification_configuration(**bucket)
        assert "InventoryConfigurationList" not in self.s3.list_bucket_inventory_configurations(**bucket)
        assert code_of(self.s3.get_bucket_metrics_configuration, Id="a", **bucket) == "NoSuchConfiguration"

    def check_checksums_of_uploads_are_kept(self):
        # Begun without a word about it, the client sends CRC32 with every part, and the whole has what S3 gives it.
        for key, more, field, kind in (
            ("sum-default", {}, "ChecksumCRC64NVME", "FULL_OBJECT"),
            ("sum-whole", {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}, "ChecksumCRC32", "FULL_OBJECT"),
            ("sum-sha256", {"ChecksumAlgorithm": "SHA256"}, "ChecksumSHA256", "COMPOSITE"),
        ):
            begun = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, **more)
            at = {"Bucket": self.bucket, "Key": key, "UploadId": begun["UploadId"]}
            algorithm = {"ChecksumAlgorithm": begun["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in begun else {}
            parts = []
            for number, body in ((1, b"1" * (5 * MIB)), (2, b"2")):
                part = self.s3.upload_part(PartNumber=number, Body=body, **algorithm, **at)
                parts.append({"PartNumber": number, **{name: part[name] for name in ("ETag", "ChecksumCRC32", "ChecksumSHA256") if name in part}})
            complete = lambda: self.s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **at)
            done, again = complete(), complete()
            head = self.s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            assert done[field] == again[field] == head[field], (key, done, again, head)
            assert done["ChecksumType"] == head["ChecksumType"] == kind, (key, done)
            got = self.get(key, ChecksumMode="ENABLED")
            assert got["Body"].read() == b"1" * (5 * MIB) + b"2"

    def check_control_characters_in_keys(self):
        for key in ("Icon\r", "bell\x07", "tab\tline\n"):
            self.put("ctl/" + key, b"x")
        keys = [item["Key"] for item in self.s3.list_objects_v2(Bucket=self.bucket, Prefix="ctl/")["Contents"]]
        assert keys == ["ctl/Icon\r", "ctl/bell\x07", "ctl/tab\tline\n"], keys
        self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": "ctl/Icon\r"}]})
        keys = [item["Key"] for item in self.s3.list_objects_v2(Bucket=self.bucket, Prefix="ctl/")["Contents"]]
        assert keys == ["ctl/bell\x07", "ctl/tab\tline\n"], keys
        for key in keys:
            self.s3.delete_object(Bucket=self.bucket, Key=key)

    def check_forms(self):
        for version, s3 in self.of_version.items():
            conditions = [["content-length-range", 1, 100], {"x-amz-meta-a": "b"}]
            form = s3.generate_presigned_post(self.bucket, "form/${filename}", Fields={"x-amz-meta-a": "b"}, Conditions=conditions)
            assert version == "4" or "AWSAccessKeyId" in form["fields"], version
            assert post(form, b"from a form") == 204, version
            got = self.get("form/name.txt")
            assert (got["Body"].read(), got["Metadata"]) == (b"from a form", {"a": "b"}), version
            self.s3.delete_object(Bucket=self.bucket, Key="form/name.txt")
            assert post(form, b"x" * 101) == 400, version
            form["fields"]["x-amz-signature" if version == "4" else "signature"] = "0" * 64
            assert post(form, b"x") == 403, version

    def check_wrong_credentials_and_regions(self):
        assert code_of(client(self.endpoint, self.access, "wrong").list_buckets) == "SignatureDoesNotMatch"
        assert code_of(client(self.endpoint, "nobody", "wrong").list_buckets) == "InvalidAccessKeyId"
        assert code_of(client(self.endpoint, self.access, self.secret, region_name="eu-west-1").list_buckets) == "AuthorizationHeaderMalformed"

    def check_deletes(self):
        for n in range(3):
            self.put(f"del/{n}")
        reply = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": f"del/{n}"} for n in range(4)]})
        assert len(reply["Deleted"]) == 4 and "Errors" not in reply
        assert code_of(self.s3.delete_bucket, Bucket=self.bucket) == "BucketNotEmpty"


def fetch(url, method="GET", data=None, headers=None):
    """Status, headers and body of a request by something that knows nothing of S3."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {"content-type": ""} if data is not None else headers or {})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def post(form, data):
    boundary = uuid.uuid4().hex
    body = b""
    for name, value in form["fields"].items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    body += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="name.txt"\r\nContent-Type: text/plain\r\n\r\n'.encode()
    body += data + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(form["url"], data=body, headers={"content-type": f"multipart/form-data; boundary={boundary}"})
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    checks = Checks(*sys.argv[1:4])
    failed = 0
    for name in [name for name in dir(checks) if name.startswith("check_")]:
        try:
            getattr(checks, name)()
            print("ok  ", name)
        except Exception:  # noqa: BLE001 - a check may fail in any way
            failed += 1
            print("FAIL", name)
            traceback.print_exc()
    checks.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
