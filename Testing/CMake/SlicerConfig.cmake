# SPDX-License-Identifier: Apache-2.0
# A stand-in for the SlicerConfig.cmake of a Slicer build tree, so that the extension's own
# CMakeLists can be configured, installed and tested on a machine without Slicer:
#
#   cmake -S . -B build -DSlicer_DIR=Testing/CMake
#   cmake --build build
#   ctest --test-dir build --output-on-failure
#
# It offers the variables and macros that the extension uses, under Slicer's names, and is stricter
# in two points: a file that exists and is not listed is an error (Slicer would leave it out of the
# package in silence), and so is a file that two modules would put in the same place.

set(Slicer_VERSION_MAJOR 5)
set(Slicer_VERSION_MINOR 12)
set(Slicer_VERSION 5.12.0)
set(Slicer_USE_PYTHONQT ON)

# Where Slicer looks for scripted modules, below the build tree and below the installed extension.
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR
  lib/Slicer-${Slicer_VERSION_MAJOR}.${Slicer_VERSION_MINOR}/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})

set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/SlicerExtensionMetadata.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/SlicerExtensionPackage.cmake)
