# SPDX-License-Identifier: Apache-2.0
"""``SampleData``: sample data sources that modules register, downloaded once and checked."""

import logging
import os
import urllib.error
import urllib.parse
import urllib.request
import uuid

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import computeChecksum, extractAlgoAndDigest


def downloadFromURL(
    uris=None,
    fileNames=None,
    nodeNames=None,
    checksums=None,
    loadFiles=None,
    customDownloader=None,
    loadFileTypes=None,
    loadFileProperties={},  # noqa: B006  (the desktop's signature)
):
    """Downloads files and loads them; see SampleDataLogic.downloadFromSource."""
    return SampleDataLogic().downloadFromURL(
        uris,
        fileNames,
        nodeNames,
        checksums,
        loadFiles,
        customDownloader,
        loadFileTypes,
        loadFileProperties,
    )


def downloadSample(sampleName):
    """Loads the sample of that name; returns its first node."""
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName):
    """Loads the sample of that name; returns its nodes."""
    return SampleDataLogic().downloadSamples(sampleName)


class SampleDataSource:
    """One sample: addresses, file and node names, checksums (``SHA256:digest``)."""

    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ):
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        self.uris = [uris] if isinstance(uris, str) else list(uris)
        self.fileNames = self._perUri(fileNames)
        self.nodeNames = self._perUri(nodeNames)
        self.checksums = self._perUri(checksums)
        self.loadFiles = self._perUri(loadFiles)
        self.loadFileTypes = self._perUri(loadFileTypes or loadFileType)
        lengths = {len(values) for values in self._columns()}
        if len(lengths) != 1:
            raise ValueError(f"All fields of sample data source must have the same length\n{self}")

    def _perUri(self, values):
        if isinstance(values, (list, tuple)):
            return list(values)
        return [values] * len(self.uris)

    def _columns(self):
        return (
            self.uris,
            self.fileNames,
            self.nodeNames,
            self.checksums,
            self.loadFiles,
            self.loadFileTypes,
        )

    def __eq__(self, other):
        return str(self) == str(other)

    def __str__(self):
        return f"{self.sampleName} {self.thumbnailFileName} {self._columns()}"


