"""A Hub on this machine, for tests: it speaks what huggingface_hub speaks, and keeps everything in memory.

    with LocalHub() as hub:
        subprocess.run(command, env={**os.environ, **hub.environment(cache)})

It knows repositories (public, private, gated), branches, tags, commits (all or nothing), large files (LFS) and the
download of single files, with ETags. Two attributes make it fail: `refuse_large_files_after` and `refuse_commits`.
huggingface_hub reads the address when it is imported, so the programs that use it run in processes of their own.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN, USER = "hf_of_the_tests", "tester"
LARGE = (".safetensors",)  # the Hub decides by .gitattributes


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    """Commits by their hash, each with all its files; branches and tags are names of commits."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        listed = sorted((path, git_oid(data)) for path, data in files.items())
        name = hashlib.sha1(repr((self.branches.get(branch), listed)).encode()).hexdigest()
        self.commits[name], self.branches[branch] = files, name
        return name

    def resolve(self, revision: str) -> tuple[str, dict[str, bytes] | None]:
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        name = self.branches.get(revision) or self.tags.get(revision) or revision
        return name, self.commits.get(name)

    def refs(self) -> dict[str, Any]:
        def listed(names: dict[str, str], kind: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": at} for name, at in names.items()]

        return {"branches": listed(self.branches, "heads"), "tags": listed(self.tags, "tags"), "converts": []}


class LocalHub:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.log: list[tuple[str, str, int]] = []  # method, path, status
        self.refuse_large_files_after: int | None = None
        self.refuse_commits = False
        self.lock = threading.Lock()
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, cache: Path, token: str | None = TOKEN) -> dict[str, str]:
        """What a process needs in its environment to use this Hub, with a cache of its own."""
        secret = {} if token is None else {"HF_TOKEN": token}
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # Xet's protocol is not public
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **secret,
        }

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a repository at a revision."""
        files = self.repositories[name].resolve(revision)[1]
        assert files is not None, revision
        return files


class Handler(BaseHTTPRequestHandler):
    """One request. The table ROUTES says which method answers which path."""

    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        self.hub.log.append((self.command, urlsplit(self.path).path, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str, message: str = "") -> None:
        self.answer(status, {"error": message or code}, X_Error_Code=code, X_Error_Message=message or code)

    def handle_any(self) -> None:
        self.body = self.read_body()
        self.trusted = self.headers.get("Authorization", "").endswith(TOKEN)
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            for method, pattern, name in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method:
                    return getattr(self, name)(**found.groupdict())
            return self.fail(404, "NotFound", f"the double knows no {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def repository(self, name: str) -> Repository | None:
        """The repository, if this request may see it; otherwise the answer has been sent."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self.trusted):
            # The Hub does not tell a stranger that a private repository exists.
            self.fail(404 if self.trusted else 401, "RepoNotFound", "Repository not found")
            return None
        if repository.gated and not self.trusted:
            self.fail(401, "GatedRepo", "Access to this model is restricted")
            return None
        return repository

    def at(self, name: str, revision: str) -> tuple[Repository, str, dict[str, bytes]] | None:
        repository = self.repository(name)
        if repository is None:
            return None
        commit, files = repository.resolve(revision)
        if files is None:
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository, commit, files

    def writes(self) -> bool:
        if not self.trusted:
            self.fail(401, "Unauthorized", "Invalid credentials")
        return self.trusted

    # --- what the routes do

    def empty_list(self) -> None:
        self.answer(200, [])

    def valid(self) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def who(self) -> None:
        if self.writes():
            self.answer(200, {"name": USER, "type": "user", "orgs": [], "auth": {}})

    def may_write(self, name: str) -> None:
        if self.writes() and self.repository(name):
            self.answer(200)

    def create(self) -> None:
        if not self.writes():
            return
        wanted = json.loads(self.body)
        name = f"{wanted.get('organization') or USER}/{wanted['name']}"
        if name in self.hub.repositories:
            return self.answer(409, {"url": f"{self.hub.url}/{name}"}, X_Error_Message="it exists already")
        is_private = wanted.get("private") or wanted.get("visibility") == "private"  # as versions 1 and 2 say it
        repository = self.hub.repositories[name] = Repository(private=bool(is_private))
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        self.answer(200, {"url": f"{self.hub.url}/{name}", "id": name, "name": name})

    def info(self, name: str, revision: str | None = None) -> None:
        if found := self.at(name, revision or "main"):
            repository, commit, files = found
            card = re.search(rb"^pipeline_tag: *(\S+)", files.get("README.md", b""), re.M)
            about = {"_id": "0", "id": name, "modelId": name, "sha": commit, "private": repository.private}
            about |= {"gated": repository.gated, "tags": [], "downloads": 0, "likes": 0}
            about |= {"pipeline_tag": card and card[1].decode(), "siblings": [{"rfilename": path} for path in files]}
            self.answer(200, about)

    def refs(self, name: str) -> None:
        if repository := self.repository(name):
            self.answer(200, repository.refs())

    def branch(self, name: str, revision: str) -> None:
        if self.writes() and (repository := self.repository(name)):
            repository.branches.setdefault(revision, repository.branches["main"])
            self.answer(200, {})

    def tag(self, name: str, revision: str) -> None:
        if self.writes() and (found := self.at(name, revision)):
            repository, commit, _ = found
            repository.tags[json.loads(self.body)["tag"]] = commit
            self.answer(200, {})

    def tree(self, name: str, revision: str, folder: str = "") -> None:
        if found := self.at(name, revision):
            files = found[2]
            inside = {path: data for path, data in files.items() if not folder or path.startswith(f"{folder}/")}
            entries = [
                {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
                for path, data in sorted(inside.items())
            ]
            self.answer(200, entries)

    def preupload(self, name: str, revision: str) -> None:
        if self.writes() and (found := self.at(name, revision)):
            files = found[2]
            wanted = [
                {
                    "path": path,
                    "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": git_oid(files[path]) if path in files else None,
                }
                for path in (entry["path"] for entry in json.loads(self.body)["files"])
            ]
            self.answer(200, {"files": wanted})

    def large_batch(self, name: str) -> None:
        if not (self.writes() and self.repository(name)):
            return
        objects = [
            {"oid": wanted["oid"], "size": wanted["size"]}
            | (
                {}
                if wanted["oid"] in self.hub.large_files
                else {"actions": {"upload": {"href": f"{self.hub.url}/storage/{wanted['oid']}"}}}
            )
            for wanted in json.loads(self.body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def large_upload(self, oid: str) -> None:
        if self.hub.refuse_large_files_after is not None:
            if self.hub.refuse_large_files_after == 0:
                return self.fail(400, "Refused", "the test lets this upload fail")
            self.hub.refuse_large_files_after -= 1
        if sha256(self.body) != oid:
            return self.fail(400, "WrongContent", "the content has another hash")
        self.hub.large_files[oid] = self.body
        self.answer(200)

    def commit(self, name: str, revision: str) -> None:
        if not (self.writes() and (found := self.at(name, revision))):
            return
        if self.hub.refuse_commits:
            return self.fail(400, "Refused", "the test lets this commit fail")
        repository, _, files = found
        files = dict(files)
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.large_files[value["oid"]]
            elif entry["key"].startswith("deleted"):
                gone = value["path"].rstrip("/")
                files = {
                    path: data for path, data in files.items() if path != gone and not path.startswith(f"{gone}/")
                }
        commit = repository.commit(revision, files)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self.answer(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def file(self, name: str, revision: str, path: str) -> None:
        if found := self.at(name, revision):
            _, commit, files = found
            if path not in files:
                return self.answer(404, b"", X_Repo_Commit=commit, X_Error_Code="EntryNotFound")
            data = files[path]
            etag = sha256(data) if path.endswith(LARGE) else git_oid(data)
            kind = "application/octet-stream"
            self.answer(200, data, X_Repo_Commit=commit, ETag=f'"{etag}"', Accept_Ranges="none", Content_Type=kind)


NAME, REVISION = r"(?P<name>[^/]+/[^/]+?)", r"(?P<revision>refs/(?:heads|tags)/[^/]+|[^/]+)"
MODEL = rf"/api/models/{NAME}"
READ, WRITE = ("GET", "HEAD"), ("POST", "PUT", "DELETE")
# Which requests → path → the method of `Handler`.
ROUTES = [
    (READ, r"/api/agent-harnesses", "empty_list"),
    (WRITE, r"/api/validate-yaml", "valid"),
    (READ, r"/api/whoami-v2", "who"),
    (WRITE, r"/api/repos/create", "create"),
    (READ, rf"{MODEL}/auth-check(?:/write)?", "may_write"),
    (READ, rf"{MODEL}/refs", "refs"),
    (WRITE, rf"{MODEL}/branch/{REVISION}", "branch"),
    (WRITE, rf"{MODEL}/tag/{REVISION}", "tag"),
    (WRITE, rf"{MODEL}/preupload/{REVISION}", "preupload"),
    (WRITE, rf"{MODEL}/commit/{REVISION}", "commit"),
    (READ, rf"{MODEL}/tree/{REVISION}(?:/(?P<folder>.+))?", "tree"),
    (READ, rf"{MODEL}/revision/{REVISION}", "info"),
    (READ, MODEL, "info"),
    (WRITE, rf"/{NAME}\.git/info/lfs/objects/batch", "large_batch"),
    (WRITE, r"/storage/(?P<oid>[0-9a-f]{64})", "large_upload"),
    (READ, rf"/{NAME}/resolve/{REVISION}/(?P<path>.+)", "file"),
]
