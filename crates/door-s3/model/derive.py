#!/usr/bin/env python3
"""Makes operations.tsv again: every operation of S3, what selects it, and what it takes.

    pip install --target DIR botocore && python3 derive.py DIR/botocore >operations.tsv

The argument is the folder of an installed botocore (the newest, so that no client knows an operation this table lacks).
"""

import gzip
import json
import pathlib
import re
import sys

FOLDER = "data/s3/2006-03-01"
LEVELS = {"/": "root", "/{Bucket}": "bucket", "/{Bucket}/{Key+}": "object"}


def load(botocore):
    packed = botocore / FOLDER / "service-2.json.gz"
    return json.loads(gzip.decompress(packed.read_bytes()))


def rows(model):
    for name, operation in sorted(model["operations"].items()):
        http = operation["http"]
        path, _, query = http["requestUri"].partition("?")
        shape = model["shapes"].get(operation.get("input", {}).get("shape"), {})
        required = set(shape.get("required", []))
        taken = {"querystring": [], "header": [], "headers": []}
        for member, field in shape.get("members", {}).items():
            if field.get("location") in taken:
                # What must be there is marked; a name that ends with a hyphen stands for all that start so.
                mark = "!" if member in required else ""
                taken[field["location"]].append(field["locationName"] + mark)
        headers = sorted(header.lower() for header in taken["header"] + taken["headers"])
        columns = [query.split("&") if query else [], sorted(taken["querystring"]), headers]
        yield [name, http["method"], LEVELS.get(path, "elsewhere")] + [" ".join(column) or "-" for column in columns]


def main():
    botocore = pathlib.Path(sys.argv[1])
    version = re.search(r"__version__ = '([^']+)'", (botocore / "__init__.py").read_text()).group(1)
    print(f"# The operations of S3 (2006-03-01), derived from botocore {version} by derive.py. Do not edit.")
    print("# name\tmethod\tlevel\tselected by\tquery\theaders")
    for row in rows(load(botocore)):
        print("\t".join(row))


main()
