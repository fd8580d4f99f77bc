#!/usr/bin/env python3
"""What boto3 sees at the S3 door. Needs boto3 and an endpoint:

    s3_boto3.py http://127.0.0.1:9000 ACCESS_KEY SECRET_KEY

Prints one line per check; ends with 1 if one of them failed. Works in a bucket of its own and removes it.
"""

import hashlib
import io
import os
import sys
import traceback
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
        # Without the version boto3 presigns with Signature Version 2, which the door refuses.
        self.s3 = client(endpoint, access, secret, signature_version="s3v4")
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
        assert code_of(self.s3.create_bucket, Bucket=self.bucket) == "BucketAlreadyOwnedByYou"
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
        url = self.s3.generate_presigned_url("put_object", Params={"Bucket": self.bucket, "Key": "pre signed"})
        request = urllib.request.Request(url, data=b"presigned", method="PUT")
        assert urllib.request.urlopen(request).status == 200
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "pre signed", "ResponseContentType": "text/y"})
        with urllib.request.urlopen(url) as reply:
            assert reply.read() == b"presigned" and reply.headers["content-type"] == "text/y"

    def check_forms(self):
        conditions = [["content-length-range", 1, 100], {"x-amz-meta-a": "b"}]
        form = self.s3.generate_presigned_post(self.bucket, "form/${filename}", Fields={"x-amz-meta-a": "b"}, Conditions=conditions)
        assert post(form, b"from a form") == 204
        assert self.get("form/name.txt")["Body"].read() == b"from a form"
        assert self.get("form/name.txt")["Metadata"] == {"a": "b"}
        assert post(form, b"x" * 101) == 400
        form["fields"]["x-amz-signature"] = "0" * 64
        assert post(form, b"x") == 403

    def check_wrong_credentials_and_regions(self):
        assert code_of(client(self.endpoint, self.access, "wrong").list_buckets) == "SignatureDoesNotMatch"
        assert code_of(client(self.endpoint, "nobody", "wrong").list_buckets) == "InvalidAccessKeyId"
        assert code_of(client(self.endpoint, self.access, self.secret, signature_version="s3").list_buckets) == "InvalidRequest"
        assert code_of(client(self.endpoint, self.access, self.secret, region_name="eu-west-1").list_buckets) == "AuthorizationHeaderMalformed"

    def check_deletes(self):
        for n in range(3):
            self.put(f"del/{n}")
        reply = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": f"del/{n}"} for n in range(4)]})
        assert len(reply["Deleted"]) == 4 and "Errors" not in reply
        assert code_of(self.s3.delete_bucket, Bucket=self.bucket) == "BucketNotEmpty"


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
