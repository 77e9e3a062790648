# SPDX-License-Identifier: Apache-2.0
"""Fetch a package's source distribution without running any of its code.

A program of its own, for one use: ``python pip_source.py NAME VERSION SHA256 BYTES TARGET``.

``pip download`` and ``pip install --dry-run`` run the build script of a source distribution to
learn its metadata, even with ``--no-deps``, and pip has no option against it. So this program
stops halfway: it has pip read its configuration (indexes, find-links, certificates, proxy,
credentials), lets it find the file, and downloads it in pip's session; what is done with the
file is up to the caller. These parts of pip are not a public interface. They have not changed
in what is used here from pip 22 to pip 26, the tests hold them to it, and in a process of its
own they can disturb nothing.

It writes one JSON object per line: ``{"done", "total"}`` in bytes, and at the end
``{"outcome"}``: ``saved``, ``not found``, ``interrupted``, ``another file`` or ``no pip``.
"""

import hashlib
import json
import sys
from importlib import import_module  # pip comes with Python and is no dependency of ours


def main(name: str, version: str, sha256: str, size: int, target: str) -> str:
    try:
        index = import_module("pip._internal.commands.index")
    except ImportError:
        return "no pip"
    command = index.IndexCommand("download", "Settings are those of pip download.")
    arguments = ["versions", name, "--no-binary", name, "--ignore-requires-python",
                 "--no-input", "--retries", "1", "--timeout", "30"]
    with command.main_context():
        options, _ = command.parse_args(arguments)
        session = command.get_default_session(options)
        finder = command._build_package_finder(
            options=options, session=session, ignore_requires_python=True
        )
        links = [
            candidate.link
            for candidate in finder.find_all_candidates(name)
            if str(candidate.version) == version and not candidate.link.is_wheel
        ]
        outcome = "not found"
        for link in links:  # an index that lacks the file or has another one hides no good one
            outcome = save(session, link.url_without_fragment, sha256, size, target)
            if outcome == "saved":
                break
        return outcome


def save(session, url: str, sha256: str, size: int, target: str) -> str:
    network = import_module("pip._internal.network.utils")
    digest, done = hashlib.sha256(), 0
    try:
        response = session.get(url, headers=network.HEADERS, stream=True)
        response.raise_for_status()
        with open(target, "wb") as file:
            for chunk in network.response_chunks(response):
                done += len(chunk)
                if done > size:
                    return "another file"
                digest.update(chunk)
                file.write(chunk)
                say(done=done, total=size)
    except session_errors():
        return "interrupted"
    if done < size:
        return "interrupted"
    return "saved" if digest.hexdigest() == sha256 else "another file"


def session_errors() -> tuple:
    return (
        import_module("pip._internal.exceptions").PipError,
        import_module("pip._vendor.requests.exceptions").RequestException,
        import_module("pip._vendor.urllib3.exceptions").HTTPError,
    )


def say(**message) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    name_, version_, sha256_, size_, target_ = sys.argv[1:]
    say(outcome=main(name_, version_, sha256_, int(size_), target_))
