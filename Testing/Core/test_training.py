# SPDX-License-Identifier: Apache-2.0
"""Training: killed and resumed like uninterrupted, and stopped when the loss is not a number."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from MuscleSegLib.networks import ContextUNet
from MuscleSegLib.recipes import segmentation_loss
from ReadingRoomLib.training import (
    BEST,
    CHECKPOINT,
    HISTORY,
    TENSORBOARD,
    StepSampler,
    TrainingSettings,
    Validation,
    WeightAverage,
    concatenate,
    rate_factor,
    train,
)

from .muscle_factory import process_context

SETTINGS = TrainingSettings(steps=9, batch_size=2, learning_rate=1e-2, warmup_steps=2,
                            checkpoint_every=2, workers=0, bfloat16=False, seed=4)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums are rounded differently with another number of threads, as in the killed process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Squares(Dataset):
    """Item k: two noisy slices, the brighter square is class 1; made from k alone."""

    def __init__(self, broken_from: int = 10**9) -> None:
        self.broken_from = broken_from
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.asked.append(index)
        image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(index))
        image[:, :, 4:10, 4:10] += 3
        label = torch.zeros(2, 16, 16, dtype=torch.uint8)
        label[:, 4:10, 4:10] = 1
        if index >= self.broken_from:
            image *= math.nan
        return {"image": image, "label": label}


def network() -> ContextUNet:
    torch.manual_seed(11)
    return ContextUNet(3, 2, (4, 8, 8, 8, 8), dropout=0.5)


def run(folder: Path, settings: TrainingSettings = SETTINGS, data: Dataset | None = None,
        **options) -> nn.Module:
    return train(network(), data or Squares(), segmentation_loss, settings, folder, **options)


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / HISTORY).read_text("utf-8").splitlines()]


def same(first: dict, second: dict) -> bool:
    """Whether two state dictionaries are equal to the last bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "whole"
    run(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / CHECKPOINT, weights_only=True)


# --- resume --------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, here)
from Core import test_training as tests
def on_step(step, loss):
    if step == stop:
        Path(marker).touch()
        time.sleep(60)
tests.run(Path(folder), on_step=on_step)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("stop", [3, 4])
def test_killed_and_resumed_ends_like_uninterrupted(uninterrupted, tmp_path, stop):
    folder, marker = tmp_path / "work", tmp_path / "reached"
    process = process_context().Process(target=exec, args=(KILLED, {
        "folder": str(folder), "marker": str(marker), "stop": stop,
        "here": str(Path(__file__).parents[1]),
    }))
    process.start()
    deadline = time.monotonic() + 100
    while not marker.exists():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert checkpoint(folder)["step"] == stop // 2 * 2

    average = run(folder)
    expected, found = checkpoint(uninterrupted), checkpoint(folder)
    assert found["step"] == 9
    assert same(expected["network"], found["network"])
    assert same(expected["average"], found["average"])
    assert same(average.state_dict(), expected["average"])
    assert history(folder) == history(uninterrupted)
    assert [entry["step"] for entry in history(folder)] == list(range(1, 10))


def test_dropout_draws_of_a_step_do_not_depend_on_the_steps_before(uninterrupted, tmp_path):
    # resumed within one process, as a stop button does it
    class Stop(Exception):
        pass

    def stop(step, loss):
        if step == 6:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path, on_step=stop)
    torch.rand(1000)
    run(tmp_path)
    assert same(checkpoint(tmp_path)["network"], checkpoint(uninterrupted)["network"])


def test_a_finished_training_is_not_trained_on(uninterrupted):
    before = (uninterrupted / CHECKPOINT).read_bytes()
    data = Squares()
    average = run(uninterrupted, data=data)
    assert not data.asked
    assert same(average.state_dict(), checkpoint(uninterrupted)["average"])
    assert (uninterrupted / CHECKPOINT).read_bytes() == before


