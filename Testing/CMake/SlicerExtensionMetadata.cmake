# SPDX-License-Identifier: Apache-2.0
# Stands in for SlicerExtensionGenerateConfig.cmake: the metadata that Slicer's extension manager
# shows must be there.

foreach(_name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${_name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_name} is not set")
  endif()
endforeach()
