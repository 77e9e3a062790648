# SPDX-License-Identifier: Apache-2.0
"""The frame of every command line: common options, one way to run, fail and be cancelled.

A command is a function with typed parameters that does its work in :func:`run_job`::

    app = make_app("muscleseg", "Muscles and bones of hip and thigh from CT.")

    @app.command()
    def segment(
        image: Annotated[Path, typer.Argument(help="CT from pelvis to knee.")],
        output: OutputOption,
        device: DeviceOption = "auto",
        progress: ProgressOption = "bar",
        seed: SeedOption = 0,
        overwrite: OverwriteOption = False,
    ) -> None:
        '''Segment muscles and bones.'''
        with run_job(
            module="MuscleSeg", command="segment", output=output, device=device,
            progress=progress, seed=seed, overwrite=overwrite, inputs=[image],
        ) as job:
            job.progress.stage("segment", total=40, message="Segmenting")
            ...
            job.record(files={"labels": "labels.nrrd"})

    if __name__ == "__main__":
        app()

Nothing heavy is imported here: help and wrong options are answered at once.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import importlib.metadata
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NoReturn

import typer

from . import __version__
from .devices import import_torch, release_memory, resolve_device, seed_everything
from .errors import BadInput, Cancelled, ReadingRoomError, typed_error
from .logs import write_log
from .processes import kill_descendants
from .progress import Progress, format_duration, make_progress
from .protocol import (
    Channel,
    ProtocolError,
    decode,
    exclusive_stdout,
    failure_message,
    message_kind,
    ready_message,
)
from .results import DISCLAIMER, SCHEMA, file_sha256, result_folder, write_manifest

OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the result. It is made by the program.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", help="Name of a model, or the folder of one."),
]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option(
        "--device",
        help="Where to compute: auto takes the graphics card if there is one (cuda: NVIDIA, "
        "mps: Apple), otherwise the processor (cpu).",
    ),
]
ProgressOption = Annotated[
    Literal["bar", "json", "none"],
    typer.Option(
        "--progress",
        help="How to tell how far it is: a bar for people, json lines for programs, or none.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, help="Start of the random numbers: same seed, same result."),
]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the result that is in the output folder already."),
]

USAGE_EXIT_CODE = 2
"""Exit code after an unknown option or a missing argument, as shells know it."""

_CHANNEL: contextvars.ContextVar[Channel | None] = contextvars.ContextVar("channel", default=None)
"""Where the command that is running writes messages; None when a person runs it."""


def make_app(name: str, help: str, preload: Sequence[str] = ("torch",)) -> CommandLine:
    """Return a command line without commands; add them with its ``command()`` decorator.

    Parameters
    ----------
    name : str
        As typed, such as ``"muscleseg"``.
    help : str
        One or two sentences on what it is for.
    preload : sequence of str
        Modules that a warm worker imports before the first request comes. What is not installed
        is left out; the command that needs it will say so.
    """
    app = CommandLine(
        name=name,
        help=f"{help}\n\n{DISCLAIMER}",
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.preload = tuple(preload)

    app.callback()(_common_options)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ReadingRoom {__version__}")
        raise typer.Exit


def _common_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Stay ready and take commands from another program, such as 3D Slicer.",
        ),
    ] = False,
) -> None:
    if serve:
        raise typer.BadParameter("--serve stands alone: no command comes after it.")


class CommandLine(typer.Typer):
    """A Typer application that fails, is cancelled and stays warm as all our commands do."""

    preload: tuple[str, ...] = ()

    def __call__(self, arguments: Sequence[str] | None = None) -> NoReturn:
        """Run the command of ``arguments``, by default of the process, and end the process."""
        sys.exit(self.run(sys.argv[1:] if arguments is None else arguments))

    def run(self, arguments: Sequence[str]) -> int:
        """Run a command, or the warm worker; return the exit code."""
        with _cancelled_by_signals():
            try:
                exit_code = self._run(list(arguments))
            except (KeyboardInterrupt, Cancelled):  # between two commands, or while reporting
                exit_code = Cancelled.exit_code
            if exit_code == Cancelled.exit_code:
                _end_children()
        return exit_code

    def _run(self, arguments: list[str]) -> int:
        if arguments[-1:] == ["--serve"] and self._is_group(arguments[:-1]):
            with exclusive_stdout() as channel:
                return self._serve(arguments[:-1], channel)
        if _wants_json(arguments):
            with exclusive_stdout() as channel:
                return self._execute(arguments, channel)
        return self._execute(arguments, None)

    def _is_group(self, prefix: list[str]) -> bool:
        """Whether ``prefix`` is what comes before a command: nothing, or a module's name."""
        return not prefix or prefix in [[group.name] for group in self.registered_groups]

    def _execute(self, arguments: list[str], channel: Channel | None) -> int:
        """Run one command, report how it ended, return the exit code."""
        token = _CHANNEL.set(channel)
        try:
            outcome = typer.main.get_command(self).main(arguments, standalone_mode=False)
            _check_outcome(outcome)
            if channel is not None and not channel.ended:  # a command without run_job
                entries = outcome if isinstance(outcome, Mapping) else {}
                channel.send({"status": "completed", **entries})
            return 0
        except BaseException as error:
            return self._report(error, arguments, channel)
        finally:
            _CHANNEL.reset(token)

    def _report(self, error: BaseException, arguments: list[str], channel: Channel | None) -> int:
        """Tell the user, or the program, what went wrong; return the exit code."""
        if _is_usage_error(error):
            if channel is None:
                error.show()
            else:
                channel.send(failure_message(BadInput(error.format_message()), None))
            return USAGE_EXIT_CODE
        if isinstance(error, SystemExit) and channel is None:
            return error.code if isinstance(error.code, int) else 1  # has said why itself
        failure = _failure_of(error)
        log = None
        if not isinstance(failure, Cancelled):
            log = write_log(error, self.info.name, arguments)
        if channel is None:
            typer.echo(f"Error: {failure.message}", err=True)
            if log is not None:
                typer.echo(f"Details for the developers: {log}", err=True)
        elif not channel.ended:
            channel.send(failure_message(failure, log))
        return failure.exit_code

    def _serve(self, prefix: list[str], channel: Channel) -> int:
        """Answer requests until the input ends; return the exit code.

        Parameters
        ----------
        prefix : list of str
            Put before the arguments of each request: the module, when served by ``readingroom``.
        """
        with _exclusive_stdin() as requests:
            channel.send(ready_message())
            self._preload()
            for line in requests:
                if not line.strip():
                    continue
                try:
                    request = decode(line)
                except ProtocolError as error:
                    channel.for_request(None).send(_bad_request(str(error)))
                    continue
                if message_kind(request) == "shutdown":
                    break
                if self._answer(request, prefix, channel) == Cancelled.exit_code:
                    return Cancelled.exit_code
        return 0

    def _answer(self, request: Mapping[str, Any], prefix: list[str], channel: Channel) -> int:
        """Run the command of a request and release what it used; return its exit code."""
        answers = channel.for_request(request.get("id"))
        arguments = request.get("arguments")
        if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
            answers.send(_bad_request("a request needs a list of texts named arguments"))
            return BadInput.exit_code
        exit_code = self._execute(prefix + arguments, answers)
        release_memory()
        return exit_code

    def _preload(self) -> None:
        # The first request, if it is there already, waits; it would import the same.
        for name in self.preload:
            with contextlib.suppress(ImportError):
                import_torch() if name == "torch" else importlib.import_module(name)