def test_another_seed_gives_other_weights(uninterrupted, tmp_path):
    run(tmp_path, replace(SETTINGS, seed=5))
    assert not same(checkpoint(tmp_path)["network"], checkpoint(uninterrupted)["network"])


@pytest.mark.parametrize("change", [{"steps": 10}, {"learning_rate": 1e-3}, {"seed": 5}])
def test_other_settings_are_refused_and_change_nothing(uninterrupted, change):
    before = files(uninterrupted)
    with pytest.raises(ValueError, match="other settings"):
        run(uninterrupted, replace(SETTINGS, **change))
    assert files(uninterrupted) == before


def test_a_training_may_become_longer_until_its_rate_goes_down(tmp_path):
    held = replace(SETTINGS, decay_share=0.4)  # of 9 steps the first 5, of 20 the first 12

    def stop_at(last):
        def stop(step, loss):
            if step == last:
                raise KeyboardInterrupt

        return stop

    whole = tmp_path / "whole"
    run(whole, replace(held, steps=20))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", held, on_step=stop_at(5))  # its checkpoint is of step 4
    run(tmp_path / "parts", replace(held, steps=20))
    assert same(checkpoint(tmp_path / "parts")["average"], checkpoint(whole)["average"])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "late", held, on_step=stop_at(7))  # of step 6
    with pytest.raises(ValueError, match="other settings"):
        run(tmp_path / "late", replace(held, steps=20))


def test_a_resumed_training_asks_for_the_data_of_its_steps_only(tmp_path):
    data = Squares()

    def stop(step, loss):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_step=stop)
    run(tmp_path, data=data)
    assert data.asked == list(range(8, 18))


def test_the_number_of_workers_changes_nothing(uninterrupted, tmp_path):
    data = Squares(broken_from=8)
    with pytest.raises(FloatingPointError):
        run(tmp_path, data=data)
    run(tmp_path, replace(SETTINGS, workers=2))
    assert same(checkpoint(tmp_path)["average"], checkpoint(uninterrupted)["average"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_a_graphics_card_learns_the_same(uninterrupted, tmp_path):
    run(tmp_path, device="cuda")
    losses = [[entry["loss"] for entry in history(folder)] for folder in (tmp_path, uninterrupted)]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.3)  # it draws other dropout
    assert losses[0][-1] < 0.9 * losses[0][0]


# --- learning ------------------------------------------------------------------------------------


def test_it_learns(tmp_path):
    average = run(tmp_path, replace(SETTINGS, steps=60, average_decay=0.9))
    losses = [entry["loss"] for entry in history(tmp_path)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert not average.training
    item = Squares()[99]
    with torch.inference_mode():
        right = average(item["image"]).argmax(1) == item["label"]
    assert float(right.float().mean()) > 0.9


def test_a_loss_that_is_not_a_number_stops_and_spares_the_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError, match="step 6"):
        run(tmp_path, data=Squares(broken_from=10))
    state = checkpoint(tmp_path)
    assert state["step"] == 4
    assert all(value.isfinite().all() for value in state["network"].values())
    assert [entry["step"] for entry in history(tmp_path)] == [1, 2, 3, 4, 5]


def test_an_unfinished_checkpoint_is_not_taken_for_one(tmp_path):
    (tmp_path / "checkpoint.partial").write_bytes(b"half of it")
    run(tmp_path, replace(SETTINGS, steps=2))
    assert checkpoint(tmp_path)["step"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        CHECKPOINT, HISTORY, TENSORBOARD, "settings.json"}


def test_gradients_are_clipped(tmp_path):
    settings = replace(SETTINGS, steps=1, gradient_norm=1e-3)
    layers = network()
    train(layers, Squares(), lambda *arguments: 1e6 * segmentation_loss(*arguments), settings,
          tmp_path)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in layers.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-3)


# --- validation ----------------------------------------------------------------------------------


class Scores:
    """Gives out scores one after the other, and keeps the weights they were given for."""

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)
        self.weights: list[dict] = []

    def __call__(self, network: nn.Module) -> float:
        assert not network.training
        self.weights.append({n: t.clone() for n, t in network.state_dict().items()})
        return self.scores[len(self.weights) - 1]


