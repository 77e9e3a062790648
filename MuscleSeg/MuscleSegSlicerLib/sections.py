# SPDX-License-Identifier: Apache-2.0
"""The sections below the result: measuring for clinicians, the rest for researchers.

Each is made when it is opened, because what few users open must not make the panel slower for all.
"""

from slicer.i18n import tr as _

TITLES = {"measure": _("Measure"), "list": _("List of images"), "train": _("Train"),
          "evaluate": _("Evaluate"), "review": _("Review")}


class Sections:
    """What the sections ask of the panel and of each other.

    :param widget: the module's widget.
    :param library: importable name of the library whose commands they run.
    :param recipes: pairs of value and label.
    """

    def __init__(self, widget, library: str, recipes) -> None:
        self._widget = widget
        self._library = library
        self._recipes = recipes
        self._listPath = ""
        self._lazy = {name: widget.panel.addLazySection(title, getattr(self, f"_make_{name}"))
                      for name, title in TITLES.items()}

    def __getitem__(self, name: str):
        """A section by its name, made when it is needed first."""
        return self._lazy[name].section

    def title(self, name: str):
        """The closed title that stands there until the section is made."""
        return self._lazy[name].title

    def _made(self, *names) -> list:
        return [self[name] for name in names if self._lazy[name].isMade]

    def _make_measure(self):
        from .measure_section import MeasureSection

        section = MeasureSection(self._library, self)
        section.offer(self._widget.logic.getParameterNode().segmentation)
        return section

    def _make_list(self):
        from .list_section import ListSection

        return ListSection(self._library, self)

    def _make_train(self):
        from .train_section import MuscleTrainingPanel

        return self._withList(
            MuscleTrainingPanel(self._library, self.moduleName, self, self._recipes))

    def _make_evaluate(self):
        from .evaluate_section import EvaluateSection

        return self._withList(EvaluateSection(self._library, self))

    def _make_review(self):
        from .review_section import ReviewSection

        return ReviewSection(self._library, self)

    def _withList(self, section):
        if self._listPath:
            section.chooseList(self._listPath)
        return section

    # What the module's widget calls

    def onResult(self, segmentationNode) -> None:
        """There is a new result: it is what is measured next."""
        for section in self._made("measure"):
            section.offer(segmentationNode)

    def onSceneClosed(self) -> None:
        """The scene was closed."""
        for section in self._made("measure", "list", "review"):
            section.onSceneClosed()

    def cleanup(self) -> None:
        """The panel goes."""
        for lazy in self._lazy.values():
            lazy.cleanup()

    # What the sections ask for

    @property
    def moduleName(self) -> str:
        """Title of the module, for the windows that are shown."""
        return self._widget.moduleName

    def inputVolume(self):
        """The CT of the panel; may be None."""
        return self._widget.logic.getParameterNode().inputVolume

    def modelNames(self, recipe=None) -> list:
        """Names of the models that there are, of a recipe or of all."""
        return self._widget.panel.modelNames(recipe)

    def recipes(self) -> list:
        """The recipes that there are."""
        return [value for value, _label in self._recipes]

    def computeOptions(self) -> dict:
        """Device and seed of the panel."""
        parameterNode = self._widget.logic.getParameterNode()
        return {"device": parameterNode.device.value, "seed": parameterNode.seed}

    def onListWritten(self, path: str) -> None:
        """Learn from this list next, and measure on it."""
        self._listPath = path
        for section in self._made("train", "evaluate"):
            section.chooseList(path)

    def onTrained(self, manifest=None) -> None:
        """Let the new model be chosen."""
        for section in self._made("train", "evaluate", "review"):
            section.showModels()
        self._widget.onModelsChanged()
