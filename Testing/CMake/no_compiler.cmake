# SPDX-License-Identifier: Apache-2.0
# A toolchain file for machines without a C compiler. Slicer's build needs C and C++ to be enabled,
# so the extension's project() leaves them on; but the extension itself compiles nothing, so any
# program may stand for the compiler:
#
#   cmake -S . -B build -DSlicer_DIR=Testing/CMake -DCMAKE_TOOLCHAIN_FILE=Testing/CMake/no_compiler.cmake

foreach(_language C CXX)
  set(CMAKE_${_language}_COMPILER ${CMAKE_COMMAND})
  set(CMAKE_${_language}_COMPILER_FORCED TRUE)
  set(CMAKE_${_language}_COMPILER_ID_RUN TRUE)
endforeach()
