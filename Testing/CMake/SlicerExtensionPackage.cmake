# SPDX-License-Identifier: Apache-2.0
# Stands in for SlicerExtensionCPack.cmake: what is installed becomes one archive.

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME ${PROJECT_NAME})
set(CPACK_PACKAGE_VERSION 0.1.0)
set(CPACK_PACKAGE_FILE_NAME ${PROJECT_NAME})
include(CPack)