def test_it_stops_when_it_gets_no_better_and_returns_the_best(tmp_path):
    score = Scores(0.5, 0.7, 0.6, 0.7)
    settings = replace(SETTINGS, steps=40)
    best = run(tmp_path, settings, validation=Validation(score, every=3, patience=2))
    assert len(score.weights) == 4 and checkpoint(tmp_path)["step"] == 12
    assert same(best.state_dict(), score.weights[1]) and not best.training
    assert same(torch.load(tmp_path / BEST, weights_only=True), score.weights[1])
    assert [(e["step"], e["score"]) for e in history(tmp_path) if "score" in e] == [
        (3, 0.5), (6, 0.7), (9, 0.6), (12, 0.7)]
    # it has ended: nothing more is asked, and the best comes again
    data, again = Squares(), Scores()
    best = run(tmp_path, settings, data, validation=Validation(again, every=3, patience=2))
    assert not data.asked and not again.weights and same(best.state_dict(), score.weights[1])


@pytest.mark.parametrize("stop", [7, 10])
def test_resumed_it_remembers_the_best_and_how_long_it_waited(tmp_path, stop):
    def interrupt(step, loss):
        if step == stop:
            raise KeyboardInterrupt

    first = Scores(0.5, 0.9, 0.6)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, replace(SETTINGS, steps=40), on_step=interrupt,
            validation=Validation(first, every=3, patience=3))
    seen = len(first.weights)
    rest = Scores(*(0.5, 0.9, 0.6, 0.8, 0.8)[seen:])
    best = run(tmp_path, replace(SETTINGS, steps=40),
               validation=Validation(rest, every=3, patience=3))
    assert seen + len(rest.weights) == 5 and checkpoint(tmp_path)["step"] == 15
    assert same(best.state_dict(), first.weights[1])


def test_while_it_gets_better_all_steps_are_done(tmp_path):
    score = Scores(1, 2, 3, 4)
    best = run(tmp_path, validation=Validation(score, every=2, patience=1))
    assert len(score.weights) == 4 and checkpoint(tmp_path)["step"] == 9
    assert same(best.state_dict(), score.weights[3])


def test_looking_does_not_change_the_training(uninterrupted, tmp_path):
    run(tmp_path, validation=Validation(lambda network: float(torch.rand(1)), every=2))
    assert same(checkpoint(tmp_path)["network"], checkpoint(uninterrupted)["network"])


def test_images_that_do_not_choose_are_only_looked_at(uninterrupted, tmp_path):
    """The weights are the last ones and no score ends the training; the numbers are noted."""
    found = iter([0.9, 0.5, 0.4, 0.3])
    best = run(tmp_path, validation=Validation(
        lambda network: {"validation_loss": 0.25, "validation_accuracy": next(found)},
        every=2, patience=1, chooses=False))
    plain = run(uninterrupted)  # it is complete: the averaged weights come back
    assert same(best.state_dict(), plain.state_dict()) and not (tmp_path / BEST).exists()
    assert [entry.get("validation_accuracy") for entry in history(tmp_path)] == [
        None, 0.9, None, 0.5, None, 0.4, None, 0.3, None]


def test_the_accuracy_of_each_batch_is_noted(tmp_path):
    def accuracy(answer, label):
        assert answer.shape[0] == label.shape[0] == 4 and answer.requires_grad
        return (answer.argmax(1) == label).float().mean()

    run(tmp_path, accuracy=accuracy)
    noted = [entry["accuracy"] for entry in history(tmp_path)]
    assert len(noted) == 9 and all(0 <= value <= 1 for value in noted) and len(set(noted)) > 1


