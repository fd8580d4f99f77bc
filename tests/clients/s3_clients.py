"""Clients of the S3 door: boto3, the AWS command line, s3cmd and rclone."""

import datetime
import json

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config

from door_client import Client, Seen, digest, relative

MIB = 1 << 20


def split(path: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, key = path.lstrip("/").split("/", 1)
    return bucket, key


def seconds(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def connect(s3: dict):
    return boto3.client(
        "s3", endpoint_url=s3["endpoint"], region_name=s3["region"], aws_access_key_id=s3["access_key"],
        aws_secret_access_key=s3["secret_key"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, max_pool_connections=16),
    )


class Boto3(Client):
    name, door, package = "boto3", "s3", "PyPI: boto3"

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        self.s3 = connect(doors["s3"])
        self.transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)

    def put(self, path, source):
        bucket, key = split(path)
        self.s3.upload_file(str(source), bucket, key, Config=self.transfer)

    def rename(self, old, new):
        (bucket, key), (to_bucket, to_key) = split(old), split(new)
        self.s3.copy_object(Bucket=to_bucket, Key=to_key, CopySource={"Bucket": bucket, "Key": key})
        self.s3.delete_object(Bucket=bucket, Key=key)

    def remove(self, path):
        bucket, key = split(path)
        self.s3.delete_object(Bucket=bucket, Key=key)

    def mkdir(self, path):
        bucket, key = split(path)
        self.s3.put_object(Bucket=bucket, Key=key + "/", Body=b"")

    def rmdir(self, path):
        bucket, key = split(path)
        self.s3.delete_object(Bucket=bucket, Key=key + "/")

    def put_metadata(self, path, source, metadata):
        bucket, key = split(path)
        self.s3.upload_file(str(source), bucket, key, ExtraArgs={"Metadata": metadata})

    def get_metadata(self, path):
        bucket, key = split(path)
        return self.s3.head_object(Bucket=bucket, Key=key)["Metadata"]

    def empty(self, bucket):
        """Removes a bucket and all it holds."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            if keys := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
                reply = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
                assert "Errors" not in reply, reply["Errors"]
        self.s3.delete_bucket(Bucket=bucket)

    def tree(self, folder):
        bucket, prefix = split(folder + "/")
        found = {}
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                if item["Key"].endswith("/"):
                    continue
                got = self.s3.get_object(Bucket=bucket, Key=item["Key"])
                data = got["Body"].read()
                # Lists tell milliseconds, a header seconds.
                listed = (item["Size"], item["LastModified"].replace(microsecond=0), item["ETag"])
                assert listed == (got["ContentLength"], got["LastModified"], got["ETag"]), f"{item} is listed, {got} is got"
                path = item["Key"][len(prefix):]
                mtime = int(item["LastModified"].timestamp())
                found[path] = Seen(digest(data), len(data), mtime, item["ETag"].strip('"'), item["Size"])
        return found


class Aws(Client):
    name, door, package, programs = "aws", "s3", "PyPI: awscli", ("aws",)
    slow = True

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        s3 = doors["s3"]
        self.keys = {"AWS_ACCESS_KEY_ID": s3["access_key"], "AWS_SECRET_ACCESS_KEY": s3["secret_key"],
                     "AWS_DEFAULT_REGION": s3["region"], "AWS_ENDPOINT_URL": s3["endpoint"], "AWS_MAX_ATTEMPTS": "1",
                     "AWS_EC2_METADATA_DISABLED": "true"}

    def aws(self, *arguments):
        return self.run("aws", *arguments, env=self.keys)

    def put(self, path, source):
        self.aws("s3", "cp", "--only-show-errors", source, "s3:/" + path)

    def put_many(self, folder, sources):
        self.aws("s3", "cp", "--only-show-errors", "--recursive", sources, f"s3:/{folder}/")

    def rename(self, old, new):
        self.aws("s3", "mv", "--only-show-errors", "s3:/" + old, "s3:/" + new)

    def remove(self, path):
        self.aws("s3", "rm", "--only-show-errors", "s3:/" + path)

    def remove_many(self, folder, names):
        self.aws("s3", "rm", "--only-show-errors", "--recursive", f"s3:/{folder}/")

    def mkdir(self, path):
        bucket, key = split(path)
        self.aws("s3api", "put-object", "--bucket", bucket, "--key", key + "/")

    def rmdir(self, path):
        bucket, key = split(path)
        self.aws("s3api", "delete-object", "--bucket", bucket, "--key", key + "/")

    def put_metadata(self, path, source, metadata):
        told = ",".join(f"{key}={value}" for key, value in metadata.items())
        self.aws("s3", "cp", "--only-show-errors", "--metadata", told, source, "s3:/" + path)

    def get_metadata(self, path):
        bucket, key = split(path)
        return json.loads(self.aws("s3api", "head-object", "--bucket", bucket, "--key", key, "--output", "json"))["Metadata"]

    def tree(self, folder):
        bucket, prefix = split(folder + "/")
        listed = self.aws("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", prefix, "--output", "json")
        target = self.fresh_folder()
        self.aws("s3", "cp", "--only-show-errors", "--recursive", f"s3://{bucket}/{prefix}", target)
        found = self.read_folder(target)
        for item in json.loads(listed or b"{}").get("Contents") or []:
            if not item["Key"].endswith("/"):
                seen = found[item["Key"][len(prefix):]]
                seen.mtime, seen.etag = seconds(item["LastModified"]), item["ETag"].strip('"')
                seen.told_size = item["Size"]
        return found


class S3cmd(Client):
    name, door, package, programs = "s3cmd", "s3", "PyPI: s3cmd", ("s3cmd",)
    slow = True

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        s3 = doors["s3"]
        host = s3["endpoint"].removeprefix("http://")
        self.config = self.scratch / "s3cfg"
        self.config.write_text(
            f"[default]\naccess_key = {s3['access_key']}\nsecret_key = {s3['secret_key']}\nhost_base = {host}\n"
            f"host_bucket = {host}\nuse_https = False\nbucket_location = {s3['region']}\nsignature_v2 = False\n"
            "max_retries = 1\n"
        )

    def s3cmd(self, *arguments):
        return self.run("s3cmd", "-c", self.config, "--no-progress", *arguments)

    def put(self, path, source):
        self.s3cmd("--multipart-chunk-size-mb=5", "put", source, "s3:/" + path)

    def put_many(self, folder, sources):
        self.s3cmd("put", "--recursive", f"{sources}/", f"s3:/{folder}/")

    def rename(self, old, new):
        self.s3cmd("mv", "s3:/" + old, "s3:/" + new)

    def remove(self, path):
        self.s3cmd("del", "s3:/" + path)

    def remove_many(self, folder, names):
        self.s3cmd("del", "--recursive", "--force", f"s3:/{folder}/")

    def put_metadata(self, path, source, metadata):
        headers = [f"--add-header=x-amz-meta-{key}:{value}" for key, value in metadata.items()]
        self.s3cmd("put", *headers, source, "s3:/" + path)

    def get_metadata(self, path):
        lines = self.s3cmd("info", "s3:/" + path).decode().splitlines()
        pairs = [line.strip().removeprefix("x-amz-meta-").split(":", 1) for line in lines if "x-amz-meta-" in line]
        return {key: value.strip() for key, value in pairs}

    def tree(self, folder):
        target = self.fresh_folder()
        listed = self.s3cmd("ls", "-r", "--list-md5", f"s3:/{folder}/").decode()
        if not listed.strip():
            return {}
        self.s3cmd("get", "--recursive", "--force", f"s3:/{folder}/", f"{target}/")
        found = self.read_folder(target)
        for line in listed.splitlines():
            # 2026-11-21 14:40       300001  d41d8cd98f00b204e9800998ecf8427e     s3://bucket/key
            fields, key = line.split("s3://", 1)
            if not key.endswith("/"):
                found[relative("/" + key, folder)].told_size = int(fields.split()[2])
        return found


class RcloneS3(Client):
    name, door, package, programs = "rclone-s3", "s3", "Debian: rclone", ("rclone",)

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        s3 = doors["s3"]
        self.config = self.scratch / "rclone.conf"
        self.config.write_text(
            f"[store]\ntype = s3\nprovider = Other\naccess_key_id = {s3['access_key']}\n"
            f"secret_access_key = {s3['secret_key']}\nendpoint = {s3['endpoint']}\nregion = {s3['region']}\n"
            "upload_cutoff = 5Mi\nchunk_size = 5Mi\n"
        )

    def rclone(self, *arguments):
        return self.run("rclone", "--config", self.config, "--retries", 1, "--low-level-retries", 1, *arguments)

    def put(self, path, source):
        self.rclone("copyto", source, "store:" + path.lstrip("/"))

    def put_many(self, folder, sources):
        self.rclone("copy", sources, "store:" + folder.lstrip("/"))

    def rename(self, old, new):
        self.rclone("moveto", "store:" + old.lstrip("/"), "store:" + new.lstrip("/"))

    def remove(self, path):
        self.rclone("deletefile", "store:" + path.lstrip("/"))

    def remove_many(self, folder, names):
        self.rclone("delete", "store:" + folder.lstrip("/"))

    def tree(self, folder):
        remote, target = "store:" + folder.lstrip("/"), self.fresh_folder()
        listed = json.loads(self.rclone("lsjson", "-R", "--files-only", "--use-server-modtime", remote))
        self.rclone("copy", remote, target)
        found = self.read_folder(target)
        for item in listed:
            seen = found[item["Path"]]
            seen.mtime, seen.told_size = seconds(item["ModTime"]), item["Size"]
        return found


ALL = [Boto3, Aws, S3cmd, RcloneS3]
