#!/usr/bin/env python3
"""What the programs of others see at the S3 door where they are most easily misled: presigned URLs as they come, keys with
control characters, lists of versions. Needs an endpoint, and of aws, s3cmd, rclone and s5cmd those that are to be tried:

    s3_programs.py http://127.0.0.1:9000 ACCESS_KEY SECRET_KEY [--all]

Prints one line per check; ends with 1 if one of them failed, with --all also if a program is not there. Works in a bucket of its
own and removes it.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import traceback
import urllib.error
import urllib.request
import uuid

import boto3
from botocore.client import Config

from door_client import find


def status_of(url):
    """Status and body of a GET by something that knows nothing of S3."""
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Programs:
    """Each method is one check of one program; its name begins with the program's."""

    def __init__(self, endpoint, access, secret, folder):
        self.endpoint, self.access, self.secret, self.folder = endpoint, access, secret, folder
        self.host = endpoint.removeprefix("http://")
        self.s3 = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=access, aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )
        self.bucket = "programs-" + uuid.uuid4().hex[:12]
        self.s3.create_bucket(Bucket=self.bucket)
        (folder / "s3cfg").write_text(
            f"[default]\naccess_key = {access}\nsecret_key = {secret}\nhost_base = {self.host}\nhost_bucket = {self.host}\n"
            "use_https = False\nbucket_location = us-east-1\nmax_retries = 1\nsignurl_use_https = False\n"
        )
        (folder / "rclone.conf").write_text(
            f"[store]\ntype = s3\nprovider = Other\naccess_key_id = {access}\nsecret_access_key = {secret}\n"
            f"endpoint = {endpoint}\nregion = us-east-1\n"
        )

    def run(self, program, *arguments):
        environment = {
            "HOME": str(self.folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
        }
        done = subprocess.run([find(program), *map(str, arguments)], capture_output=True, env=environment, timeout=120, check=False)
        assert done.returncode == 0, f"{program} {arguments} ended with {done.returncode}: {(done.stderr + done.stdout).decode(errors='replace')[-2000:]}"
        return done.stdout.decode()

    def s3cmd(self, *arguments):
        return self.run("s3cmd", "-c", self.folder / "s3cfg", "--no-progress", *arguments)

    def rclone(self, *arguments):
        return self.run("rclone", "--config", self.folder / "rclone.conf", "--retries", 1, "--low-level-retries", 1, *arguments)

    def put(self, *keys, body=b"data"):
        for key in keys:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def keys(self, prefix):
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])]

    def presigned(self, url):
        """A URL that gives an object's content, and for anything else is refused."""
        assert "AWSAccessKeyId=" in url, f"{url} is not signed with Version 2"
        assert status_of(url) == (200, b"data"), status_of(url)
        for other in (url.replace("pre/signed", "pre/other"), url + "&acl", url + "&uploadId=x", url + "&attributes", url + "&x-amz-acl=private"):
            assert status_of(other)[0] in (400, 403), other
        end = url.split("Expires=")[1].split("&")[0]
        assert status_of(url.replace(f"Expires={end}", f"Expires={int(end) + 1}"))[0] == 403

    def aws_presigns(self):
        self.put("pre/signed key", "pre/other key")
        self.presigned(self.run("aws", "s3", "presign", f"s3://{self.bucket}/pre/signed key").strip())

    def s3cmd_signs_urls(self):
        self.put("pre/signed key", "pre/other key")
        self.presigned(self.s3cmd("signurl", f"s3://{self.bucket}/pre/signed key", "+60").strip())

    def s3cmd_works_with_the_old_signature(self):
        source = self.folder / "source"
        source.write_bytes(os.urandom(6 << 20))
        target = f"s3://{self.bucket}/old/ü +&.bin"
        self.s3cmd("--signature-v2", "put", source, target)
        self.s3cmd("--signature-v2", "--multipart-chunk-size-mb=5", "put", source, target)
        self.s3cmd("--signature-v2", "get", "--force", target, self.folder / "back")
        assert (self.folder / "back").read_bytes() == source.read_bytes()
        assert "old/" in self.s3cmd("--signature-v2", "ls", f"s3://{self.bucket}/")
        self.s3cmd("--signature-v2", "rm", "--recursive", "--force", f"s3://{self.bucket}/old/")
        assert self.keys("old/") == []

    def s3cmd_removes_a_key_with_a_carriage_return(self):
        self.put("cr/Icon\r", "cr/dir\r/x")
        self.s3cmd("rm", "--recursive", "--force", f"s3://{self.bucket}/cr/")
        assert self.keys("cr/") == [], self.keys("cr/")

    def rclone_removes_a_key_with_a_carriage_return(self):
        self.put("cr/Icon\r", "cr/dir\r/x")
        self.rclone("delete", f"store:{self.bucket}/cr")
        assert self.keys("cr/") == [], self.keys("cr/")

    def rclone_lists_versions(self):
        self.put("ver/a", "ver/b")
        listed = self.rclone("lsf", "--s3-versions", f"store:{self.bucket}/ver").split()
        assert len(listed) == 2, listed

    def s5cmd_lists_versions(self):
        self.put("all/a", "all/b")
        listed = self.run("s5cmd", "--endpoint-url", self.endpoint, "ls", "--all-versions", f"s3://{self.bucket}/all/*")
        assert [line.split()[-1] for line in listed.splitlines()] == ["null", "null"], listed

    def close(self):
        boto3.resource(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=self.access, aws_secret_access_key=self.secret
        ).Bucket(self.bucket).object_versions.delete()
        self.s3.delete_bucket(Bucket=self.bucket)


def main():
    everything = "--all" in sys.argv
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(*sys.argv[1:4], pathlib.Path(folder))
        checks = [name for name in vars(Programs) if name.split("_")[0] in ("aws", "s3cmd", "rclone", "s5cmd") and "_" in name]
        for name in checks:
            if not find(name.split("_")[0]):
                failed += everything
                print("not there", name)
                continue
            try:
                getattr(programs, name)()
                print("ok  ", name)
            except Exception:  # noqa: BLE001 - a check may fail in any way
                failed += 1
                print("FAIL", name)
                traceback.print_exc()
        programs.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