def test_a_network_gets_what_else_an_item_holds(tmp_path):
    class Scaled(Squares):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return {**item, "scale": torch.full((2,), float(index)), "age": torch.zeros(2)}

    class Scaling(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.got = network(), []

        def forward(self, image, scale, age):
            self.got.append(scale.tolist())
            return self.inner(image * (1 + age.view(-1, 1, 1, 1)))

    scaling = Scaling()
    train(scaling, Scaled(), segmentation_loss, SETTINGS, tmp_path, further=("scale", "age"))
    assert scaling.got[:2] == [[0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]]


def test_a_line_that_a_kill_left_half_written_does_not_hinder(tmp_path):
    def interrupt(step, loss):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_step=interrupt)
    with (tmp_path / HISTORY).open("a", encoding="utf-8") as stream:
        stream.write('{"step": 6, "lo')
    run(tmp_path)
    assert [entry["step"] for entry in history(tmp_path)] == list(range(1, 10))


def test_tensorboard_shows_loss_rate_and_score(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def interrupt(step, loss):
        if step == 5:
            raise KeyboardInterrupt

    score = Scores(1, 2, 3, 4, 5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_step=interrupt, validation=Validation(score, every=4))
    run(tmp_path, validation=Validation(score, every=4))
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    shown = {name: [(e.step, e.value) for e in events.Scalars(name)]
             for name in ("loss", "score", "learning_rate")}
    assert shown["loss"] == [(e["step"], pytest.approx(e["loss"], rel=1e-5))
                             for e in history(tmp_path)]
    assert shown["score"] == [(4, 1), (8, 2)]
    factor = rate_factor(SETTINGS)
    assert shown["learning_rate"] == [
        (step, pytest.approx(SETTINGS.learning_rate * factor(step - 1))) for step in range(1, 10)]


# --- parts ---------------------------------------------------------------------------------------


def test_average_follows_the_definition():
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0)
    average = WeightAverage(layer, decay=0.75)
    expected = 0.0
    for step, value in enumerate([1.0, 3.0, -2.0, 5.0, 5.0], start=1):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(layer, step)
        decay = min(0.75, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert float(average.network.weight) == pytest.approx(expected)
    assert float(layer.weight) == 5.0 and not average.network.weight.requires_grad


def test_average_takes_statistics_and_counters_along():
    layer = nn.BatchNorm1d(2)
    average = WeightAverage(layer, decay=0.5)
    for step in range(1, 30):
        layer.train()(torch.randn(8, 2, generator=torch.Generator().manual_seed(step)) + 4)
        average.update(layer, step)
    assert int(average.network.num_batches_tracked) == 29
    assert float(average.network.running_mean.mean()) == pytest.approx(4, abs=0.8)
    assert not average.network.training


def test_learning_rate_rises_and_falls():
    factor = rate_factor(TrainingSettings(steps=110, warmup_steps=10))
    assert [factor(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert factor(10) == pytest.approx(1) and factor(60) == pytest.approx(0.505)
    assert factor(110) == pytest.approx(0.01) == factor(500)
    falling = [factor(step) for step in range(10, 111)]
    assert falling == sorted(falling, reverse=True)
    assert rate_factor(TrainingSettings(steps=5, warmup_steps=5))(5) <= 1


def test_a_rate_that_is_held_does_not_depend_on_the_number_of_steps_yet():
    short, long = (rate_factor(TrainingSettings(steps=n, warmup_steps=10, decay_share=0.25))
                   for n in (400, 800))
    assert [short(step) for step in range(300)] == [long(step) for step in range(300)]
    assert short(10) == short(299) == 1 > short(301) > short(350) == pytest.approx(0.505)
    assert long(599) == 1 and short(400) == long(800) == pytest.approx(0.01)


def test_sampler_and_batches():
    sampler = StepSampler(6, 10)
    assert list(sampler) == [6, 7, 8, 9] == list(sampler) and len(sampler) == 4
    items = [{"image": torch.full((n, 1), float(n)), "label": torch.full((n,), n)} for n in (1, 2)]
    batch = concatenate(items)
    assert batch["image"].tolist() == [[1.0], [2.0], [2.0]] and batch["label"].tolist() == [1, 2, 2]