class SampleDataLogic:
    """Registers, finds, downloads and loads samples."""

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        """Gives a category the title to show."""
        _registry("sampleDataSourceCategories").setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties={},  # noqa: B006  (the desktop's signature)
        checksums=None,
        loadFileType=None,
    ):
        """Adds a sample to a category; the same one twice counts once."""
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            customDownloader=customDownloader,
            loadFileType=loadFileType,
        )
        sources = _registry("sampleDataSources").setdefault(category, [])
        if source not in sources:
            sources.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        """The samples of a category, or all: {category: samples}."""
        sources = _registry("sampleDataSources")
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, sampleDataSource):
        return sampleDataSource in _registry("sampleDataSources").get(category, [])

    def __init__(self, logMessage=None):
        if logMessage:
            self.logMessage = logMessage

    def logMessage(self, message, logLevel=logging.DEBUG):
        logging.log(logLevel, message)

    def sourceForSampleName(self, sampleName):
        """The sample of that name, or None."""
        for sources in _registry("sampleDataSources").values():
            for source in sources:
                if source.sampleName == sampleName:
                    return source
        return None

    def categoryForSource(self, a_source):
        for category, sources in _registry("sampleDataSources").items():
            if a_source in sources:
                return category
        return None

    def downloadSample(self, sampleName):
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName):
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    def downloadFromURL(
        self,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        loadFileTypes=None,
        loadFileProperties={},  # noqa: B006  (the desktop's signature)
        forceDownload=False,
    ):
        source = SampleDataSource(
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            checksums=checksums,
            loadFiles=loadFiles,
            customDownloader=customDownloader,
            loadFileTypes=loadFileTypes,
            loadFileProperties=loadFileProperties,
        )
        return self.downloadFromSource(source, forceDownload=forceDownload)

    def downloadFromSource(self, source, maximumAttemptsCount=3, forceDownload=False):
        """Loaded nodes of a sample, or the paths of its files if it has no nodes to load."""
        nodes, paths = [], []
        nameNodes = all(name is None for name in source.nodeNames)
        for uri, fileName, nodeName, checksum, load, fileType in zip(
            *source._columns(), strict=True
        ):
            if nodeName is None and load is not False and nameNodes:
                nodeName = _baseName(fileName or urllib.parse.urlparse(uri).path)
            fileName = fileName or _uniqueFileName(uri)
            path = self._download(uri, fileName, checksum, maximumAttemptsCount, forceDownload)
            if path is None:
                continue
            if fileType == "SceneFile" or nodeName is None or load is False:
                if fileType == "SceneFile" and load:
                    self.loadScene(path, dict(source.loadFileProperties))
                (nodes if nodeName or fileType else paths).append(path)
            else:
                node = self.loadNode(path, nodeName, fileType, dict(source.loadFileProperties))
                if node is not None:
                    nodes.append(node)
        return nodes or paths

    def _download(self, uri, fileName, checksum, attempts, force):
        for attempt in range(attempts):
            try:
                return self.downloadFileIntoCache(uri, fileName, checksum, force)
            except ValueError as error:
                self.logMessage(_("Download failed (attempt {0} of {1}): {2}").format(
                    attempt + 1, attempts, error), logging.ERROR)
        return None

    def downloadSourceIntoCache(self, source):
        """Paths of a sample's files in the cache, downloaded where they are not there yet."""
        return [
            self.downloadFileIntoCache(uri, name, checksum)
            for uri, name, checksum in zip(
                source.uris, source.fileNames, source.checksums, strict=True
            )
        ]

    def downloadFileIntoCache(self, uri, name, checksum=None, forceDownload=False):
        """Path of a file in the cache folder, downloaded if it is not there yet."""
        folder = slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()
        os.makedirs(folder, exist_ok=True)
        return self.downloadFile(uri, folder, name, checksum, forceDownload)

    def downloadFile(self, uri, destFolderPath, name, checksum=None, forceDownload=False):
        """Path of the file in the folder; ValueError if it cannot be had or is not the right one.

        A file that is there already is taken if its checksum is right.
        """
        path = f"{destFolderPath}/{name}"
        if os.path.exists(path) and os.path.getsize(path) and not forceDownload:
            if _checksumFits(path, checksum):
                return path
        self.logMessage(_("Requesting download {name} from {uri} ...").format(name=name, uri=uri))
        try:
            urllib.request.urlretrieve(uri, path)
        except OSError as error:
            raise ValueError(f"Failed to download {uri} to {path}: {error}") from error
        if not _checksumFits(path, checksum):
            os.remove(path)
            raise ValueError(f"Checksum verification failed for {uri}")
        return path

    def loadScene(self, uri, fileProperties={}):  # noqa: B006  (the desktop's signature)
        return self.loadNode(uri, None, "SceneFile", fileProperties) is not None

    def loadNode(self, uri, name, fileType=None, fileProperties={}):  # noqa: B006
        """The first node read from a file, the scene if it was a scene, None if reading failed."""
        manager = slicer.app.coreIOManager()
        properties = {**fileProperties, "fileName": uri}
        if name:
            properties["name"] = name
        nodes = vtk.vtkCollection()
        if not manager.loadNodes(fileType or manager.fileType(uri), properties, nodes):
            self.logMessage(_("Load failed!"), logging.ERROR)
            return None
        for index in range(nodes.GetNumberOfItems()):
            _forgetFile(nodes.GetItemAsObject(index))
        return nodes.GetItemAsObject(0) or slicer.mrmlScene


def _registry(name):
    """A dictionary which modules may already have put into ``slicer.modules``."""
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    return getattr(slicer.modules, name)


def _baseName(path):
    return os.path.splitext(os.path.basename(path))[0]


def _uniqueFileName(uri):
    base, ending = os.path.splitext(os.path.basename(urllib.parse.urlparse(uri).path))
    return f"{base}-{uuid.uuid4().hex}{ending}"


def _checksumFits(path, checksum):
    algorithm, digest = extractAlgoAndDigest(checksum)
    return algorithm is None or computeChecksum(algorithm, path) == digest


def _forgetFile(node):
    """The file is in a temporary folder, so the scene must not refer to it."""
    storage = node.GetStorageNode() if node.IsA("vtkMRMLStorableNode") else None
    if storage is not None:
        slicer.mrmlScene.RemoveNode(storage)
        node.SetAndObserveStorageNodeID(None)