def _wants_json(arguments: list[str]) -> bool:
    # Looked up before the arguments are understood, so that wrong ones are answered in JSON too.
    pairs = zip(arguments, arguments[1:], strict=False)
    return "--progress=json" in arguments or ("--progress", "json") in pairs


def _check_outcome(outcome: Any) -> None:
    """Raise what the exit code that a command returned or raised (typer.Exit) means."""
    if outcome == Cancelled.exit_code:  # Typer turns KeyboardInterrupt into it
        raise Cancelled
    if isinstance(outcome, int) and outcome != 0:
        raise ReadingRoomError(f"The command ended with exit code {outcome}.")


def _is_usage_error(error: BaseException) -> bool:
    return hasattr(error, "format_message") and hasattr(error, "show")


def _failure_of(error: BaseException) -> ReadingRoomError:
    if isinstance(error, typer.Abort):
        return Cancelled()
    if isinstance(error, SystemExit):
        return ReadingRoomError(f"The command ended with exit code {error.code}.")
    return typed_error(error)


def _bad_request(reason: str) -> dict[str, Any]:
    return failure_message(BadInput(f"The request cannot be understood: {reason}."), None)


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt, once.

    Only the first counts: a second one would interrupt the cleaning up after the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals
        return
    came = False

    def cancel(number: int, frame: object) -> None:
        nonlocal came
        if not came:
            came = True
            raise KeyboardInterrupt

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # What the one who started us wanted ignored (nohup, a background job) stays ignored.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, cancel)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_children() -> None:
    """End the processes that a cancelled command has started and could not wait for."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's raises when its loaders end
    kill_descendants(os.getpid())


@contextlib.contextmanager
def _exclusive_stdin() -> Iterator[BinaryIO]:
    """Give the one stream of requests; commands, and what they start, find an empty input."""
    descriptor = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with open(descriptor, "rb") as stream:
        yield stream


class Job:
    """One run of a command: where to write, what to report to, what to note in the manifest.

    Attributes
    ----------
    folder : Path
        Write the result's files here. It gets its final name when the job ends well.
    progress : Progress
        Tell it how far the computation has come.
    seed : int
        Seed for the job's own random generators. The global ones of Python, numpy and PyTorch
        are seeded already.
    warnings : list of str
        What the user should know about the result; see :meth:`warn`.
    """

    _RESERVED = {"schema", "status", "module", "command", "disclaimer", "folder", "error", "id"}

    def __init__(self, folder: Path, progress: Progress, device: str, seed: int) -> None:
        self.folder = folder
        self.progress = progress
        self.seed = seed
        self.warnings: list[str] = []
        self._wanted_device = device
        self._device: str | None = None
        self._recorded: dict[str, Any] = {}
        seed_everything(seed)
        if device not in ("auto", "cpu"):
            _ = self.device  # a device that is not there is said at once

    @property
    def device(self) -> str:
        """``"cpu"``, ``"cuda"`` or ``"mps"``. The first look imports and seeds PyTorch."""
        if self._device is None:
            import_torch().manual_seed(self.seed)
            self._device = resolve_device(self._wanted_device, self.warn)
        return self._device

    @device.setter
    def device(self, device: str) -> None:
        """Note that another device was used after all: memory was short."""
        self._device = device

    def warn(self, sentence: str) -> None:
        """Note something that the user should know about the result."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def record(self, **entries: Any) -> None:
        """Put entries into the manifest.

        A dictionary is added to one recorded before under the same name. ``files`` names the
        result's files by role, ``{"labels": "labels.nrrd"}``.
        """
        reserved = self._RESERVED & entries.keys()
        if reserved:
            raise ValueError(f"these entries are not the command's to make: {sorted(reserved)}")
        for name, value in entries.items():
            before = self._recorded.get(name)
            if isinstance(before, dict) and isinstance(value, Mapping):
                before.update(value)
            else:
                self._recorded[name] = dict(value) if isinstance(value, Mapping) else value

    def recorded(self) -> dict[str, Any]:
        """Return what the manifest gets from this job.

        Raises
        ------
        FileNotFoundError
            When a file that was recorded has not been written.
        """
        for name in self._recorded.get("files", {}).values():
            if not (self.folder / name).exists():
                raise FileNotFoundError(f"recorded, but not written: {name}")
        return {
            "seed": self.seed,
            "device": self._device or "cpu",  # nobody asked, so nothing ran elsewhere
            "warnings": self.warnings,
            "files": {},
            **self._recorded,
            "timings": {**self.progress.timings, **self._recorded.get("timings", {})},
        }


