# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A Hugging Face Hub for tests: model repositories in memory, served over HTTP with the standard library.

It answers what `push_to_hub`, `upload_folder` and `from_pretrained` ask. Every file is uploaded inside the commit
("regular"), so neither LFS nor Xet is involved.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


Files = dict[str, bytes]


class HubServer:
    """
    The server and its repositories; a context manager.

    `repositories` maps a repository id to its commits, oldest first, each a pair (sha, files). `requests` lists method
    and path of everything that was asked.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, list[tuple[str, Files]]] = {}
        self.requests: list[str] = []
        self._lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering; the repositories stay readable."""
        self._server.shutdown()
        self._server.server_close()

    def files(self, repo_id: str) -> Files:
        """Files of the latest commit."""
        return self.repositories[repo_id][-1][1]

    def create(self, repo_id: str) -> bool:
        """Add an empty repository; whether there was none."""
        with self._lock:
            if repo_id in self.repositories:
                return False
            self.repositories[repo_id] = [(_sha(repo_id), {})]
            return True

    def commit(self, repo_id: str, lines: list[dict]) -> str:
        """Apply the operations of a commit; its sha."""
        with self._lock:
            parent, files = self.repositories[repo_id][-1]
            files = dict(files)
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
                elif line["key"] != "header":
                    raise ValueError(f"unknown operation {line['key']!r}")
            listed = "".join(f"{name} {_sha(content)}\n" for name, content in sorted(files.items()))
            sha = _sha(parent + listed)
            self.repositories[repo_id].append((sha, files))
            return sha

    def at(self, repo_id: str, revision: str) -> tuple[str, Files] | None:
        """The commit a revision (main or a sha) names."""
        commits = self.repositories.get(repo_id, [])
        if revision == "main":
            return commits[-1] if commits else None
        return next((commit for commit in commits if commit[0] == revision), None)


def _sha(content: str | bytes) -> str:
    return hashlib.sha1(content.encode() if isinstance(content, str) else content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """One request; `ROUTES` names the method that answers it."""

    protocol_version = "HTTP/1.1"
    server_hub: HubServer

    ROUTES = (
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
        ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "info"),
        ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<folder>.*))?", "tree"),
        ("GET", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    )

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def _route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server_hub.requests.append(f"{self.command} {path}")
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for wanted, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if wanted == method and match:
                groups = {key: value for key, value in match.groupdict().items() if value is not None}
                return getattr(self, f"answer_{name}")(**groups)
        return self._send(404, {"error": f"no route for {method} {path}"})

    def log_message(self, format: str, *values: object) -> None:
        """Keep quiet; `HubServer.requests` has it all."""

    # --- answers ---

    def answer_create(self) -> None:
        asked = json.loads(self._body)
        repo_id = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        is_new = self.server_hub.create(repo_id)
        url = f"{self.server_hub.url}/{repo_id}"
        self._send(200 if is_new else 409, {"url": url, "name": repo_id, "id": repo_id})

    def answer_validate_yaml(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def answer_preupload(self, repo: str, revision: str) -> None:
        if self._commit_of(repo, revision) is None:
            return
        files = json.loads(self._body)["files"]
        answer = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for file in files
        ]
        self._send(200, {"files": answer})

    def answer_commit(self, repo: str, revision: str) -> None:
        if self._commit_of(repo, revision) is None:
            return
        lines = [json.loads(line) for line in self._body.splitlines() if line.strip()]
        sha = self.server_hub.commit(repo, lines)
        url = f"{self.server_hub.url}/{repo}/commit/{sha}"
        self._send(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def answer_info(self, repo: str, revision: str = "main") -> None:
        found = self._commit_of(repo, revision)
        if found is None:
            return
        sha, files = found
        card = files.get("README.md", b"").decode()
        answer = {
            "id": repo,
            "modelId": repo,
            "sha": sha,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": name} for name in sorted(files)],
        }
        for key in ("pipeline_tag", "library_name"):
            value = re.search(rf"^{key}: *(\S+)$", card, flags=re.MULTILINE)
            answer |= {key: value[1]} if value else {}
        self._send(200, answer)

    def answer_tree(self, repo: str, revision: str, folder: str = "") -> None:
        found = self._commit_of(repo, revision)
        if found is None:
            return
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        listed = [
            {"type": "file", "path": name, "size": len(content), "oid": _sha(content)}
            for name, content in sorted(found[1].items())
            if name.startswith(prefix)
        ]
        if prefix and not listed:
            return self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        return self._send(200, listed)

    def answer_resolve(self, repo: str, revision: str, path: str) -> None:
        found = self._commit_of(repo, revision)
        if found is None:
            return
        sha, files = found
        headers = {"X-Repo-Commit": sha}
        if path not in files:
            self._send(404, {"error": "Entry not found"}, {**headers, "X-Error-Code": "EntryNotFound"})
        else:
            self._send(200, files[path], {**headers, "ETag": f'"{_sha(files[path])}"'})

    def _commit_of(self, repo: str, revision: str) -> tuple[str, Files] | None:
        """The commit asked for, after answering 404 where there is none."""
        found = self.server_hub.at(repo, revision)
        if found is None:
            code = "RevisionNotFound" if repo in self.server_hub.repositories else "RepoNotFound"
            self._send(404, {"error": f"{repo}@{revision} not found"}, {"X-Error-Code": code})
        return found

    def _send(self, status: int, content: dict | list | bytes, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status >= 400 and isinstance(content, dict):
            self.send_header("X-Error-Message", content.get("error", ""))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
