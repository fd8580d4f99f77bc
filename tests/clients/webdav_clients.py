"""Clients of the WebDAV door: requests, curl, cadaver and rclone."""

import calendar
import email.utils
import json
import re
import urllib.parse
import xml.etree.ElementTree

import requests

from door_client import Cannot, Client, Seen, digest, parent, relative
from s3_clients import seconds

DAV = "{DAV:}"
PROPFIND = (
    b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getlastmodified/><getetag/>'
    b"</prop></propfind>"
)


def http_time(text: str) -> int:
    return calendar.timegm(email.utils.parsedate(text))


def listing(body: bytes) -> dict[str, tuple[bool, int, int, str | None]]:
    """A multistatus answer by decoded path: is it a collection, its length, its time, its tag."""
    found = {}
    for response in xml.etree.ElementTree.fromstring(body).findall(DAV + "response"):
        path = urllib.parse.unquote(urllib.parse.urlsplit(response.findtext(DAV + "href")).path)
        for propstat in response.findall(DAV + "propstat"):
            if " 200 " not in propstat.findtext(DAV + "status"):
                continue
            prop = propstat.find(DAV + "prop")
            collection = prop.find(f"{DAV}resourcetype/{DAV}collection") is not None
            tag = prop.findtext(DAV + "getetag")
            found[path] = (
                collection, int(prop.findtext(DAV + "getcontentlength") or 0),
                http_time(prop.findtext(DAV + "getlastmodified")), tag and tag.strip('"'),
            )
    return found


class WebDav(Client):
    """What clients share that speak WebDAV request by request."""

    door = "webdav"

    def url(self, path):
        return self.doors["webdav"]["url"].rstrip("/") + urllib.parse.quote(path)

    def propfind(self, path) -> bytes:
        raise NotImplementedError

    def walk(self, folder):
        """Every file and every directory below, by path."""
        files, directories, left = {}, set(), [folder]
        while left:
            at = left.pop()
            for path, shown in listing(self.propfind(at + "/")).items():
                path = path.rstrip("/")
                if path == at:
                    continue
                if shown[0]:
                    directories.add(relative(path, folder))
                    left.append(path)
                else:
                    files[path] = shown
        return files, directories

    def directories(self, folder):
        return self.walk(folder)[1]


class Requests(WebDav):
    name, package = "requests", "PyPI: requests"

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        self.session = requests.Session()
        self.session.auth = (doors["webdav"]["user"], doors["webdav"]["password"])

    def send(self, method, path, **more):
        reply = self.session.request(method, self.url(path), timeout=60, **more)
        assert reply.status_code < 300, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply

    def put(self, path, source):
        with open(source, "rb") as body:
            self.send("PUT", path, data=body)

    def rename(self, old, new):
        self.send("MOVE", old, headers={"Destination": self.url(new)})

    def remove(self, path):
        self.send("DELETE", path)

    def mkdir(self, path):
        self.send("MKCOL", path + "/")

    def rmdir(self, path):
        self.send("DELETE", path + "/")

    def write_at(self, path, offset, data):
        self.send("PUT", path, data=data, headers={"Content-Range": f"bytes {offset}-{offset + len(data) - 1}/*"})

    def append(self, path, data):
        headers = {"X-Update-Range": "append", "Content-Type": "application/x-sabredav-partialupdate"}
        self.send("PATCH", path, data=data, headers=headers)

    def set_mtime(self, path, when):
        body = f'<propertyupdate xmlns="DAV:"><set><prop><lastmodified>{when}</lastmodified></prop></set></propertyupdate>'
        reply = self.send("PROPPATCH", path, data=body)
        assert " 200 " in reply.text, reply.text

    def propfind(self, path):
        return self.send("PROPFIND", path, data=PROPFIND, headers={"Depth": "1"}).content

    def tree(self, folder):
        found = {}
        for path, (_, size, mtime, tag) in self.walk(folder)[0].items():
            got = self.send("GET", path)
            told = (int(got.headers["Content-Length"]), http_time(got.headers["Last-Modified"]), got.headers["ETag"].strip('"'))
            assert told == (size, mtime, tag), f"{path} is listed as {(size, mtime, tag)} and got as {told}"
            found[relative(path, folder)] = Seen(digest(got.content), len(got.content), mtime, tag, size)
        return found


class Curl(WebDav):
    name, package, programs = "curl", "Debian: curl", ("curl",)

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        self.config = self.scratch / "curlrc"
        dav = doors["webdav"]
        login = f"{dav['user']}:{dav['password']}"
        self.config.write_text(f'user = "{login}"\nsilent\nshow-error\nfail\ngloboff\n')

    def curl(self, *arguments, stdin=b""):
        return self.run("curl", "-K", self.config, *arguments, stdin=stdin)

    def put(self, path, source):
        # In chunks, without a length; of an empty file curl 7.88 then never sends the end.
        chunked = ["-H", "Transfer-Encoding: chunked"] if source.stat().st_size else []
        self.curl(*chunked, "-T", source, self.url(path))

    def rename(self, old, new):
        self.curl("-X", "MOVE", "-H", "Destination: " + self.url(new), self.url(old))

    def remove(self, path):
        self.curl("-X", "DELETE", self.url(path))

    def mkdir(self, path):
        self.curl("-X", "MKCOL", self.url(path))

    def rmdir(self, path):
        self.curl("-X", "DELETE", self.url(path + "/"))

    def write_at(self, path, offset, data):
        span = f"Content-Range: bytes {offset}-{offset + len(data) - 1}/*"
        self.curl("-X", "PUT", "-H", span, "--data-binary", "@-", self.url(path), stdin=data)

    def propfind(self, path):
        return self.curl("-X", "PROPFIND", "-H", "Depth: 1", "--data-binary", "@-", self.url(path), stdin=PROPFIND)

    def tree(self, folder):
        files, target = self.walk(folder)[0], self.fresh_folder()
        wanted = list(files.items())
        if wanted:
            lines = [f'url = "{self.url(path)}"\noutput = "{target}/{number}"' for number, (path, _) in enumerate(wanted)]
            self.curl("-K", "-", stdin="\n".join(lines).encode())
        # An empty answer makes no file.
        empty = Seen(digest(b""), 0)
        fetched = self.read_folder(target)
        found = {}
        for number, (path, (_, size, mtime, tag)) in enumerate(wanted):
            seen = fetched.get(str(number), empty)
            found[relative(path, folder)] = Seen(seen.digest, seen.size, mtime, tag, size)
        return found