@contextlib.contextmanager
def run_job(
    *,
    module: str,
    command: str,
    output: str | os.PathLike,
    progress: str = "bar",
    device: str = "cpu",
    seed: int = 0,
    overwrite: bool = False,
    parameters: Mapping[str, Any] | None = None,
    inputs: Iterable[str | os.PathLike] = (),
) -> Iterator[Job]:
    """Run a computation whose result is a folder.

    When the ``with`` block ends well, ``result.json`` is written, the folder gets its name, and
    the user or program is told. When it raises, or is cancelled, nothing is left of the folder.

    Parameters
    ----------
    module, command : str
        What is run, such as ``"MuscleSeg"`` and ``"segment"``.
    output : path
        The result folder; see :func:`ReadingRoomLib.results.result_folder`.
    progress : {"bar", "json", "none"}
        Whom to tell how far it is.
    device : {"auto", "cpu", "cuda", "mps"}
        See :func:`ReadingRoomLib.devices.resolve_device`.
    seed : int
        Seed of all random numbers.
    overwrite : bool
        Replace a result that is there already.
    parameters : mapping, optional
        The command's other options, for the manifest. Of a path, only the name is noted.
    inputs : iterable of path, optional
        Files or folders that the result depends on. Name and SHA-256 are noted.

    Yields
    ------
    Job

    Raises
    ------
    ReadingRoomError
        Of the kind that fits, whatever went wrong.
    """
    began = time.monotonic()
    output = Path(output).resolve()
    channel = _CHANNEL.get()
    shown = "json" if channel is not None and progress != "none" else progress
    teller = make_progress(shown, channel)
    try:
        read = [{"name": Path(path).name, "sha256": file_sha256(path)} for path in inputs]
        with result_folder(output, overwrite) as folder:
            job = Job(folder, teller, device, seed)
            yield job
            teller.close()
            recorded = job.recorded()
            recorded["timings"]["total"] = time.monotonic() - began
            manifest = write_manifest(
                folder,
                {
                    "schema": SCHEMA,
                    "status": "completed",
                    "module": module,
                    "command": command,
                    "disclaimer": DISCLAIMER,
                    "parameters": _without_folders(parameters or {}),
                    "versions": software_versions(),
                    "model": None,
                    "inputs": read,
                    **recorded,
                },
            )
    except (ReadingRoomError, SystemExit, GeneratorExit, typer.Exit):
        raise
    except BaseException as error:
        raise typed_error(error, [output]) from error
    finally:
        teller.close()
    _announce(manifest, output, shown, channel)


def _announce(
    manifest: Mapping[str, Any], output: Path, progress: str, channel: Channel | None
) -> None:
    if channel is not None or progress == "json":
        (channel or Channel(sys.stdout.buffer)).send({**manifest, "folder": output})
    elif progress == "bar":
        for warning in manifest["warnings"]:
            typer.echo(f"Note: {warning}", err=True)
        seconds = manifest["timings"]["total"]
        typer.echo(f"Result in {output} ({format_duration(seconds)})")


def _without_folders(parameters: Mapping[str, Any]) -> dict[str, Any]:
    # The folders of a hospital's disk may tell a patient's name.
    return {
        name: Path(value).name if isinstance(value, os.PathLike) else value
        for name, value in parameters.items()
    }


def software_versions() -> dict[str, str | None]:
    """Return the versions that a result depends on, None for what is not installed."""
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "readingroom": __version__,
    }
    for name in ("torch", "monai", "SimpleITK", "numpy"):
        versions[name] = _version_of(name)
    return versions


def _version_of(package: str) -> str | None:
    # What is loaded counts; 3D Slicer's own SimpleITK is not known to the package manager.
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if loaded is not None:
        return str(loaded)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> NoReturn:
    """Run ``readingroom``: the commands of all installed modules under one name."""
    app = make_app(
        "readingroom",
        "Deep learning for the reading room: one command for each module that is installed.",
    )
    for entry in importlib.metadata.entry_points(group="readingroom.commands"):
        try:
            app.add_typer(entry.load(), name=entry.name)
        except ImportError as error:
            typer.echo(f"Note: {entry.name} cannot be loaded ({error}).", err=True)
    app()