class Cadaver(WebDav):
    name, package, programs = "cadaver", "Debian: cadaver", ("cadaver",)

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        dav = doors["webdav"]
        host = urllib.parse.urlsplit(dav["url"]).hostname
        (self.scratch / ".netrc").write_text(f"machine {host} login {dav['user']} password {dav['password']}\n")
        (self.scratch / ".netrc").chmod(0o600)

    def cadaver(self, folder, *lines):
        said = self.run("cadaver", self.url(folder + "/"), stdin="\n".join([*lines, "quit", ""]).encode()).decode(errors="replace")
        assert " failed" not in said and "Could not" not in said, f"cadaver: {lines}: {said}"
        return said

    @staticmethod
    def quote(name):
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def put(self, path, source):
        self.cadaver(parent(path), f"put {self.quote(str(source))} {self.quote(path.rsplit('/', 1)[1])}")

    def rename(self, old, new):
        self.cadaver(parent(old), f"move {self.quote(old)} {self.quote(new)}")

    def remove(self, path):
        self.cadaver(parent(path), f"delete {self.quote(path)}")

    def mkdir(self, path):
        self.cadaver(parent(path), f"mkcol {self.quote(path.rsplit('/', 1)[1])}")

    def rmdir(self, path):
        self.cadaver(parent(path), f"rmcol {self.quote(path.rsplit('/', 1)[1])}")

    def list(self, folder):
        """Sizes of files and names of directories in one folder."""
        files, directories = {}, []
        for line in self.cadaver(folder, "ls").splitlines():
            match = re.fullmatch(r"(Coll:  |       |      \*| ?.{6}) ?(.*?) +(\d+)  \w{3} +\d+ +[\d:]+", line)
            if match:
                kind, name, size = match.groups()
                if kind.startswith("Coll"):
                    directories.append(name.strip())
                else:
                    files[name.strip()] = int(size)
        return files, directories

    def walk_names(self, folder):
        files, directories, left = {}, set(), [folder]
        while left:
            at = left.pop()
            here, below = self.list(at)
            files |= {f"{at}/{name}": size for name, size in here.items()}
            left += [f"{at}/{name}" for name in below]
            directories |= {relative(f"{at}/{name}", folder) for name in below}
        return files, directories

    def directories(self, folder):
        return self.walk_names(folder)[1]

    def tree(self, folder):
        files, target = self.walk_names(folder)[0], self.fresh_folder()
        wanted = [path for path in files if self.handles(path)]
        self.cadaver(folder, *(f"get {self.quote(path)} {target}/{number}" for number, path in enumerate(wanted)))
        fetched, found = self.read_folder(target), {}
        for number, path in enumerate(wanted):
            seen = fetched[str(number)]
            seen.told_size = files[path]
            found[relative(path, folder)] = seen
        return found


class RcloneWebDav(Client):
    name, door, package, programs = "rclone-webdav", "webdav", "Debian: rclone", ("rclone",)
    slow = True

    def __init__(self, doors, scratch):
        super().__init__(doors, scratch)
        dav = doors["webdav"]
        self.config = self.scratch / "rclone.conf"
        secret = self.run("rclone", "obscure", dav["password"]).decode().strip()
        self.config.write_text(
            f"[store]\ntype = webdav\nvendor = owncloud\nurl = {dav['url']}\nuser = {dav['user']}\npass = {secret}\n"
        )

    def rclone(self, *arguments):
        return self.run("rclone", "--config", self.config, "--retries", 1, "--low-level-retries", 1, *arguments)

    def put(self, path, source):
        self.rclone("copyto", source, "store:" + path)

    def put_many(self, folder, sources):
        self.rclone("copy", sources, "store:" + folder)

    def rename(self, old, new):
        self.rclone("moveto", "store:" + old, "store:" + new)

    def remove(self, path):
        self.rclone("deletefile", "store:" + path)

    def remove_many(self, folder, names):
        self.rclone("delete", "store:" + folder)

    def mkdir(self, path):
        self.rclone("mkdir", "store:" + path)

    def rmdir(self, path):
        self.rclone("rmdir", "store:" + path)

    def set_mtime(self, path, when):
        raise Cannot

    def directories(self, folder):
        return {item["Path"] for item in json.loads(self.rclone("lsjson", "-R", "--dirs-only", "store:" + folder))}

    def tree(self, folder):
        target = self.fresh_folder()
        listed = json.loads(self.rclone("lsjson", "-R", "--files-only", "store:" + folder))
        self.rclone("copy", "store:" + folder, target)
        found = self.read_folder(target)
        for item in listed:
            seen = found[item["Path"]]
            seen.mtime, seen.told_size = seconds(item["ModTime"]), item["Size"]
        return found


ALL = [Requests, Curl, Cadaver, RcloneWebDav]
